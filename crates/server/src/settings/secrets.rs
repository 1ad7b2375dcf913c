//! Settings that are secrets: how they arrive (inline or in a file) and what is kept of them.

use std::{
    fmt,
    fs::File,
    io::{self, Read},
};

use sha2::{Digest, Sha256};
use strongroom_core::TokenFingerprint;
use strongroom_seal::{LocalKms, WrappedClusterKey};
use zeroize::Zeroizing;

use super::shapes::Shape;

/// Largest file a `KEY_FILE` may name. A hundred master keys fit.
const FILE_BYTES: usize = 64 * 1024;
/// Shortest bootstrap token given as itself.
const TOKEN_MIN: usize = strongroom_seal::token::TOKEN_MIN_BYTES;
/// Longest bootstrap token: what fits any proxy's header limit.
const TOKEN_MAX: usize = strongroom_seal::token::TOKEN_MAX_BYTES;

/// What is kept of `VAULT_BOOTSTRAP_TOKEN`: enough to recognise the token, not to use it.
#[derive(Clone, PartialEq, Eq)]
pub struct BootstrapToken(pub TokenFingerprint);

impl fmt::Debug for BootstrapToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("BootstrapToken(set)")
    }
}

/// A bootstrap token, or its SHA-256.
pub(super) struct Bootstrap;

impl Shape for Bootstrap {
    type Out = BootstrapToken;
    fn describe(&self) -> String {
        format!(
            "{TOKEN_MIN} to {TOKEN_MAX} printable ASCII characters without spaces, or `sha256:` and 64 hexadecimal digits"
        )
    }
    fn parse(&self, text: &str) -> Result<BootstrapToken, Vec<String>> {
        if let Some(hex) = text.strip_prefix("sha256:") {
            let fingerprint = TokenFingerprint::from_hex(hex);
            return fingerprint.map_or_else(|| self.refuse(), |known| Ok(BootstrapToken(known)));
        }
        // Anything else could not be sent back in a header.
        let sendable = text.bytes().all(|c| c.is_ascii_graphic());
        if !sendable || !(TOKEN_MIN..=TOKEN_MAX).contains(&text.len()) {
            return self.refuse();
        }
        Ok(BootstrapToken(TokenFingerprint(
            Sha256::digest(text.as_bytes()).into(),
        )))
    }
}

/// Local master keys. Checked by what will use them, and kept as text until it does.
pub(super) struct MasterKeys;

impl Shape for MasterKeys {
    type Out = Zeroizing<String>;
    fn describe(&self) -> String {
        "base64 of 32 bytes; several may be separated by commas".into()
    }
    fn parse(&self, text: &str) -> Result<Zeroizing<String>, Vec<String>> {
        match LocalKms::parse(text) {
            Ok(_) => Ok(Zeroizing::new(text.to_owned())),
            Err(error) => Err(vec![format!("is unusable: {error}")]),
        }
    }
}

/// A cluster key, wrapped.
pub(super) struct ClusterKey;

impl Shape for ClusterKey {
    type Out = WrappedClusterKey;
    fn describe(&self) -> String {
        "what `strongroom cluster-key new` printed".into()
    }
    fn parse(&self, text: &str) -> Result<WrappedClusterKey, Vec<String>> {
        let unusable = |error| vec![format!("is unusable: {error}")];
        WrappedClusterKey::parse(text).map_err(unusable)
    }
}

/// The content of the file behind a `KEY_FILE`, without its last line end.
pub(super) fn read_file(path: &str) -> Result<Zeroizing<String>, String> {
    // The whole capacity at once: a buffer that grows leaves its old bytes in freed memory.
    let mut bytes = Zeroizing::new(Vec::with_capacity(FILE_BYTES + 1));
    let limit = u64::try_from(FILE_BYTES + 1).unwrap_or(u64::MAX);
    let read = File::open(path).and_then(|file| file.take(limit).read_to_end(&mut bytes));
    match read {
        Err(error) => return Err(format!("its file cannot be read: {}", reason(&error))),
        Ok(length) if length > FILE_BYTES => {
            return Err(format!("its file is larger than {FILE_BYTES} bytes"));
        }
        Ok(_) => {}
    }
    let text = std::str::from_utf8(&bytes).map_err(|_| "its file is not UTF-8 text".to_owned())?;
    let text = text.strip_suffix('\n').unwrap_or(text);
    let text = text.strip_suffix('\r').unwrap_or(text);
    if text.is_empty() {
        // An inline empty value means "not set"; an empty file is a mount that failed.
        return Err("its file is empty".into());
    }
    Ok(Zeroizing::new(text.to_owned()))
}

/// The error without the path: somebody may have put the secret where the path belongs.
fn reason(error: &io::Error) -> String {
    error.kind().to_string()
}
