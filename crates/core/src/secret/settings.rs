//! Everything about a secret but its versions.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::{TargetName, limits};

/// The field of a payload that says who signs in at a target.
pub const USERNAME_FIELD: &str = "username";
/// The field of a payload that holds the password at a target, and so the one that is generated.
pub const PASSWORD_FIELD: &str = "password";

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
        /// Where a new value has to be applied before it becomes current; `None`: nowhere.
        target: Option<TargetName>,
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

    /// Where a new value has to be applied before it becomes current.
    #[must_use]
    pub fn target(&self) -> Option<&TargetName> {
        match self {
            Self::Automatic { target, .. } => target.as_ref(),
            Self::Manual => None,
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
                target,
                ..
            } => {
                (limits::MIN_ROTATION_SECS..=limits::MAX_PERIOD_SECS)
                    .contains(rotation_interval_secs)
                    && (1..=limits::GENERATED_CHARS).contains(&generator.length)
                    && !generator.charset.is_empty()
                    && generator.charset.len() <= limits::LABEL_BYTES
                    && !generator.field.is_empty()
                    && generator.field.len() <= limits::LABEL_BYTES
                    && (target.is_none() || generator.field == PASSWORD_FIELD)
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
    /// See [`Kind::Automatic`]; refused for manual secrets. `Some(None)` takes the target away.
    pub target: Option<Option<TargetName>>,
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
                target,
            } => {
                set(target, self.target.as_ref());
                set(rotation_interval_secs, self.rotation_interval_secs.as_ref());
                set(generator, self.generator.as_ref());
                set(keep_superseded, self.keep_superseded.as_ref());
            }
            Kind::Manual => {
                let wants_rotation = self.rotation_interval_secs.is_some()
                    || self.generator.is_some()
                    || self.keep_superseded.is_some()
                    || self.target.is_some();
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
