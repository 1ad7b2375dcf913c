//! What commands do to secrets and their versions.

use std::sync::Arc;

use super::{Deadline, State};
use crate::{
    Effect, Kind, LogTime, Material, Rejection, SealedVersion, Secret, SecretName, SecretSettings,
    SecretVersion,
    command::{MountSettings, NewVersion},
    limits,
    secret::SettingsChange,
};

impl State {
    pub(super) fn create_secret(
        &mut self,
        name: SecretName,
        settings: SecretSettings,
        sealed: Option<SealedVersion>,
    ) -> Result<Effect, Rejection> {
        let mount = self.mount_of(&name)?;
        if self.secrets.contains(&name) {
            return Err(Rejection::AlreadyExists);
        }
        check_material(&settings, sealed.as_ref())?;
        let mut secret = new_secret(settings.clone(), self.time);
        self.reschedule(&mut secret, settings);
        if let Some(sealed) = sealed {
            let pass = self.pass_of_new(&sealed);
            self.add_version(&mut secret, &mount, Arc::new(sealed), pass);
        }
        Ok(self.store(name, secret))
    }

    /// A value that was not tried at a target is none for a secret that has one by now (invariant 17).
    pub(super) fn has_no_target(&self, name: &SecretName) -> Result<(), Rejection> {
        let secret = self.secrets.get(name);
        match secret.and_then(|secret| secret.settings.kind.target()) {
            None => Ok(()),
            Some(_) => Err(Rejection::AccessChanged),
        }
    }

    pub(super) fn put_secret(
        &mut self,
        name: SecretName,
        cas: Option<u64>,
        change: &SettingsChange,
        version: Option<NewVersion>,
        upsert: bool,
    ) -> Result<Effect, Rejection> {
        let mount = self.mount_of(&name)?;
        let mut secret = match self.secrets.get(&name) {
            Some(secret) => Secret::clone(secret),
            None if upsert => new_secret(SecretSettings::manual(), self.time),
            None => return Err(Rejection::NotFound),
        };
        let current = secret.current_version;
        let cas_required = mount.cas_required || secret.settings.cas_required;
        match cas {
            Some(expected) if expected != current => {
                return Err(Rejection::CasMismatch { current });
            }
            None if cas_required && version.is_some() => return Err(Rejection::CasRequired),
            _ => {}
        }
        let settings = change
            .applied_to(&secret.settings)
            .ok_or(Rejection::Invalid)?;
        check_material(&settings, version.as_ref().map(|version| &version.sealed))?;
        if let Some(version) = &version
            && Some(version.number) != current.checked_add(1)
        {
            return Err(Rejection::VersionTaken { current });
        }
        if version.is_some() || settings.kind.target() != secret.settings.kind.target() {
            self.give_up_pending(&mut secret, version.is_some())?;
        }
        self.reschedule(&mut secret, settings);
        if let Some(NewVersion { sealed, .. }) = version {
            let pass = self.pass_of_new(&sealed);
            self.add_version(&mut secret, &mount, Arc::new(sealed), pass);
        }
        self.trim_versions(&name, &mut secret, &mount);
        self.refresh_grace_deadlines(&name, &secret);
        Ok(self.store(name, secret))
    }

    pub(super) fn delete_secret(&mut self, name: &SecretName) -> Result<Effect, Rejection> {
        self.forget_rotation(name);
        let secret = self.secrets.remove(name).ok_or(Rejection::NotFound)?;
        for version in &secret.versions {
            self.forget_grace(name, version);
        }
        Ok(Effect::Done)
    }

    pub(super) fn delete_versions(
        &mut self,
        name: &SecretName,
        versions: &[u64],
    ) -> Result<Effect, Rejection> {
        let now = self.time;
        let newest = [self
            .secrets
            .get(name)
            .ok_or(Rejection::NotFound)?
            .current_version];
        let versions = if versions.is_empty() {
            &newest[..]
        } else {
            versions
        };
        self.change_versions(name, versions, |version| {
            let already = version.deleted_at.is_some_and(|at| at <= now);
            if !already && version.material != Material::Destroyed {
                version.deleted_at = Some(now);
            }
        })
    }

    pub(super) fn undelete_versions(
        &mut self,
        name: &SecretName,
        versions: &[u64],
    ) -> Result<Effect, Rejection> {
        self.change_versions(name, versions, |version| {
            if version.material != Material::Destroyed {
                version.deleted_at = None;
            }
        })
    }

    pub(super) fn destroy_versions(
        &mut self,
        name: &SecretName,
        versions: &[u64],
    ) -> Result<Effect, Rejection> {
        self.change_versions(name, versions, |version| {
            version.material = Material::Destroyed
        })
    }

    fn change_versions(
        &mut self,
        name: &SecretName,
        versions: &[u64],
        change: impl Fn(&mut SecretVersion),
    ) -> Result<Effect, Rejection> {
        if versions.len() > limits::VERSIONS_PER_COMMAND {
            return Err(Rejection::Invalid);
        }
        let mut secret = Secret::clone(self.secrets.get(name).ok_or(Rejection::NotFound)?);
        for number in versions {
            if let Some(version) = secret.version_mut(*number) {
                change(version);
            }
        }
        secret.updated_at = self.time;
        self.refresh_grace_deadlines(name, &secret);
        Ok(self.store(name.clone(), secret))
    }

