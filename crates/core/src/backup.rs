//! A backup: what a state holds, as a file that says itself whether it is whole.
//!
//! Eight bytes that tell what it is and one for the version of this layout; the state's records (see
//! [`codec`](crate::codec)), each with its length in four bytes before it, least byte first; a length
//! of zero; and the SHA-256 of everything before. Values are in it as they are in the log: sealed. What
//! requests did is not in it, nor a restore under way: both belong to one log.

use bytes::{Buf, Bytes, BytesMut};
use sha2::{Digest, Sha256};

use crate::{
    State,
    codec::{DecodeError, StateDecoder, encode_content},
};

/// What every backup begins with.
pub const MAGIC: [u8; 8] = *b"SRBACKUP";
/// The layout that this version writes and reads.
pub const LAYOUT: u8 = 1;
/// Largest record, in bytes; those of the codec are smaller.
const RECORD_BYTES: usize = 1024 * 1024;
const HEAD_BYTES: usize = MAGIC.len() + 1;
const CHECKSUM_BYTES: usize = 32;

/// Why bytes are no backup, or not a whole one.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum BackupError {
    /// It does not begin like one.
    #[error("this is no backup")]
    NotABackup,
    /// A newer version wrote it.
    #[error("the backup was written by a newer version")]
    Newer,
    /// It ends before its end.
    #[error("the backup is cut short")]
    CutShort,
    /// Its checksum does not fit, or something in it makes no sense.
    #[error("the backup is damaged")]
    Damaged,
    /// Something follows its end.
    #[error("something follows the end of the backup")]
    Longer,
}

impl From<DecodeError> for BackupError {
    fn from(error: DecodeError) -> Self {
        match error {
            DecodeError::NewerFormat(_) => Self::Newer,
            DecodeError::Malformed | DecodeError::Incomplete => Self::Damaged,
        }
    }
}

/// A state's backup, piece by piece.
pub fn encode(state: &State) -> impl Iterator<Item = Vec<u8>> + '_ {
    let head = [&MAGIC[..], &[LAYOUT]].concat();
    let framed = encode_content(state).map(|record| frame(&record));
    let end = frame(&[]);
    let mut hash = Sha256::new();
    let mut pieces = std::iter::once(head)
        .chain(framed)
        .chain(std::iter::once(end));
    let mut ended = false;
    std::iter::from_fn(move || match pieces.next() {
        Some(piece) => {
            hash.update(&piece);
            Some(piece)
        }
        None if ended => None,
        None => {
            ended = true;
            Some(hash.clone().finalize().to_vec())
        }
    })
}

/// A record with its length before it.
#[must_use]
pub fn frame(record: &[u8]) -> Vec<u8> {
    // A record is far smaller than 4 GiB.
    let length = u32::try_from(record.len()).unwrap_or(u32::MAX);
    [&length.to_le_bytes()[..], record].concat()
}

/// Takes records out of bytes that come in pieces of any size.
#[derive(Default)]
pub(crate) struct Frames {
    waiting: BytesMut,
}

impl Frames {
    pub(crate) fn push(&mut self, bytes: &[u8]) {
        self.waiting.extend_from_slice(bytes);
    }

    /// The next record, once all of it has come. Empty: the end of the records.
    pub(crate) fn next(&mut self) -> Result<Option<Bytes>, BackupError> {
        let Some(length) = self.waiting.first_chunk::<4>() else {
            return Ok(None);
        };
        let length = usize::try_from(u32::from_le_bytes(*length)).unwrap_or(usize::MAX);
        if length > RECORD_BYTES {
            return Err(BackupError::Damaged);
        }
        if self.waiting.len() < 4 + length {
            return Ok(None);
        }
        self.waiting.advance(4);
        Ok(Some(self.waiting.split_to(length).freeze()))
    }

    /// What has come and is no whole record yet.
    pub(crate) fn left(self) -> BytesMut {
        self.waiting
    }
}

/// Reads a backup that comes in pieces, and believes nothing of it until its checksum has come.
pub struct Reader {
    head: Vec<u8>,
    hash: Sha256,
    frames: Frames,
    decoder: StateDecoder,
    /// What has come of the checksum, once the records have ended.
    checksum: Option<BytesMut>,
    bytes: u64,
}

impl Default for Reader {
    fn default() -> Self {
        Self {
            head: Vec::new(),
            hash: Sha256::new(),
            frames: Frames::default(),
            decoder: StateDecoder::default(),
            checksum: None,
            bytes: 0,
        }
    }
}

impl Reader {
    /// Takes the next piece.
    ///
    /// # Errors
    /// See [`BackupError`]; nothing that comes after it makes up for one.
    pub fn push(&mut self, mut piece: &[u8]) -> Result<(), BackupError> {
        self.bytes += piece.len() as u64;
        if self.head.len() < HEAD_BYTES {
            let (head, rest) = piece.split_at(piece.len().min(HEAD_BYTES - self.head.len()));
            self.head.extend_from_slice(head);
            self.hash.update(head);
            self.check_head()?;
            piece = rest;
        }
        if let Some(checksum) = &mut self.checksum {
            checksum.extend_from_slice(piece);
        } else {
            self.frames.push(piece);
            self.take_records()?;
        }
        match &self.checksum {
            Some(checksum) if checksum.len() > CHECKSUM_BYTES => Err(BackupError::Longer),
            _ => Ok(()),
        }
    }

    fn check_head(&self) -> Result<(), BackupError> {
        let known = self.head.len().min(MAGIC.len());
        if self.head.get(..known) != MAGIC.get(..known) {
            return Err(BackupError::NotABackup);
        }
        match self.head.get(MAGIC.len()) {
            Some(&layout) if layout > LAYOUT => Err(BackupError::Newer),
            Some(0) => Err(BackupError::Damaged),
            _ => Ok(()),
        }
    }

    fn take_records(&mut self) -> Result<(), BackupError> {
        while let Some(record) = self.frames.next()? {
            self.hash.update(frame(&record));
            if record.is_empty() {
                self.checksum = Some(std::mem::take(&mut self.frames).left());
                return Ok(());
            }
            self.decoder.push(&record)?;
        }
        Ok(())
    }

    /// Bytes that have come.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// The state that was backed up, when everything has come. It takes as long as
    /// [`StateDecoder::finish`]: not for a thread that has others to serve.
    ///
    /// # Errors
    /// [`BackupError::CutShort`], or [`BackupError::Damaged`] if the checksum does not fit.
    pub fn finish(self) -> Result<State, BackupError> {
        let checksum = self.checksum.ok_or(BackupError::CutShort)?;
        if checksum.len() < CHECKSUM_BYTES {
            return Err(BackupError::CutShort);
        }
        // It guards against damage, not against people: comparing it need not take constant time.
        if checksum[..] != self.hash.finalize()[..] {
            return Err(BackupError::Damaged);
        }
        Ok(self.decoder.finish()?)
    }
}
