//! What the model says of rotations that are applied to a target.

use super::*;

impl Entry {
    pub(super) fn give_up(&mut self, now: u64, for_a_value: bool) -> Result<(), Rejection> {
        let offered = self.pending.as_ref().and_then(|pending| pending.offered);
        if offered.is_some_and(|at| !for_a_value || now < at + 30_000) {
            return Err(Rejection::InUse);
        }
        self.pending = None;
        Ok(())
    }
}

impl Model {
    pub(super) fn begin_rotation(
        &mut self,
        name: &SecretName,
        cas: u64,
        new: &NewVersion,
    ) -> Result<(), Rejection> {
        let target = self.passes.target.as_ref();
        let version = Version::of(self.now, &new.sealed, target);
        let entry = self.secrets.get_mut(name.as_str());
        let entry = entry.ok_or(Rejection::NotFound)?;
        let current = entry.count;
        if cas != current {
            return Err(Rejection::CasMismatch { current });
        }
        if entry.pending.is_some() {
            return Err(Rejection::InUse);
        }
        if entry.settings.kind.target().is_none() {
            return Err(Rejection::Invalid);
        }
        if new.number != current + 1 {
            return Err(Rejection::VersionTaken { current });
        }
        entry.pending = Some(Pending {
            version,
            nonce: new.sealed.nonce,
            offered: None,
        });
        Ok(())
    }

    pub(super) fn mark_rotation(
        &mut self,
        name: &SecretName,
        nonce: &[u8; 24],
        applying: bool,
    ) -> Result<(), Rejection> {
        let now = self.now;
        let entry = self.secrets.get_mut(name.as_str());
        let pending = entry.and_then(|entry| entry.pending.as_mut());
        let pending = pending
            .filter(|pending| pending.nonce == *nonce)
            .ok_or(Rejection::NotFound)?;
        pending.offered = if applying {
            pending.offered.or(Some(now))
        } else {
            None
        };
        Ok(())
    }

    pub(super) fn end_rotation(
        &mut self,
        name: &SecretName,
        nonce: &[u8; 24],
    ) -> Result<(), Rejection> {
        let mount = *self.mounts.get(name.mount()).ok_or(Rejection::NotFound)?;
        let entry = self.secrets.get_mut(name.as_str());
        let entry = entry.ok_or(Rejection::NotFound)?;
        let ended = entry
            .pending
            .take_if(|pending| pending.nonce == *nonce)
            .ok_or(Rejection::NotFound)?;
        entry.append(self.now, &mount, ended.version);
        Ok(())
    }
}
