//! The one thread that writes: it takes all that waits, writes it to the journal, syncs that once, and only
//! then tells those who waited (invariant 7). From the journal it goes to sled behind their backs
//! ([`crate::keeper`]).

use std::{
    io,
    sync::{Arc, Mutex, MutexGuard, PoisonError, mpsc},
    thread,
    time::{Duration, Instant},
};

use tokio::sync::watch;

use crate::{
    change::Change,
    durable::{Disk, DiskError},
    failing::Failing,
    journal::Journal,
    keeper::{Keeper, Lot},
    keys::Key,
    mark::Mark,
};

pub use crate::failing::StoreFailed;

/// Requests that share one sync at most. More would only delay the first of them.
const GROUP_REQUESTS: usize = 1_024;
/// Bytes that share one sync at most, one request aside.
const GROUP_BYTES: usize = 1024 * 1024;
/// How long a lazy write may wait for a sync of another's.
const LAZY_DELAY: Duration = Duration::from_millis(250);

/// Called once the change is durable, or never will be.
pub(crate) type Done = Box<dyn FnOnce(Result<(), StoreFailed>) + Send>;

struct Request {
    changes: Vec<Change>,
    /// The number of the append that this is; 0: it is none.
    append: u64,
    /// None: it may wait for another's sync.
    done: Option<Done>,
}

/// The newest commit index, to be written with whatever is written next. It comes with almost every entry:
/// waking the thread for it would cost as much as the entry.
type Committed = Arc<Mutex<Option<Vec<u8>>>>;

/// The way to the writing thread. Dropping it writes what waits and ends the thread.
pub(crate) struct Writer {
    requests: Mutex<Option<mpsc::Sender<Request>>>,
    committed: Committed,
    failing: Failing,
    thread: Option<thread::JoinHandle<()>>,
}

/// What the thread writes with.
pub(crate) struct Tools {
    pub(crate) disk: Arc<Disk>,
    pub(crate) journal: Journal,
    pub(crate) keeper: Keeper,
    pub(crate) mark: Mark,
    pub(crate) failing: Failing,
}

impl Writer {
    /// Starts the thread.
    pub(crate) fn start(tools: Tools) -> io::Result<Self> {
        let (requests, queue) = mpsc::channel();
        let committed = Committed::default();
        let failing = tools.failing.clone();
        let writing = Writing {
            disk: tools.disk,
            journal: tools.journal,
            keeper: tools.keeper,
            mark: tools.mark,
            failing: tools.failing,
            queue,
            committed: Arc::clone(&committed),
            unsynced: Vec::new(),
            append: 0,
            handed: 0,
            in_other: 0,
        };
        let thread = thread::Builder::new()
            .name("store-writer".to_owned())
            .spawn(move || writing.run())?;
        Ok(Self {
            requests: Mutex::new(Some(requests)),
            committed,
            failing,
            thread: Some(thread),
        })
    }

    /// Hands over changes in order; `done` is called from the writing thread once they are durable.
    pub(crate) fn submit(&self, changes: Vec<Change>, done: Done) {
        self.append(changes, 0, done);
    }

    /// The same for the entries of an append, which has a number.
    pub(crate) fn append(&self, changes: Vec<Change>, number: u64, done: Done) {
        self.send(Request {
            changes,
            append: number,
            done: Some(done),
        });
    }

    /// Hands over changes that become durable with the next sync.
    pub(crate) fn submit_lazily(&self, changes: Vec<Change>) {
        self.send(Request {
            changes,
            append: 0,
            done: None,
        });
    }

