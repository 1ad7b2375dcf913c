//! A secret: its settings and its versions. Values are sealed; this module never sees one.

mod map;
mod settings;

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::{LogTime, SealedVersion, SecretName, TargetName};

pub(crate) use map::SecretMap;
pub use settings::{
    Generator, Kind, PASSWORD_FIELD, SecretSettings, SettingsChange, USERNAME_FIELD,
};

/// What is left of a version's value.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Material {
    /// The sealed value.
    Sealed(Arc<SealedVersion>),
    /// Gone for good.
    Destroyed,
}

/// One version of a secret. The newest is Current; the others are Superseded until their grace ends;
/// each may be Deleted (and undeleted) or Destroyed.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct SecretVersion {
    /// Counted from 1 without gaps over the secret's life.
    pub number: u64,
    /// When it was written.
    pub created_at: LogTime,
    /// When its grace ends; `None` while it is current.
    pub superseded_until: Option<LogTime>,
    /// When it counts as deleted, which may lie ahead; `None`: not deleted.
    pub deleted_at: Option<LogTime>,
    /// The value, sealed or gone.
    pub material: Material,
    /// The newest re-wrap pass that it has been through, or need not go through.
    pub pass: u64,
}

impl SecretVersion {
    /// The sealed value, unless it is destroyed or counts as deleted at `now`.
    #[must_use]
    pub fn readable(&self, now: LogTime) -> Option<&Arc<SealedVersion>> {
        match &self.material {
            Material::Sealed(sealed) if self.deleted_at.is_none_or(|at| now < at) => Some(sealed),
            _ => None,
        }
    }

    /// The sealed value, if `verify` may accept it at `now`: current, or inside its grace.
    #[must_use]
    pub fn valid(&self, now: LogTime) -> Option<&Arc<SealedVersion>> {
        let in_time = self.superseded_until.is_none_or(|until| now < until);
        self.readable(now).filter(|_| in_time)
    }
}

/// The next version of a secret with a target, from before its value is applied there until it is known
/// to be in effect: whichever password works, the store holds it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Pending {
    /// As it will be; its number follows the current version's.
    pub version: SecretVersion,
    /// Since when the target may have taken it; `None`: it has not.
    pub applying_since: Option<LogTime>,
}

impl Pending {
    /// Its sealed value.
    #[must_use]
    pub fn sealed(&self) -> Option<&Arc<SealedVersion>> {
        match &self.version.material {
            Material::Sealed(sealed) => Some(sealed),
            Material::Destroyed => None,
        }
    }

    /// Whether it is the one that was sealed with this nonce, which no other was.
    #[must_use]
    pub fn is_sealed_with(&self, nonce: &[u8; 24]) -> bool {
        self.sealed().is_some_and(|sealed| sealed.nonce == *nonce)
    }
}

/// A secret with its versions, oldest first.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Secret {
    /// Everything but the versions.
    pub settings: SecretSettings,
    /// When it was created.
    pub created_at: LogTime,
    /// When its settings or versions last changed.
    pub updated_at: LogTime,
    /// When the next rotation is due, for automatic secrets.
    pub next_rotation_at: Option<LogTime>,
    /// The newest version's number; 0 while there is none.
    pub current_version: u64,
    /// Oldest first.
    pub versions: Vec<SecretVersion>,
    /// The next version, while it is being applied to the secret's target.
    pub pending: Option<Pending>,
}

impl Secret {
    /// The version with this number, if it is still kept.
    #[must_use]
    pub fn version(&self, number: u64) -> Option<&SecretVersion> {
        self.versions
            .binary_search_by_key(&number, |version| version.number)
            .ok()
            .and_then(|at| self.versions.get(at))
    }

    pub(crate) fn version_mut(&mut self, number: u64) -> Option<&mut SecretVersion> {
        self.versions
            .binary_search_by_key(&number, |version| version.number)
            .ok()
            .and_then(|at| self.versions.get_mut(at))
    }

