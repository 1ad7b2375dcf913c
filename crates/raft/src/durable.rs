//! The one file that names sled: opening it, its keys, and the barrier that makes it durable.
//!
//! What sled 0.34.7 does, and what follows from it (all seen in its source and in the power-loss
//! test):
//! - `flush()` ends in `sync_file_range`, which flushes neither the device's cache nor the file's
//!   size. So [`Disk::barrier`] adds an `fdatasync` on a second handle to sled's `db` file.
//! - A segment whose pages were rewritten elsewhere may be cut off or overwritten once one further
//!   segment has been written after the rewrite. Rewrite and reuse must not fall between the same
//!   two barriers, or a power cut may keep the second and lose the first. So there is a barrier
//!   after every [`BARRIER_BYTES`]: sled writes some five times as much as it is given (measured),
//!   which stays below a [`SEGMENT_BYTES`] segment. The power-loss test checks that it does.
//! - A message of more than a quarter of a segment goes to a file of its own, outside the barrier.
//!   The largest message is a leaf, which is split when it has more than 16 items, so holds at most
//!   17 and, once the up to three of a right neighbour are merged into it, 20. With
//!   [`CHUNK_BYTES`] each, that is 330 KiB of the 512 KiB allowed.
//! - Opening writes: it zeroes segments that the log no longer refers to. What was written before a
//!   crash of the process only must therefore be synced before sled opens the file.
//! - `snap.*.generating` left by a crash is taken for a snapshot and makes opening fail. It is
//!   removed first: the snapshot is only a shortcut for reading the log.
//! - A half-written `conf` makes the store unreadable. So a store is created aside, synced, and
//!   renamed into place.
//! - Damage can make it panic or wait for ever. So it is opened on a thread of its own, with panics
//!   caught and a deadline.

use std::{
    fs::{self, File},
    io,
    panic::{AssertUnwindSafe, catch_unwind},
    path::{Path, PathBuf},
    sync::{
        atomic::{AtomicUsize, Ordering},
        mpsc,
    },
    thread,
    time::{Duration, Instant},
};

use strongroom_core::Durations;

use crate::{files, journal, keys::Key, last::Last};

/// Size of sled's segments.
const SEGMENT_BYTES: usize = 2 * 1024 * 1024;
/// Largest value stored under one key.
pub(crate) const CHUNK_BYTES: usize = 16 * 1024;
/// Bytes written at most between two barriers.
const BARRIER_BYTES: usize = 256 * 1024;
/// sled's page cache. Recent entries have a cache of their own, so this one is for reading back.
const CACHE_BYTES: u64 = 16 * 1024 * 1024;
/// How long opening may take before it counts as hanging.
const OPEN_DEADLINE: Duration = Duration::from_secs(120);
/// How long to wait for a previous handle in this process to let go of sled's own lock.
const SLED_LOCK_DEADLINE: Duration = Duration::from_secs(10);
/// The format this build writes, and the newest it reads: since 2 a journal holds what sled may not have yet.
pub const FORMAT: u8 = 2;

/// What makes a write durable.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Barrier {
    /// sled's flush, then `fdatasync` on its file. The only setting for a server.
    #[default]
    Full,
    /// sled's flush alone, on a store created and opened as ever. For the power-loss test, which
    /// must fail with it.
    FlushOnly,
}

/// Why a store does not open.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Another process has it.
    #[error(
        "data directory {} is in use by another process: stop that process, or use another \
         directory", .0.display()
    )]
    Locked(PathBuf),
    /// It was written by a newer version.
    #[error(
        "data directory {} has format {found}, and this version reads up to {FORMAT}: run the newer \
         version again", .dir.display()
    )]
    NewerFormat {
        /// The data directory.
        dir: PathBuf,
        /// The format found.
        found: u8,
    },
    /// Its contents make no sense.
    #[error(
        "the store in {} is damaged ({reason}): move the directory aside (do not delete it) and \
         start again with an empty one; the node then comes back as a new member", .path.display()
    )]
    Corrupt {
        /// The damaged file or directory.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// It is another member's.
    #[error(
        "the store in {} belongs to another member than node.json: put back what belongs together, or \
         move both aside (do not delete them)", .0.display()
    )]
    OtherMembers(PathBuf),
    /// Opening takes for ever.
    #[error(
        "opening the store in {} did not finish: look for a disk that hangs, and start again", .0.display()
    )]
    Hangs(PathBuf),
    /// The file system refused.
    #[error("cannot use {}: {source}", .path.display())]
    Io {
        /// The file or directory.
        path: PathBuf,
        /// What the file system said.
        source: io::Error,
    },
}