    pub(super) fn mount_of(&self, name: &SecretName) -> Result<MountSettings, Rejection> {
        crate::MountName::parse(name.mount())
            .ok()
            .and_then(|mount| self.mounts.get(&mount).copied())
            .ok_or(Rejection::NotFound)
    }

    /// Adds the next version. Trimming and deadlines are the caller's.
    pub(super) fn add_version(
        &self,
        secret: &mut Secret,
        mount: &MountSettings,
        sealed: Arc<SealedVersion>,
        pass: u64,
    ) {
        let now = self.time;
        let grace_end = now.plus_secs(secret.settings.grace_period_secs);
        if let Some(previous) = secret.versions.last_mut() {
            previous.superseded_until = Some(grace_end);
        }
        let delete_after = match secret.settings.delete_version_after_secs {
            0 => mount.delete_version_after_secs,
            own => own,
        };
        secret.current_version += 1;
        // There are many secrets, and who grows by one at a time needs no room for twice as many.
        secret.versions.reserve_exact(1);
        secret.versions.push(SecretVersion {
            number: secret.current_version,
            created_at: now,
            superseded_until: None,
            deleted_at: (delete_after > 0).then(|| now.plus_secs(delete_after)),
            pass,
            material: Material::Sealed(sealed),
        });
        secret.next_rotation_at = secret
            .settings
            .kind
            .rotation_interval_secs()
            .map(|secs| now.plus_secs(secs));
    }

    /// Takes the new settings over; a changed interval counts from the newest version.
    fn reschedule(&self, secret: &mut Secret, settings: SecretSettings) {
        secret.settings = settings;
        secret.updated_at = self.time;
        let since = secret
            .current()
            .map_or(self.time, |version| version.created_at);
        secret.next_rotation_at = secret
            .settings
            .kind
            .rotation_interval_secs()
            .map(|secs| since.plus_secs(secs));
    }

    pub(super) fn trim_versions(
        &mut self,
        name: &SecretName,
        secret: &mut Secret,
        mount: &MountSettings,
    ) {
        let keep = [secret.settings.max_versions, mount.max_versions]
            .into_iter()
            .find(|max| *max > 0)
            .unwrap_or(limits::DEFAULT_MAX_VERSIONS) as usize;
        let surplus = secret.versions.len().saturating_sub(keep);
        for version in secret.versions.drain(..surplus) {
            self.forget_grace(name, &version);
        }
    }

    /// Makes the deadlines of `secret` say when superseded material goes, and nothing else.
    pub(super) fn refresh_grace_deadlines(&mut self, name: &SecretName, secret: &Secret) {
        for version in &secret.versions {
            self.forget_grace(name, version);
            self.note_grace(name, secret, version);
        }
    }

    pub(crate) fn note_grace(
        &mut self,
        name: &SecretName,
        secret: &Secret,
        version: &SecretVersion,
    ) {
        if secret.destroys(version)
            && version.material != Material::Destroyed
            && let Some(until) = version.superseded_until
        {
            self.deadlines
                .insert((until, Deadline::GraceEnd(name.clone(), version.number)));
        }
    }

    fn forget_grace(&mut self, name: &SecretName, version: &SecretVersion) {
        if let Some(until) = version.superseded_until {
            self.deadlines
                .remove(&(until, Deadline::GraceEnd(name.clone(), version.number)));
        }
    }

    pub(super) fn end_grace(&mut self, name: &SecretName, number: u64) {
        let Some(secret) = self.secrets.get_mut(name) else {
            return;
        };
        if let Some(version) = Arc::make_mut(secret).version_mut(number) {
            version.material = Material::Destroyed;
        }
    }

    /// Notes when a secret is to be rotated, or that its rotation is under way.
    pub(crate) fn note_rotation(&mut self, name: &SecretName, secret: &Secret) {
        if secret.pending.is_some() {
            self.pending.insert(name.clone());
        } else if let Some(at) = secret.next_rotation_at {
            self.rotations.insert((at, name.clone()));
        }
    }

    fn forget_rotation(&mut self, name: &SecretName) {
        self.pending.remove(name);
        if let Some(at) = self
            .secrets
            .get(name)
            .and_then(|secret| secret.next_rotation_at)
        {
            self.rotations.remove(&(at, name.clone()));
        }
    }

    pub(super) fn store(&mut self, name: SecretName, secret: Secret) -> Effect {
        let summary = secret.summary(&name);
        self.forget_rotation(&name);
        self.note_rotation(&name, &secret);
        self.secrets.insert(name, Arc::new(secret));
        Effect::Secret(summary)
    }
}

fn new_secret(settings: SecretSettings, now: LogTime) -> Secret {
    Secret {
        settings,
        created_at: now,
        updated_at: now,
        next_rotation_at: None,
        current_version: 0,
        versions: Vec::new(),
        pending: None,
    }
}

fn check_material(
    settings: &SecretSettings,
    sealed: Option<&SealedVersion>,
) -> Result<(), Rejection> {
    let fits = settings.within_limits() && sealed.is_none_or(SealedVersion::within_limits);
    debug_assert!(
        settings.kind == Kind::Manual || settings.kind.rotation_interval_secs().is_some()
    );
    if fits {
        Ok(())
    } else {
        Err(Rejection::Invalid)
    }
}
