//! Lower-case hexadecimal, without a formatter: every request has an id, and every record two hashes.

/// The digits of `bytes`; `M` is twice `N`.
pub(crate) fn digits<const N: usize, const M: usize>(bytes: &[u8; N]) -> [u8; M] {
    const { assert!(M == 2 * N) };
    let mut text = [b'0'; M];
    for (to, byte) in text.chunks_exact_mut(2).zip(bytes) {
        if let [high, low] = to {
            (*high, *low) = (digit(byte >> 4), digit(byte & 0xf));
        }
    }
    text
}

const fn digit(value: u8) -> u8 {
    match value {
        0..=9 => b'0' + value,
        _ => b'a' + (value - 10),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_byte_has_its_two_digits() {
        for byte in 0..=u8::MAX {
            let expected = format!("{byte:02x}00");
            assert_eq!(digits::<2, 4>(&[byte, 0]), expected.as_bytes());
        }
    }
}
