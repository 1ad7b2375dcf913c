//! Random values for `automatic` secrets.

use strongroom_core::limits;
use zeroize::Zeroizing;

/// Why no value was generated.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum GenerateError {
    /// Nothing to generate.
    #[error("a generated value has at least one character")]
    Length,
    /// The value could be longer than a payload may be.
    #[error("the generated value would be over the payload limit")]
    TooLarge,
    /// Fewer than two different characters: every value would be the same.
    #[error("a character set has at least two different characters")]
    Charset,
    /// The operating system gave no random bytes.
    #[error("the operating system gave no random bytes")]
    Random,
}

/// Random 32-bit words, drawn in blocks that are zeroized.
struct Words {
    block: Zeroizing<[u8; 256]>,
    used: usize,
}

impl Words {
    fn new() -> Self {
        let block = Zeroizing::new([0; 256]);
        Self {
            used: block.len(),
            block,
        }
    }

    fn next(&mut self) -> Result<u32, GenerateError> {
        loop {
            if let Some((word, _)) = self
                .block
                .get(self.used..)
                .and_then(<[u8]>::split_first_chunk::<4>)
            {
                self.used += word.len();
                return Ok(u32::from_le_bytes(*word));
            }
            getrandom::fill(self.block.as_mut_slice()).map_err(|_| GenerateError::Random)?;
            self.used = 0;
        }
    }

    /// A number below `bound`, each equally likely: words in the last, incomplete multiple of
    /// `bound` are drawn again.
    fn below(&mut self, bound: u32) -> Result<u32, GenerateError> {
        loop {
            let word = self.next()?;
            if let Some(number) = reduce(word, bound) {
                return Ok(number);
            }
        }
    }
}

fn reduce(word: u32, bound: u32) -> Option<u32> {
    let bound = u64::from(bound);
    let whole = ((1u64 << 32) / bound) * bound;
    let word = u64::from(word);
    if word < whole {
        u32::try_from(word % bound).ok()
    } else {
        None
    }
}

/// A value of `length` characters, each drawn uniformly from the different characters of `charset`.
///
/// # Errors
/// See [`GenerateError`].
pub fn generate_value(length: u32, charset: &str) -> Result<Zeroizing<String>, GenerateError> {
    let mut chars: Vec<char> = charset.chars().collect();
    chars.sort_unstable();
    chars.dedup();
    let count = u32::try_from(chars.len()).map_err(|_| GenerateError::TooLarge)?;
    if count < 2 {
        return Err(GenerateError::Charset);
    }
    let length = usize::try_from(length).map_err(|_| GenerateError::TooLarge)?;
    if length == 0 {
        return Err(GenerateError::Length);
    }
    let widest = chars.iter().map(|c| c.len_utf8()).max().unwrap_or(1);
    let bytes = length
        .checked_mul(widest)
        .filter(|bytes| *bytes <= limits::PAYLOAD_BYTES);
    // Sized before it is filled, so that no smaller copy stays behind.
    let mut value = Zeroizing::new(String::with_capacity(bytes.ok_or(GenerateError::TooLarge)?));
    let mut words = Words::new();
    for _ in 0..length {
        let at = usize::try_from(words.below(count)?).map_err(|_| GenerateError::TooLarge)?;
        value.push(*chars.get(at).ok_or(GenerateError::Charset)?);
    }
    Ok(value)
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn reduction_has_no_bias() {
        // 2^32 mod 3 is 1: exactly the last word is drawn again.
        assert_eq!(reduce(u32::MAX, 3), None);
        assert_eq!(reduce(u32::MAX - 1, 3), Some(2));
        assert_eq!(reduce(u32::MAX, 2), Some(1));
        assert_eq!(reduce(u32::MAX, u32::MAX), None);
        assert_eq!(reduce(7, 1), Some(0));
    }

    #[test]
    fn characters_are_equally_likely() {
        let charset: String = ('a'..='z').chain('A'..='Z').chain('0'..='9').collect();
        let (draws, kinds) = (62_000u32, 62.0);
        let value = generate_value(draws, &charset).unwrap();
        let mut counts: HashMap<char, f64> = HashMap::new();
        for c in value.chars() {
            *counts.entry(c).or_default() += 1.0;
        }
        let expected = f64::from(draws) / kinds;
        let chi2: f64 = charset
            .chars()
            .map(|c| (counts.get(&c).copied().unwrap_or_default() - expected).powi(2) / expected)
            .sum();
        // 61 degrees of freedom: chance exceeds 140 about once in ten million runs.
        assert!(chi2 < 140.0, "chi² = {chi2}");
    }

    #[test]
    fn unusable_requests_are_refused() {
        let refused = |length, charset| generate_value(length, charset).err();
        assert_eq!(refused(0, "ab"), Some(GenerateError::Length));
        assert_eq!(refused(8, ""), Some(GenerateError::Charset));
        assert_eq!(refused(8, "aaaa"), Some(GenerateError::Charset));
        assert_eq!(refused(u32::MAX, "ab"), Some(GenerateError::TooLarge));
        assert_eq!(
            refused(512 * 1024 / 2 + 1, "aä"),
            Some(GenerateError::TooLarge)
        );
    }

    #[test]
    fn repeated_characters_weigh_nothing() {
        let value = generate_value(10_000, &format!("a{}", "b".repeat(1_000))).unwrap();
        let count = value.chars().filter(|c| *c == 'a').count();
        assert!((4_500..5_500).contains(&count), "{count}");
    }

    proptest! {
        #[test]
        fn values_have_their_length_and_only_given_characters(
            length in 1u32..300, charset in "[a-zé0-9]{2}[!-~ä€]{0,20}"
        ) {
            match generate_value(length, &charset) {
                Ok(value) => {
                    prop_assert_eq!(value.chars().count(), length as usize);
                    prop_assert!(value.chars().all(|c| charset.contains(c)));
                }
                Err(error) => prop_assert_eq!(error, GenerateError::Charset),
            }
        }
    }
}