    /// Like [`Secret::version`], the pending version included.
    #[must_use]
    pub fn any_version(&self, number: u64) -> Option<&SecretVersion> {
        if number > self.current_version {
            let pending = self.pending.as_ref().map(|pending| &pending.version);
            return pending.filter(|version| version.number == number);
        }
        self.version(number)
    }

    /// Like [`Secret::version_mut`], the pending version included.
    pub(crate) fn any_version_mut(&mut self, number: u64) -> Option<&mut SecretVersion> {
        if number > self.current_version {
            let pending = self.pending.as_mut().map(|pending| &mut pending.version);
            return pending.filter(|version| version.number == number);
        }
        self.version_mut(number)
    }

    /// All versions, the pending one last.
    pub fn all_versions(&self) -> impl Iterator<Item = &SecretVersion> {
        let pending = self.pending.as_ref().map(|pending| &pending.version);
        self.versions.iter().chain(pending)
    }

    /// Whether it is not known which password works at the target: the current version's or the
    /// pending one's.
    #[must_use]
    pub fn is_unsettled(&self) -> bool {
        self.pending
            .as_ref()
            .is_some_and(|pending| pending.applying_since.is_some())
    }

    /// Whether a superseded version's material goes when its grace ends. With a target, that of the
    /// version before the current one stays until there is another: a target that was set back, or
    /// has failed over to a copy that lagged, still has that password.
    #[must_use]
    pub fn destroys(&self, version: &SecretVersion) -> bool {
        let kept = self.settings.kind.target().is_some()
            && version.number.checked_add(1) == Some(self.current_version);
        self.settings.kind.destroys_superseded() && !kept
    }

    /// The sealed value of a version that may be given out at `now`: not destroyed, not deleted, and,
    /// where superseded ones are destroyed, not past its grace.
    #[must_use]
    pub fn disclosable<'a>(
        &self,
        version: &'a SecretVersion,
        now: LogTime,
    ) -> Option<&'a Arc<SealedVersion>> {
        if self.settings.kind.destroys_superseded() {
            version.valid(now)
        } else {
            version.readable(now)
        }
    }

    /// The newest version.
    #[must_use]
    pub fn current(&self) -> Option<&SecretVersion> {
        self.versions.last()
    }

    /// The number of the oldest version kept; 0 while there is none.
    #[must_use]
    pub fn oldest_version(&self) -> u64 {
        self.versions.first().map_or(0, |version| version.number)
    }

    /// What a list shows of it.
    #[must_use]
    pub fn summary(&self, name: &SecretName) -> SecretSummary {
        SecretSummary {
            name: name.clone(),
            automatic: self.settings.kind != Kind::Manual,
            version: self.current_version,
            description: self.settings.description.clone(),
            created_at: self.created_at,
            updated_at: self.updated_at,
            version_created_at: self.current().map(|version| version.created_at),
            rotation_interval_secs: self.settings.kind.rotation_interval_secs(),
            grace_period_secs: self.settings.grace_period_secs,
            next_rotation_at: self.next_rotation_at,
            target: self.settings.kind.target().cloned(),
            rotation_pending: self.pending.is_some(),
        }
    }
}

/// What a list shows of a secret.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct SecretSummary {
    /// Its full name.
    pub name: SecretName,
    /// Whether Strongroom rotates it.
    pub automatic: bool,
    /// The newest version's number; 0 while there is none.
    pub version: u64,
    /// What people wrote about it.
    pub description: String,
    /// When it was created.
    pub created_at: LogTime,
    /// When its settings or versions last changed.
    pub updated_at: LogTime,
    /// When the newest version was written.
    pub version_created_at: Option<LogTime>,
    /// Seconds between rotations, for automatic secrets.
    pub rotation_interval_secs: Option<u64>,
    /// How long a superseded version stays valid, in seconds.
    pub grace_period_secs: u64,
    /// When the next rotation is due, for automatic secrets.
    pub next_rotation_at: Option<LogTime>,
    /// Where new values are applied, for automatic secrets.
    pub target: Option<TargetName>,
    /// Whether a new value is on its way there.
    pub rotation_pending: bool,
}
