//! The audit trail: one per node, JSON lines chained by their hashes.
//!
//! A request's record is in the file before the request has its effect, and if it cannot be, there
//! is no effect: [`Audit::write`] refuses, at once and for as long as the trail cannot be written.
//! The trail heals by itself when the disk does.
//!
//! Reading order: [`record`] (what a line is), [`chain`], [`trail`] (appending and repairing),
//! [`desk`] (who writes), [`gathering`] and [`writer`] (the thread), [`recover`] (after a crash), [`verify`].

use std::{
    io,
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
        mpsc::channel,
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use strongroom_core::DurationsReading;
use tokio::{
    runtime::Handle as Runtime,
    sync::{OwnedSemaphorePermit, Semaphore},
};

mod chain;
mod desk;
mod files;
mod gathering;
mod read;
mod record;
mod recover;
mod relief;
#[cfg(test)]
mod tests;
mod timed;
mod trail;
mod verify;
mod writer;

pub use chain::Reason;
pub use read::PAGE_RECORDS;
pub use record::Entry;
pub use verify::{Beginning, FirstBad, HeadCheck, VerifyReport, verify, verify_from};

use desk::Desk;
use gathering::Gathering;
use timed::Timed;
use trail::{Disk, RealDisk, Trail};
use writer::Writer;

/// Written as the actor of what a node does by itself.
pub(crate) const NODE: &str = "node";
/// Written as the actor of reads by address.
pub(crate) const READER: &str = "reader";
/// Written as the actor where nobody is known.
pub(crate) const NOBODY: &str = "-";
/// Records that may wait for the writer at a time. More callers than this wait for a place.
const QUEUE: usize = 8_192;
/// How long a disk operation may take before the trail counts as unavailable: a disk that hangs
/// must cost a refusal, not a request that never ends. It does not help the one whose own write hangs.
const STALL: Duration = Duration::from_secs(5);

/// A server's [`AuditConfig::slow_write`]: many times what the page cache takes.
pub const SLOW_WRITE: Duration = Duration::from_millis(2);

/// How long a written record may wait for its disk sync.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum SyncPolicy {
    /// At most this long.
    Within(Duration),
    /// Not at all: synced before the write is answered.
    Always,
}

/// Where the trail goes.
#[derive(Clone, Debug)]
pub struct AuditConfig {
    /// The directory, made if it does not exist. One process at a time uses it.
    pub dir: PathBuf,
    /// This node's name, for the records.
    pub node: String,
    /// How long a record may wait for its sync.
    pub sync: SyncPolicy,
    /// The size at which a new file is begun.
    pub file_bytes: u64,
    /// A write that takes longer shows a file system that makes writers wait: for a second, requests leave theirs
    /// to the writer's thread.
    pub slow_write: Duration,
}

/// Why a trail cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum AuditError {
    /// Another process has it.
    #[error("the audit directory {0} is in use by another process")]
    InUse(PathBuf),
    /// The file system says no.
    #[error("the audit directory {dir} cannot be used: {source}")]
    Io {
        /// The directory.
        dir: PathBuf,
        /// What the file system says.
        source: io::Error,
    },
}

/// The record was not written, and nothing that it stands for may happen.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("the audit trail cannot be written")]
pub struct AuditUnavailable;

/// A record's number, from 1.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Seq(pub u64);

/// Counts since the trail was opened.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct AuditStats {
    /// Records written on behalf of callers.
    pub records: u64,
    /// Writes that carried them.
    pub batches: u64,
    /// Syncs.
    pub syncs: u64,
    /// Failed writes, syncs and repairs.
    pub failures: u64,
    /// The last record's number.
    pub last_seq: u64,
    /// How long writes took.
    pub write_took: DurationsReading,
    /// How long syncs took.
    pub sync_took: DurationsReading,
}

/// The trail. Clones share it; the last one to go syncs what is left.
#[derive(Clone)]
pub struct Audit {
    handle: Arc<Handle>,
}

struct Handle {
    dir: PathBuf,
    gathering: Arc<Gathering>,
    places: Arc<Semaphore>,
    desk: Arc<Desk>,
    writer: JoinHandle<()>,
}

impl Audit {
    /// Opens the trail, repairs what a crash tore, and starts its writer. Blocks on the disk.
    ///
    /// # Errors
    /// The directory is in use, or the file system says no.
    pub fn open(config: AuditConfig) -> Result<Self, AuditError> {
        Self::open_on(config, RealDisk)
    }

    fn open_on<D: Disk>(config: AuditConfig, disk: D) -> Result<Self, AuditError> {
        let dir = config.dir;
        let failed = |source| AuditError::Io {
            dir: dir.clone(),
            source,
        };
        let lock = files::claim(&dir).map_err(failed)?;
        let lock = lock.ok_or_else(|| AuditError::InUse(dir.clone()))?;
        let disk = Timed::new(disk);
        let (node, own) = (config.node, Arc::clone(&disk));
        let trail = Trail::open(dir.clone(), node, config.file_bytes, own).map_err(failed)?;
        let desk = Arc::new(Desk::new(trail, disk, config.sync, config.slow_write));
        let (queue, messages) = channel();
        let writer = Writer {
            desk: Arc::clone(&desk),
            queue: messages,
        };
        let run = move || {
            writer.run();
            // Until here nobody else may write.
            drop(lock);
        };
        let writer = thread::Builder::new()
            .name("audit".into())
            .spawn(run)
            .map_err(failed)?;
        let places = Arc::new(Semaphore::new(QUEUE));
        Ok(Self {
            handle: Arc::new(Handle {
                dir,
                gathering: Gathering::new(queue),
                places,
                desk,
                writer,
            }),
        })
    }

