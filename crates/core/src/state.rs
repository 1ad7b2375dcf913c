//! The replicated state and the one function that changes it.

mod nodes;
mod pending;
mod restore;
mod rewrap;
mod secrets;
mod tick;
mod tokens;

use std::sync::Arc;

use imbl::{OrdMap, OrdSet};

use crate::{
    Admission, Applied, Attempt, ClusterId, Command, Effect, LogPosition, LogTime, MountName,
    NodeName, Rejection, Role, RoleName, SecretName, TokenFingerprint, TokenGrant, TokenName,
    command::MountSettings,
    name::DEFAULT_MOUNT,
    request::{Outcome, Outcomes},
    restore::Staged,
    rewrap::RewrapState,
    secret::{SecretMap, SettingsChange},
};

pub use tick::Deadline;

/// Everything that is replicated, at one position of the log.
///
/// Maps are persistent: a clone costs a few reference counts, so a reader keeps a consistent state
/// for as long as it likes and never waits for a writer.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct State {
    pub(crate) position: Option<LogPosition>,
    pub(crate) time: LogTime,
    pub(crate) cluster_id: Option<ClusterId>,
    /// The newest format that every member has announced to decode; 0: the first.
    pub(crate) format: u8,
    pub(crate) mounts: OrdMap<MountName, MountSettings>,
    pub(crate) secrets: SecretMap,
    pub(crate) roles: OrdMap<RoleName, Arc<Role>>,
    pub(crate) tokens: OrdMap<TokenName, Arc<TokenGrant>>,
    /// Whether a token with an admin role has ever existed: closes the bootstrap for good.
    pub(crate) admin_token_existed: bool,
    /// The entry that last changed a role or a token, since the format has a record for it; 0: not known.
    pub(crate) access: u64,
    pub(crate) rewrap: RewrapState,
    pub(crate) outcomes: Outcomes,
    /// A restore under way.
    pub(crate) restore: Option<Staged>,
    /// What was decided about nodes by name; a node of any other name goes by `VAULT_PEERS`.
    pub(crate) nodes: OrdMap<NodeName, Admission>,
    /// Derived: finds a grant, dead or alive, by its token's fingerprint. No two grants share one.
    pub(crate) fingerprints: OrdMap<TokenFingerprint, TokenName>,
    /// Derived: when each automatic secret is to be rotated that no rotation is under way for.
    pub(crate) rotations: OrdSet<(LogTime, SecretName)>,
    /// Derived: the secrets with a pending version.
    pub(crate) pending: OrdSet<SecretName>,
    /// Derived: what falls due, and when.
    pub(crate) deadlines: OrdSet<(LogTime, Deadline)>,
}

impl State {
    /// Applies one command. The same state, position, time and command give the same result on every
    /// node and at every replay. It never fails: a command that cannot take effect is a
    /// [`Rejection`], and the state but for its position and time is as it was (invariant 4).
    pub fn apply(&mut self, at: LogPosition, time: LogTime, command: Command) -> Applied {
        self.advance(at);
        // A new leader's clock may lag: LogTime never goes back (invariant 5).
        self.time = self.time.max(time);
        let before = (self.roles.clone(), self.tokens.clone());
        match self.change(command) {
            Ok(effect) => {
                self.note_access(at, &before);
                Applied::Effect(effect)
            }
            Err(rejection) => Applied::Rejected(rejection),
        }
    }

    /// The same for one try of a request: a request that took effect before does nothing more, and its
    /// effect is said again (invariant 20).
    pub fn apply_attempt(
        &mut self,
        at: LogPosition,
        time: LogTime,
        attempt: Option<Attempt>,
        command: Command,
    ) -> Applied {
        let Some(attempt) = attempt else {
            return self.apply(at, time, command);
        };
        let before = match self.outcomes.get(&attempt.request) {
            Some(before) => Some(Applied::Effect(before.effect.clone())),
            None if self.outcomes.may_have_forgotten(&attempt) => {
                Some(Applied::Rejected(Rejection::OutcomeForgotten))
            }
            None => None,
        };
        if let Some(before) = before {
            self.advance(at);
            self.time = self.time.max(time);
            return before;
        }
        let applied = self.apply(at, time, command);
        if let Applied::Effect(effect) = &applied {
            let (index, effect) = (at.index, effect.clone());
            self.outcomes
                .keep(attempt.request, Outcome { index, effect });
        }
        applied
    }

    /// Notes an entry that carries no command.
    pub fn advance(&mut self, at: LogPosition) {
        self.position = Some(at);
    }

