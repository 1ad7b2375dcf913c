//! Tokens as the state knows them: a fingerprint and a grant, never the token.

use std::fmt;

use serde::{Deserialize, Serialize};
use subtle::ConstantTimeEq;

use crate::{Allowlist, LogTime, RoleName};

/// SHA-256 of an admin token. Safe to store: the token has 256 random bits.
///
/// `Ord` exists for the map that finds a grant; equality that decides access is
/// [`TokenFingerprint::matches`].
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct TokenFingerprint(pub [u8; 32]);

impl TokenFingerprint {
    /// Compares in constant time.
    #[must_use]
    pub fn matches(&self, other: &Self) -> bool {
        self.0.ct_eq(&other.0).into()
    }

    /// Parses 64 hexadecimal digits.
    #[must_use]
    pub fn from_hex(text: &str) -> Option<Self> {
        if text.len() != 64 || !text.bytes().all(|c| c.is_ascii_hexdigit()) {
            return None;
        }
        let mut bytes = [0u8; 32];
        for (byte, pair) in bytes.iter_mut().zip(text.as_bytes().chunks(2)) {
            *byte = u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok()?;
        }
        Some(Self(bytes))
    }
}

impl fmt::Debug for TokenFingerprint {
    /// The first four bytes: enough to tell two apart in a test, too little to be of use.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TokenFingerprint(")?;
        self.0
            .iter()
            .take(4)
            .try_for_each(|byte| write!(f, "{byte:02x}"))?;
        f.write_str("…)")
    }
}

/// What a token grants, and until when.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct TokenGrant {
    /// SHA-256 of the token.
    pub fingerprint: TokenFingerprint,
    /// The role it acts as.
    pub role: RoleName,
    /// When it was created.
    pub created_at: LogTime,
    /// An absolute time, computed once. `None`: never.
    pub expires_at: Option<LogTime>,
    /// Addresses it may be used from. Empty: any.
    pub bound_cidrs: Allowlist,
    /// Uses left. `None`: unlimited.
    pub uses_left: Option<u64>,
    /// When it was revoked, expired or used up; `None` while it lives.
    pub ended_at: Option<LogTime>,
    /// Whether it ended by being revoked.
    pub revoked: bool,
}

impl TokenGrant {
    /// Whether the token may still be used at `now`.
    #[must_use]
    pub fn is_live(&self, now: LogTime) -> bool {
        self.ended_at.is_none()
            && self.expires_at.is_none_or(|end| now < end)
            && self.uses_left != Some(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fingerprints_parse_from_hex_only() {
        assert!(TokenFingerprint::from_hex(&"0f".repeat(32)).is_some());
        for bad in [
            "",
            "0f",
            &"0g".repeat(32),
            &"0f".repeat(33),
            &"é".repeat(32),
        ] {
            assert!(TokenFingerprint::from_hex(bad).is_none());
        }
        // `u8::from_str_radix` takes a sign; a fingerprint must not.
        assert!(TokenFingerprint::from_hex(&"+f".repeat(32)).is_none());
    }
}
