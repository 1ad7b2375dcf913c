//! What commands do to re-wrap passes and to wrapped data keys.

use std::sync::Arc;

use super::State;
use crate::{
    Effect, KmsKeyId, Material, Rejection, SealedVersion, SecretName, SecretVersion, WrappedDek,
    limits,
    rewrap::{EndedPass, Pass, RewrapState, Watermark},
};

/// A version's new wrapping, and the one it replaces.
pub(super) struct Rewrapped {
    pub(super) pass: u64,
    pub(super) replaces: WrappedDek,
    pub(super) wrapped: WrappedDek,
    pub(super) kms_key_id: KmsKeyId,
    pub(super) material_id: Option<crate::SharedText>,
}

impl State {
    pub(super) fn adopt_watermark(&mut self, watermark: Watermark) -> Result<Effect, Rejection> {
        if self.rewrap.watermark.is_some() {
            return Err(Rejection::AlreadyExists);
        }
        if !watermark.within_limits() {
            return Err(Rejection::Invalid);
        }
        self.rewrap.watermark = Some(watermark);
        Ok(Effect::Done)
    }

    /// Begins a pass, or names the one that runs. A pass whose predecessor to the same target left
    /// failures behind goes on with that one's id, so that only those are pending.
    pub(super) fn begin_pass(&mut self, target: Watermark) -> Result<Effect, Rejection> {
        if let Some(running) = &self.rewrap.running {
            return Ok(Effect::Pass { id: running.id });
        }
        if !target.within_limits() {
            return Err(Rejection::Invalid);
        }
        let resumed = self
            .rewrap
            .ended
            .as_ref()
            .filter(|ended| ended.failed > 0 && ended.pass.target == target);
        let id = match resumed {
            Some(ended) => ended.pass.id,
            None => self.rewrap.last_id.saturating_add(1),
        };
        self.rewrap.last_id = id;
        self.rewrap.running = Some(Pass {
            id,
            target,
            began_at: self.time,
            rewrapped: 0,
        });
        Ok(Effect::Pass { id })
    }

    /// Ends a pass. A pass that says it moved everything is [`Rejection::InUse`] while a version is
    /// pending, such as one written since the worker looked: the watermark never claims too much.
    pub(super) fn end_pass(
        &mut self,
        id: u64,
        failed: u64,
        last_error: Option<String>,
    ) -> Result<Effect, Rejection> {
        if failed == 0 && self.pass_runs(id) && self.pending_rewraps().next().is_some() {
            return Err(Rejection::InUse);
        }
        let pass = self.rewrap.running.take_if(|running| running.id == id);
        let pass = pass.ok_or(Rejection::NotFound)?;
        if failed == 0 {
            self.rewrap.watermark = Some(pass.target.clone());
        }
        let last_error = last_error.map(|text| text.chars().take(limits::LABEL_BYTES).collect());
        self.rewrap.ended = Some(EndedPass {
            pass,
            ended_at: self.time,
            failed,
            last_error,
        });
        Ok(Effect::Done)
    }

    fn pass_runs(&self, id: u64) -> bool {
        matches!(&self.rewrap.running, Some(pass) if pass.id == id)
    }

    /// Replaces a version's wrapped data key, if it is still the one that KMS was given. Ciphertext,
    /// nonce and times stay. Only the running pass does it, and only onto its key: a node configured
    /// with another key, or a leader of the past, would otherwise mark as moved what is not
    /// (invariant 18).
    pub(super) fn rewrap_version(
        &mut self,
        name: &SecretName,
        number: u64,
        new: Rewrapped,
    ) -> Result<Effect, Rejection> {
        let running = self.rewrap.running.as_mut();
        let running = running
            .filter(|pass| pass.id == new.pass)
            .ok_or(Rejection::NotFound)?;
        if running.target.key_id != new.kms_key_id {
            return Err(Rejection::Invalid);
        }
        let secret = self.secrets.get_mut(name).ok_or(Rejection::NotFound)?;
        let old = match secret.any_version(number).map(|version| &version.material) {
            Some(Material::Sealed(old)) if old.wrapped_dek == new.replaces => Arc::clone(old),
            Some(Material::Sealed(_)) => return Err(Rejection::AlreadyExists),
            _ => return Err(Rejection::NotFound),
        };
        let sealed = SealedVersion {
            wrapped_dek: new.wrapped,
            kms_key_id: new.kms_key_id,
            material_id: new.material_id,
            ..SealedVersion::clone(&old)
        };
        if !sealed.within_limits() {
            return Err(Rejection::Invalid);
        }
        if let Some(version) = Arc::make_mut(secret).any_version_mut(number) {
            version.material = Material::Sealed(Arc::new(sealed));
            version.pass = new.pass;
        }
        running.rewrapped = running.rewrapped.saturating_add(1);
        Ok(Effect::Done)
    }

    /// The pass that a version written now has been through: the newest one, if it is wrapped by
    /// that pass's target. That holds for a pass that has ended, too: it may be taken up again.
    pub(super) fn pass_of_new(&self, sealed: &SealedVersion) -> u64 {
        let ended = self.rewrap.ended.as_ref().map(|ended| &ended.pass);
        match self.rewrap.running.as_ref().or(ended) {
            Some(pass) if pass.target.may_cover(sealed) => pass.id,
            Some(pass) => pass.id.saturating_sub(1),
            None => 0,
        }
    }

    /// Everything replicated about re-wrapping.
    #[must_use]
    pub fn rewrap(&self) -> &RewrapState {
        &self.rewrap
    }

    /// The versions that the running pass has still to move, or that the last one left behind, in
    /// order of name and number. Deleted versions count, since their deletion can be taken back, and
    /// pending ones.
    pub fn pending_rewraps(
        &self,
    ) -> impl Iterator<Item = (&SecretName, &SecretVersion, &Arc<SealedVersion>)> {
        let left_behind = self.rewrap.ended.as_ref().filter(|ended| ended.failed > 0);
        let running = self.rewrap.running.as_ref();
        let pass = running.or(left_behind.map(|ended| &ended.pass));
        self.secrets
            .iter()
            .take_while(move |_| pass.is_some())
            .flat_map(|(name, secret)| secret.all_versions().map(move |version| (name, version)))
            .filter_map(move |(name, version)| match (&version.material, pass) {
                (Material::Sealed(sealed), Some(pass))
                    if version.pass < pass.id && !pass.target.covers(sealed) =>
                {
                    Some((name, version, sealed))
                }
                _ => None,
            })
    }
}
