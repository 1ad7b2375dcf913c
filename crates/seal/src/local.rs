//! The `local` KMS adapter: master keys held by this process. For development, and for trying
//! rotation and re-wrap without AWS.
//!
//! A wrapped key is `version ‖ key id ‖ nonce ‖ ciphertext ‖ tag`, 1 + 8 + 24 + 32 + 16 bytes:
//! XChaCha20-Poly1305 of the data key under a master key. The associated data is everything that
//! stands before the nonce and the binding's `name:version`, behind a label of its own.

use strongroom_core::{KmsKeyId, SharedText, WrappedDek};
use zeroize::{Zeroize, ZeroizeOnDrop, Zeroizing};

use sha2::{Digest, Sha256};

use crate::{
    Binding, DataKey, Dek, Detail, Kms, KmsDescription, KmsError, KmsFuture, KmsMode, Rewrapped,
    Rotations,
    aead::{self, NONCE_BYTES, TAG_BYTES},
    binding::hex,
    dek::DEK_BYTES,
    plaintext::ct_eq,
};

mod parse;

pub use parse::LocalKeyError;

const FORMAT_V1: u8 = 1;
const KEY_ID_BYTES: usize = 8;
const HEADER_BYTES: usize = 1 + KEY_ID_BYTES;
const WRAPPED_BYTES: usize = HEADER_BYTES + NONCE_BYTES + DEK_BYTES + TAG_BYTES;
const MASTER_KEY_BYTES: usize = 32;
const AAD_LABEL: &[u8] = b"strongroom/local-kms/wrap/v1\0";
const FINGERPRINT_LABEL: &[u8] = b"strongroom/local-kms/key-id/v1\0";

/// What a master key is known by: the first 8 bytes of SHA-256 over a label and the key.
#[derive(Clone, Copy, PartialEq, Eq)]
struct KeyId([u8; KEY_ID_BYTES]);

impl KeyId {
    fn text(self) -> String {
        format!("local:{}", hex(&self.0))
    }
}

/// A master key. Boxed, so that moving it leaves no copy on a stack.
#[derive(ZeroizeOnDrop)]
struct MasterKey {
    #[zeroize(skip)]
    id: KeyId,
    key: Box<[u8; MASTER_KEY_BYTES]>,
}

impl MasterKey {
    fn new(key: Box<[u8; MASTER_KEY_BYTES]>) -> Self {
        let mut hash = Sha256::new();
        hash.update(FINGERPRINT_LABEL);
        hash.update(key.as_slice());
        let mut id = KeyId([0; KEY_ID_BYTES]);
        for (to, from) in id.0.iter_mut().zip(hash.finalize()) {
            *to = from;
        }
        Self { id, key }
    }
}

/// One or more master keys: the first wraps, all unwrap.
pub struct LocalKms {
    first: MasterKey,
    others: Vec<MasterKey>,
}

impl LocalKms {
    /// Parses base64 of one or more 32-byte keys, comma-separated. Padding may be left out.
    ///
    /// # Errors
    /// See [`LocalKeyError`]: it says which key is wrong, and never what it is.
    pub fn parse(text: &str) -> Result<Self, LocalKeyError> {
        let mut keys = parse::master_keys(text)?.into_iter();
        let first = keys.next().ok_or(LocalKeyError::Empty { position: 1 })?;
        Ok(Self {
            first,
            others: keys.collect(),
        })
    }

    /// One random master key, lost with the value returned: what it wrapped is lost too.
    ///
    /// # Errors
    /// [`LocalKeyError::Random`].
    pub fn random() -> Result<Self, LocalKeyError> {
        let mut key = Box::new([0; MASTER_KEY_BYTES]);
        getrandom::fill(key.as_mut_slice()).map_err(|_| LocalKeyError::Random)?;
        Ok(Self {
            first: MasterKey::new(key),
            others: Vec::new(),
        })
    }

    /// How many master keys there are.
    #[must_use]
    pub fn key_count(&self) -> usize {
        1 + self.others.len()
    }

    fn find(&self, id: KeyId) -> Result<&MasterKey, KmsError> {
        std::iter::once(&self.first)
            .chain(&self.others)
            .find(|key| key.id == id)
            .ok_or_else(|| {
                let id = id.text();
                denied(&format!(
                    "{id} wrapped this data key and is not among VAULT_LOCAL_MASTER_KEY"
                ))
            })
    }

    fn wrap(&self, dek: &Dek, binding: &Binding) -> Result<WrappedDek, KmsError> {
        let mut nonce = [0; NONCE_BYTES];
        getrandom::fill(&mut nonce).map_err(|_| no_random())?;
        wrap_with_nonce(&self.first, dek, binding, nonce)
    }

