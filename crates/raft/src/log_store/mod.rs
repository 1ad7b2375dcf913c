//! The log and the vote, as openraft wants them stored.

mod ahead;
pub mod entry_codec;
mod storage;
mod window;

use std::{
    ops::Range,
    path::Path,
    sync::{
        Arc, Mutex, MutexGuard, OnceLock, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

use openraft::{AnyError, CommittedLeaderId, LogState};
use serde::de::DeserializeOwned;
use strongroom_core::{Durations, DurationsReading};
use tokio::sync::{oneshot, watch};

use crate::{
    change::Change,
    deadline::within_deadline,
    durable::{Barrier, Disk, DiskError, OpenError},
    failing::{Failing, StoreFailed},
    journal::{FILE_BYTES, Left},
    keeper::{Carried, Keeper},
    keys::Key,
    mark::Mark,
    rows,
    snapshot_files::Kept,
    types::{Entry, LogId, NodeId, StorageError, StorageIoError, TypeConfig, Vote},
    writer::{Tools, Writer},
};
use entry_codec::EntryDecodeError;
use window::Window;

/// Bytes of entries in one answer to a replication stream, unless the first entry alone is larger.
pub const READ_BYTES: u64 = 256 * 1024;

/// The log and the vote. Clones share one store; the store closes when the last is dropped.
#[derive(Clone)]
pub struct LogStore {
    shared: Arc<Shared>,
}

struct Shared {
    // Dropped first: the thread writes what waits.
    writer: Writer,
    window: Mutex<Window>,
    /// Which appends sled has: what it has not is in the window.
    carried: Carried,
    /// The vote that is durable.
    voted: Mutex<Option<Vote>>,
    /// What openraft has called committed, or had before this start.
    committed_id: Mutex<Option<LogId>>,
    /// Number of the last append handed to the writer, under the lock of `window`.
    appends: AtomicU64,
    /// Number of the last append that is durable. Not to be looked at under the lock of `window`: whoever
    /// waits for it looks at `window` meanwhile.
    durable: Arc<watch::Sender<u64>>,
    /// Appends of this node's own lead that are not durable yet.
    pending: Arc<ahead::Pending>,
    /// Whose log this is, once that is known.
    own: OnceLock<u64>,
    /// As which leader this node appends entries of its own; `None`: it has won no vote in this run.
    leads_as: Mutex<Option<CommittedLeaderId<NodeId>>>,
    disk: Arc<Disk>,
    /// Appends that became durable.
    appended: Arc<Durations>,
    /// The last entry that openraft has called committed.
    committed: AtomicU64,
    /// How far the snapshots on disk go.
    kept: OnceLock<watch::Receiver<Kept>>,
}

impl LogStore {
    /// Opens the store below `data_dir`, creating it if there is none. Blocks.
    ///
    /// # Errors
    /// See [`OpenError`].
    pub fn open(data_dir: &Path) -> Result<Self, OpenError> {
        Self::open_with(data_dir, Barrier::Full, FILE_BYTES)
    }

    /// Opens with another barrier, and makes a journal with files of another size: for the power-loss test
    /// and its control only.
    ///
    /// # Errors
    /// See [`OpenError`].
    #[doc(hidden)]
    pub fn open_with(data_dir: &Path, barrier: Barrier, journal: usize) -> Result<Self, OpenError> {
        let disk = Arc::new(Disk::open(data_dir, barrier)?);
        within_deadline(data_dir, move || Self::read_back(disk, barrier, journal))?
    }

    /// Has sled take over what the journal holds, looks at all that is there, and starts to write.
    fn read_back(disk: Arc<Disk>, barrier: Barrier, journal: usize) -> Result<Self, OpenError> {
        let left = Left::carry_over(&disk, journal)?;
        let purged: Option<LogId> = read_value(&disk, &Key::PURGED)
            .map_err(|e| disk.corrupt(format!("the purge point: {e}")))?;
        let purged_index = purged.map(|id| id.index);
        let found = rows::scan(&disk, purged_index)?;
        let last = match found.last() {
            Some((index, _)) => {
                let entry = read_entry(&disk, *index).map_err(|e| disk.corrupt(e.to_string()))?;
                entry.map(|entry| entry.log_id)
            }
            None => None,
        };
        let window = Window::recovered(purged, last, &found);
        let end = found.last().map(|(index, _)| *index).max(purged_index);
        let mark = checked_mark(&disk, end.map_or(0, |index| index + 1))?;
        // Not before all was looked at: what is damaged can be looked into as long as the journal can be read.
        let journal = left.begin(&disk, barrier)?;
        let voted =
            read_value(&disk, &Key::VOTE).map_err(|e| disk.corrupt(format!("the vote: {e}")))?;
        let committed = read_value::<Option<LogId>>(&disk, &Key::COMMITTED)
            .map_err(|e| disk.corrupt(format!("the commit index: {e}")))?;
        let failing = Failing::new();
        let keeper = Keeper::start(Arc::clone(&disk), failing.clone(), purged_index)
            .map_err(OpenError::io(disk.path()))?;
        let carried = keeper.carried();
        let tools = Tools {
            disk: Arc::clone(&disk),
            journal,
            keeper,
            mark,
            failing,
        };
        let writer = Writer::start(tools).map_err(OpenError::io(disk.path()))?;
        let shared = Shared {
            writer,
            carried,
            voted: Mutex::new(voted),
            committed_id: Mutex::new(committed.flatten()),
            window: Mutex::new(window),
            appends: AtomicU64::new(0),
            durable: Arc::new(watch::Sender::new(0)),
            pending: Arc::default(),
            own: OnceLock::new(),
            leads_as: Mutex::default(),
            disk,
            appended: Arc::default(),
            committed: AtomicU64::new(0),
            kept: OnceLock::new(),
        };
        Ok(Self {
            shared: Arc::new(shared),
        })
    }

    /// How long appends took to become durable.
    #[must_use]
    pub fn appended(&self) -> DurationsReading {
        self.shared.appended.read()
    }

    /// How long syncs of the journal took.
    #[must_use]
    pub fn synced(&self) -> DurationsReading {
        self.shared.disk.syncs.read()
    }

    /// The last entry known to be committed, as far as openraft has said since the start.
    #[must_use]
    pub fn committed(&self) -> u64 {
        self.shared.committed.load(Ordering::Relaxed)
    }

    /// The vote on disk, for the node to know before openraft starts whether it belongs to a cluster.
    #[must_use]
    pub fn stored_vote(&self) -> Option<Vote> {
        *locked(&self.shared.voted)
    }

    /// Becomes `Some` when the store can no longer persist. The node must then stop.
    #[must_use]
    pub fn failed(&self) -> watch::Receiver<Option<StoreFailed>> {
        self.shared.writer.failed()
    }

    /// From now on, nothing is purged before a snapshot that holds it is durable. Only the first call
    /// counts.
    pub fn follow_snapshots(&self, kept: watch::Receiver<Kept>) {
        if self.shared.kept.set(kept).is_err() {
            tracing::warn!("the log follows other snapshots already");
        }
    }

    /// Waits until a durable snapshot goes as far as `index`. openraft installs a snapshot and purges
    /// the log side by side: a purge that came first would leave a node with neither.
    async fn until_kept(&self, index: u64) -> Result<(), StoreFailed> {
        let Some(kept) = self.shared.kept.get() else {
            return Ok(());
        };
        let mut kept = kept.clone();
        let reached = kept.wait_for(|kept| kept.failed || kept.upto >= Some(index));
        match reached.await {
            Ok(kept) if !kept.failed => Ok(()),
            _ => Err(StoreFailed(
                "the snapshot that the log is purged for was not kept".into(),
            )),
        }
    }

    /// Records whose log this is, or checks it.
    ///
    /// # Errors
    /// [`OpenError::Corrupt`] for another member's log.
    pub fn claim(&self, raft_id: u64) -> Result<(), OpenError> {
        let disk = &self.shared.disk;
        let failed = |error: DiskError| disk.unusable(error);
        match disk.get(&Key::OWNER).map_err(failed)? {
            Some(owner) if owner == raft_id.to_le_bytes() => {}
            Some(_) => return Err(OpenError::OtherMembers(disk.path().to_owned())),
            None => disk
                .put(&Key::OWNER, Some(&raft_id.to_le_bytes()))
                .and_then(|()| disk.barrier())
                .map_err(failed)?,
        }
        // Claimed once, or again by the same.
        let _ = self.shared.own.set(raft_id);
        Ok(())
    }

    /// Bytes of all entries kept.
    #[must_use]
    pub fn kept_bytes(&self) -> u64 {
        self.window().bytes_from(0)
    }

    /// Bytes of the entries kept from `index` on, that one included.
    #[must_use]
    pub fn bytes_from(&self, index: u64) -> u64 {
        self.window().bytes_from(index)
    }

    /// The last entry, and the last one purged.
    #[must_use]
    pub fn ends(&self) -> LogState<TypeConfig> {
        let window = self.window();
        LogState {
            last_purged_log_id: window.purged(),
            last_log_id: window.last().or(window.purged()),
        }
    }

    /// Bytes of the log's files.
    ///
    /// # Errors
    /// When the file system does not say.
    pub fn size_on_disk(&self) -> Result<u64, StoreFailed> {
        self.shared
            .disk
            .size_on_disk()
            .map_err(|e| StoreFailed(e.reason.into()))
    }

    fn window(&self) -> MutexGuard<'_, Window> {
        locked(&self.shared.window)
    }

    fn leads_as(&self) -> MutexGuard<'_, Option<CommittedLeaderId<NodeId>>> {
        locked(&self.shared.leads_as)
    }

    async fn write(&self, changes: Vec<Change>) -> Result<(), StoreFailed> {
        let (tell, told) = oneshot::channel();
        let done = Box::new(move |result| {
            let _ = tell.send(result);
        });
        self.shared.writer.submit(changes, done);
        told.await
            .unwrap_or_else(|_| Err(StoreFailed("its thread has ended".into())))
    }

    /// Entries in `range` that are kept, from memory where possible.
    async fn entries(&self, range: Range<u64>) -> Result<Vec<Entry>, StorageError> {
        let (on_disk, cached) = {
            let window = self.window();
            let range = window.present(range);
            window.cached(range)
        };
        if on_disk.is_empty() {
            return Ok(cached);
        }
        let disk = Arc::clone(&self.shared.disk);
        let end = on_disk.end;
        let read = tokio::task::spawn_blocking(move || read_entries(&disk, on_disk));
        let mut entries = read
            .await
            .map_err(|e| StorageIoError::read_logs(AnyError::new(&e)))?
            .map_err(|(index, e)| StorageIoError::read_log_at_index(index, AnyError::new(&e)))?;
        if entries
            .last()
            .is_none_or(|last| last.log_id.index + 1 == end)
        {
            entries.extend(cached);
        }
        Ok(entries)
    }
}

