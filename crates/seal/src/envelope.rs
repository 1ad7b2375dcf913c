//! Sealing and opening one version of a secret.

use bytes::Bytes;
use strongroom_core::{SealedVersion, limits};

use crate::{
    Binding, DataKey, Dek, Plaintext,
    aead::{self, NONCE_BYTES, TAG_BYTES},
};

/// Why a payload was not sealed.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum SealError {
    /// The payload, or the wrapped key that KMS returned, is over its limit.
    #[error("the payload or its wrapped key is over its limit")]
    TooLarge,
    /// The operating system gave no random bytes for the nonce.
    #[error("the operating system gave no random bytes")]
    Random,
}

/// Why a sealed version does not open.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum OpenError {
    /// Key, name, version, nonce or ciphertext is not what was sealed. Which one cannot be told.
    #[error("the sealed version does not authenticate under its key, name and version")]
    Refused,
    /// Shorter or longer than any sealed version.
    #[error("the sealed version's length is impossible")]
    Length,
}

/// Seals `plaintext` under `key`, which is used up: one key, one seal (invariant 2).
///
/// # Errors
/// See [`SealError`].
pub fn seal(
    key: DataKey,
    binding: &Binding,
    plaintext: &Plaintext,
) -> Result<SealedVersion, SealError> {
    let mut nonce = [0; NONCE_BYTES];
    getrandom::fill(&mut nonce).map_err(|_| SealError::Random)?;
    seal_with_nonce(key, binding, plaintext, nonce)
}

fn seal_with_nonce(
    key: DataKey,
    binding: &Binding,
    plaintext: &Plaintext,
    nonce: [u8; NONCE_BYTES],
) -> Result<SealedVersion, SealError> {
    if plaintext.len() > limits::PAYLOAD_BYTES {
        return Err(SealError::TooLarge);
    }
    let ciphertext = aead::encrypt(
        key.dek().expose(),
        &nonce,
        binding.aad(),
        plaintext.expose(),
    )
    .map_err(|_| SealError::TooLarge)?;
    let material_id = key.material_id().cloned();
    let (wrapped_dek, kms_key_id) = key.into_wrapped();
    let sealed = SealedVersion {
        ciphertext: Bytes::from(ciphertext),
        nonce,
        wrapped_dek,
        kms_key_id,
        material_id,
    };
    if sealed.within_limits() {
        Ok(sealed)
    } else {
        Err(SealError::TooLarge)
    }
}

