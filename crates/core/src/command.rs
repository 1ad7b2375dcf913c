//! Everything that can change the state, and what came of it.
//!
//! Commands carry all they need: sealed bytes, fingerprints, ids. Encoded bytes are kept and decoded
//! for ever (see [`codec`](crate::codec)): add variants at the end, and never change one.

mod weight;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::{
    Admission, Allowlist, Attempt, ClusterId, KmsKeyId, LogTime, MountName, NodeName, Permission,
    RestoreId, RoleName, Rule, SealedVersion, SecretName, SecretSettings, SharedText,
    TokenFingerprint, TokenName, WrappedDek, rewrap::Watermark, secret::SettingsChange,
};

/// A new version, sealed for the number it will have.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct NewVersion {
    /// The number bound into the ciphertext; must follow the current version.
    pub number: u64,
    /// The sealed value.
    pub sealed: SealedVersion,
}

/// What a mount's secrets do unless they say otherwise.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct MountSettings {
    /// Versions kept; 0: [`limits::DEFAULT_MAX_VERSIONS`](crate::limits::DEFAULT_MAX_VERSIONS).
    pub max_versions: u32,
    /// Whether every write must name the version it replaces.
    pub cas_required: bool,
    /// Seconds after which a new version counts as deleted; 0: never.
    pub delete_version_after_secs: u64,
}