    fn unwrap_now(
        &self,
        wrapped: &WrappedDek,
        key_id: &KmsKeyId,
        binding: &Binding,
    ) -> Result<Dek, KmsError> {
        let parts = Parts::read(&wrapped.0)?;
        if !ct_eq(parts.key_id.text().as_bytes(), key_id.0.as_bytes()) {
            return Err(malformed(
                "it was wrapped by another key than the version names",
            ));
        }
        let master = self.find(parts.key_id)?;
        let aad = wrap_aad(parts.header, binding);
        let dek = aead::decrypt(&master.key, parts.nonce, &aad, parts.ciphertext)
            .map_err(|_| malformed("it does not authenticate under its key, name and version"))?;
        Dek::copy_from(&dek).map_err(|error| malformed(&error.to_string()))
    }

    fn generate_now(&self, binding: &Binding) -> Result<DataKey, KmsError> {
        let dek = Dek::random().map_err(|_| no_random())?;
        let wrapped = self.wrap(&dek, binding)?;
        let id = SharedText::from(self.first.id.text());
        Ok(DataKey::new(dek, wrapped, KmsKeyId(id.clone()), Some(id)))
    }

    fn rewrap_now(
        &self,
        wrapped: &WrappedDek,
        key_id: &KmsKeyId,
        binding: &Binding,
    ) -> Result<Rewrapped, KmsError> {
        let dek = self.unwrap_now(wrapped, key_id, binding)?;
        let wrapped = self.wrap(&dek, binding)?;
        let id = SharedText::from(self.first.id.text());
        Ok(Rewrapped {
            wrapped,
            key_id: KmsKeyId(id.clone()),
            material_id: Some(id),
        })
    }
}

impl Kms for LocalKms {
    fn generate<'a>(&'a self, binding: &'a Binding) -> KmsFuture<'a, DataKey> {
        Box::pin(async move { self.generate_now(binding) })
    }

    fn unwrap<'a>(
        &'a self,
        wrapped: &'a WrappedDek,
        key_id: &'a KmsKeyId,
        binding: &'a Binding,
    ) -> KmsFuture<'a, Dek> {
        Box::pin(async move { self.unwrap_now(wrapped, key_id, binding) })
    }

    fn rewrap<'a>(
        &'a self,
        wrapped: &'a WrappedDek,
        key_id: &'a KmsKeyId,
        binding: &'a Binding,
    ) -> KmsFuture<'a, Rewrapped> {
        Box::pin(async move { self.rewrap_now(wrapped, key_id, binding) })
    }

    /// No history: master keys carry no dates. What changes is the current material.
    fn rotations(&self) -> KmsFuture<'_, Rotations> {
        let id = SharedText::from(self.first.id.text());
        let key_id = KmsKeyId(id.clone());
        let rotations = Rotations {
            key_id,
            current_material: Some(id),
            entries: Vec::new(),
        };
        Box::pin(async move { Ok(rotations) })
    }

    fn describe(&self) -> KmsDescription {
        KmsDescription {
            mode: KmsMode::Local,
            key: self.first.id.text(),
            region: None,
        }
    }
}

/// A wrapped key taken apart.
struct Parts<'a> {
    header: &'a [u8],
    key_id: KeyId,
    nonce: &'a [u8; NONCE_BYTES],
    ciphertext: &'a [u8],
}

impl<'a> Parts<'a> {
    fn read(bytes: &'a [u8]) -> Result<Self, KmsError> {
        let foreign = || malformed("it is no wrapped key of the local adapter");
        if bytes.len() != WRAPPED_BYTES {
            return Err(foreign());
        }
        let (header, rest) = bytes.split_at_checked(HEADER_BYTES).ok_or_else(foreign)?;
        let (nonce, ciphertext) = rest
            .split_first_chunk::<NONCE_BYTES>()
            .ok_or_else(foreign)?;
        let key_id = match header.split_first() {
            Some((&FORMAT_V1, id)) => KeyId(id.try_into().map_err(|_| foreign())?),
            _ => {
                return Err(malformed(
                    "its format is newer than this version, or damaged",
                ));
            }
        };
        Ok(Self {
            header,
            key_id,
            nonce,
            ciphertext,
        })
    }
}

fn wrap_with_nonce(
    master: &MasterKey,
    dek: &Dek,
    binding: &Binding,
    nonce: [u8; NONCE_BYTES],
) -> Result<WrappedDek, KmsError> {
    let mut wrapped = Vec::with_capacity(WRAPPED_BYTES);
    wrapped.push(FORMAT_V1);
    wrapped.extend_from_slice(&master.id.0);
    let aad = wrap_aad(&wrapped, binding);
    let ciphertext = aead::encrypt(&master.key, &nonce, &aad, dek.expose())
        .map_err(|_| malformed("the data key could not be wrapped"))?;
    wrapped.extend_from_slice(&nonce);
    wrapped.extend_from_slice(&ciphertext);
    Ok(WrappedDek(wrapped.into()))
}

fn wrap_aad(header: &[u8], binding: &Binding) -> Vec<u8> {
    [AAD_LABEL, header, binding.aad()].concat()
}

fn denied(why: &str) -> KmsError {
    KmsError::Denied(Detail::new(why))
}

fn malformed(why: &str) -> KmsError {
    KmsError::Malformed(Detail::new(why))
}

fn no_random() -> KmsError {
    KmsError::Unavailable(Detail::new("the operating system gave no random bytes"))
}

#[cfg(test)]
mod tests;