impl OpenError {
    pub(crate) fn io(path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self::Io { path, source }
    }
}

/// An operation on the store failed. The message is for the log; there is nothing to retry.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{0}")]
pub(crate) struct DiskError(pub(crate) String);

impl From<io::Error> for DiskError {
    fn from(error: io::Error) -> Self {
        Self(error.to_string())
    }
}

impl From<sled::Error> for DiskError {
    fn from(error: sled::Error) -> Self {
        Self(format!("sled: {error}"))
    }
}

/// An open store: ordered keys and values, and the barrier.
pub(crate) struct Disk {
    db: sled::Db,
    /// Second handle to sled's `db` file, for `fdatasync`.
    db_file: File,
    barrier: Barrier,
    unsynced: AtomicUsize,
    /// Syncs that somebody waited for: the journal's.
    pub(crate) syncs: Durations,
    /// The last time that a sync returned, the journal's or sled's.
    pub(crate) synced: Last,
    dir: PathBuf,
    /// Held for its lock on the data directory; released last.
    _lock: File,
}

impl Disk {
    /// Opens the store below `data_dir`, creating it if there is none.
    pub(crate) fn open(data_dir: &Path, barrier: Barrier) -> Result<Self, OpenError> {
        fs::create_dir_all(data_dir).map_err(OpenError::io(data_dir))?;
        let lock = lock(data_dir)?;
        let dir = data_dir.join("log");
        if !dir.exists() {
            create(data_dir, &dir)?;
        }
        remove_half_written_snapshots(&dir).map_err(OpenError::io(&dir))?;
        let db_path = dir.join("db");
        let db_file = File::options()
            .read(true)
            .write(true)
            .open(&db_path)
            .map_err(OpenError::io(&db_path))?;
        db_file.sync_all().map_err(OpenError::io(&db_path))?;
        let db = open_sled(&dir)?;
        let disk = Self {
            db,
            db_file,
            barrier,
            unsynced: AtomicUsize::new(0),
            syncs: Durations::default(),
            synced: Last::now(),
            dir,
            _lock: lock,
        };
        disk.check_format(data_dir)?;
        disk.settle(data_dir).map_err(OpenError::io(data_dir))?;
        Ok(disk)
    }

    fn check_format(&self, data_dir: &Path) -> Result<(), OpenError> {
        match self
            .get(&Key::FORMAT)
            .map_err(|e| self.corrupt(e.0))?
            .as_deref()
        {
            Some(&[found]) if found <= FORMAT => Ok(()),
            Some(&[found]) => Err(OpenError::NewerFormat {
                dir: data_dir.to_owned(),
                found,
            }),
            _ => Err(self.corrupt("the format is not recorded".to_owned())),
        }
    }

