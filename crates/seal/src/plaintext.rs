//! A secret's payload in the clear.

use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

/// One version's payload: the text of a JSON object. Zeroized on drop.
///
/// It implements neither `Debug`, `Display`, `Clone`, `PartialEq` nor `Serialize`, so that it can
/// reach a log, an error or a second buffer only through [`Plaintext::expose`] (invariant 1).
pub struct Plaintext(Zeroizing<Vec<u8>>);

static_assertions::assert_not_impl_any!(
    Plaintext: std::fmt::Debug, std::fmt::Display, Clone, Copy, PartialEq, serde::Serialize
);

impl Plaintext {
    /// Takes over `bytes`. The buffer should have been allocated at its final size: a vector that
    /// grew has left copies behind.
    #[must_use]
    pub fn new(bytes: Zeroizing<Vec<u8>>) -> Self {
        Self(bytes)
    }

    /// Copies `bytes`; the caller zeroizes its own.
    #[must_use]
    pub fn copy_from(bytes: &[u8]) -> Self {
        Self(Zeroizing::new(bytes.to_vec()))
    }

    /// The payload. Whoever calls this answers for where it goes.
    #[must_use]
    pub fn expose(&self) -> &[u8] {
        &self.0
    }

    /// The payload's length in bytes.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether the payload has no bytes.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Compares with another payload in time that depends on the lengths alone.
    #[must_use]
    pub fn ct_eq(&self, other: &Self) -> bool {
        ct_eq(self.expose(), other.expose())
    }
}

/// Compares bytes in time that depends on their lengths alone.
#[must_use]
pub fn ct_eq(a: &[u8], b: &[u8]) -> bool {
    a.ct_eq(b).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn comparison_is_exact() {
        let payload = Plaintext::copy_from(b"{\"value\":\"a\"}");
        assert!(payload.ct_eq(&Plaintext::copy_from(b"{\"value\":\"a\"}")));
        assert!(!payload.ct_eq(&Plaintext::copy_from(b"{\"value\":\"b\"}")));
        assert!(!payload.ct_eq(&Plaintext::copy_from(b"{\"value\":\"a\"} ")));
        assert!(!ct_eq(b"a", b""));
        assert!(ct_eq(b"", b""));
    }
}
