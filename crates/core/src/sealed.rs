//! What sealing leaves behind: ciphertext and a wrapped data key, safe to store and replicate.

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::{SharedText, limits};

/// A data key as KMS wrapped it. Worthless without the KMS key.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
pub struct WrappedDek(pub Bytes);

/// The KMS key that wrapped a data key: an ARN, or the `local` adapter's fingerprint of a master key.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
pub struct KmsKeyId(pub SharedText);

/// One sealed version of a secret.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct SealedVersion {
    /// XChaCha20-Poly1305 ciphertext with its 16-byte tag appended.
    pub ciphertext: Bytes,
    /// The 24-byte nonce, drawn at random for this one seal.
    pub nonce: [u8; 24],
    /// The data key, wrapped by KMS.
    pub wrapped_dek: WrappedDek,
    /// Which KMS key wrapped it.
    pub kms_key_id: KmsKeyId,
    /// Which of that key's materials did, where KMS says so.
    pub material_id: Option<SharedText>,
}

impl SealedVersion {
    /// Whether every part is within its limit.
    #[must_use]
    pub fn within_limits(&self) -> bool {
        self.ciphertext.len() <= limits::CIPHERTEXT_BYTES
            && self.wrapped_dek.0.len() <= limits::WRAPPED_DEK_BYTES
            && self.kms_key_id.0.len() <= limits::KMS_KEY_ID_BYTES
            && self
                .material_id
                .as_ref()
                .is_none_or(|id| id.len() <= limits::LABEL_BYTES)
    }

    /// Bytes this version weighs in memory and on disk, near enough to budget by.
    #[must_use]
    pub fn weight(&self) -> usize {
        self.ciphertext.len()
            + self.wrapped_dek.0.len()
            + self.kms_key_id.0.len()
            + self.material_id.as_ref().map_or(0, |id| id.len())
            + 24
    }
}
