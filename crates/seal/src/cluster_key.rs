//! The cluster key: what makes nodes one cluster to each other. KMS wraps it, and its wrapped form may
//! stand in plain configuration; the authority that nodes trust is derived from it.

use std::fmt;

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use bytes::Bytes;
use hkdf::Hkdf;
use sha2::{Digest, Sha256};
use strongroom_core::{KmsKeyId, WrappedDek, limits};
use zeroize::ZeroizeOnDrop;

use crate::Dek;

/// What the text of a wrapped cluster key begins with; the digit is the format's.
const PREFIX: &str = "srck1_";
/// Longest text: a wrapped key and a key id at their limits fit.
const TEXT_BYTES: usize = 16 * 1024;
/// The beginning of SHA-256 over what the text holds: it shows a text cut short or mistyped before KMS
/// is asked, and protects against nobody.
const CHECK_BYTES: usize = 8;
const CHECK_LABEL: &[u8] = b"strongroom/cluster-key/text/v1\0";
const SEED_BYTES: usize = 32;
/// Another use of the cluster key gets another label.
const AUTHORITY_LABEL: &[u8] = b"strongroom/cluster-key/raft-authority/ed25519/v1";

/// The cluster key in the clear: 32 random bytes that KMS drew. Zeroized on drop; implements nothing
/// that could print or copy it, and its bytes cannot be read outside this crate.
pub struct ClusterKey(Dek);

/// What the key pair of the cluster's authority is made from. As secret as the cluster key.
///
/// Zeroized on drop; boxed, so that moving it leaves no copy on a stack.
#[derive(ZeroizeOnDrop)]
pub struct AuthoritySeed(Box<[u8; SEED_BYTES]>);

static_assertions::assert_not_impl_any!(
    ClusterKey: std::fmt::Debug, std::fmt::Display, Clone, Copy, PartialEq, serde::Serialize
);
static_assertions::assert_not_impl_any!(
    AuthoritySeed: std::fmt::Debug, std::fmt::Display, Clone, Copy, PartialEq, serde::Serialize
);

impl ClusterKey {
    pub(crate) fn new(dek: Dek) -> Self {
        Self(dek)
    }

    /// The seed of the authority: HKDF-SHA256 of the key, without salt. The same key gives the same
    /// seed at every node and in every version.
    ///
    /// # Errors
    /// Never: HKDF gives up to 8,160 bytes.
    pub fn authority_seed(&self) -> Result<AuthoritySeed, ClusterKeyError> {
        let mut seed = AuthoritySeed(Box::new([0; SEED_BYTES]));
        Hkdf::<Sha256>::new(None, self.0.expose())
            .expand(AUTHORITY_LABEL, seed.0.as_mut_slice())
            .map_err(|_| ClusterKeyError::Damaged)?;
        Ok(seed)
    }
}

impl AuthoritySeed {
    /// The bytes, for whoever makes the key pair and nobody else.
    #[must_use]
    pub fn expose(&self) -> &[u8; SEED_BYTES] {
        &self.0
    }
}

/// Why text is no wrapped cluster key. Says nothing of the text.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum ClusterKeyError {
    /// It does not look like one.
    #[error("it is no wrapped cluster key: `strongroom cluster-key new` prints one")]
    Form,
    /// It looks like one and does not add up.
    #[error("it is damaged: cut short, or changed")]
    Damaged,
}

/// A cluster key as KMS wrapped it. Worthless without the KMS key, so it may be shown.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct WrappedClusterKey {
    wrapped: WrappedDek,
    key_id: KmsKeyId,
}

impl WrappedClusterKey {
    pub(crate) fn new(wrapped: WrappedDek, key_id: KmsKeyId) -> Self {
        Self { wrapped, key_id }
    }

    pub(crate) fn wrapped(&self) -> &WrappedDek {
        &self.wrapped
    }

    /// The KMS key that wrapped it.
    #[must_use]
    pub fn key_id(&self) -> &KmsKeyId {
        &self.key_id
    }

    /// Parses what [`fmt::Display`] writes.
    ///
    /// # Errors
    /// See [`ClusterKeyError`].
    pub fn parse(text: &str) -> Result<Self, ClusterKeyError> {
        let body = text
            .strip_prefix(PREFIX)
            .filter(|_| text.len() <= TEXT_BYTES)
            .ok_or(ClusterKeyError::Form)?;
        let bytes = URL_SAFE_NO_PAD
            .decode(body)
            .map_err(|_| ClusterKeyError::Damaged)?;
        Self::take_apart(&bytes).ok_or(ClusterKeyError::Damaged)
    }

    fn take_apart(bytes: &[u8]) -> Option<Self> {
        let (held, found) = bytes.split_last_chunk::<CHECK_BYTES>()?;
        if *found != check(held) {
            return None;
        }
        let (length, rest) = held.split_first_chunk::<2>()?;
        let (key_id, wrapped) = rest.split_at_checked(u16::from_be_bytes(*length).into())?;
        let fits = (1..=limits::KMS_KEY_ID_BYTES).contains(&key_id.len())
            && (1..=limits::WRAPPED_DEK_BYTES).contains(&wrapped.len());
        let key_id = std::str::from_utf8(key_id).ok().filter(|_| fits)?;
        Some(Self {
            wrapped: WrappedDek(Bytes::copy_from_slice(wrapped)),
            key_id: KmsKeyId(key_id.into()),
        })
    }
}

impl fmt::Display for WrappedClusterKey {
    /// `srck1_` and URL-safe base64 of: the length of the KMS key's id in two bytes, the id, the wrapped
    /// key, and a check over all of them.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let key_id = self.key_id.0.as_bytes();
        let length = u16::try_from(key_id.len()).map_err(|_| fmt::Error)?;
        let mut bytes = [&length.to_be_bytes(), key_id, &self.wrapped.0].concat();
        bytes.extend_from_slice(&check(&bytes));
        write!(f, "{PREFIX}{}", URL_SAFE_NO_PAD.encode(bytes))
    }
}

fn check(held: &[u8]) -> [u8; CHECK_BYTES] {
    let digest = Sha256::new().chain_update(CHECK_LABEL).chain_update(held);
    let mut check = [0; CHECK_BYTES];
    for (to, from) in check.iter_mut().zip(digest.finalize()) {
        *to = from;
    }
    check
}

#[cfg(test)]
mod tests;
