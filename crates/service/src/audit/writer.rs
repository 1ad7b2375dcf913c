//! The writer: one thread that writes together whatever waits, and does all that may take the disk long: syncs, new
//! files, repairs.

use std::{
    io,
    sync::{
        Arc, MutexGuard,
        atomic::{AtomicBool, AtomicU64, Ordering},
        mpsc::{Receiver, RecvTimeoutError},
    },
    time::{Duration, Instant},
};

use tokio::sync::{OwnedSemaphorePermit, oneshot};

use super::{
    AuditUnavailable, Seq, SyncPolicy,
    desk::{Desk, Seat},
    gathering::TOGETHER,
    record::Entry,
    trail::{Batch, Trail},
};

/// Records in one write, give or take those that came together.
const BATCH_RECORDS: usize = TOGETHER;
/// Bytes in one write, give or take the same.
const BATCH_BYTES: usize = 1024 * 1024;
/// How long a failed trail rests before it is tried again.
pub(super) const RETRY: Duration = Duration::from_millis(if cfg!(test) { 100 } else { 1_000 });

/// What came of a record.
pub(super) type Outcome = Result<Seq, AuditUnavailable>;

/// Records on their way.
pub(super) struct Request {
    pub(super) records: Vec<Entry>,
    /// Their places in the queue, given back when they are answered.
    pub(super) places: Option<OwnedSemaphorePermit>,
    pub(super) reply: oneshot::Sender<Answer>,
}

/// What the writer answers.
#[derive(Default)]
pub(super) struct Answer {
    /// What came of each record, in their order.
    pub(super) outcomes: Vec<Outcome>,
    /// The records, to be let go of where they were made: memory that one thread takes and another gives
    /// back makes each of them wait for the other.
    #[expect(dead_code, reason = "held to be dropped by whoever gets it")]
    pub(super) records: Vec<Entry>,
}

/// What the writer shows to everybody else.
#[derive(Default)]
pub(super) struct Shared {
    pub(super) failed: AtomicBool,
    pub(super) last_seq: AtomicU64,
    pub(super) records: AtomicU64,
    pub(super) batches: AtomicU64,
    pub(super) syncs: AtomicU64,
    pub(super) failures: AtomicU64,
    /// Milliseconds from `Clock` to the beginning of the disk operation under way; 0: none is.
    pub(super) busy_since: AtomicU64,
    /// The same for a sync that others append beside.
    pub(super) syncing_since: AtomicU64,
}

impl Shared {
    pub(super) fn note_written(&self, records: usize) {
        let count = u64::try_from(records).unwrap_or_default();
        self.records.fetch_add(count, Ordering::Relaxed);
        self.batches.fetch_add(1, Ordering::Relaxed);
    }

    /// Takes note of an operation's success or failure, before anybody hears of it: whoever does must find the
    /// trail as available as it is.
    pub(super) fn note(&self, outcome: &io::Result<()>) {
        let had_failed = self.failed.swap(outcome.is_err(), Ordering::AcqRel);
        match outcome {
            Ok(()) if had_failed => tracing::info!("the audit trail can be written again"),
            Ok(()) => {}
            Err(error) => {
                self.failures.fetch_add(1, Ordering::Relaxed);
                if !had_failed {
                    tracing::error!(%error, "the audit trail cannot be written; requests are refused until it can");
                }
            }
        }
    }
}

/// Milliseconds since the trail was opened, from 1.
#[derive(Clone, Copy)]
pub(super) struct Clock(pub(super) Instant);

impl Clock {
    pub(super) fn millis(self) -> u64 {
        u64::try_from(self.0.elapsed().as_millis())
            .unwrap_or(u64::MAX)
            .saturating_add(1)
    }
}

/// What goes to the thread.
pub(super) enum Message {
    Records(Request),
    /// Nothing but to look whether something is due.
    Look,
}

/// The writer's thread.
pub(super) struct Writer {
    pub(super) desk: Arc<Desk>,
    pub(super) queue: Receiver<Message>,
}

