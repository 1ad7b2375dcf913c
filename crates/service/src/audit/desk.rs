//! The desk at which the trail is written: by the writer's thread, and by a request that finds it free. For
//! a request that is alone, waking that thread and being woken by it takes several times as long as the record.

use std::{
    io,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use super::{
    AuditUnavailable, Seq, SyncPolicy,
    record::Entry,
    timed::Timed,
    trail::{Batch, Trail},
    writer::{Clock, Outcome, RETRY, Shared},
};

/// So long no request writes by itself after a slow write, in milliseconds.
const AFTER_SLOW_MILLIS: u64 = 1_000;

/// What whoever writes has before him.
pub(super) struct Seat {
    pub(super) trail: Trail,
    /// The trail failed, and nothing is written before it has been repaired: when that is tried next.
    pub(super) retry_at: Option<Instant>,
}

/// The trail, and what is known of it. Whoever holds its lock writes.
pub(super) struct Desk {
    seat: Mutex<Seat>,
    pub(super) disk: Arc<Timed>,
    pub(super) policy: SyncPolicy,
    pub(super) shared: Shared,
    pub(super) clock: Clock,
    /// Until when no request writes by itself, as [`Clock`] has it.
    left_to_the_thread: AtomicU64,
    slow_write: Duration,
}

/// A record that was written by its request.
pub(super) struct Written {
    pub(super) outcome: Outcome,
    /// The thread has to look after the trail: there is something to sync again, or it failed.
    pub(super) wants_thread: bool,
}

impl Desk {
    pub(super) fn new(
        trail: Trail,
        disk: Arc<Timed>,
        policy: SyncPolicy,
        slow_write: Duration,
    ) -> Self {
        let shared = Shared::default();
        shared.last_seq.store(trail.last_seq(), Ordering::Release);
        shared.syncs.store(trail.syncs, Ordering::Relaxed);
        Self {
            disk,
            seat: Mutex::new(Seat {
                trail,
                retry_at: None,
            }),
            policy,
            shared,
            clock: Clock(Instant::now()),
            left_to_the_thread: AtomicU64::new(0),
            slow_write,
        }
    }

    /// For the thread. `None`: whoever sat there panicked, and what it left is unknown. Then nothing is written
    /// any more.
    pub(super) fn sit_down(&self) -> Option<MutexGuard<'_, Seat>> {
        self.seat.lock().ok()
    }

    /// Makes durable what is in the file, whatever became of whoever wrote it.
    pub(super) fn sync_what_is_left(&self) -> io::Result<()> {
        let seat = self.seat.lock().unwrap_or_else(PoisonError::into_inner);
        seat.trail.begin_sync().sync(&*self.disk)
    }

    /// Writes a record here and now, without a sync. `None`, with nothing done: the thread is to do it, since somebody
    /// writes already, a sync or another file is due, or writes are slow or refused.
    pub(super) fn write_now(&self, entry: &Entry) -> Option<Written> {
        let left_to_the_thread = self.left_to_the_thread.load(Ordering::Relaxed);
        let SyncPolicy::Within(limit) = self.policy else {
            return None;
        };
        if self.clock.millis() < left_to_the_thread {
            return None;
        }
        let mut seat = self.seat.try_lock().ok()?;
        let unsynced_since = seat.trail.unsynced_since();
        // The sync of those before takes long: who comes now waits for it.
        let is_late = unsynced_since.is_some_and(|since| since.elapsed() > 2 * limit);
        if seat.retry_at.is_some() || seat.trail.must_sync() || is_late {
            return None;
        }
        let mut batch = Batch::of_one();
        let seq = seat.trail.chain(&mut batch, entry).ok()?;
        if !seat.trail.has_room(&batch) {
            return None;
        }
        let began = Instant::now();
        let written = self.operate(&mut seat, |trail| trail.append(&batch, false));
        if began.elapsed() > self.slow_write {
            let until = self.clock.millis().saturating_add(AFTER_SLOW_MILLIS);
            self.left_to_the_thread.store(until, Ordering::Relaxed);
        }
        if written.is_ok() {
            self.shared.note_written(1);
        }
        Some(Written {
            wants_thread: unsynced_since.is_none() || written.is_err(),
            outcome: written.map(|()| Seq(seq)).map_err(|_| AuditUnavailable),
        })
    }

    /// One operation on the trail, with its beginning visible from outside, and its failure before the lock is
    /// given back.
    pub(super) fn operate(
        &self,
        seat: &mut Seat,
        work: impl FnOnce(&mut Trail) -> io::Result<()>,
    ) -> io::Result<()> {
        let (shared, trail) = (&self.shared, &mut seat.trail);
        shared
            .busy_since
            .store(self.clock.millis(), Ordering::Release);
        let outcome = work(trail);
        shared.busy_since.store(0, Ordering::Release);
        shared.last_seq.store(trail.last_seq(), Ordering::Release);
        shared.syncs.store(trail.syncs, Ordering::Relaxed);
        shared.note(&outcome);
        seat.retry_at = outcome.is_err().then(|| Instant::now() + RETRY);
        outcome
    }
}
