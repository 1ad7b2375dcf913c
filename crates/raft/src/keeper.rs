//! The thread that carries over to sled what the journal has made durable, and removes what was purged. Nobody
//! waits for it, unless it has fallen behind by a whole file of the journal, or for a change larger than that.

use std::{
    collections::VecDeque,
    io,
    sync::{
        Arc, Condvar, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    thread,
    time::Duration,
};

use crate::{
    change::{Change, Making},
    durable::{Disk, DiskError},
    failing::{Failing, StoreFailed},
    journal::Kept,
    rows,
};

/// Bytes carried over at a time: sled makes some 1 MiB of them, half of a segment.
const LOT_BYTES: usize = 192 * 1024;
/// How long fewer may wait for more.
const GATHER: Duration = Duration::from_millis(50);
/// Rows removed at a time when purging, with nothing else to do.
const PURGE_ROWS: usize = 15;
/// Between two such times.
const PURGE_PAUSE: Duration = Duration::from_millis(10);
/// Rows removed for each row written, so that purging keeps up with writers that never rest.
const PURGE_PER_ROW: usize = 2;
/// Rows written and removed for each page that is cleaned up: as many as a page has when the log has just filled it. With
/// twice as many some pages were left waiting under load, with half as many none fewer.
const ROWS_PER_PAGE: usize = 8;

/// Changes that the journal has.
pub(crate) struct Lot {
    pub(crate) changes: Vec<Change>,
    /// How far the journal goes with them.
    pub(crate) kept: Kept,
    /// The number of the last append among them, or before.
    pub(crate) append: u64,
}

#[derive(Default)]
struct Queue {
    lots: VecDeque<Lot>,
    bytes: usize,
    /// Lots handed over so far.
    handed: u64,
    /// Of them, how many sled has durably.
    done: u64,
    /// Somebody waits.
    urgent: bool,
    closed: bool,
    /// Nothing more is carried over.
    ended: bool,
}

impl Queue {
    fn is_worth_it(&self) -> bool {
        self.bytes >= LOT_BYTES || self.urgent || self.closed
    }
}

#[derive(Default)]
struct Shared {
    queue: Mutex<Queue>,
    /// Something was handed over, or somebody waits.
    handed: Condvar,
    /// Something was carried over.
    done: Condvar,
    /// The last append that sled has.
    append: AtomicU64,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The last append that can be read back from sled.
#[derive(Clone)]
pub(crate) struct Carried(Arc<Shared>);

impl Carried {
    pub(crate) fn append(&self) -> u64 {
        self.0.append.load(Ordering::Acquire)
    }
}

/// The way to the thread. Dropping it has what was handed over carried over, and ends the thread.
pub(crate) struct Keeper {
    shared: Arc<Shared>,
    thread: Option<thread::JoinHandle<()>>,
}

impl Keeper {
    /// Starts the thread. `purged` is the last purge point, up to which a crash may have left rows.
    pub(crate) fn start(
        disk: Arc<Disk>,
        failing: Failing,
        purged: Option<u64>,
    ) -> io::Result<Self> {
        let shared = Arc::<Shared>::default();
        let carrying = Carrying {
            disk,
            failing,
            shared: Arc::clone(&shared),
            purging: purged.map(|upto| Purging { from: 0, upto }),
        };
        let thread = thread::Builder::new()
            .name("store-keeper".to_owned())
            .spawn(move || carrying.run())?;
        Ok(Self {
            shared,
            thread: Some(thread),
        })
    }

    pub(crate) fn carried(&self) -> Carried {
        Carried(Arc::clone(&self.shared))
    }

    /// Hands over changes that are durable in the journal; [`Keeper::wait_for`] takes the number.
    pub(crate) fn hand_over(&self, lot: Lot) -> u64 {
        let mut queue = self.shared.lock();
        let (first, slept) = (queue.lots.is_empty(), !queue.is_worth_it());
        queue.bytes += lot.changes.iter().map(Change::weight).sum::<usize>();
        queue.lots.push_back(lot);
        queue.handed += 1;
        // Not for each: it gathers, and whom nobody wakes costs nothing.
        if first || (slept && queue.is_worth_it()) {
            self.shared.handed.notify_one();
        }
        queue.handed
    }

    /// Waits until sled has a lot durably, and all before it.
    ///
    /// # Errors
    /// It never will.
    pub(crate) fn wait_for(&self, lot: u64) -> Result<(), DiskError> {
        let mut queue = self.shared.lock();
        while queue.done < lot && !queue.ended {
            queue.urgent = true;
            self.shared.handed.notify_one();
            queue = self
                .shared
                .done
                .wait(queue)
                .unwrap_or_else(PoisonError::into_inner);
        }
        queue.urgent = false;
        match queue.done >= lot {
            true => Ok(()),
            false => Err(DiskError::new("nothing more is carried over to sled")),
        }
    }
}

impl Drop for Keeper {
    fn drop(&mut self) {
        self.shared.lock().closed = true;
        self.shared.handed.notify_one();
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// Rows of entries being removed in the background.
struct Purging {
    from: u64,
    upto: u64,
}

struct Carrying {
    disk: Arc<Disk>,
    failing: Failing,
    shared: Arc<Shared>,
    purging: Option<Purging>,
}

impl Carrying {
    fn run(mut self) {
        while let Some(lots) = self.next_lots() {
            let failing = self.failing.clone();
            let carried: Result<(), StoreFailed> = failing.guard(|| self.carry_over(lots));
            if carried.is_err() {
                break;
            }
        }
        self.shared.lock().ended = true;
        self.shared.done.notify_all();
    }

    /// What was handed over, up to a limit; none when there is only purging to do, `None` at the end.
    fn next_lots(&self) -> Option<Vec<Lot>> {
        let mut queue = self.shared.lock();
        while queue.lots.is_empty() {
            if queue.closed {
                return None;
            }
            queue = match self.purging {
                None => self.wait(queue),
                Some(_) => match self.pause(queue, PURGE_PAUSE, |queue| queue.lots.is_empty()) {
                    (_, true) => return Some(Vec::new()),
                    (queue, false) => queue,
                },
            };
        }
        (queue, _) = self.pause(queue, GATHER, |queue| !queue.is_worth_it());
        let mut lots = Vec::new();
        let mut bytes = 0;
        while bytes < LOT_BYTES
            && let Some(lot) = queue.lots.pop_front()
        {
            bytes += lot.changes.iter().map(Change::weight).sum::<usize>();
            lots.push(lot);
        }
        queue.bytes -= bytes;
        Some(lots)
    }

    fn wait<'a>(&self, queue: MutexGuard<'a, Queue>) -> MutexGuard<'a, Queue> {
        let woken = self.shared.handed.wait(queue);
        woken.unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits while something is so; true if it was so for all of that time.
    fn pause<'a>(
        &self,
        queue: MutexGuard<'a, Queue>,
        at_most: Duration,
        is_so: fn(&Queue) -> bool,
    ) -> (MutexGuard<'a, Queue>, bool) {
        let (queue, end) = self
            .shared
            .handed
            .wait_timeout_while(queue, at_most, |queue| is_so(queue))
            .unwrap_or_else(PoisonError::into_inner);
        (queue, end.timed_out())
    }

    fn carry_over(&mut self, lots: Vec<Lot>) -> Result<(), DiskError> {
        let mut making = Making::new(&self.disk);
        let count = lots.len() as u64;
        let last = lots.last().map(|lot| (lot.kept, lot.append));
        for change in lots.into_iter().flat_map(|lot| lot.changes) {
            making.make(change)?;
        }
        making.finish()?;
        let written = making.rows;
        if let Some(upto) = making.purged {
            // The log never again has an entry at or before its purge point, so removing those
            // later never hits a new one.
            let from = self.purging.take().map_or(0, |purging| purging.from);
            self.purging = Some(Purging { from, upto });
        }
        if let Some((kept, append)) = last {
            kept.note(&self.disk)?;
            self.disk.barrier()?;
            self.shared.append.store(append, Ordering::Release);
            let mut queue = self.shared.lock();
            queue.done += count;
            if queue.urgent {
                self.disk.synced.note();
            }
            drop(queue);
            self.shared.done.notify_all();
        }
        let removed = self.purge_some(written)?;
        self.disk
            .clean_up((written + removed).div_ceil(ROWS_PER_PAGE))
    }

    /// Removes some of what was purged, and tells how many rows: a crash leaves some that the next start removes.
    fn purge_some(&mut self, written: usize) -> Result<usize, DiskError> {
        let Some(Purging { from, upto }) = self.purging.take() else {
            return Ok(0);
        };
        let rows = match written {
            0 => PURGE_ROWS,
            written => written * PURGE_PER_ROW,
        };
        let (removed, left) = rows::purge(&self.disk, from, upto, rows)?;
        self.purging = left.map(|from| Purging { from, upto });
        Ok(removed)
    }
}
