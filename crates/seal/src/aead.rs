//! XChaCha20-Poly1305, spelled once: for sealing payloads and for the `local` adapter's wrapping.

use chacha20poly1305::{
    KeyInit, XChaCha20Poly1305,
    aead::{AeadInPlace, generic_array::GenericArray},
};
use zeroize::{Zeroize, Zeroizing};

use crate::dek::DEK_BYTES;

/// Bytes of a nonce.
pub(crate) const NONCE_BYTES: usize = 24;
/// Bytes of the Poly1305 tag at the end of a ciphertext.
pub(crate) const TAG_BYTES: usize = 16;

/// The bytes do not authenticate, or are too large to be sealed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Refused;

/// Encrypts in a buffer that is allocated once; the tag stands at its end.
pub(crate) fn encrypt(
    key: &[u8; DEK_BYTES],
    nonce: &[u8; NONCE_BYTES],
    aad: &[u8],
    plaintext: &[u8],
) -> Result<Vec<u8>, Refused> {
    let mut buffer = Vec::with_capacity(plaintext.len().saturating_add(TAG_BYTES));
    buffer.extend_from_slice(plaintext);
    let cipher = XChaCha20Poly1305::new(GenericArray::from_slice(key));
    match cipher.encrypt_in_place(GenericArray::from_slice(nonce), aad, &mut buffer) {
        Ok(()) => Ok(buffer),
        Err(_) => {
            buffer.zeroize();
            Err(Refused)
        }
    }
}

/// Decrypts into a buffer that is allocated once and zeroized whatever happens.
pub(crate) fn decrypt(
    key: &[u8; DEK_BYTES],
    nonce: &[u8; NONCE_BYTES],
    aad: &[u8],
    ciphertext: &[u8],
) -> Result<Zeroizing<Vec<u8>>, Refused> {
    let mut buffer = Zeroizing::new(ciphertext.to_vec());
    let cipher = XChaCha20Poly1305::new(GenericArray::from_slice(key));
    cipher
        .decrypt_in_place(GenericArray::from_slice(nonce), aad, &mut *buffer)
        .map_err(|_| Refused)?;
    Ok(buffer)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::test_util::unhex;

    /// draft-irtf-cfrg-xchacha, appendix A.3.1.
    #[test]
    fn known_answer_of_the_xchacha_draft() {
        let key: [u8; 32] = std::array::from_fn(|i| 0x80 + u8::try_from(i).unwrap());
        let nonce: [u8; 24] = std::array::from_fn(|i| 0x40 + u8::try_from(i).unwrap());
        let aad = unhex("50515253c0c1c2c3c4c5c6c7");
        let plaintext = b"Ladies and Gentlemen of the class of '99: If I could offer you only one \
                          tip for the future, sunscreen would be it.";
        let expected = unhex(
            "bd6d179d3e83d43b9576579493c0e939572a1700252bfaccbed2902c21396cbb\
             731c7f1b0b4aa6440bf3a82f4eda7e39ae64c6708c54c216cb96b72e1213b452\
             2f8c9ba40db5d945b11b69b982c1bb9e3f3fac2bc369488f76b2383565d3fff9\
             21f9664c97637da9768812f615c68b13b52e\
             c0875924c1c7987947deafd8780acf49",
        );
        let sealed = encrypt(&key, &nonce, &aad, plaintext).unwrap();
        assert_eq!(sealed, expected);
        assert_eq!(
            decrypt(&key, &nonce, &aad, &sealed).unwrap().as_slice(),
            plaintext
        );
        assert!(decrypt(&key, &nonce, &unhex("50"), &sealed).is_err());
    }

    #[test]
    fn encryption_never_moves_the_buffer() {
        let plaintext = vec![1u8; 4096];
        let sealed = encrypt(&[1; 32], &[2; 24], b"", &plaintext).unwrap();
        assert_eq!(sealed.len(), plaintext.len() + TAG_BYTES);
        assert_eq!(
            sealed.capacity(),
            sealed.len(),
            "the tag had room from the start"
        );
    }
}
