//! The store's keys: a few named values, and the log's entries in order of their index.

/// A key of the store. Entries sort after everything else, by index and then by chunk.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Key {
    bytes: [u8; Self::ENTRY_LEN],
    len: usize,
}

impl Key {
    const ENTRY_LEN: usize = 11;
    const ENTRY_TAG: u8 = b'e';

    /// The store's format.
    pub(crate) const FORMAT: Self = Self::named(*b"f");
    /// The node's vote.
    pub(crate) const VOTE: Self = Self::named(*b"v");
    /// The last entry known to be committed.
    pub(crate) const COMMITTED: Self = Self::named(*b"c");
    /// The last entry purged.
    pub(crate) const PURGED: Self = Self::named(*b"p");
    /// The Raft id of the node whose log it is.
    pub(crate) const OWNER: Self = Self::named(*b"o");

    /// How much of the journal sled has.
    pub(crate) const JOURNAL: Self = Self::named(*b"j");

    const fn named(name: [u8; 1]) -> Self {
        let [tag] = name;
        // Named keys are in their own family, before the entries'.
        Self {
            bytes: [b'a', tag, 0, 0, 0, 0, 0, 0, 0, 0, 0],
            len: 2,
        }
    }

    /// One chunk of an entry. Chunk 0 is the head, written last: an entry is there if its head is.
    pub(crate) fn chunk(index: u64, chunk: u16) -> Self {
        let [a, b, c, d, e, f, g, h] = index.to_be_bytes();
        let [x, y] = chunk.to_be_bytes();
        Self {
            bytes: [Self::ENTRY_TAG, a, b, c, d, e, f, g, h, x, y],
            len: Self::ENTRY_LEN,
        }
    }

    /// The first key that is not of an entry at or before `index`.
    pub(crate) fn after(index: u64) -> Self {
        index.checked_add(1).map_or(
            Self {
                bytes: [Self::ENTRY_TAG + 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0],
                len: 1,
            },
            |next| Self::chunk(next, 0),
        )
    }

    pub(crate) fn from_bytes(raw: &[u8]) -> Self {
        let mut bytes = [0; Self::ENTRY_LEN];
        let len = raw.len().min(Self::ENTRY_LEN);
        for (to, from) in bytes.iter_mut().zip(raw) {
            *to = *from;
        }
        Self { bytes, len }
    }

    /// The entry's index and the chunk, if this is an entry's key.
    pub(crate) fn entry(&self) -> Option<(u64, u16)> {
        let [tag, a, b, c, d, e, f, g, h, x, y] = self.bytes;
        (tag == Self::ENTRY_TAG && self.len == Self::ENTRY_LEN).then(|| {
            (
                u64::from_be_bytes([a, b, c, d, e, f, g, h]),
                u16::from_be_bytes([x, y]),
            )
        })
    }
}

impl AsRef<[u8]> for Key {
    fn as_ref(&self) -> &[u8] {
        self.bytes.get(..self.len).unwrap_or(&self.bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_sort_by_index_then_chunk_and_after_the_named_keys() {
        let keys = [
            Key::COMMITTED,
            Key::FORMAT,
            Key::OWNER,
            Key::PURGED,
            Key::VOTE,
            Key::chunk(0, 0),
            Key::chunk(0, 300),
            Key::after(0),
            Key::chunk(1, 1),
            Key::chunk(u64::MAX, u16::MAX),
            Key::after(u64::MAX),
        ];
        assert!(
            keys.windows(2)
                .all(|pair| pair[0].as_ref() < pair[1].as_ref())
        );
        assert_eq!(
            Key::from_bytes(Key::chunk(7, 3).as_ref()).entry(),
            Some((7, 3))
        );
        assert_eq!(Key::VOTE.entry(), None);
    }
}