    /// Records the format of this build. Durable after the next barrier.
    pub(crate) fn note_format(&self) -> Result<(), DiskError> {
        self.put(&Key::FORMAT, Some(&[FORMAT]))
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

    pub(crate) fn get(&self, key: &Key) -> Result<Option<Vec<u8>>, DiskError> {
        Ok(self.db.get(key)?.map(|value| value.to_vec()))
    }

    /// Keys and values from `from` (inclusive) to `to` (exclusive), in order.
    pub(crate) fn range(
        &self,
        from: Key,
        to: Key,
    ) -> impl DoubleEndedIterator<Item = Result<(Key, Vec<u8>), DiskError>> {
        self.db.range(from..to).map(|item| {
            let (key, value) = item?;
            Ok((Key::from_bytes(&key), value.to_vec()))
        })
    }

    /// Writes a value, or removes the key. Durable after the next [`Disk::barrier`], and never
    /// without everything written before it.
    pub(crate) fn put(&self, key: &Key, value: Option<&[u8]>) -> Result<(), DiskError> {
        let before = match value {
            Some(value) => self.db.insert(key, value)?,
            None => self.db.remove(key)?,
        };
        // sled rewrites the neighbours now and then, so removing a large value costs as much as
        // writing it. Keys and sled's headers weigh something too, which counts for small values.
        let before = before.map_or(0, |before| before.len());
        let weight = value.map_or(0, <[u8]>::len).max(before) + 64;
        if self.unsynced.fetch_add(weight, Ordering::Relaxed) + weight >= BARRIER_BYTES {
            self.barrier()?;
        }
        Ok(())
    }

    /// Makes everything written so far durable.
    pub(crate) fn barrier(&self) -> Result<(), DiskError> {
        self.unsynced.store(0, Ordering::Relaxed);
        self.db.flush()?;
        if self.barrier == Barrier::Full {
            self.db_file
                .sync_data()
                .map_err(|e| DiskError(format!("fdatasync: {e}")))?;
        }
        self.synced.note();
        Ok(())
    }

    /// Bytes on disk.
    pub(crate) fn size_on_disk(&self) -> Result<u64, DiskError> {
        Ok(self.db.size_on_disk()? + journal::size_on_disk(&self.dir)?)
    }
}

fn lock(data_dir: &Path) -> Result<File, OpenError> {
    let path = data_dir.join("lock");
    let file = File::options()
        .write(true)
        .create(true)
        .truncate(false)
        .open(&path)
        .map_err(OpenError::io(&path))?;
    match rustix::fs::flock(&file, rustix::fs::FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(file),
        Err(rustix::io::Errno::WOULDBLOCK) => Err(OpenError::Locked(data_dir.to_owned())),
        Err(errno) => Err(OpenError::io(&path)(errno.into())),
    }
}

/// Creates an empty store aside and renames it into place, so that a half-created one is never seen.
fn create(data_dir: &Path, dir: &Path) -> Result<(), OpenError> {
    let aside = data_dir.join("log.new");
    if aside.exists() {
        fs::remove_dir_all(&aside).map_err(OpenError::io(&aside))?;
    }
    let failed = |e: DiskError| OpenError::Corrupt {
        path: aside.clone(),
        reason: e.0,
    };
    let db = open_sled(&aside)?;
    db.insert(Key::FORMAT, &[FORMAT])
        .map_err(|e| failed(e.into()))?;
    db.flush().map_err(|e| failed(e.into()))?;
    drop(db);
    files::sync_tree(&aside).map_err(OpenError::io(&aside))?;
    fs::rename(&aside, dir).map_err(OpenError::io(dir))?;
    files::sync_dir(data_dir).map_err(OpenError::io(data_dir))
}

fn remove_half_written_snapshots(dir: &Path) -> io::Result<()> {
    for entry in fs::read_dir(dir)? {
        let path = entry?.path();
        if path
            .extension()
            .is_some_and(|extension| extension == "generating")
        {
            fs::remove_file(path)?;
        }
    }
    Ok(())
}

/// Opens sled on a thread of its own: a panic is an error, and so is taking for ever.
fn open_sled(dir: &Path) -> Result<sled::Db, OpenError> {
    let (done, opened) = mpsc::channel();
    let path = dir.to_owned();
    let work = move || {
        let result = catch_unwind(AssertUnwindSafe(|| open_when_free(&path)));
        let _ = done.send(result);
    };
    thread::Builder::new()
        .name("store-open".to_owned())
        .spawn(work)
        .map_err(OpenError::io(dir))?;
    let corrupt = |reason: String| OpenError::Corrupt {
        path: dir.to_owned(),
        reason,
    };
    match opened.recv_timeout(OPEN_DEADLINE) {
        Ok(Ok(Ok(db))) => Ok(db),
        Ok(Ok(Err(sled::Error::Io(source)))) => Err(OpenError::Io {
            path: dir.to_owned(),
            source,
        }),
        Ok(Ok(Err(error))) => Err(corrupt(error.to_string())),
        Ok(Err(_panic)) => Err(corrupt(
            "reading it back failed an internal check".to_owned(),
        )),
        Err(_) => Err(OpenError::Hangs(dir.to_owned())),
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
    fn a_newer_format_is_refused_by_name() {
        let dir = tempfile::tempdir().unwrap();
        let disk = Disk::open(dir.path(), Barrier::Full).unwrap();
        disk.put(&Key::FORMAT, Some(&[FORMAT + 1])).unwrap();
        drop(disk);
        let refused = Disk::open(dir.path(), Barrier::Full).err().unwrap();
        assert!(
            matches!(refused, OpenError::NewerFormat { found: 3, .. }),
            "{refused}"
        );
    }
}
