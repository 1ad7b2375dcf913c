//! The one thread that writes: it takes all that waits, writes it, passes the barrier once, and only
//! then tells those who waited (invariant 7).

use std::{
    io,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{Arc, Mutex, MutexGuard, PoisonError, mpsc},
    thread,
    time::Duration,
};

use tokio::sync::watch;

use crate::{
    durable::{CHUNK_BYTES, Disk, DiskError},
    keys::Key,
    mark::Mark,
    rows,
};

/// Requests that share one barrier at most. More would only delay the first of them.
const GROUP_REQUESTS: usize = 1_024;
/// Bytes that share one barrier at most, one request aside.
const GROUP_BYTES: usize = 4 * 1024 * 1024;
/// Rows removed at a time when purging, with nothing else to do. Each weighs a chunk at most: together
/// they stay below what makes a barrier of its own.
const PURGE_ROWS: usize = 15;
/// How long nothing has to be written before that is so. Rows make barriers, and whoever writes between two
/// others' entries would wait for them.
const PURGE_PAUSE: Duration = Duration::from_millis(10);
/// Rows removed for each row written, so that purging keeps up with writers that never rest.
const PURGE_PER_ROW: usize = 2;
/// How long a lazy write may wait for a barrier of another's; while rows are removed, for one of those.
const LAZY_DELAY: Duration = Duration::from_millis(250);

/// One change of the store.
pub(crate) enum Change {
    /// Writes an entry.
    Entry { index: u64, bytes: Vec<u8> },
    /// Removes the entries from here on.
    Truncate { from: u64 },
    /// Records the purge point, and removes the entries up to it in the background.
    Purge { upto: u64, point: Vec<u8> },
    /// Writes a named value.
    Value { key: Key, value: Vec<u8> },
}

impl Change {
    /// Rows that it writes, as far as purging has to keep up with them.
    fn rows(&self) -> usize {
        match self {
            Self::Entry { bytes, .. } => bytes.len() / CHUNK_BYTES + 1,
            Self::Value { .. } | Self::Purge { .. } | Self::Truncate { .. } => 1,
        }
    }

    fn weight(&self) -> usize {
        match self {
            Self::Entry { bytes, .. } => bytes.len(),
            Self::Value { value, .. } | Self::Purge { point: value, .. } => value.len(),
            Self::Truncate { .. } => 0,
        }
    }
}

/// The store can no longer persist, with the reason. It stays so until it is opened again
/// (invariant 8).
#[derive(Clone, Debug, thiserror::Error)]
#[error("the store has failed: {0}")]
pub struct StoreFailed(pub Arc<str>);

impl From<StoreFailed> for io::Error {
    fn from(failed: StoreFailed) -> Self {
        Self::other(failed)
    }
}

/// Called once the change is durable, or never will be.
pub(crate) type Done = Box<dyn FnOnce(Result<(), StoreFailed>) + Send>;

struct Request {
    changes: Vec<Change>,
    /// None: it may wait for another's barrier.
    done: Option<Done>,
}

/// The newest commit index, to be written with whatever is written next. It comes with almost every entry:
/// waking the thread for it would cost as much as the entry.
type Committed = Arc<Mutex<Option<Vec<u8>>>>;

/// The way to the writing thread. Dropping it writes what waits and ends the thread.
pub(crate) struct Writer {
    requests: Mutex<Option<mpsc::Sender<Request>>>,
    committed: Committed,
    failed: watch::Receiver<Option<StoreFailed>>,
    thread: Option<thread::JoinHandle<()>>,
}

impl Writer {
    /// Starts the thread. `purged` is the last purge point, up to which a crash may have left rows.
    pub(crate) fn start(disk: Arc<Disk>, mark: Mark, purged: Option<u64>) -> io::Result<Self> {
        let (requests, queue) = mpsc::channel();
        let (fail, failed) = watch::channel(None);
        let committed = Committed::default();
        let noted = Arc::clone(&committed);
        let thread = thread::Builder::new()
            .name("store-writer".to_owned())
            .spawn(move || {
                let purging = purged.map(|upto| Purging { from: 0, upto });
                Loop {
                    disk,
                    mark,
                    queue,
                    committed: noted,
                    fail,
                    purging,
                    dirty: false,
                }
                .run();
            })?;
        Ok(Self {
            requests: Mutex::new(Some(requests)),
            committed,
            failed,
            thread: Some(thread),
        })
    }

