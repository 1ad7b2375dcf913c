//! Data keys: one for each sealed version.

use std::sync::Arc;

use strongroom_core::{KmsKeyId, SharedText, WrappedDek};
use subtle::ConstantTimeEq;
use zeroize::{Zeroize, ZeroizeOnDrop};

/// Bytes of a data key.
pub const DEK_BYTES: usize = 32;

/// Why bytes are no data key.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum DekError {
    /// Not [`DEK_BYTES`] long.
    #[error("a data key has {DEK_BYTES} bytes, not {0}")]
    Length(usize),
    /// The operating system gave no random bytes.
    #[error("the operating system gave no random bytes")]
    Random,
}

/// An unwrapped data key. Zeroized on drop; boxed, so that moving it leaves no copy on a stack.
///
/// Like [`Plaintext`](crate::Plaintext) it implements nothing that could print or copy it, and its
/// bytes cannot be read outside this crate.
#[derive(ZeroizeOnDrop)]
pub struct Dek(Box<[u8; DEK_BYTES]>);

static_assertions::assert_not_impl_any!(
    Dek: std::fmt::Debug, std::fmt::Display, Clone, Copy, PartialEq, serde::Serialize
);
static_assertions::assert_not_impl_any!(
    DataKey: std::fmt::Debug, std::fmt::Display, Clone, Copy, PartialEq, serde::Serialize
);

impl Dek {
    /// A fresh random key.
    ///
    /// # Errors
    /// [`DekError::Random`].
    pub fn random() -> Result<Self, DekError> {
        let mut key = Self(Box::new([0; DEK_BYTES]));
        getrandom::fill(key.0.as_mut_slice()).map_err(|_| DekError::Random)?;
        Ok(key)
    }

    /// Copies a key that KMS unwrapped; the caller zeroizes its own bytes.
    ///
    /// # Errors
    /// [`DekError::Length`].
    pub fn copy_from(bytes: &[u8]) -> Result<Self, DekError> {
        if bytes.len() != DEK_BYTES {
            return Err(DekError::Length(bytes.len()));
        }
        let mut key = Self(Box::new([0; DEK_BYTES]));
        key.0.copy_from_slice(bytes);
        Ok(key)
    }

    /// Compares in constant time.
    #[must_use]
    pub fn ct_eq(&self, other: &Self) -> bool {
        self.0.as_slice().ct_eq(other.0.as_slice()).into()
    }

    pub(crate) fn expose(&self) -> &[u8; DEK_BYTES] {
        &self.0
    }
}

impl Zeroize for Dek {
    fn zeroize(&mut self) {
        self.0.zeroize();
    }
}

/// A fresh data key with its wrapped form: good for one seal, which consumes it.
pub struct DataKey {
    dek: Arc<Dek>,
    wrapped: WrappedDek,
    key_id: KmsKeyId,
    material_id: Option<SharedText>,
}

impl DataKey {
    /// What a [`Kms`](crate::Kms) adapter hands out: the key, its wrapped form, the KMS key that
    /// wrapped it, and the id of that key's material where the service gives one.
    #[must_use]
    pub fn new(
        dek: Dek,
        wrapped: WrappedDek,
        key_id: KmsKeyId,
        material_id: Option<SharedText>,
    ) -> Self {
        Self {
            dek: Arc::new(dek),
            wrapped,
            key_id,
            material_id,
        }
    }

    /// The wrapped key.
    #[must_use]
    pub fn wrapped(&self) -> &WrappedDek {
        &self.wrapped
    }

    /// The KMS key that wrapped it.
    #[must_use]
    pub fn key_id(&self) -> &KmsKeyId {
        &self.key_id
    }

    /// The id of the KMS key's material, where the service gives one.
    #[must_use]
    pub fn material_id(&self) -> Option<&SharedText> {
        self.material_id.as_ref()
    }

    /// The key itself, for the cache: a version just written is warm when it is read.
    pub(crate) fn shared_dek(&self) -> Arc<Dek> {
        Arc::clone(&self.dek)
    }

    pub(crate) fn dek(&self) -> &Dek {
        &self.dek
    }

    pub(crate) fn into_wrapped(self) -> (WrappedDek, KmsKeyId) {
        (self.wrapped, self.key_id)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn length_is_checked_and_keys_differ() {
        for len in [0, 31, 33] {
            let err = Dek::copy_from(&vec![7; len]).err();
            assert_eq!(err, Some(DekError::Length(len)));
        }
        let (a, b) = (Dek::random().unwrap(), Dek::random().unwrap());
        assert!(!a.ct_eq(&b));
        assert!(a.ct_eq(&Dek::copy_from(a.expose()).unwrap()));
    }

    #[test]
    fn zeroize_clears_the_bytes() {
        let mut key = Dek::copy_from(&[7; DEK_BYTES]).unwrap();
        key.zeroize();
        assert_eq!(key.expose(), &[0; DEK_BYTES]);
    }
}