fn locked<T>(value: &Mutex<T>) -> MutexGuard<'_, T> {
    value.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Checks what is there against what was noted to be there: the log goes on at `next`.
fn checked_mark(disk: &Disk, next: u64) -> Result<Mark, OpenError> {
    let (mut mark, noted) = Mark::open(disk.path()).map_err(OpenError::io(disk.path()))?;
    let stored = disk.get(&Key::VOTE).map_err(|e| disk.corrupt(e.reason))?;
    let vote = |bytes: &[u8]| match bytes {
        [] => Ok(None),
        bytes => postcard::from_bytes::<Vote>(bytes).map(Some),
    };
    let stored = stored.unwrap_or_default();
    let found = vote(&stored).map_err(|e| disk.corrupt(format!("the vote: {e}")))?;
    if let Some(noted) = noted {
        if noted.next > next {
            return Err(disk.corrupt(format!(
                "it ends before entry {next}, and held entries up to {}",
                noted.next - 1
            )));
        }
        // A note that passed its checksum is a vote.
        let noted = vote(&noted.vote).ok().flatten();
        if found.map(|vote| vote.leader_id) < noted.map(|vote| vote.leader_id) {
            return Err(disk.corrupt("the last vote is missing".to_owned()));
        }
    }
    // What was found is durable: opening has synced it.
    if let Some(last) = next.checked_sub(1) {
        mark.entry(last);
    }
    mark.vote(&stored);
    mark.after_sync().map_err(OpenError::io(disk.path()))?;
    Ok(mark)
}

fn read_entries(disk: &Disk, range: Range<u64>) -> Result<Vec<Entry>, (u64, EntryDecodeError)> {
    let mut entries = Vec::new();
    for index in range {
        match read_entry(disk, index).map_err(|e| (index, e))? {
            // Purged or truncated while we read. openraft allows for entries that are not found, but
            // not for holes.
            None if entries.is_empty() => {}
            None => break,
            Some(entry) => entries.push(entry),
        }
    }
    Ok(entries)
}

fn read_entry(disk: &Disk, index: u64) -> Result<Option<Entry>, EntryDecodeError> {
    let bytes = rows::read(disk, index).map_err(|e| EntryDecodeError::Malformed(e.reason))?;
    bytes.map(|bytes| entry_codec::decode(&bytes)).transpose()
}

fn read_value<T: DeserializeOwned>(disk: &Disk, key: &Key) -> Result<Option<T>, String> {
    let Some(bytes) = disk.get(key).map_err(|e| e.reason)? else {
        return Ok(None);
    };
    postcard::from_bytes(&bytes)
        .map(Some)
        .map_err(|e| e.to_string())
}
