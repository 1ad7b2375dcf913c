//! What the commands of a restore do. Until the last of them nothing is changed that anybody reads.

use std::sync::Arc;

use bytes::Bytes;
use sha2::{Digest, Sha256};

use super::{Deadline, State};
use crate::{
    Effect, Rejection, RoleName, TokenName,
    backup::Frames,
    codec::StateDecoder,
    limits,
    request::Outcomes,
    restore::{RestoreId, Staged},
};

/// What ends a restore, and says what it must have been.
pub(super) struct End {
    pub(super) id: RestoreId,
    pub(super) parts: u64,
    pub(super) sha256: [u8; 32],
    pub(super) force: bool,
    pub(super) keep: Option<TokenName>,
}

impl State {
    pub(super) fn begin_restore(&mut self, id: RestoreId) -> Result<Effect, Rejection> {
        match &self.restore {
            Some(staged) if staged.id == id => return Ok(Effect::Done),
            Some(staged) if !staged.is_given_up(self.time) => return Err(Rejection::InUse),
            _ => {}
        }
        self.stage(Some(Staged::new(id, self.time)));
        Ok(Effect::Done)
    }

    pub(super) fn restore_part(
        &mut self,
        id: RestoreId,
        number: u64,
        bytes: Bytes,
    ) -> Result<Effect, Rejection> {
        let mut staged = self.staged(id)?;
        let come = staged.parts.len() as u64;
        if number < come {
            // Handed over twice.
            return Ok(Effect::Done);
        }
        let total = staged.bytes + bytes.len() as u64;
        if number > come
            || bytes.len() > limits::RESTORE_PART_BYTES
            || total > limits::RESTORE_BYTES
        {
            return Err(Rejection::Invalid);
        }
        staged.parts.push_back(bytes);
        staged.bytes = total;
        staged.since = self.time;
        self.stage(Some(staged));
        Ok(Effect::Done)
    }

    /// Replaces everything by what was staged, or nothing (invariant 21).
    pub(super) fn end_restore(&mut self, end: &End) -> Result<Effect, Rejection> {
        let staged = self.staged(end.id)?;
        if staged.parts.len() as u64 != end.parts {
            return Err(Rejection::Invalid);
        }
        let restored = self.decoded(&staged, &end.sha256)?;
        let of_another = restored.cluster_id != self.cluster_id;
        if of_another && !self.secrets.is_empty() && !end.force {
            return Err(Rejection::InUse);
        }
        let mut next = State {
            position: self.position,
            time: self.time.max(restored.time),
            cluster_id: self.cluster_id,
            format: self.format,
            access: self.access,
            admin_token_existed: true,
            // What came of requests before is undone by this.
            outcomes: Outcomes::forgotten_to(self.position.map_or(0, |at| at.index)),
            restore: None,
            nodes: self.nodes.clone(),
            ..restored
        };
        next.keep_ended(self);
        if let Some(name) = &end.keep {
            next.keep_token(self, name)?;
        }
        *self = next;
        Ok(Effect::Done)
    }

    fn staged(&self, id: RestoreId) -> Result<Staged, Rejection> {
        let staged = self.restore.as_ref().filter(|staged| staged.id == id);
        staged.cloned().ok_or(Rejection::NotFound)
    }

    /// Puts a restore in place of the one there was, with what falls due for it.
    pub(crate) fn stage(&mut self, staged: Option<Staged>) {
        if let Some(before) = self.restore.take() {
            self.deadlines
                .remove(&(before.gone_at(), Deadline::RestoreGivenUp));
        }
        if let Some(staged) = &staged {
            self.deadlines
                .insert((staged.gone_at(), Deadline::RestoreGivenUp));
        }
        self.restore = staged;
    }

    /// The state that was staged, if it is what it was said to be and is one.
    fn decoded(&self, staged: &Staged, sha256: &[u8; 32]) -> Result<State, Rejection> {
        let (mut hash, mut frames) = (Sha256::new(), Frames::default());
        let mut decoder = StateDecoder::default();
        for part in &staged.parts {
            hash.update(part);
            frames.push(part);
            while let Some(record) = frames.next().map_err(|_| Rejection::Invalid)? {
                // A node of this format must be able to read what it is made to hold.
                if record.first().is_none_or(|format| *format > self.format()) {
                    return Err(Rejection::Invalid);
                }
                decoder.push(&record).map_err(|_| Rejection::Invalid)?;
            }
        }
        if !frames.left().is_empty() || hash.finalize()[..] != sha256[..] {
            return Err(Rejection::Invalid);
        }
        let restored = decoder.finish().map_err(|_| Rejection::Invalid)?;
        match restored.cluster_id {
            Some(_) => Ok(restored),
            None => Err(Rejection::Invalid),
        }
    }

    /// A token that has ended since the backup stays so: what was revoked opens nothing again.
    fn keep_ended(&mut self, before: &State) {
        let now = self.time;
        for grant in before.tokens.values().filter(|grant| !grant.is_live(now)) {
            if let Some(name) = self.fingerprints.get(&grant.fingerprint).cloned() {
                self.end_token(&name, grant.revoked);
            }
        }
    }

    /// The admin who restores keeps the token that was used: the backup may hold none that anybody
    /// still has.
    fn keep_token(&mut self, before: &State, name: &TokenName) -> Result<(), Rejection> {
        let kept = before.tokens.get(name).ok_or(Rejection::NotFound)?;
        let mut kept = Arc::clone(kept);
        if self.roles.get(&kept.role).is_none_or(|role| !role.is_admin) {
            let admin = RoleName::parse(RoleName::ADMIN).map_err(|_| Rejection::Invalid)?;
            Arc::make_mut(&mut kept).role = admin;
        }
        self.drop_token(name);
        if let Some(other) = self.fingerprints.get(&kept.fingerprint).cloned() {
            self.drop_token(&other);
        }
        if !self.note_token(name, &kept) {
            return Err(Rejection::Invalid);
        }
        self.tokens.insert(name.clone(), kept);
        Ok(())
    }
}