/// Opens what [`seal`] made under the same binding.
///
/// # Errors
/// See [`OpenError`].
pub fn open(dek: &Dek, binding: &Binding, sealed: &SealedVersion) -> Result<Plaintext, OpenError> {
    if !(TAG_BYTES..=limits::CIPHERTEXT_BYTES).contains(&sealed.ciphertext.len()) {
        return Err(OpenError::Length);
    }
    aead::decrypt(
        dek.expose(),
        &sealed.nonce,
        binding.aad(),
        &sealed.ciphertext,
    )
    .map(Plaintext::new)
    .map_err(|_| OpenError::Refused)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use strongroom_core::{KmsKeyId, SecretName, WrappedDek};

    use super::*;
    use crate::test_util::unhex;

    const PAYLOAD: &[u8] = br#"{"value":"correct horse battery staple"}"#;

    fn dek(fill: u8) -> Dek {
        Dek::copy_from(&[fill; 32]).unwrap()
    }

    fn data_key(fill: u8) -> DataKey {
        let wrapped = WrappedDek(Bytes::from_static(b"wrapped"));
        DataKey::new(dek(fill), wrapped, KmsKeyId("key".into()), None)
    }

    fn binding(name: &str, version: u64) -> Binding {
        Binding::new(&SecretName::parse(name).unwrap(), version)
    }

    fn sealed() -> SealedVersion {
        seal(
            data_key(7),
            &binding("secret/a", 1),
            &Plaintext::copy_from(PAYLOAD),
        )
        .unwrap()
    }

    #[test]
    fn opens_what_it_sealed_and_keeps_the_wrapped_key() {
        let sealed = sealed();
        let opened = open(&dek(7), &binding("secret/a", 1), &sealed).unwrap();
        assert_eq!(opened.expose(), PAYLOAD);
        assert_eq!(sealed.wrapped_dek.0.as_ref(), b"wrapped");
        assert_eq!(&*sealed.kms_key_id.0, "key");
    }

    #[test]
    fn another_key_name_or_version_is_refused() {
        let sealed = sealed();
        for (key, name, version) in [
            (8, "secret/a", 1),
            (7, "secret/b", 1),
            (7, "secret/a", 2),
            (7, "secret/a:1", 1),
        ] {
            let opened = open(&dek(key), &binding(name, version), &sealed);
            assert_eq!(
                opened.err(),
                Some(OpenError::Refused),
                "{key} {name} {version}"
            );
        }
    }

    #[test]
    fn every_flipped_bit_is_refused() {
        let (sealed, binding) = (sealed(), binding("secret/a", 1));
        for bit in 0..8 {
            for at in 0..sealed.ciphertext.len() {
                let mut bytes = sealed.ciphertext.to_vec();
                bytes[at] ^= 1 << bit;
                let forged = SealedVersion {
                    ciphertext: bytes.into(),
                    ..sealed.clone()
                };
                assert_eq!(
                    open(&dek(7), &binding, &forged).err(),
                    Some(OpenError::Refused)
                );
            }
            for at in 0..sealed.nonce.len() {
                let mut forged = sealed.clone();
                forged.nonce[at] ^= 1 << bit;
                assert_eq!(
                    open(&dek(7), &binding, &forged).err(),
                    Some(OpenError::Refused)
                );
            }
        }
    }

    #[test]
    fn every_truncation_and_extension_is_refused() {
        let (sealed, binding) = (sealed(), binding("secret/a", 1));
        for len in 0..sealed.ciphertext.len() {
            let cut = SealedVersion {
                ciphertext: sealed.ciphertext.slice(..len),
                ..sealed.clone()
            };
            assert!(open(&dek(7), &binding, &cut).is_err(), "cut to {len}");
        }
        let mut longer = sealed.ciphertext.to_vec();
        longer.push(0);
        let longer = SealedVersion {
            ciphertext: longer.into(),
            ..sealed.clone()
        };
        assert!(open(&dek(7), &binding, &longer).is_err());
        let huge = vec![0; limits::CIPHERTEXT_BYTES + 1];
        let huge = SealedVersion {
            ciphertext: huge.into(),
            ..sealed
        };
        assert_eq!(
            open(&dek(7), &binding, &huge).err(),
            Some(OpenError::Length)
        );
    }

    #[test]
    fn limits_hold_on_both_sides() {
        let binding = binding("secret/a", 1);
        let most = Plaintext::copy_from(&vec![b'x'; limits::PAYLOAD_BYTES]);
        let sealed = seal(data_key(7), &binding, &most).unwrap();
        assert!(open(&dek(7), &binding, &sealed).unwrap().ct_eq(&most));
        let over = Plaintext::copy_from(&vec![b'x'; limits::PAYLOAD_BYTES + 1]);
        assert_eq!(
            seal(data_key(7), &binding, &over).err(),
            Some(SealError::TooLarge)
        );
        let wrapped = WrappedDek(vec![0; limits::WRAPPED_DEK_BYTES + 1].into());
        let key = DataKey::new(dek(7), wrapped, KmsKeyId("".into()), None);
        let small = Plaintext::copy_from(PAYLOAD);
        assert_eq!(seal(key, &binding, &small).err(), Some(SealError::TooLarge));
    }

    #[test]
    fn nonces_differ() {
        assert_ne!(sealed().nonce, sealed().nonce);
    }

    /// Bytes of the first release; they must open for ever, and sealing must still produce them.
    #[test]
    fn golden_envelope() {
        let golden = unhex(include_str!("../golden/envelope_v1.hex"));
        let (nonce, binding) = ([0x42; NONCE_BYTES], binding("secret/db/password", 3));
        let plaintext = Plaintext::copy_from(PAYLOAD);
        let sealed = seal_with_nonce(data_key(7), &binding, &plaintext, nonce).unwrap();
        assert_eq!(
            crate::binding::hex(&sealed.ciphertext),
            crate::binding::hex(&golden)
        );
        let stored = SealedVersion {
            ciphertext: golden.into(),
            ..sealed
        };
        assert!(open(&dek(7), &binding, &stored).unwrap().ct_eq(&plaintext));
    }

    proptest! {
        #[test]
        fn any_payload_comes_back(payload in prop::collection::vec(any::<u8>(), 0..2_000)) {
            let (binding, plaintext) = (binding("secret/p", 9), Plaintext::copy_from(&payload));
            let sealed = seal(data_key(1), &binding, &plaintext).unwrap();
            prop_assert_eq!(sealed.ciphertext.len(), payload.len() + TAG_BYTES);
            prop_assert!(open(&dek(1), &binding, &sealed).unwrap().ct_eq(&plaintext));
        }
    }
}
