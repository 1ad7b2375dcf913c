//! A secret: its settings and its versions. Values are sealed; this module never sees one.

use std::{collections::BTreeMap, sync::Arc};

use serde::{Deserialize, Serialize};

use crate::{LogTime, SealedVersion, SecretName, limits};

/// How an automatic secret's values are made.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Generator {
    /// The field of the payload that changes; others carry over.
    pub field: String,
    /// How many characters.
    pub length: u32,
    /// Which characters to draw from.
    pub charset: String,
}

/// Who turns the value over.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum Kind {
    /// People and programs.
    Manual,
    /// Strongroom, on a schedule.
    Automatic {
        /// Seconds between rotations.
        rotation_interval_secs: u64,
        /// How a new value is made.
        generator: Generator,
        /// Whether superseded versions keep their material when their grace ends.
        keep_superseded: bool,
    },
}

impl Kind {
    /// The word on the wire.
    #[must_use]
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::Manual => "manual",
            Self::Automatic { .. } => "automatic",
        }
    }

    /// Seconds between rotations; `None` for manual secrets.
    #[must_use]
    pub fn rotation_interval_secs(&self) -> Option<u64> {
        match self {
            Self::Manual => None,
            Self::Automatic {
                rotation_interval_secs,
                ..
            } => Some(*rotation_interval_secs),
        }
    }

    /// Whether a superseded version's material goes when its grace ends.
    #[must_use]
    pub fn destroys_superseded(&self) -> bool {
        matches!(
            self,
            Self::Automatic {
                keep_superseded: false,
                ..
            }
        )
    }
}

/// Everything about a secret but its versions.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct SecretSettings {
    /// Who turns the value over.
    pub kind: Kind,
    /// What people wrote about it.
    pub description: String,
    /// How long a superseded version stays valid, in seconds.
    pub grace_period_secs: u64,
    /// Versions kept; 0: the mount's setting.
    pub max_versions: u32,
    /// Whether every write must name the version it replaces.
    pub cas_required: bool,
    /// Seconds after which a new version counts as deleted; 0: never.
    pub delete_version_after_secs: u64,
    /// Free pairs, as KV v2 has them.
    pub custom_metadata: BTreeMap<String, String>,
}

impl SecretSettings {
    /// A manual secret with nothing set.
    #[must_use]
    pub fn manual() -> Self {
        Self {
            kind: Kind::Manual,
            description: String::new(),
            grace_period_secs: 0,
            max_versions: 0,
            cas_required: false,
            delete_version_after_secs: 0,
            custom_metadata: BTreeMap::new(),
        }
    }

    /// Whether every part is within its limit.
    #[must_use]
    pub fn within_limits(&self) -> bool {
        let kind_fits = match &self.kind {
            Kind::Manual => true,
            Kind::Automatic {
                rotation_interval_secs,
                generator,
                ..
            } => {
                (limits::MIN_ROTATION_SECS..=limits::MAX_PERIOD_SECS)
                    .contains(rotation_interval_secs)
                    && (1..=limits::GENERATED_CHARS).contains(&generator.length)
                    && !generator.charset.is_empty()
                    && generator.charset.len() <= limits::LABEL_BYTES
                    && !generator.field.is_empty()
                    && generator.field.len() <= limits::LABEL_BYTES
            }
        };
        kind_fits
            && self.description.len() <= limits::DESCRIPTION_BYTES
            && self.grace_period_secs <= limits::MAX_PERIOD_SECS
            && self.delete_version_after_secs <= limits::MAX_PERIOD_SECS
            && self.max_versions <= limits::MAX_VERSIONS
            && self.custom_metadata.len() <= limits::CUSTOM_METADATA_PAIRS
            && self.custom_metadata.iter().all(|(key, value)| {
                key.len() <= limits::CUSTOM_METADATA_KEY_BYTES
                    && value.len() <= limits::CUSTOM_METADATA_VALUE_BYTES
            })
    }
}

/// A change of settings: what is `None` stays.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct SettingsChange {
    /// See [`SecretSettings::description`].
    pub description: Option<String>,
    /// See [`SecretSettings::grace_period_secs`].
    pub grace_period_secs: Option<u64>,
    /// See [`SecretSettings::max_versions`].
    pub max_versions: Option<u32>,
    /// See [`SecretSettings::cas_required`].
    pub cas_required: Option<bool>,
    /// See [`SecretSettings::delete_version_after_secs`].
    pub delete_version_after_secs: Option<u64>,
    /// See [`SecretSettings::custom_metadata`].
    pub custom_metadata: Option<BTreeMap<String, String>>,
    /// See [`Kind::Automatic`]; refused for manual secrets.
    pub rotation_interval_secs: Option<u64>,
    /// See [`Kind::Automatic`]; refused for manual secrets.
    pub generator: Option<Generator>,
    /// See [`Kind::Automatic`]; refused for manual secrets.
    pub keep_superseded: Option<bool>,
}

impl SettingsChange {
    /// The settings with the change made; `None` if it asks a manual secret to rotate.
    #[must_use]
    pub fn applied_to(&self, settings: &SecretSettings) -> Option<SecretSettings> {
        let mut changed = settings.clone();
        match &mut changed.kind {
            Kind::Automatic {
                rotation_interval_secs,
                generator,
                keep_superseded,
            } => {
                set(rotation_interval_secs, self.rotation_interval_secs.as_ref());
                set(generator, self.generator.as_ref());
                set(keep_superseded, self.keep_superseded.as_ref());
            }
            Kind::Manual => {
                let wants_rotation = self.rotation_interval_secs.is_some()
                    || self.generator.is_some()
                    || self.keep_superseded.is_some();
                if wants_rotation {
                    return None;
                }
            }
        }
        set(&mut changed.description, self.description.as_ref());
        set(
            &mut changed.grace_period_secs,
            self.grace_period_secs.as_ref(),
        );
        set(&mut changed.max_versions, self.max_versions.as_ref());
        set(&mut changed.cas_required, self.cas_required.as_ref());
        set(
            &mut changed.delete_version_after_secs,
            self.delete_version_after_secs.as_ref(),
        );
        set(&mut changed.custom_metadata, self.custom_metadata.as_ref());
        Some(changed)
    }
}

fn set<T: Clone>(field: &mut T, new: Option<&T>) {
    if let Some(new) = new {
        field.clone_from(new);
    }
}

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
}
