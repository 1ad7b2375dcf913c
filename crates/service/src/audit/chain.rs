//! The chain: each record names the hash of the one before it.

use std::fmt;

use sha2::{Digest, Sha256};

use super::record::Line;
use crate::hex;

/// SHA-256, as lower-case hexadecimal where it is written.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Hash(pub(super) [u8; 32]);

impl Hash {
    pub(super) fn parse(text: &str) -> Option<Self> {
        let digit = |c: u8| c.is_ascii_digit() || (b'a'..=b'f').contains(&c);
        if text.len() != 64 || !text.bytes().all(digit) {
            return None;
        }
        let mut bytes = [0; 32];
        for (at, byte) in bytes.iter_mut().enumerate() {
            *byte = u8::from_str_radix(text.get(2 * at..2 * at + 2)?, 16).ok()?;
        }
        Some(Self(bytes))
    }

    /// As it is written.
    pub(super) fn digits(&self) -> [u8; 64] {
        hex::digits(&self.0)
    }
}

impl fmt::Display for Hash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(str::from_utf8(&self.digits()).unwrap_or_default())
    }
}

/// One record's place in the chain.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Link {
    pub(super) seq: u64,
    pub(super) hash: Hash,
}

impl Link {
    /// What the first record follows.
    pub(super) const GENESIS: Self = Self {
        seq: 0,
        hash: Hash([0; 32]),
    };
}

/// Why a record does not fit.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum Reason {
    /// The last line has no end.
    #[error("the line is cut off")]
    Torn,
    /// Longer than any record.
    #[error("the line is longer than any record")]
    TooLong,
    /// Not a record.
    #[error("the line is not an audit record")]
    Malformed,
    /// Its bytes are not what was hashed.
    #[error("the record was edited: its hash does not match its content")]
    Edited,
    /// Records before this one are missing.
    #[error("records {from} to {to} are missing before this one")]
    Missing {
        /// The first one that is missing.
        from: u64,
        /// The last one.
        to: u64,
    },
    /// It stands behind a later record.
    #[error("the record is repeated or out of order: {expected} was expected")]
    Order {
        /// The number that belongs here.
        expected: u64,
    },
    /// It was made to follow something else.
    #[error("the record does not follow the one before it: that one was replaced")]
    Unlinked,
    /// The head file knows another record of this number.
    #[error("the record is not the one that the head file names: it was replaced")]
    NotTheHead,
    /// The trail ends before the record that the head file names.
    #[error("the trail was cut: the head file names record {head}")]
    Cut {
        /// The last record that was synced.
        head: u64,
    },
    /// The head file holds something else.
    #[error("the head file is damaged")]
    BadHead,
    /// The file system says no.
    #[error("it cannot be read: {0}")]
    Unreadable(std::io::ErrorKind),
}

/// A line whose content matches its hash.
#[derive(Debug)]
pub(super) struct Checked {
    pub(super) link: Link,
    prev: Hash,
}

/// What precedes the hash in a line, and what follows it.
const HASH_FIELD: (&[u8], &[u8]) = (b",\"hash\":\"", b"\"}");

impl Checked {
    /// Checks one line by itself. `line` has no line end.
    pub(super) fn parse(line: &[u8]) -> Result<Self, Reason> {
        let read: Line<'_> = serde_json::from_slice(line).map_err(|_| Reason::Malformed)?;
        let hash = Hash::parse(&read.hash).ok_or(Reason::Malformed)?;
        let prev = Hash::parse(&read.prev).ok_or(Reason::Malformed)?;
        let body = line
            .strip_suffix(HASH_FIELD.1)
            .and_then(|line| line.strip_suffix(read.hash.as_bytes()))
            .and_then(|line| line.strip_suffix(HASH_FIELD.0))
            .ok_or(Reason::Malformed)?;
        let content = Sha256::new()
            .chain_update(body)
            .chain_update(b"}")
            .finalize();
        if hash.0 != <[u8; 32]>::from(content) {
            return Err(Reason::Edited);
        }
        Ok(Self {
            link: Link {
                seq: read.seq,
                hash,
            },
            prev,
        })
    }

    /// Whether this record is the one after `before`.
    pub(super) fn follows(&self, before: Link) -> Result<(), Reason> {
        let expected = before.seq.saturating_add(1);
        if self.link.seq > expected {
            return Err(Reason::Missing {
                from: expected,
                to: self.link.seq - 1,
            });
        }
        if self.link.seq < expected {
            return Err(Reason::Order { expected });
        }
        if self.prev == before.hash {
            Ok(())
        } else {
            Err(Reason::Unlinked)
        }
    }
}

/// The number of the record on a line that is known to be whole, without reading the rest of it.
pub(super) fn seq_of(line: &[u8]) -> Option<u64> {
    let digits = line.strip_prefix(b"{\"seq\":")?;
    let end = digits.iter().position(|c| !c.is_ascii_digit())?;
    std::str::from_utf8(digits.get(..end)?).ok()?.parse().ok()
}