    /// Has the commit index written with the next sync, or after a while. All entries up to it were
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
        self.failing.check()
    }

    /// Becomes `Some` when the store fails.
    pub(crate) fn failed(&self) -> watch::Receiver<Option<StoreFailed>> {
        self.failing.failed()
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

struct Writing {
    disk: Arc<Disk>,
    journal: Journal,
    keeper: Keeper,
    mark: Mark,
    failing: Failing,
    queue: mpsc::Receiver<Request>,
    committed: Committed,
    /// Changes since the last sync.
    unsynced: Vec<Change>,
    /// The last append among them, or before.
    append: u64,
    /// The last lot that was handed over.
    handed: u64,
    /// The last lot of what the journal's other file holds.
    in_other: u64,
}

impl Writing {
    fn run(mut self) {
        while let Some(group) = self.next_group() {
            let mut waiting = Vec::new();
            let mut changes = Vec::new();
            let append = group.iter().map(|request| request.append).max();
            for request in group {
                changes.extend(request.changes);
                waiting.extend(request.done);
            }
            let awaited = !waiting.is_empty();
            let failing = self.failing.clone();
            let result = failing.guard(|| self.write(changes, append.unwrap_or(0), awaited));
            for done in waiting {
                done(result.clone());
            }
            if let Err(failed) = result {
                return self.refuse(&failed);
            }
        }
        let failing = self.failing.clone();
        if let Err(failed) = failing.guard(|| self.write_last()) {
            tracing::error!(reason = %failed.0, "the last lazy writes were not made durable");
        }
    }

    /// All that waits, up to a limit. Empty when there is nothing; `None` at the end.
    fn next_group(&self) -> Option<Vec<Request>> {
        let first = match self.queue.recv_timeout(LAZY_DELAY) {
            Ok(request) => Some(request),
            Err(mpsc::RecvTimeoutError::Timeout) => None,
            Err(mpsc::RecvTimeoutError::Disconnected) => return None,
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
                changes: vec![committed_is(value)],
                append: 0,
                done: None,
            }),
            None => {}
        }
        Some(group)
    }

    fn write(&mut self, changes: Vec<Change>, append: u64, awaited: bool) -> Result<(), DiskError> {
        let idle = changes.is_empty();
        for change in changes {
            self.add(change)?;
        }
        self.append = self.append.max(append);
        if awaited || idle {
            self.sync()?;
        }
        Ok(())
    }

    /// Adds a change to what the next sync makes durable.
    fn add(&mut self, change: Change) -> Result<(), DiskError> {
        match &change {
            Change::Entry { index, .. } => self.mark.entry(*index),
            Change::Truncate { from } => {
                let lowered = self.mark.before_truncating(*from);
                lowered.map_err(|error| DiskError::refused("the mark", &error))?;
            }
            Change::Value { key, value } if *key == Key::VOTE => self.mark.vote(value),
            Change::Value { .. } | Change::Purge { .. } => {}
        }
        if !self.journal.takes(&change) {
            return self.pass_by(change);
        }
        if !self.journal.has_room(&change) {
            self.turn()?;
        }
        self.journal.push(&change);
        self.unsynced.push(change);
        Ok(())
    }

    /// Makes durable what was added since the last sync.
    fn sync(&mut self) -> Result<(), DiskError> {
        self.sync_journal()?;
        let noted = self.mark.after_sync();
        noted.map_err(|error| DiskError::refused("the mark", &error))
    }

    /// The same, but for the mark. All of it is handed over then.
    fn sync_journal(&mut self) -> Result<(), DiskError> {
        if self.unsynced.is_empty() {
            return Ok(());
        }
        let began = Instant::now();
        let synced = self.journal.sync();
        synced.map_err(|error| DiskError::refused("the journal", &error))?;
        self.disk.syncs.note(began.elapsed());
        self.disk.synced.note();
        self.hand_over();
        Ok(())
    }

    fn hand_over(&mut self) {
        self.handed = self.keeper.hand_over(Lot {
            changes: std::mem::take(&mut self.unsynced),
            kept: self.journal.synced(),
            append: self.append,
        });
    }

    /// Goes on in the journal's other file, once sled has what that holds.
    fn turn(&mut self) -> Result<(), DiskError> {
        self.sync_journal()?;
        self.keeper.wait_for(self.in_other)?;
        self.in_other = self.handed;
        self.journal.turn();
        Ok(())
    }

    /// Makes durable in sled itself what is larger than the journal's files.
    fn pass_by(&mut self, change: Change) -> Result<(), DiskError> {
        self.sync_journal()?;
        self.unsynced.push(change);
        self.hand_over();
        self.keeper.wait_for(self.handed)
    }

    /// At the end: what may have waited for a sync of another's.
    fn write_last(&mut self) -> Result<(), DiskError> {
        let committed = lock(&self.committed).take();
        if let Some(value) = committed {
            self.add(committed_is(value))?;
        }
        self.sync()
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

fn committed_is(value: Vec<u8>) -> Change {
    Change::Value {
        key: Key::COMMITTED,
        value,
    }
}
