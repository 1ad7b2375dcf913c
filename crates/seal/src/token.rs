//! Admin tokens in the clear: shown once, presented with requests, never stored.

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use sha2::{Digest, Sha256};
use strongroom_core::TokenFingerprint;
use zeroize::{Zeroize, Zeroizing};

/// What every generated token begins with.
pub const TOKEN_PREFIX: &str = "srt_";
/// Shortest token accepted.
pub const TOKEN_MIN_BYTES: usize = 20;
/// Longest token accepted.
pub const TOKEN_MAX_BYTES: usize = 256;

const RANDOM_BYTES: usize = 32;
/// Base64 of 32 bytes without padding.
const RANDOM_CHARS: usize = 43;

/// Why bytes are no token. Says nothing about the bytes.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum TokenError {
    /// Shorter than [`TOKEN_MIN_BYTES`].
    #[error("a token has at least {TOKEN_MIN_BYTES} characters")]
    TooShort,
    /// Longer than [`TOKEN_MAX_BYTES`].
    #[error("a token has at most {TOKEN_MAX_BYTES} characters")]
    TooLong,
    /// A character that is not visible ASCII.
    #[error("a token consists of visible ASCII characters")]
    Character,
    /// The operating system gave no random bytes.
    #[error("the operating system gave no random bytes")]
    Random,
}

/// A token in the clear. Zeroized on drop; implements nothing that could print or copy it.
pub struct AdminToken(Zeroizing<String>);

static_assertions::assert_not_impl_any!(
    AdminToken: std::fmt::Debug, std::fmt::Display, Clone, Copy, PartialEq, serde::Serialize
);

impl AdminToken {
    /// A fresh token: `srt_` and 256 random bits in URL-safe base64.
    ///
    /// # Errors
    /// [`TokenError::Random`].
    pub fn generate() -> Result<Self, TokenError> {
        let mut random = Zeroizing::new([0u8; RANDOM_BYTES]);
        getrandom::fill(random.as_mut_slice()).map_err(|_| TokenError::Random)?;
        // Sized before it is filled, so that no smaller copy stays behind.
        let mut text = Zeroizing::new(String::with_capacity(TOKEN_PREFIX.len() + RANDOM_CHARS));
        text.push_str(TOKEN_PREFIX);
        URL_SAFE_NO_PAD.encode_string(random.as_slice(), &mut text);
        Ok(Self(text))
    }

    /// A token as somebody presented or configured it: 20 to 256 visible ASCII characters.
    ///
    /// # Errors
    /// See [`TokenError`].
    pub fn parse(bytes: &[u8]) -> Result<Self, TokenError> {
        if bytes.len() < TOKEN_MIN_BYTES {
            return Err(TokenError::TooShort);
        }
        if bytes.len() > TOKEN_MAX_BYTES {
            return Err(TokenError::TooLong);
        }
        if !bytes.iter().all(u8::is_ascii_graphic) {
            return Err(TokenError::Character);
        }
        let text = std::str::from_utf8(bytes).map_err(|_| TokenError::Character)?;
        Ok(Self(Zeroizing::new(text.to_owned())))
    }

    /// SHA-256 of the token: all that is ever stored or compared.
    #[must_use]
    pub fn fingerprint(&self) -> TokenFingerprint {
        let fingerprint = hash(self.0.as_bytes());
        clean_stack();
        fingerprint
    }

    /// The token, to be shown to its owner once.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }
}

#[inline(never)]
fn hash(token: &[u8]) -> TokenFingerprint {
    TokenFingerprint(Sha256::digest(token).into())
}

/// SHA-256 works on a copy of the token on the stack and leaves it there (`sha2` 0.10 zeroizes
/// nothing): what is called next from the same place lies on top of it, and overwrites it. By words: each
/// write is made for sure, and 4,096 of them took as long as all the rest of a token's check.
#[inline(never)]
fn clean_stack() {
    let mut above = [0u64; 512];
    above.zeroize();
    std::hint::black_box(&above);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn generated_tokens_have_the_documented_form() {
        let token = AdminToken::generate().unwrap();
        assert_eq!(token.expose().len(), TOKEN_PREFIX.len() + RANDOM_CHARS);
        assert_eq!(token.0.capacity(), token.0.len(), "it never grew");
        let random = token.expose().strip_prefix("srt_").unwrap();
        assert_eq!(URL_SAFE_NO_PAD.decode(random).unwrap().len(), RANDOM_BYTES);
        assert_ne!(
            token.fingerprint(),
            AdminToken::generate().unwrap().fingerprint()
        );
        let presented = AdminToken::parse(token.expose().as_bytes()).unwrap();
        assert!(presented.fingerprint().matches(&token.fingerprint()));
    }

    #[test]
    fn fingerprint_is_sha256() {
        // printf %s abcdefghijklmnopqrstuvwxyz | sha256sum
        let token = AdminToken::parse(b"abcdefghijklmnopqrstuvwxyz").unwrap();
        let expected = "71c480df93d6ae2f1efad1447c66c9525e316218cf51fc8d9ed832f2daf18b73";
        assert_eq!(crate::binding::hex(&token.fingerprint().0), expected);
    }

    #[test]
    fn forms_are_checked() {
        let parse = |bytes: &[u8]| AdminToken::parse(bytes).err();
        assert_eq!(parse(&[b'x'; 19]), Some(TokenError::TooShort));
        assert_eq!(parse(&[b'x'; 20]), None);
        assert_eq!(parse(&[b'!'; 256]), None);
        assert_eq!(parse(&[b'x'; 257]), Some(TokenError::TooLong));
        for bad in [b' ', b'\n', 0, 0x7f, 0x80, 0xff] {
            let mut bytes = [b'x'; 24];
            bytes[10] = bad;
            assert_eq!(parse(&bytes), Some(TokenError::Character), "{bad:#x}");
        }
    }
}
