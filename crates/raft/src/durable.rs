//! The one file that names sled: opening it, its keys, and the barrier that makes it durable.
//!
//! What sled 0.34.7 does, and what follows from it (all seen in its source and in the power-loss
//! test):
//! - `flush()` ends in `sync_file_range`, which flushes neither the device's cache nor the file's
//!   size. So [`Disk::barrier`] adds an `fdatasync` on a second handle to sled's `db` file.
//! - A segment begins with a header that names the last segment of which something was in the file by then. Once that is in
//!   the file, sled relies on all before that one, and on that one's own header: what it had moved to them it may
//!   overwrite where it was, or cut off. So what sled writes without being told, when a segment is full, is synced before the next thing
//!   that is done with it, reading included: a reader finishes what a writer has begun with a page. How far it has written, its
//!   `stable_offset` tells. The power-loss test reads the headers.
//! - For each page that it replaces it cleans up one: rewrites it, so that a segment with little in it
//!   becomes free. That is less than the log's coming and going asks for, so its file would grow without end.
//!   The rest is left to a thread of its own that flushes now and then, and writes what it likes between two
//!   barriers. It is off; instead a small page is replaced as often as others are to be cleaned up
//!   ([`Disk::clean_up`]).
//! - A message of more than a quarter of a segment goes to a file of its own, outside the barrier.
//!   The largest message is a leaf, which is split when it has more than 16 items, so holds at most
//!   17 and, once the up to three of a right neighbour are merged into it, 20. With
//!   [`CHUNK_BYTES`] each, that is 330 KiB of the 512 KiB allowed.
//! - Opening writes: it zeroes segments that the log no longer refers to. What was written before a
//!   crash of the process only must therefore be synced before sled opens the file.
//! - `snap.*.generating` left by a crash is taken for a snapshot and makes opening fail. It is
//!   removed first: the snapshot is only a shortcut for reading the log.
//! - Damage can make it panic or wait for ever. So it is opened on a thread of its own, with panics
//!   caught and a deadline.

mod create;
#[cfg(test)]
mod sync_tests;