    /// Hands over changes in order; `done` is called from the writing thread once they are durable.
    pub(crate) fn submit(&self, changes: Vec<Change>, done: Done) {
        self.send(Request {
            changes,
            done: Some(done),
        });
    }

    /// Hands over changes that become durable with the next barrier.
    pub(crate) fn submit_lazily(&self, changes: Vec<Change>) {
        self.send(Request {
            changes,
            done: None,
        });
    }

    /// Has the commit index written with the next barrier, or after a while. All entries up to it were
    /// handed over before.
    pub(crate) fn note_committed(&self, committed: Vec<u8>) {
        *lock(&self.committed) = Some(committed);
    }

    fn send(&self, request: Request) {
        let requests = self.requests.lock().unwrap_or_else(PoisonError::into_inner);
        let refused = match requests.as_ref() {
            Some(requests) => requests.send(request).err().map(|e| e.0),
            None => Some(request),
        };
        if let Some(done) = refused.and_then(|request| request.done) {
            done(Err(self
                .check()
                .err()
                .unwrap_or_else(|| StoreFailed("it is closed".into()))));
        }
    }

    /// Whether the store still persists.
    pub(crate) fn check(&self) -> Result<(), StoreFailed> {
        self.failed.borrow().clone().map_or(Ok(()), Err)
    }

    /// Becomes `Some` when the store fails.
    pub(crate) fn failed(&self) -> watch::Receiver<Option<StoreFailed>> {
        self.failed.clone()
    }
}