/// A change of the state.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum Command {
    /// The first command of a cluster's life: its identity, the mount `secret`, the role `admin`.
    Form {
        /// Drawn at random by the first leader.
        cluster_id: ClusterId,
    },
    /// Creates the token `bootstrap-admin`, unless an admin token has ever existed.
    Bootstrap {
        /// SHA-256 of the bootstrap token.
        fingerprint: TokenFingerprint,
    },
    /// Carries out what is due at the entry's time.
    Tick,
    /// Makes a mount.
    CreateMount {
        /// Its name.
        mount: MountName,
        /// Its settings.
        settings: MountSettings,
    },
    /// Changes a mount's settings.
    TuneMount {
        /// Its name.
        mount: MountName,
        /// Its new settings.
        settings: MountSettings,
    },
    /// Takes away a mount with all its secrets.
    DeleteMount {
        /// Its name.
        mount: MountName,
    },
    /// Makes a secret, with its first version or without any.
    CreateSecret {
        /// Its name.
        name: SecretName,
        /// Its settings.
        settings: SecretSettings,
        /// Sealed for version 1.
        sealed: Option<SealedVersion>,
    },
    /// Changes a secret's settings, adds a version, or both.
    PutSecret {
        /// Its name.
        name: SecretName,
        /// The version the caller expects to be current; 0: none yet.
        cas: Option<u64>,
        /// Changes of settings.
        change: SettingsChange,
        /// A new version.
        version: Option<NewVersion>,
        /// Whether to make the secret if it is not there, as KV v2 does.
        upsert: bool,
    },
    /// Takes away a secret with all its versions.
    DeleteSecret {
        /// Its name.
        name: SecretName,
    },
    /// Marks versions as deleted; their material stays.
    DeleteVersions {
        /// The secret.
        name: SecretName,
        /// Version numbers; empty: the newest.
        versions: Vec<u64>,
    },
    /// Takes back [`Command::DeleteVersions`].
    UndeleteVersions {
        /// The secret.
        name: SecretName,
        /// Version numbers.
        versions: Vec<u64>,
    },
    /// Takes away the material of versions for good.
    DestroyVersions {
        /// The secret.
        name: SecretName,
        /// Version numbers.
        versions: Vec<u64>,
    },
    /// Makes a role.
    CreateRole {
        /// Its name.
        name: RoleName,
        /// What people wrote about it.
        description: String,
        /// Whether it may do everything.
        is_admin: bool,
        /// The native spelling of what it may do.
        permissions: Vec<Permission>,
        /// The Vault spelling.
        rules: Vec<Rule>,
    },
    /// Replaces a role's native permissions.
    SetPermissions {
        /// The role.
        name: RoleName,
        /// What it may do from now on.
        permissions: Vec<Permission>,
    },
    /// Replaces a role's rules.
    SetRules {
        /// The role.
        name: RoleName,
        /// What it may do from now on.
        rules: Vec<Rule>,
    },
    /// Takes away a role that no live token has.
    DeleteRole {
        /// The role.
        name: RoleName,
    },
    /// Makes a token.
    CreateToken {
        /// Its name.
        name: TokenName,
        /// SHA-256 of the token.
        fingerprint: TokenFingerprint,
        /// The role it acts as.
        role: RoleName,
        /// Seconds it lives, from the entry's time; `None`: for ever.
        ttl_secs: Option<u64>,
        /// Addresses it may be used from; empty: any.
        bound_cidrs: Allowlist,
        /// How often it may be used; `None`: without limit.
        num_uses: Option<u64>,
    },
    /// Ends a token.
    RevokeToken {
        /// Its name.
        name: TokenName,
    },
    /// Takes one use off a token that has a limited number.
    UseToken {
        /// Its fingerprint.
        fingerprint: TokenFingerprint,
    },
    /// Takes the KMS key's current material as the baseline; nothing is rewrapped for it.
    AdoptWatermark {
        /// The baseline.
        watermark: Watermark,
    },
    /// Begins a re-wrap pass, or finds the one that runs.
    BeginPass {
        /// What versions are moved to.
        target: Watermark,
    },
    /// Replaces a version's wrapped data key, if it is still the one that KMS was given, the pass runs,
    /// and the new one is by its key.
    RewrapVersion {
        /// The secret.
        name: SecretName,
        /// The version's number.
        version: u64,
        /// The pass that does it.
        pass: u64,
        /// The wrapped data key that KMS was given.
        replaces: WrappedDek,
        /// The same data key, wrapped anew.
        wrapped: WrappedDek,
        /// The KMS key that wrapped it.
        kms_key_id: KmsKeyId,
        /// Its material, where KMS says so.
        material_id: Option<SharedText>,
    },
    /// Ends a pass.
    EndPass {
        /// The pass.
        id: u64,
        /// Versions that could not be moved. With none, its target becomes the watermark, and nothing
        /// may be pending any more.
        failed: u64,
        /// What was wrong with one of them.
        last_error: Option<String>,
    },
    /// Lays down the next version of a secret with a target, before its value is applied there: the
    /// intent.
    BeginRotation {
        /// The secret.
        name: SecretName,
        /// The version that is current.
        cas: u64,
        /// Sealed for the number after it.
        version: NewVersion,
    },
    /// Says that the target may take the pending value from now on (the effect follows), or that it
    /// is known not to have taken it.
    MarkRotation {
        /// The secret.
        name: SecretName,
        /// The nonce of the pending version: which one is meant.
        nonce: [u8; 24],
        /// Whether the target may take it.
        applying: bool,
    },
    /// Makes the pending version current, since the target has taken its value: the confirmation.
    EndRotation {
        /// The secret.
        name: SecretName,
        /// The nonce of the pending version.
        nonce: [u8; 24],
    },
    /// Allows commands of a newer format from now on, since every member has announced that it
    /// decodes them.
    RaiseFormat {
        /// The newest format allowed.
        to: u8,
    },
    /// Begins to gather a backup that is to replace everything.
    BeginRestore {
        /// Drawn by whoever restores.
        id: RestoreId,
    },
    /// The next piece of it: records of the backup, each with its length before it.
    RestorePart {
        /// The restore.
        id: RestoreId,
        /// Counted from 0.
        number: u64,
        /// The bytes.
        bytes: Bytes,
    },
    /// Replaces mounts, roles, tokens and secrets by what has been gathered.
    EndRestore {
        /// The restore.
        id: RestoreId,
        /// How many parts there were.
        parts: u64,
        /// Of all of them.
        sha256: [u8; 32],
        /// Whether to replace the secrets of one cluster by those of another.
        force: bool,
        /// A token that stays as it is, whatever the backup holds.
        keep: Option<TokenName>,
    },
    /// Says whether nodes of a name may be members, whatever `VAULT_PEERS` lists.
    AdmitNode {
        /// The operator's name for the node.
        name: NodeName,
        /// What was decided.
        admission: Admission,
    },
    /// Adds a version to a secret without a target, as [`Command::PutSecret`] does, unless what tokens may do
    /// has changed since it was decided that the caller may, or the token has expired: then it is to be decided
    /// anew.
    PutValue {
        /// Its name.
        name: SecretName,
        /// The new version.
        version: NewVersion,
        /// [`State::access`](crate::State::access) of the state on which that was decided.
        access: u64,
        /// When the caller's token expires: from then on it is refused as well.
        until: Option<LogTime>,
    },
}