    /// Wakes a thread of the runtime that requests run on, as long as one of them is held up by its own write to
    /// the trail. To be done on another runtime; ends with the trail.
    pub fn relief(&self, runtime: Runtime) -> impl Future<Output = ()> + Send + 'static {
        relief::relieve(Arc::downgrade(&self.handle.desk), runtime)
    }

    /// Writes one record. It is in the file when this returns, and on the disk as soon as the
    /// policy says. Needs a Tokio runtime with its timer. Dropping the future may leave the record
    /// written. A disk that hangs costs some seconds.
    ///
    /// # Errors
    /// The trail cannot be written; then what the record stands for must not happen.
    pub async fn write(&self, entry: Entry) -> Result<Seq, AuditUnavailable> {
        let place = self.place().await?;
        let outcome = self.handle.gathering.add(entry, place).await;
        // Whoever would have answered may have gone.
        outcome.unwrap_or(Err(AuditUnavailable))
    }

    /// The same for a request, which writes the record itself if it finds the trail free, and then waits as long as
    /// that takes.
    ///
    /// # Errors
    /// As for [`Audit::write`].
    pub async fn write_of_request(&self, entry: Entry) -> Result<Seq, AuditUnavailable> {
        self.write_noting(|| entry, || {}).await
    }

    /// The same. The entry is made once it has a place, and `sent` is called once the record is in the file, or
    /// the writer's, who writes it whether or not somebody waits for it.
    pub(crate) async fn write_noting(
        &self,
        entry: impl FnOnce() -> Entry + Send,
        sent: impl FnOnce() + Send,
    ) -> Result<Seq, AuditUnavailable> {
        let place = self.place().await?;
        let entry = entry();
        let gathering = &self.handle.gathering;
        if gathering.is_empty()
            && let Some(written) = self.handle.desk.write_now(&entry)
        {
            if written.wants_thread {
                gathering.call_thread();
            }
            if written.outcome.is_ok() {
                sent();
            }
            return written.outcome;
        }
        let outcome = gathering.add(entry, place);
        sent();
        outcome.await.unwrap_or(Err(AuditUnavailable))
    }

    /// A place in the queue, of a trail that is healthy.
    async fn place(&self) -> Result<OwnedSemaphorePermit, AuditUnavailable> {
        if !self.healthy() {
            return Err(AuditUnavailable);
        }
        match Arc::clone(&self.handle.places).try_acquire_owned() {
            Ok(place) => Ok(place),
            Err(_) => Box::pin(self.place_in_time()).await,
        }
    }

    /// A place that is waited for. Whoever has to must find the trail healthy still.
    async fn place_in_time(&self) -> Result<OwnedSemaphorePermit, AuditUnavailable> {
        let places = &self.handle.places;
        let place = tokio::time::timeout(STALL, Arc::clone(places).acquire_owned()).await;
        match place {
            Ok(Ok(place)) if self.healthy() => Ok(place),
            _ => Err(AuditUnavailable),
        }
    }

    /// Whether records can be written, as far as is known.
    #[must_use]
    pub fn healthy(&self) -> bool {
        let Desk { shared, clock, .. } = &*self.handle.desk;
        let now = clock.millis();
        let is_stalled = |since: &AtomicU64| {
            let since = since.load(Ordering::Acquire);
            since > 0 && u128::from(now.saturating_sub(since)) > STALL.as_millis()
        };
        let stalled = is_stalled(&shared.busy_since) || is_stalled(&shared.syncing_since);
        !stalled && !shared.failed.load(Ordering::Acquire) && !self.handle.writer.is_finished()
    }

    /// Reads records back, in order: with `after`, the ones that follow it; without, the newest.
    /// At most `limit` records, [`PAGE_RECORDS`], and a few megabytes; a page that is not empty can
    /// be followed by the next.
    ///
    /// # Errors
    /// The file system says no.
    pub async fn read(
        &self,
        after: Option<u64>,
        limit: usize,
    ) -> Result<Vec<serde_json::Value>, io::Error> {
        let limit = limit.min(PAGE_RECORDS);
        let last = self.handle.desk.shared.last_seq.load(Ordering::Acquire);
        let newest = last.saturating_sub(u64::try_from(limit).unwrap_or(u64::MAX));
        let (dir, after) = (self.handle.dir.clone(), after.unwrap_or(newest));
        tokio::task::spawn_blocking(move || read::page(&dir, after, last, limit))
            .await
            .map_err(io::Error::other)?
    }

    /// Counts since the trail was opened.
    #[must_use]
    pub fn stats(&self) -> AuditStats {
        let Desk { shared, disk, .. } = &*self.handle.desk;
        AuditStats {
            records: shared.records.load(Ordering::Relaxed),
            batches: shared.batches.load(Ordering::Relaxed),
            syncs: shared.syncs.load(Ordering::Relaxed),
            failures: shared.failures.load(Ordering::Relaxed),
            last_seq: shared.last_seq.load(Ordering::Acquire),
            write_took: disk.took.writes.read(),
            sync_took: disk.took.syncs.read(),
        }
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        self.gathering.close();
        // A disk that hangs must not keep the process from ending.
        let deadline = Instant::now() + STALL;
        while !self.writer.is_finished() && Instant::now() < deadline {
            thread::sleep(Duration::from_millis(1));
        }
    }
}
