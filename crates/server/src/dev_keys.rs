//! Keys for `strongroom dev`.

use std::io;

use base64::{Engine, engine::general_purpose::STANDARD};
use strongroom_seal::AdminToken;
use zeroize::Zeroizing;

/// A random master key for the local KMS, as `VAULT_LOCAL_MASTER_KEY` takes it.
///
/// # Errors
/// When the system gives no randomness.
pub fn master_key() -> io::Result<Zeroizing<String>> {
    let mut key = Zeroizing::new([0u8; 32]);
    getrandom::fill(&mut *key).map_err(|error| io::Error::other(error.to_string()))?;
    Ok(Zeroizing::new(STANDARD.encode(*key)))
}

/// A random admin token.
///
/// # Errors
/// When the system gives no randomness.
pub fn admin_token() -> io::Result<Zeroizing<String>> {
    let token = AdminToken::generate().map_err(|error| io::Error::other(error.to_string()))?;
    Ok(Zeroizing::new(token.expose().to_owned()))
}