use std::{
    fs::{self, File},
    io,
    path::{Path, PathBuf},
    sync::{
        Mutex, OnceLock, PoisonError,
        atomic::{AtomicI64, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use sled::IVec;
use strongroom_core::Durations;

pub use crate::{open_error::OpenError, store_format::FORMAT};

use crate::{deadline::within_deadline, files, journal, keys::Key, last::Last};

/// Size of sled's segments.
const SEGMENT_BYTES: usize = 2 * 1024 * 1024;
/// Largest value stored under one key.
pub(crate) const CHUNK_BYTES: usize = 16 * 1024;
/// Puts of the same key after which sled replaces its page. Even.
const PUTS_PER_PAGE: usize = 10;
/// The tree that has that page for itself.
const SMALL: &str = "small";
/// sled's page cache. Recent entries have a cache of their own, so this one is for reading back.
const CACHE_BYTES: u64 = 16 * 1024 * 1024;
/// How long to wait for a previous handle in this process to let go of sled's own lock.
const SLED_LOCK_DEADLINE: Duration = Duration::from_secs(10);

/// Errors of the file system that sled makes up where what it reads makes no sense.
const MADE_UP: [io::ErrorKind; 3] = [
    io::ErrorKind::Other,
    io::ErrorKind::InvalidData,
    io::ErrorKind::UnexpectedEof,
];

/// What makes a write durable, in the journal and in sled.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Barrier {
    /// `fdatasync` of the journal; sled's flush, then `fdatasync` on its file. The only setting for a server.
    #[default]
    Full,
    /// Neither `fdatasync`: writes and sled's flush alone, on a store created and opened as ever. For the power-loss test, which
    /// must fail with it.
    FlushOnly,
}

/// An operation on the store failed. The message is for the log; there is nothing to retry.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{reason}")]
pub(crate) struct DiskError {
    pub(crate) reason: String,
    /// What the operating system refused a write with: the disk is full, say, and what is on it is whole.
    refused: Option<io::ErrorKind>,
}

impl DiskError {
    /// With no refusal of the operating system's.
    pub(crate) fn new(reason: impl Into<String>) -> Self {
        Self {
            reason: reason.into(),
            refused: None,
        }
    }

    /// A write or sync of this was refused.
    pub(crate) fn refused(what: &str, error: &io::Error) -> Self {
        Self {
            reason: format!("{what}: {error}"),
            refused: Some(error.kind()),
        }
    }

    fn writing(error: sled::Error) -> Self {
        match error {
            // Those of its threads come without their number.
            sled::Error::Io(error) if !MADE_UP.contains(&error.kind()) => {
                Self::refused("sled", &error)
            }
            other => other.into(),
        }
    }
}

impl From<sled::Error> for DiskError {
    fn from(error: sled::Error) -> Self {
        Self::new(format!("sled: {error}"))
    }
}

/// An open store: ordered keys and values, and the barrier.
pub(crate) struct Disk {
    db: sled::Db,
    /// Second handle to sled's `db` file, for `fdatasync`.
    db_file: File,
    barrier: Barrier,
    /// A small page, for cleaning up others.
    small: sled::Tree,
    /// What is done with sled is done by one at a time.
    turn: Mutex<()>,
    /// One sync at a time: of two that fail the system tells one alone.
    syncing: Mutex<()>,
    /// Why a sync failed. Nothing is done from then on: the next one would pass, with what this one lost.
    failed: OnceLock<DiskError>,
    /// All segments before this one are durable, and so is its header.
    segment: AtomicI64,
    /// Syncs of the journal.
    pub(crate) syncs: Durations,
    /// The last time that a sync returned for which a change was waiting: the journal's, or sled's while the
    /// journal waits for it.
    pub(crate) synced: Last,
    dir: PathBuf,
    /// Held for its lock on the data directory; released last.
    _lock: File,
}

impl Disk {
    /// Opens the store below `data_dir`, creating it if there is none.
    pub(crate) fn open(data_dir: &Path, barrier: Barrier) -> Result<Self, OpenError> {
        fs::create_dir_all(data_dir).map_err(OpenError::io(data_dir))?;
        let lock = files::lock(data_dir)?;
        let dir = data_dir.join("log");
        if !dir.exists() {
            create::create(data_dir, &dir)?;
        }
        files::remove_half_written_snapshots(&dir).map_err(OpenError::io(&dir))?;
        let db_path = dir.join("db");
        let db_file = File::options()
            .read(true)
            .write(true)
            .open(&db_path)
            .map_err(OpenError::io(&db_path))?;
        db_file.sync_all().map_err(OpenError::io(&db_path))?;
        let (db, small) = open_sled(&dir)?;
        let disk = Self {
            segment: AtomicI64::new(reached(&db)),
            db,
            db_file,
            barrier,
            small,
            turn: Mutex::default(),
            syncing: Mutex::default(),
            failed: OnceLock::new(),
            syncs: Durations::default(),
            synced: Last::now(),
            dir,
            _lock: lock,
        };
        disk.check_format(data_dir)?;
        disk.settle(data_dir).map_err(OpenError::io(data_dir))?;
        Ok(disk)
    }

    /// Makes what opening wrote, created and removed durable.
    fn settle(&self, data_dir: &Path) -> io::Result<()> {
        self.db_file.sync_all()?;
        files::sync_dir(&self.dir)?;
        files::sync_dir(data_dir)
    }

    pub(crate) fn path(&self) -> &Path {
        &self.dir
    }

    pub(crate) fn corrupt(&self, reason: String) -> OpenError {
        OpenError::Corrupt {
            path: self.dir.clone(),
            reason,
        }
    }

    /// Why the store cannot be opened: it is damaged, unless the disk only refuses to write.
    pub(crate) fn unusable(&self, error: DiskError) -> OpenError {
        match error.refused {
            Some(kind) => OpenError::io(&self.dir)(io::Error::new(kind, error.reason)),
            None => self.corrupt(error.reason),
        }
    }

    pub(crate) fn get(&self, key: &Key) -> Result<Option<Vec<u8>>, DiskError> {
        let value = self.in_turn(|| self.db.get(key))??;
        Ok(value.map(|value| value.to_vec()))
    }

    /// Keys and values from `from` (inclusive) to `to` (exclusive), in order.
    pub(crate) fn range(
        &self,
        from: Key,
        to: Key,
    ) -> impl DoubleEndedIterator<Item = Result<(Key, Vec<u8>), DiskError>> {
        Rows {
            disk: self,
            rows: self.db.range(from..to),
        }
    }

    /// Writes a value, or removes the key. Durable after the next [`Disk::barrier`], and never
    /// without everything written before it.
    pub(crate) fn put(&self, key: &Key, value: Option<&[u8]>) -> Result<(), DiskError> {
        let put = self.in_turn(|| match value {
            Some(value) => self.db.insert(key, value),
            None => self.db.remove(key),
        })?;
        put.map(drop).map_err(DiskError::writing)
    }

    /// Has sled clean up some so many pages, if as many are due.
    pub(crate) fn clean_up(&self, pages: usize) -> Result<(), DiskError> {
        for number in 0..pages * PUTS_PER_PAGE {
            // What is there already is not put.
            let put = self.in_turn(|| self.small.insert(SMALL, &[u8::from(number % 2 == 0)]))?;
            put.map_err(DiskError::writing)?;
        }
        Ok(())
    }

    /// Does something with sled, in turn, and syncs what that made it write unasked, or what came before: a header that
    /// was begun meanwhile is written later, and relies on that (invariant 30).
    fn in_turn<T>(&self, work: impl FnOnce() -> T) -> Result<T, DiskError> {
        let _turn = self.turn.lock().unwrap_or_else(PoisonError::into_inner);
        self.check()?;
        let done = work();
        if reached(&self.db) != self.segment.load(Ordering::Relaxed) {
            self.sync()?;
        }
        Ok(done)
    }

    /// Makes everything written so far durable.
    pub(crate) fn barrier(&self) -> Result<(), DiskError> {
        self.check()?;
        self.db.flush().map_err(DiskError::writing)?;
        self.sync()
    }

    fn check(&self) -> Result<(), DiskError> {
        self.failed.get().cloned().map_or(Ok(()), Err)
    }

    /// Makes durable what sled has written to its file.
    fn sync(&self) -> Result<(), DiskError> {
        let syncing = self.syncing.lock();
        let _syncing = syncing.unwrap_or_else(PoisonError::into_inner);
        self.check()?;
        let reached = reached(&self.db);
        let synced = match self.barrier {
            Barrier::Full => self.db_file.sync_data(),
            Barrier::FlushOnly => Ok(()),
        };
        if let Err(error) = synced {
            // When it is let go of, sled writes more, and syncs that, as if what failed here were on the disk.
            std::mem::forget(self.db.clone());
            let failed = || DiskError::refused("fdatasync", &error);
            return Err(self.failed.get_or_init(failed).clone());
        }
        self.segment.fetch_max(reached, Ordering::Relaxed);
        Ok(())
    }

    /// Bytes on disk.
    pub(crate) fn size_on_disk(&self) -> Result<u64, DiskError> {
        let journal = journal::size_on_disk(&self.dir);
        let journal = journal.map_err(|e| DiskError::refused("the journal", &e))?;
        Ok(self.db.size_on_disk()? + journal)
    }
}

/// Rows in order, each read in turn.
struct Rows<'a> {
    disk: &'a Disk,
    rows: sled::Iter,
}

type Row = Result<(Key, Vec<u8>), DiskError>;

impl Iterator for Rows<'_> {
    type Item = Row;

    fn next(&mut self) -> Option<Row> {
        row(self.disk.in_turn(|| self.rows.next()))
    }
}

