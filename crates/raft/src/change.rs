//! What the log store is told to change, and how that is made in sled.

use crate::{
    durable::{CHUNK_BYTES, Disk, DiskError},
    keys::Key,
    rows,
};

/// One change of the store. Making changes again, in their order and to the end, makes no difference: so does
/// a start that finds some of them made already.
#[cfg_attr(test, derive(PartialEq, Eq, Debug))]
pub(crate) enum Change {
    /// Writes an entry.
    Entry { index: u64, bytes: Vec<u8> },
    /// Removes the entries from here on.
    Truncate { from: u64 },
    /// Records the purge point; the entries up to it are removed in the background.
    Purge { upto: u64, point: Vec<u8> },
    /// Writes a named value.
    Value { key: Key, value: Vec<u8> },
}

impl Change {
    /// Bytes that it brings.
    pub(crate) fn weight(&self) -> usize {
        match self {
            Self::Entry { bytes, .. } => bytes.len(),
            Self::Value { value, .. } | Self::Purge { point: value, .. } => value.len(),
            Self::Truncate { .. } => 0,
        }
    }
}

/// Makes changes in sled, in order. Of a named value only the last is written, after all else: it speaks of
/// entries that were there before it.
pub(crate) struct Making<'a> {
    disk: &'a Disk,
    named: Vec<(Key, Vec<u8>)>,
    /// How far the log was purged by these.
    pub(crate) purged: Option<u64>,
    /// Rows of entries written.
    pub(crate) rows: usize,
}

impl<'a> Making<'a> {
    pub(crate) fn new(disk: &'a Disk) -> Self {
        Self {
            disk,
            named: Vec::new(),
            purged: None,
            rows: 0,
        }
    }

    pub(crate) fn make(&mut self, change: Change) -> Result<(), DiskError> {
        match change {
            Change::Entry { index, bytes } => {
                self.rows += bytes.len() / CHUNK_BYTES + 1;
                rows::write(self.disk, index, &bytes)
            }
            Change::Truncate { from } => rows::truncate(self.disk, from),
            Change::Value { key, value } => {
                self.named.retain(|(named, _)| *named != key);
                self.named.push((key, value));
                Ok(())
            }
            Change::Purge { upto, point } => {
                self.purged = self.purged.max(Some(upto));
                self.disk.put(&Key::PURGED, Some(&point))
            }
        }
    }

    /// Writes what was left for the end. Nothing is durable before the next barrier.
    pub(crate) fn finish(&mut self) -> Result<(), DiskError> {
        self.named
            .drain(..)
            .try_for_each(|(key, value)| self.disk.put(&key, Some(&value)))
    }
}
