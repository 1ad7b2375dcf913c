//! How far the log went and what was voted, noted beside sled's own file.
//!
//! sled takes damage in what it wrote last for the end that a crash tore, and goes on without what
//! follows: the log would be shorter than what was acknowledged, and nobody would know. So after each
//! sync of the journal the end is noted here, and a log that holds less is not started from (invariant 23). The note needs no sync: it never says more than a sync has made
//! durable, so an older one that a power cut leaves is true as well. Only before the log is cut short on
//! purpose it is lowered, and synced.

use std::{
    fs::File,
    io,
    os::unix::fs::{FileExt, OpenOptionsExt},
    path::Path,
};

use sha2::{Digest, Sha256};

/// What the file begins with, the format included.
const MAGIC: [u8; 8] = *b"SRMARK\0\x01";
const VOTE_BYTES: usize = 32;
/// Magic, where the next entry goes, the vote's length and the vote.
const BODY_BYTES: usize = MAGIC.len() + 8 + 1 + VOTE_BYTES;
const SUM_BYTES: usize = 8;

/// What the log held at least.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(crate) struct Noted {
    /// The index after the last entry.
    pub(crate) next: u64,
    /// The vote, as it is stored; empty: none.
    pub(crate) vote: Vec<u8>,
}

impl Noted {
    fn encode(&self) -> Option<Vec<u8>> {
        let mut bytes = MAGIC.to_vec();
        bytes.extend_from_slice(&self.next.to_le_bytes());
        bytes.push(u8::try_from(self.vote.len()).ok()?);
        bytes.extend_from_slice(&self.vote);
        if bytes.len() > BODY_BYTES {
            return None;
        }
        bytes.resize(BODY_BYTES, 0);
        let sum = Sha256::digest(&bytes);
        bytes.extend(sum.iter().take(SUM_BYTES));
        Some(bytes)
    }

    fn decode(bytes: &[u8]) -> Option<Self> {
        let (body, sum) = bytes.split_at_checked(BODY_BYTES)?;
        let rest = body.strip_prefix(&MAGIC)?;
        let (next, rest) = rest.split_first_chunk::<8>()?;
        let (length, vote) = rest.split_first()?;
        let noted = Self {
            next: u64::from_le_bytes(*next),
            vote: vote.get(..usize::from(*length))?.to_vec(),
        };
        let fits = Sha256::digest(body).iter().take(SUM_BYTES).eq(sum);
        fits.then_some(noted)
    }
}

/// The file with the note.
pub(crate) struct Mark {
    file: File,
    /// What it says.
    noted: Noted,
    /// What it will say after the next sync.
    coming: Noted,
}

impl Mark {
    /// Opens the note in the store's directory. `None` beside it: there was none that makes sense, as in
    /// a store that an earlier version wrote.
    pub(crate) fn open(dir: &Path) -> io::Result<(Self, Option<Noted>)> {
        let file = File::options()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(dir.join("mark"))?;
        let mut bytes = [0; BODY_BYTES + SUM_BYTES];
        let found = match file.read_exact_at(&mut bytes, 0) {
            Ok(()) => Noted::decode(&bytes),
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => None,
            Err(error) => return Err(error),
        };
        let noted = found.clone().unwrap_or_default();
        let mark = Self {
            file,
            coming: noted.clone(),
            noted,
        };
        Ok((mark, found))
    }

    /// An entry was written.
    pub(crate) fn entry(&mut self, index: u64) {
        self.coming.next = index.saturating_add(1);
    }

    /// A vote was written.
    pub(crate) fn vote(&mut self, vote: &[u8]) {
        self.coming.vote = vote.to_vec();
    }

    /// Entries from here on are about to be removed.
    pub(crate) fn before_truncating(&mut self, from: u64) -> io::Result<()> {
        self.coming.next = self.coming.next.min(from);
        if self.noted.next > from {
            let mut lowered = self.noted.clone();
            lowered.next = from;
            self.write(lowered)?;
            self.file.sync_data()?;
        }
        Ok(())
    }

    /// A sync has returned: what was written before it counts.
    pub(crate) fn after_sync(&mut self) -> io::Result<()> {
        if self.coming == self.noted {
            return Ok(());
        }
        self.write(self.coming.clone())
    }

    fn write(&mut self, noted: Noted) -> io::Result<()> {
        let bytes = noted.encode();
        let bytes = bytes.ok_or_else(|| io::Error::other("a vote is too long to be noted"))?;
        self.file.write_all_at(&bytes, 0)?;
        self.noted = noted;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reopened(dir: &Path) -> Option<Noted> {
        Mark::open(dir).unwrap().1
    }

    #[test]
    fn a_note_counts_after_a_sync_and_is_lowered_before_a_cut() {
        let dir = tempfile::tempdir().unwrap();
        let (mut mark, found) = Mark::open(dir.path()).unwrap();
        assert_eq!(found, None);
        mark.entry(6);
        mark.vote(&[3; 20]);
        assert_eq!(reopened(dir.path()), None);
        mark.after_sync().unwrap();
        let noted = |next| Noted {
            next,
            vote: vec![3; 20],
        };
        assert_eq!(reopened(dir.path()), Some(noted(7)));
        mark.before_truncating(4).unwrap();
        assert_eq!(reopened(dir.path()), Some(noted(4)));
        mark.entry(4);
        assert_eq!(reopened(dir.path()), Some(noted(4)));
        mark.after_sync().unwrap();
        mark.before_truncating(9).unwrap();
        assert_eq!(reopened(dir.path()), Some(noted(5)));
        mark.vote(&[1; VOTE_BYTES + 1]);
        assert!(mark.after_sync().is_err());
    }

    #[test]
    fn a_note_that_is_damaged_says_nothing() {
        let whole = Noted {
            next: 300,
            vote: vec![1, 2, 3],
        };
        let bytes = whole.encode().unwrap();
        assert_eq!(Noted::decode(&bytes), Some(whole));
        for place in 0..bytes.len() {
            let mut spoilt = bytes.clone();
            spoilt[place] ^= 1;
            assert_eq!(Noted::decode(&spoilt), None, "byte {place}");
            assert_eq!(Noted::decode(&bytes[..place]), None);
        }
    }
}