impl Writer {
    /// Runs until every sender is gone; then syncs what is left.
    pub(super) fn run(self) {
        while let Some(seat) = self.desk.sit_down() {
            let due = seat.retry_at.or_else(|| self.sync_due(&seat.trail));
            let wait = due.map(|due| due.saturating_duration_since(Instant::now()));
            if wait == Some(Duration::ZERO) {
                // Before the queue: a queue that is never empty must not put it off.
                match seat.retry_at {
                    Some(_) => self.repair(seat),
                    None => self.sync(seat),
                }
                // And before the next: what came beside a sync may be due for another when it is done.
                if let Some(request) = self.waiting() {
                    self.write(request);
                }
                continue;
            }
            drop(seat);
            let next = match wait {
                Some(wait) => self.queue.recv_timeout(wait),
                None => self
                    .queue
                    .recv()
                    .map_err(|_| RecvTimeoutError::Disconnected),
            };
            match next {
                Ok(Message::Records(request)) => self.write(request),
                Ok(Message::Look) | Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return self.end(),
            }
        }
        tracing::error!(
            "whoever wrote the audit trail panicked, and nothing is written to it any more"
        );
        if let Err(error) = self.desk.sync_what_is_left() {
            tracing::error!(%error, "the audit trail's last records could not be synced");
        }
    }

    fn end(&self) {
        let Some(mut seat) = self.desk.sit_down() else {
            return;
        };
        if seat.trail.unsynced_since().is_none() {
            return;
        }
        let last = match seat.retry_at {
            Some(_) => self.desk.operate(&mut seat, Trail::repair),
            None => self.desk.operate(&mut seat, Trail::sync),
        };
        if let Err(error) = last {
            tracing::error!(%error, "the audit trail's last records could not be synced");
        }
    }

    fn sync_due(&self, trail: &Trail) -> Option<Instant> {
        let since = trail.unsynced_since()?;
        Some(match self.desk.policy {
            SyncPolicy::Within(limit) if !trail.must_sync() => since + limit,
            _ => since,
        })
    }

    /// Makes durable what is written by now. Requests may append meanwhile.
    fn sync(&self, seat: MutexGuard<'_, Seat>) {
        let Desk {
            disk,
            shared,
            clock,
            ..
        } = &*self.desk;
        let syncing = seat.trail.begin_sync();
        drop(seat);
        let since = &shared.syncing_since;
        since.store(clock.millis(), Ordering::Release);
        let synced = syncing.sync(&**disk);
        since.store(0, Ordering::Release);
        let Some(mut seat) = self.desk.sit_down() else {
            return;
        };
        if seat.retry_at.is_none() {
            // What came of it is noted for all.
            let _ = self.desk.operate(&mut seat, |trail| {
                synced.and_then(|()| trail.end_sync(&syncing))
            });
        } else if synced.is_ok()
            && let Err(error) = seat.trail.end_sync_of_failed(&syncing)
        {
            // The repair writes all of it again.
            tracing::debug!(%error, "what a sync of the audit trail made durable is not known");
        }
    }

    /// After a failure the file is not what it should be, and a plain sync would keep it so.
    fn repair(&self, mut seat: MutexGuard<'_, Seat>) {
        // What came of it is noted for all.
        let _ = self.desk.operate(&mut seat, Trail::repair);
    }

    /// Writes one request and all that wait behind it, then answers them.
    fn write(&self, first: Request) {
        let Some(mut seat) = self.desk.sit_down() else {
            return;
        };
        if seat.retry_at.is_some() {
            // Dropped unanswered, which is a refusal.
            return;
        }
        let mut batch = Batch::default();
        let (mut answers, mut records) = (Vec::new(), 0);
        let mut next = Some(first);
        while let Some(request) = next {
            let outcomes: Vec<Outcome> = request
                .records
                .iter()
                // An entry's own fault cannot be, but it must not stop the others.
                .map(|entry| match seat.trail.chain(&mut batch, entry) {
                    Ok(seq) => Ok(Seq(seq)),
                    Err(_) => Err(AuditUnavailable),
                })
                .collect();
            records += outcomes.iter().filter(|outcome| outcome.is_ok()).count();
            answers.push((request, outcomes));
            let room = records < BATCH_RECORDS && batch.bytes.len() < BATCH_BYTES;
            next = if room { self.waiting() } else { None };
        }
        let sync = self.desk.policy == SyncPolicy::Always;
        let written = self
            .desk
            .operate(&mut seat, |trail| trail.append(&batch, sync));
        drop(seat);
        if written.is_ok() {
            self.desk.shared.note_written(records);
        }
        for (request, outcomes) in answers {
            let (reply, records) = (request.reply, request.records);
            // Refused without a word: whoever waits hears that nothing will come.
            if written.is_ok() {
                // Nobody may be there to hear it; the records stay.
                let _ = reply.send(Answer { outcomes, records });
            }
            drop(request.places);
        }
    }

    /// The next records that wait already.
    fn waiting(&self) -> Option<Request> {
        loop {
            match self.queue.try_recv().ok()? {
                Message::Records(request) => return Some(request),
                // Whatever is due is looked at after this.
                Message::Look => {}
            }
        }
    }
}