fn lock(committed: &Committed) -> MutexGuard<'_, Option<Vec<u8>>> {
    committed.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Drop for Writer {
    fn drop(&mut self) {
        self.requests
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// Entries being removed in the background.
struct Purging {
    from: u64,
    upto: u64,
}

struct Loop {
    disk: Arc<Disk>,
    mark: Mark,
    queue: mpsc::Receiver<Request>,
    committed: Committed,
    fail: watch::Sender<Option<StoreFailed>>,
    purging: Option<Purging>,
    /// Something was written since the last barrier.
    dirty: bool,
}

impl Loop {
    fn run(mut self) {
        while let Some(group) = self.next_group() {
            let written = group
                .iter()
                .flat_map(|r| &r.changes)
                .map(Change::rows)
                .sum();
            let (changes, waiting): (Vec<_>, Vec<_>) = group
                .into_iter()
                .map(|request| (request.changes, request.done))
                .unzip();
            let waiting: Vec<Done> = waiting.into_iter().flatten().collect();
            let awaited = !waiting.is_empty();
            let result = self.guarded(|this| this.write(changes.into_iter().flatten(), awaited));
            for done in waiting {
                done(result.clone());
            }
            let result = result.and_then(|()| self.guarded(|this| this.purge_some(written)));
            if let Err(failed) = result {
                return self.refuse(&failed);
            }
        }
    }

    /// Does something with the disk. If that fails, so has the store.
    fn guarded(
        &mut self,
        work: impl FnOnce(&mut Self) -> Result<(), DiskError>,
    ) -> Result<(), StoreFailed> {
        // sled panics on what it thinks cannot happen. After that nothing it says counts.
        let done = catch_unwind(AssertUnwindSafe(|| work(self)))
            .unwrap_or_else(|_| Err(DiskError("sled panicked".to_owned())));
        done.map_err(|error| {
            let failed = StoreFailed(error.0.into());
            tracing::error!(reason = %failed.0, "the store has failed; nothing more is written");
            self.fail.send_replace(Some(failed.clone()));
            failed
        })
    }

    /// Removes some of what was purged. After who waited has been told: nobody waits for this.
    fn purge_some(&mut self, written: usize) -> Result<(), DiskError> {
        let Some(Purging { from, upto }) = self.purging.take() else {
            return Ok(());
        };
        let rows = match written {
            0 => PURGE_ROWS,
            written => written * PURGE_PER_ROW,
        };
        self.purging =
            rows::purge(&self.disk, from, upto, rows)?.map(|from| Purging { from, upto });
        self.dirty = true;
        Ok(())
    }

    /// All that waits, up to a limit. Empty when there is only background work; `None` at the end.
    fn next_group(&self) -> Option<Vec<Request>> {
        let patience = match self.purging {
            Some(_) => PURGE_PAUSE,
            None => LAZY_DELAY,
        };
        let first = match self.queue.recv_timeout(patience) {
            Ok(request) => Some(request),
            Err(mpsc::RecvTimeoutError::Timeout) => None,
            Err(mpsc::RecvTimeoutError::Disconnected) => return self.last_group(),
        };
        // Taken before the queue is emptied: all entries up to it are in the queue by now, if not written.
        let committed = lock(&self.committed).take();
        let (mut weight, mut full) = (0, false);
        let mut group = Vec::new();
        let mut next = first;
        while let Some(request) = next {
            weight += request.changes.iter().map(Change::weight).sum::<usize>();
            group.push(request);
            full = weight >= GROUP_BYTES || group.len() >= GROUP_REQUESTS;
            next = if full {
                None
            } else {
                self.queue.try_recv().ok()
            };
        }
        match committed {
            // It must not be on the disk before the entries that it speaks of.
            Some(value) if full => {
                lock(&self.committed).get_or_insert(value);
            }
            Some(value) => group.push(Request {
                changes: vec![Change::Value {
                    key: Key::COMMITTED,
                    value,
                }],
                done: None,
            }),
            None => {}
        }
        Some(group)
    }

    /// At the end: one more barrier if something waits for it. Purging goes on at the next start.
    fn last_group(&self) -> Option<Vec<Request>> {
        let committed = lock(&self.committed).take();
        if !self.dirty && committed.is_none() {
            return None;
        }
        let settle = || {
            if let Some(value) = committed {
                self.disk.put(&Key::COMMITTED, Some(&value))?;
            }
            self.disk.barrier()
        };
        if let Err(error) = catch_unwind(AssertUnwindSafe(settle))
            .unwrap_or_else(|_| Err(DiskError("sled panicked".to_owned())))
        {
            tracing::error!(%error, "the last lazy writes were not made durable");
        }
        None
    }

    fn write(
        &mut self,
        changes: impl Iterator<Item = Change>,
        awaited: bool,
    ) -> Result<(), DiskError> {
        let mut lazy = false;
        for change in changes {
            lazy = true;
            self.apply(change)?;
        }
        let idle = !lazy && self.purging.is_none();
        if awaited || (self.dirty && idle) {
            self.disk.barrier()?;
            self.mark.after_barrier()?;
            self.dirty = false;
        } else {
            self.dirty |= lazy;
        }
        Ok(())
    }

    fn apply(&mut self, change: Change) -> Result<(), DiskError> {
        match change {
            Change::Entry { index, bytes } => {
                self.mark.entry(index);
                rows::write(&self.disk, index, &bytes)
            }
            Change::Truncate { from } => {
                self.mark.before_truncating(from)?;
                rows::truncate(&self.disk, from)
            }
            Change::Value { key, value } => {
                if key == Key::VOTE {
                    self.mark.vote(&value);
                }
                self.disk.put(&key, Some(&value))
            }
            Change::Purge { upto, point } => {
                self.disk.put(&Key::PURGED, Some(&point))?;
                // The log never again has an entry at or before its purge point, so removing those
                // later never hits a new one.
                let from = self.purging.take().map_or(0, |purging| purging.from);
                self.purging = Some(Purging { from, upto });
                Ok(())
            }
        }
    }

    fn refuse(self, failed: &StoreFailed) {
        // The sender's end closes with the Writer; until then every request is answered.
        while let Ok(request) = self.queue.recv() {
            if let Some(done) = request.done {
                done(Err(failed.clone()));
            }
        }
    }
}
