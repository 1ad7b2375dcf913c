//! A snapshot as bytes: a magic number and a format, length-prefixed records, and a SHA-256 of all of
//! it at the end. The first record says what the snapshot holds; the others are core's.

use std::io::{self, Read, Write};

use sha2::{Digest, Sha256};
use strongroom_core::{State, codec};

use crate::types::SnapshotMeta;

const MAGIC: [u8; 7] = *b"SRSNAP\0";
/// The format written, and the newest that is read.
const FORMAT: u8 = 1;
/// Longest record that is read. Core writes less than 1 MiB.
const RECORD_BYTES: u32 = 4 * 1024 * 1024;
/// In place of a record's length: the checksum follows.
const END: u32 = 0;

/// Why a snapshot cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum SnapshotError {
    /// Its bytes are not those that were written.
    #[error("the snapshot is damaged: {0}")]
    Damaged(String),
    /// A newer version wrote it.
    #[error("the snapshot has format {0}, which is newer than this version reads")]
    NewerFormat(u8),
    /// It holds something else than it was announced to.
    #[error("the snapshot does not hold what it was announced to")]
    Mislabelled,
    /// The file system refused.
    #[error(transparent)]
    Io(io::Error),
}

impl From<io::Error> for SnapshotError {
    fn from(error: io::Error) -> Self {
        if error.kind() == io::ErrorKind::UnexpectedEof {
            return Self::Damaged("it is cut short".to_owned());
        }
        Self::Io(error)
    }
}

/// Passes bytes on and hashes them.
struct Hashed<T> {
    inner: T,
    hash: Sha256,
}

impl<W: Write> Hashed<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.hash.update(bytes);
        self.inner.write_all(bytes)
    }

    fn record(&mut self, record: &[u8]) -> io::Result<()> {
        let length = u32::try_from(record.len())
            .ok()
            .filter(|length| (1..=RECORD_BYTES).contains(length))
            .ok_or_else(|| io::Error::other("a snapshot's record is too long"))?;
        self.write(&length.to_le_bytes())?;
        self.write(record)
    }
}

impl<R: Read> Hashed<R> {
    fn exact<const N: usize>(&mut self) -> io::Result<[u8; N]> {
        let mut bytes = [0; N];
        self.inner.read_exact(&mut bytes)?;
        self.hash.update(bytes);
        Ok(bytes)
    }

    /// The next record, or `None` at the end.
    fn next_record(&mut self) -> Result<Option<Vec<u8>>, SnapshotError> {
        let length = u32::from_le_bytes(self.exact()?);
        if length == END {
            return Ok(None);
        }
        if length > RECORD_BYTES {
            return Err(SnapshotError::Damaged("a record is too long".to_owned()));
        }
        let mut record = vec![0; usize::try_from(length).unwrap_or_default()];
        self.inner.read_exact(&mut record)?;
        self.hash.update(&record);
        Ok(Some(record))
    }
}

/// Writes a snapshot, in memory for one record at a time.
///
/// # Errors
/// When the writer refuses.
pub fn write(to: &mut impl Write, meta: &SnapshotMeta, state: &State) -> io::Result<()> {
    let mut to = Hashed {
        inner: to,
        hash: Sha256::new(),
    };
    to.write(&MAGIC)?;
    to.write(&[FORMAT])?;
    to.record(&postcard::to_stdvec(meta).map_err(io::Error::other)?)?;
    for record in codec::encode_state(state) {
        to.record(&record)?;
    }
    to.write(&END.to_le_bytes())?;
    let hash = to.hash.finalize();
    to.inner.write_all(&hash)
}

/// Reads a snapshot. What comes back has passed its checksum.
///
/// # Errors
/// See [`SnapshotError`].
pub fn read(from: &mut impl Read) -> Result<(SnapshotMeta, State), SnapshotError> {
    let damaged = |what: &str| SnapshotError::Damaged(what.to_owned());
    let mut from = Hashed {
        inner: from,
        hash: Sha256::new(),
    };
    if from.exact()? != MAGIC {
        return Err(damaged("it does not begin like one"));
    }
    // The checksum is last, so until then a changed byte may show as any of these errors. A format
    // that is only damaged is still not one that we read.
    match from.exact()? {
        [FORMAT] => {}
        [other] => return Err(SnapshotError::NewerFormat(other)),
    }
    let meta = from.next_record()?.ok_or_else(|| damaged("it is empty"))?;
    let meta: SnapshotMeta =
        postcard::from_bytes(&meta).map_err(|e| SnapshotError::Damaged(e.to_string()))?;
    let mut decoder = codec::StateDecoder::default();
    while let Some(record) = from.next_record()? {
        decoder.push(&record).map_err(decode_error)?;
    }
    let hash = from.hash.finalize();
    let mut written = [0; 32];
    from.inner.read_exact(&mut written)?;
    if hash != written.into() {
        return Err(damaged("its checksum does not match"));
    }
    if from.inner.read(&mut [0])? != 0 {
        return Err(damaged("something follows its end"));
    }
    let state = decoder.finish().map_err(decode_error)?;
    let labelled = meta.last_log_id.as_ref().map(crate::types::position);
    if labelled != state.position() {
        return Err(SnapshotError::Mislabelled);
    }
    Ok((meta, state))
}

fn decode_error(error: codec::DecodeError) -> SnapshotError {
    match error {
        codec::DecodeError::NewerFormat(format) => SnapshotError::NewerFormat(format),
        error => SnapshotError::Damaged(error.to_string()),
    }
}
