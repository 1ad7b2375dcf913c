//! A change as bytes of the journal. A record tells what was written by this run and in this place of its order
//! from everything else that a file may hold: what was there before, a part, what was written once and not
//! synced.
//!
//! | bytes | |
//! |---|---|
//! | 8 | the first of the SHA-256 of the salt and all that follows |
//! | 4 | length of the rest of the change |
//! | 8 | number: 1 for the first after opening, and so on |
//! | 1 | kind of change |
//! | 8 | the index that it is about, 0 for a value |
//! | length | the entry, the purge point, or a key's length (1), the key and its value |
//!
//! Numbers are little-endian.

use sha2::{Digest, Sha256};

use crate::{change::Change, keys::Key};

/// Drawn each time the store is opened: no record of an earlier run passes for one of this.
pub(crate) type Salt = [u8; 16];

const SUM_BYTES: usize = 8;
/// Bytes of a record beside its change's.
const HEAD_BYTES: usize = SUM_BYTES + 4 + 8 + 1 + 8;

const ENTRY: u8 = 1;
const TRUNCATE: u8 = 2;
const PURGE: u8 = 3;
const VALUE: u8 = 4;

fn sum(salt: &Salt, rest: &[u8]) -> [u8; SUM_BYTES] {
    let digest = Sha256::new().chain_update(salt).chain_update(rest);
    let mut sum = [0; SUM_BYTES];
    for (to, from) in sum.iter_mut().zip(digest.finalize()) {
        *to = from;
    }
    sum
}

/// Bytes of this change's record.
pub(super) fn length(change: &Change) -> usize {
    let key = match change {
        Change::Value { key, .. } => 1 + key.as_ref().len(),
        _ => 0,
    };
    HEAD_BYTES + key + change.weight()
}

/// Adds the record of a change.
pub(super) fn encode(to: &mut Vec<u8>, salt: &Salt, number: u64, change: &Change) {
    let start = to.len();
    let (kind, index, rest) = match change {
        Change::Entry { index, bytes } => (ENTRY, *index, bytes.as_slice()),
        Change::Truncate { from } => (TRUNCATE, *from, [].as_slice()),
        Change::Purge { upto, point } => (PURGE, *upto, point.as_slice()),
        Change::Value { value, .. } => (VALUE, 0, value.as_slice()),
    };
    // What does not fit a file is not written to one, and files are far below 4 GiB.
    let payload = u32::try_from(length(change) - HEAD_BYTES).unwrap_or(u32::MAX);
    to.extend_from_slice(&[0; SUM_BYTES]);
    to.extend_from_slice(&payload.to_le_bytes());
    to.extend_from_slice(&number.to_le_bytes());
    to.push(kind);
    to.extend_from_slice(&index.to_le_bytes());
    if let Change::Value { key, .. } = change {
        to.push(u8::try_from(key.as_ref().len()).unwrap_or(u8::MAX));
        to.extend_from_slice(key.as_ref());
    }
    to.extend_from_slice(rest);
    if let Some((place, rest)) = to
        .get_mut(start..)
        .and_then(|record| record.split_first_chunk_mut::<SUM_BYTES>())
    {
        *place = sum(salt, rest);
    }
}

/// The record that bytes begin with, if they begin with one: its number, the change, and what follows it.
pub(super) fn decode<'a>(bytes: &'a [u8], salt: &Salt) -> Option<(u64, Change, &'a [u8])> {
    let (claimed, summed) = bytes.split_first_chunk::<SUM_BYTES>()?;
    let (length, rest) = summed.split_first_chunk::<4>()?;
    let length = usize::try_from(u32::from_le_bytes(*length)).ok()?;
    let record = length.checked_add(HEAD_BYTES - SUM_BYTES)?;
    let (summed, after) = summed.split_at_checked(record)?;
    if sum(salt, summed) != *claimed {
        return None;
    }
    let (number, rest) = rest.split_first_chunk::<8>()?;
    let (kind, rest) = rest.split_first()?;
    let (index, rest) = rest.split_first_chunk::<8>()?;
    let payload = rest.get(..length)?;
    let index = u64::from_le_bytes(*index);
    let change = match *kind {
        ENTRY => Change::Entry {
            index,
            bytes: payload.to_vec(),
        },
        TRUNCATE => Change::Truncate { from: index },
        PURGE => Change::Purge {
            upto: index,
            point: payload.to_vec(),
        },
        VALUE => {
            let (length, payload) = payload.split_first()?;
            let (key, value) = payload.split_at_checked(usize::from(*length))?;
            Change::Value {
                key: Key::from_bytes(key),
                value: value.to_vec(),
            }
        }
        _ => return None,
    };
    Some((u64::from_le_bytes(*number), change, after))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all_kinds() -> Vec<Change> {
        vec![
            Change::Entry {
                index: 7,
                bytes: vec![3; 1000],
            },
            Change::Truncate { from: u64::MAX },
            Change::Purge {
                upto: 5,
                point: vec![1, 2],
            },
            Change::Value {
                key: Key::VOTE,
                value: vec![9; 20],
            },
            Change::Entry {
                index: 0,
                bytes: Vec::new(),
            },
        ]
    }

    #[test]
    fn every_kind_of_change_comes_back() {
        let salt = [5; 16];
        let mut bytes = Vec::new();
        for (number, change) in (1..).zip(all_kinds()) {
            let before = bytes.len();
            encode(&mut bytes, &salt, number, &change);
            assert_eq!(bytes.len() - before, length(&change));
        }
        let mut left = bytes.as_slice();
        for (number, change) in (1..).zip(all_kinds()) {
            let (found, decoded, after) = decode(left, &salt).unwrap();
            assert_eq!((found, decoded), (number, change));
            left = after;
        }
        assert!(left.is_empty());
    }

    #[test]
    fn what_is_damaged_cut_short_or_of_another_run_is_no_record() {
        let salt = [5; 16];
        for change in all_kinds() {
            let mut bytes = Vec::new();
            encode(&mut bytes, &salt, 9, &change);
            assert!(decode(&bytes, &[6; 16]).is_none());
            for place in 0..bytes.len() {
                assert!(decode(&bytes[..place], &salt).is_none());
                let mut spoilt = bytes.clone();
                spoilt[place] ^= 1;
                assert!(decode(&spoilt, &salt).is_none(), "byte {place}");
            }
        }
        assert!(decode(&[0; 4096], &salt).is_none());
    }
}