    fn change(&mut self, command: Command) -> Result<Effect, Rejection> {
        // What came before the forming would be overwritten by it, the role `admin` for one.
        if self.cluster_id.is_none() && !matches!(command, Command::Form { .. }) {
            return Err(Rejection::Formation);
        }
        match command {
            Command::Form { cluster_id } => self.form(cluster_id),
            Command::Bootstrap { fingerprint } => self.bootstrap(fingerprint),
            Command::Tick => Ok(self.tick()),
            Command::CreateMount { mount, settings } => self.create_mount(mount, settings),
            Command::TuneMount { mount, settings } => self.tune_mount(&mount, settings),
            Command::DeleteMount { mount } => self.delete_mount(&mount),
            Command::CreateSecret {
                name,
                settings,
                sealed,
            } => self.create_secret(name, settings, sealed),
            Command::PutSecret {
                name,
                cas,
                change,
                version,
                upsert,
            } => self.put_secret(name, cas, &change, version, upsert),
            Command::DeleteSecret { name } => self.delete_secret(&name),
            Command::DeleteVersions { name, versions } => self.delete_versions(&name, &versions),
            Command::UndeleteVersions { name, versions } => {
                self.undelete_versions(&name, &versions)
            }
            Command::DestroyVersions { name, versions } => self.destroy_versions(&name, &versions),
            Command::CreateRole {
                name,
                description,
                is_admin,
                permissions,
                rules,
            } => self.create_role(
                name,
                Role {
                    description,
                    is_admin,
                    permissions,
                    rules,
                },
            ),
            Command::SetPermissions { name, permissions } => {
                self.change_role(&name, |role| role.permissions = permissions)
            }
            Command::SetRules { name, rules } => self.change_role(&name, |role| role.rules = rules),
            Command::DeleteRole { name } => self.delete_role(&name),
            Command::CreateToken {
                name,
                fingerprint,
                role,
                ttl_secs,
                bound_cidrs,
                num_uses,
            } => self.create_token(name, fingerprint, role, ttl_secs, bound_cidrs, num_uses),
            Command::RevokeToken { name } => self.revoke_token(&name),
            Command::UseToken { fingerprint } => self.use_token(&fingerprint),
            Command::AdoptWatermark { watermark } => self.adopt_watermark(watermark),
            Command::BeginPass { target } => self.begin_pass(target),
            Command::RewrapVersion {
                name,
                version,
                pass,
                replaces,
                wrapped,
                kms_key_id,
                material_id,
            } => {
                let new = rewrap::Rewrapped {
                    pass,
                    replaces,
                    wrapped,
                    kms_key_id,
                    material_id,
                };
                self.rewrap_version(&name, version, new)
            }
            Command::EndPass {
                id,
                failed,
                last_error,
            } => self.end_pass(id, failed, last_error),
            Command::BeginRotation { name, cas, version } => {
                self.begin_rotation(name, cas, version)
            }
            Command::MarkRotation {
                name,
                nonce,
                applying,
            } => self.mark_rotation(&name, &nonce, applying),
            Command::EndRotation { name, nonce } => self.end_rotation(name, &nonce),
            Command::RaiseFormat { to } => self.raise_format(to),
            Command::PutValue {
                name,
                version,
                access,
                until,
            } => {
                self.is_access_of(access, until)?;
                self.has_no_target(&name)?;
                let change = SettingsChange::default();
                self.put_secret(name, None, &change, Some(version), false)
            }
            Command::BeginRestore { id } => self.begin_restore(id),
            Command::RestorePart { id, number, bytes } => self.restore_part(id, number, bytes),
            Command::EndRestore {
                id,
                parts,
                sha256,
                force,
                keep,
            } => self.end_restore(&restore::End {
                id,
                parts,
                sha256,
                force,
                keep,
            }),
            Command::AdmitNode { name, admission } => self.admit_node(name, admission),
        }
    }

    fn form(&mut self, cluster_id: ClusterId) -> Result<Effect, Rejection> {
        if self.cluster_id.is_some() {
            return Err(Rejection::Formation);
        }
        let (Ok(mount), Ok(admin)) = (
            MountName::parse(DEFAULT_MOUNT),
            RoleName::parse(RoleName::ADMIN),
        ) else {
            return Err(Rejection::Formation);
        };
        self.cluster_id = Some(cluster_id);
        self.mounts.insert(mount, MountSettings::default());
        self.roles.insert(admin, Arc::new(Role::admin()));
        Ok(Effect::Done)
    }

    /// There is no way back: what has been written in a newer format has to be read.
    fn raise_format(&mut self, to: u8) -> Result<Effect, Rejection> {
        if to <= self.format() {
            return Err(Rejection::AlreadyExists);
        }
        self.format = to;
        Ok(Effect::Done)
    }

    fn create_mount(
        &mut self,
        mount: MountName,
        settings: MountSettings,
    ) -> Result<Effect, Rejection> {
        if self.mounts.contains_key(&mount) {
            return Err(Rejection::AlreadyExists);
        }
        if mount.resembles_default() {
            return Err(Rejection::Protected);
        }
        check_mount(&settings)?;
        self.mounts.insert(mount, settings);
        Ok(Effect::Done)
    }

    fn tune_mount(
        &mut self,
        mount: &MountName,
        settings: MountSettings,
    ) -> Result<Effect, Rejection> {
        check_mount(&settings)?;
        let tuned = self.mounts.get_mut(mount).ok_or(Rejection::NotFound)?;
        *tuned = settings;
        Ok(Effect::Done)
    }

    fn delete_mount(&mut self, mount: &MountName) -> Result<Effect, Rejection> {
        if mount.as_str() == DEFAULT_MOUNT {
            return Err(Rejection::Protected);
        }
        self.mounts.remove(mount).ok_or(Rejection::NotFound)?;
        let names: Vec<SecretName> = self.names_below(mount.as_str()).cloned().collect();
        for name in names {
            self.delete_secret(&name)?;
        }
        Ok(Effect::Done)
    }
}

fn check_mount(settings: &MountSettings) -> Result<(), Rejection> {
    let fits = settings.max_versions <= crate::limits::MAX_VERSIONS
        && settings.delete_version_after_secs <= crate::limits::MAX_PERIOD_SECS;
    if fits {
        Ok(())
    } else {
        Err(Rejection::Invalid)
    }
}

#[cfg(test)]
#[path = "state_tests/mod.rs"]
mod tests;
