//! `VAULT_LOCAL_MASTER_KEY`.

use base64::{
    Engine,
    alphabet::STANDARD,
    engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig},
};

use super::{MASTER_KEY_BYTES, MasterKey, Zeroize, Zeroizing};

const BASE64: GeneralPurpose = GeneralPurpose::new(
    &STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// Why `VAULT_LOCAL_MASTER_KEY` is unusable. Keys are counted from 1; their content is never told.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum LocalKeyError {
    /// Nothing where a key should stand.
    #[error("master key {position} is empty")]
    Empty {
        /// Which key.
        position: usize,
    },
    /// Not base64.
    #[error("master key {position} is not base64 of {MASTER_KEY_BYTES} bytes")]
    Base64 {
        /// Which key.
        position: usize,
    },
    /// Base64 of too few or too many bytes.
    #[error("master key {position} has {actual} bytes instead of {MASTER_KEY_BYTES}")]
    Length {
        /// Which key.
        position: usize,
        /// How many bytes it has.
        actual: usize,
    },
    /// The same key twice.
    #[error("master key {position} repeats master key {first}")]
    Repeated {
        /// Which key.
        position: usize,
        /// Which key it repeats.
        first: usize,
    },
    /// The operating system gave no random bytes.
    #[error("the operating system gave no random bytes")]
    Random,
}

pub(super) fn master_keys(text: &str) -> Result<Vec<MasterKey>, LocalKeyError> {
    let mut keys: Vec<MasterKey> = Vec::new();
    for (position, part) in (1..).zip(text.split(',')) {
        let key = master_key(part.trim(), position)?;
        if let Some((first, _)) = (1..).zip(&keys).find(|(_, known)| known.id == key.id) {
            return Err(LocalKeyError::Repeated { position, first });
        }
        keys.push(key);
    }
    Ok(keys)
}

fn master_key(text: &str, position: usize) -> Result<MasterKey, LocalKeyError> {
    if text.is_empty() {
        return Err(LocalKeyError::Empty { position });
    }
    // Sized before it is filled: a buffer that grew would leave copies. The decoder's own error
    // quotes input, and is dropped.
    let mut bytes = Zeroizing::new(vec![0; base64::decoded_len_estimate(text.len())]);
    let actual = BASE64
        .decode_slice(text, &mut bytes)
        .map_err(|_| LocalKeyError::Base64 { position })?;
    let mut key = Box::new([0; MASTER_KEY_BYTES]);
    match bytes.get(..actual) {
        Some(exact) if actual == MASTER_KEY_BYTES => key.copy_from_slice(exact),
        _ => return Err(LocalKeyError::Length { position, actual }),
    }
    bytes.zeroize();
    Ok(MasterKey::new(key))
}