impl Command {
    /// The format that first held this command: a node that decodes an older one only must never be
    /// sent it.
    #[must_use]
    pub fn since(&self) -> u8 {
        match self {
            Self::CreateSecret { settings, .. } if settings.kind.target().is_some() => 2,
            Self::PutSecret { change, .. } if change.target.is_some() => 2,
            Self::Form { .. }
            | Self::Bootstrap { .. }
            | Self::Tick
            | Self::CreateMount { .. }
            | Self::TuneMount { .. }
            | Self::DeleteMount { .. }
            | Self::CreateSecret { .. }
            | Self::PutSecret { .. }
            | Self::DeleteSecret { .. }
            | Self::DeleteVersions { .. }
            | Self::UndeleteVersions { .. }
            | Self::DestroyVersions { .. }
            | Self::CreateRole { .. }
            | Self::SetPermissions { .. }
            | Self::SetRules { .. }
            | Self::DeleteRole { .. }
            | Self::CreateToken { .. }
            | Self::RevokeToken { .. }
            | Self::UseToken { .. }
            | Self::RaiseFormat { .. } => 1,
            Self::AdoptWatermark { .. }
            | Self::BeginPass { .. }
            | Self::RewrapVersion { .. }
            | Self::EndPass { .. }
            | Self::BeginRotation { .. }
            | Self::MarkRotation { .. }
            | Self::EndRotation { .. } => 2,
            Self::BeginRestore { .. }
            | Self::RestorePart { .. }
            | Self::EndRestore { .. }
            | Self::AdmitNode { .. } => 3,
            Self::PutValue { .. } => 5,
        }
    }

    /// Whether doing it a second time could do more, or be refused for what the first time did. Others
    /// name what they replace, or only move things on.
    #[must_use]
    pub fn counts_once(&self) -> bool {
        match self {
            Self::CreateMount { .. }
            | Self::TuneMount { .. }
            | Self::DeleteMount { .. }
            | Self::CreateSecret { .. }
            | Self::PutSecret { .. }
            | Self::PutValue { .. }
            | Self::DeleteSecret { .. }
            | Self::DeleteVersions { .. }
            | Self::UndeleteVersions { .. }
            | Self::DestroyVersions { .. }
            | Self::CreateRole { .. }
            | Self::SetPermissions { .. }
            | Self::SetRules { .. }
            | Self::DeleteRole { .. }
            | Self::CreateToken { .. }
            | Self::RevokeToken { .. }
            | Self::UseToken { .. }
            | Self::EndRestore { .. } => true,
            Self::Form { .. }
            | Self::Bootstrap { .. }
            | Self::Tick
            | Self::AdoptWatermark { .. }
            | Self::BeginPass { .. }
            | Self::RewrapVersion { .. }
            | Self::EndPass { .. }
            | Self::BeginRotation { .. }
            | Self::MarkRotation { .. }
            | Self::EndRotation { .. }
            | Self::RaiseFormat { .. }
            | Self::BeginRestore { .. }
            | Self::RestorePart { .. }
            | Self::AdmitNode { .. } => false,
        }
    }
}

/// One Raft entry: commands that the leader put together, and its time.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Proposal {
    /// The leader's stamp.
    pub time: LogTime,
    /// Applied in this order.
    pub commands: Vec<Command>,
    /// By place, which request each command is a try of. Empty: none is of any.
    pub attempts: Vec<Option<Attempt>>,
}

impl Proposal {
    /// The commands, each with the request that it is a try of.
    pub fn into_attempts(self) -> impl Iterator<Item = (Command, Option<Attempt>)> {
        let attempts = self.attempts.into_iter().chain(std::iter::repeat(None));
        self.commands.into_iter().zip(attempts)
    }
}
