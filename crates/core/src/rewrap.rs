//! Re-wrapping: moving wrapped data keys onto the KMS key's current material, as the state knows it.

use serde::{Deserialize, Serialize};

use crate::{KmsKeyId, LogTime, SealedVersion, SharedText, limits};

/// The KMS key material that every live version has been rewrapped to, or is to be.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Watermark {
    /// The KMS key.
    pub key_id: KmsKeyId,
    /// When its material was last rotated, by KMS's clock; `None`: never, or not known.
    pub rotation_at: Option<LogTime>,
    /// The material's id, where KMS gives one.
    pub material_id: Option<SharedText>,
}

impl Watermark {
    /// Whether `sealed` is known to be wrapped by this material already. Without a material id
    /// nothing is known.
    #[must_use]
    pub fn covers(&self, sealed: &SealedVersion) -> bool {
        self.material_id.is_some()
            && self.material_id == sealed.material_id
            && self.key_id == sealed.kms_key_id
    }

    /// Whether `sealed`, written by now, counts as wrapped by this material: it has the same key,
    /// and is not known to have another material.
    #[must_use]
    pub fn may_cover(&self, sealed: &SealedVersion) -> bool {
        let other_material = self.material_id.is_some()
            && sealed.material_id.is_some()
            && self.material_id != sealed.material_id;
        self.key_id == sealed.kms_key_id && !other_material
    }

    /// Whether every part is within its limit.
    #[must_use]
    pub fn within_limits(&self) -> bool {
        self.key_id.0.len() <= limits::KMS_KEY_ID_BYTES
            && self
                .material_id
                .as_ref()
                .is_none_or(|id| id.len() <= limits::LABEL_BYTES)
    }

    /// Whether `now` shows that the same key has been rotated since this.
    #[must_use]
    pub fn is_behind(&self, now: &Self) -> bool {
        let rotated = match (self.rotation_at, now.rotation_at) {
            (Some(then), Some(now)) => then < now,
            (None, Some(_)) => true,
            _ => false,
        };
        let other_material = self.material_id.is_some()
            && now.material_id.is_some()
            && self.material_id != now.material_id;
        self.key_id == now.key_id && (rotated || other_material)
    }
}

/// A pass over all live versions.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Pass {
    /// Counted from 1 over the cluster's life.
    pub id: u64,
    /// What versions are moved to.
    pub target: Watermark,
    /// When it began.
    pub began_at: LogTime,
    /// Versions moved so far.
    pub rewrapped: u64,
}

/// How a pass ended.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct EndedPass {
    /// The pass.
    pub pass: Pass,
    /// When it ended.
    pub ended_at: LogTime,
    /// Versions that could not be moved. They are tried again by the next pass to the same target.
    pub failed: u64,
    /// What was wrong with one of them, in words that hold no secret.
    pub last_error: Option<String>,
}

/// Everything replicated about re-wrapping, the mark on each version aside.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct RewrapState {
    /// What all live versions have been moved to; `None` until a baseline is adopted.
    pub watermark: Option<Watermark>,
    /// The pass that runs.
    pub running: Option<Pass>,
    /// The pass that ended last.
    pub ended: Option<EndedPass>,
    /// The newest pass's id; 0: none yet.
    pub last_id: u64,
}
