//! What commands do to a rotation that is applied to a target: intent, effect, confirmation.
//!
//! Before the target is offered a password, the store holds it beside the one that works. While the
//! target may have taken it, nobody is told either of them. Once it has, the new one is current.

use std::sync::Arc;

use super::State;
use crate::{
    Effect, LogTime, Material, Pending, Rejection, Secret, SecretName, SecretVersion,
    command::NewVersion, limits,
};

impl State {
    pub(super) fn begin_rotation(
        &mut self,
        name: SecretName,
        cas: u64,
        NewVersion { number, sealed }: NewVersion,
    ) -> Result<Effect, Rejection> {
        let mut secret = Secret::clone(self.secrets.get(&name).ok_or(Rejection::NotFound)?);
        let current = secret.current_version;
        if cas != current {
            return Err(Rejection::CasMismatch { current });
        }
        if secret.pending.is_some() {
            return Err(Rejection::InUse);
        }
        if secret.settings.kind.target().is_none() || !sealed.within_limits() {
            return Err(Rejection::Invalid);
        }
        if Some(number) != current.checked_add(1) {
            return Err(Rejection::VersionTaken { current });
        }
        secret.pending = Some(Pending {
            version: SecretVersion {
                number,
                created_at: self.time,
                superseded_until: None,
                deleted_at: None,
                pass: self.pass_of_new(&sealed),
                material: Material::Sealed(Arc::new(sealed)),
            },
            applying_since: None,
        });
        Ok(self.store(name, secret))
    }

    pub(super) fn mark_rotation(
        &mut self,
        name: &SecretName,
        nonce: &[u8; 24],
        applying: bool,
    ) -> Result<Effect, Rejection> {
        let time = self.time;
        let secret = self.secrets.get_mut(name).ok_or(Rejection::NotFound)?;
        let meant = |pending: &Pending| pending.is_sealed_with(nonce);
        if !secret.pending.as_ref().is_some_and(meant) {
            return Err(Rejection::NotFound);
        }
        if let Some(pending) = &mut Arc::make_mut(secret).pending {
            pending.applying_since = match applying {
                true => Some(pending.applying_since.unwrap_or(time)),
                false => None,
            };
        }
        Ok(Effect::Done)
    }

    pub(super) fn end_rotation(
        &mut self,
        name: SecretName,
        nonce: &[u8; 24],
    ) -> Result<Effect, Rejection> {
        let mount = self.mount_of(&name)?;
        let mut secret = Secret::clone(self.secrets.get(&name).ok_or(Rejection::NotFound)?);
        let ended = secret
            .pending
            .take_if(|pending| pending.is_sealed_with(nonce))
            .ok_or(Rejection::NotFound)?;
        let Material::Sealed(sealed) = ended.version.material else {
            return Err(Rejection::NotFound);
        };
        secret.updated_at = self.time;
        self.add_version(&mut secret, &mount, sealed, ended.version.pass);
        self.trim_versions(&name, &mut secret, &mount);
        self.refresh_grace_deadlines(&name, &secret);
        Ok(self.store(name, secret))
    }

    /// Drops the pending version. One that the target may have taken is dropped only for another
    /// value, which is known to work, and not while it may just be taken.
    pub(super) fn give_up_pending(
        &self,
        secret: &mut Secret,
        for_another_value: bool,
    ) -> Result<(), Rejection> {
        let applying_since = secret.pending.as_ref().and_then(|p| p.applying_since);
        let may_be_taken = |since: LogTime| self.time < since.plus_secs(limits::UNSETTLED_SECS);
        match applying_since {
            Some(since) if !for_another_value || may_be_taken(since) => Err(Rejection::InUse),
            _ => {
                secret.pending = None;
                Ok(())
            }
        }
    }
}