impl DoubleEndedIterator for Rows<'_> {
    fn next_back(&mut self) -> Option<Row> {
        row(self.disk.in_turn(|| self.rows.next_back()))
    }
}

fn row(read: Result<Option<sled::Result<(IVec, IVec)>>, DiskError>) -> Option<Row> {
    let row = read.map(|row| row.transpose().map_err(DiskError::from));
    let row = row.flatten().transpose()?;
    Some(row.map(|(key, value)| (Key::from_bytes(&key), value.to_vec())))
}

/// The segment of the last byte that sled has written to its file, counted from the file's creation.
fn reached(db: &sled::Db) -> i64 {
    db.context.pagecache.log.stable_offset() / SEGMENT_BYTES as i64
}

/// Opens sled, and the tree for cleaning up.
fn open_sled(dir: &Path) -> Result<(sled::Db, sled::Tree), OpenError> {
    let path = dir.to_owned();
    let open = move || {
        let db = open_when_free(&path)?;
        let small = db.open_tree(SMALL)?;
        Ok((db, small))
    };
    within_deadline(dir, open)?.map_err(|error| not_opened(dir, error))
}

/// What the file system refuses is no damage.
fn not_opened(dir: &Path, error: sled::Error) -> OpenError {
    match error {
        sled::Error::Io(source) => OpenError::io(dir)(source),
        other => OpenError::Corrupt {
            path: dir.to_owned(),
            reason: other.to_string(),
        },
    }
}

/// A handle dropped a moment ago may still be held by one of sled's own threads. Other processes are
/// kept out by the lock on the data directory, so waiting is right.
fn open_when_free(dir: &Path) -> sled::Result<sled::Db> {
    let start = Instant::now();
    loop {
        let config = sled::Config::new()
            .path(dir)
            .segment_size(SEGMENT_BYTES)
            .cache_capacity(CACHE_BYTES)
            .flush_every_ms(None);
        match config.open() {
            Err(sled::Error::Io(error))
                if error.to_string().contains("could not acquire lock")
                    && start.elapsed() < SLED_LOCK_DEADLINE =>
            {
                thread::sleep(Duration::from_millis(5));
            }
            other => return other,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_disk_that_refuses_to_write_is_no_damage() {
        let dir = tempfile::tempdir().unwrap();
        let disk = Disk::open(dir.path(), Barrier::Full).unwrap();
        let full = || io::Error::from_raw_os_error(rustix::io::Errno::NOSPC.raw_os_error());
        let cloned = sled::Error::Io(full()).clone();
        let opened = disk.unusable(DiskError::writing(cloned));
        assert!(matches!(opened, OpenError::Io { .. }), "{opened}");
        assert!(opened.to_string().contains("No space left"), "{opened}");
        let opening = not_opened(dir.path(), sled::Error::Io(full()));
        assert!(matches!(opening, OpenError::Io { .. }), "{opening}");
        // What sled makes of damage is damage, and so is what cannot be read.
        let made_up = sled::Error::Io(io::Error::other("a segment makes no sense"));
        for error in [DiskError::writing(made_up), sled::Error::Io(full()).into()] {
            assert!(matches!(disk.unusable(error), OpenError::Corrupt { .. }));
        }
    }
}
