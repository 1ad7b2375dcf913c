//! The writer: one thread that owns the trail, so that a slow disk never occupies the runtime, and
//! so that whatever waits is written together.

use std::{
    io,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
        mpsc::{Receiver, RecvTimeoutError},
    },
    time::{Duration, Instant},
};

use tokio::sync::{OwnedSemaphorePermit, oneshot};

use super::{
    AuditUnavailable, Seq, SyncPolicy,
    gathering::TOGETHER,
    record::Entry,
    timed::Took,
    trail::{Batch, Disk, Trail},
};

/// Records in one write, give or take those that came together.
const BATCH_RECORDS: usize = TOGETHER;
/// Bytes in one write, give or take the same.
const BATCH_BYTES: usize = 1024 * 1024;
/// How long a failed trail rests before it is tried again.
const RETRY: Duration = Duration::from_millis(if cfg!(test) { 100 } else { 1_000 });

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
    pub(super) took: Arc<Took>,
}

impl Shared {
    pub(super) fn new(took: Arc<Took>) -> Self {
        Self {
            took,
            ..Self::default()
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

/// The writer's thread.
pub(super) struct Writer<D> {
    pub(super) trail: Trail<D>,
    pub(super) queue: Receiver<Request>,
    pub(super) policy: SyncPolicy,
    pub(super) shared: Arc<Shared>,
    pub(super) clock: Clock,
}

impl<D: Disk> Writer<D> {
    /// Runs until every sender is gone; then syncs what is left.
    pub(super) fn run(mut self) {
        let mut retry_at: Option<Instant> = None;
        loop {
            let due = retry_at.or_else(|| self.sync_due());
            let next = match due.map(|due| due.saturating_duration_since(Instant::now())) {
                // Checked before the queue: a queue that is never empty must not put it off.
                Some(Duration::ZERO) => Err(RecvTimeoutError::Timeout),
                Some(wait) => self.queue.recv_timeout(wait),
                None => self
                    .queue
                    .recv()
                    .map_err(|_| RecvTimeoutError::Disconnected),
            };
            let outcome = match next {
                // Dropped unanswered, which is a refusal.
                Ok(_) if retry_at.is_some() => continue,
                Ok(request) => self.write(request),
                Err(RecvTimeoutError::Timeout) if retry_at.is_some() => self.disk(Trail::repair),
                Err(RecvTimeoutError::Timeout) => self.disk(Trail::sync),
                Err(RecvTimeoutError::Disconnected) => break,
            };
            retry_at = self.note(outcome, retry_at.is_some());
        }
        let last = match self.trail.unsynced_since() {
            None => Ok(()),
            // After a failure the file is not what it should be, and a plain sync would keep it so.
            Some(_) if retry_at.is_some() => self.disk(Trail::repair),
            Some(_) => self.disk(Trail::sync),
        };
        if let Err(error) = last {
            tracing::error!(%error, "the audit trail's last records could not be synced");
        }
    }

    fn sync_due(&self) -> Option<Instant> {
        let since = self.trail.unsynced_since()?;
        Some(match self.policy {
            SyncPolicy::Within(limit) if !self.trail.must_sync() => since + limit,
            _ => since,
        })
    }

    /// Writes one request and all that wait behind it, then answers them.
    fn write(&mut self, first: Request) -> io::Result<()> {
        let mut batch = Batch::default();
        let (mut answers, mut records) = (Vec::new(), 0);
        let mut next = Some(first);
        while let Some(request) = next {
            let outcomes: Vec<Outcome> = request
                .records
                .iter()
                // An entry's own fault cannot be, but it must not stop the others.
                .map(|entry| match self.trail.chain(&mut batch, entry) {
                    Ok(seq) => Ok(Seq(seq)),
                    Err(_) => Err(AuditUnavailable),
                })
                .collect();
            records += outcomes.iter().filter(|outcome| outcome.is_ok()).count();
            answers.push((request, outcomes));
            let room = records < BATCH_RECORDS && batch.bytes.len() < BATCH_BYTES;
            next = if room {
                self.queue.try_recv().ok()
            } else {
                None
            };
        }
        let sync = self.policy == SyncPolicy::Always;
        let outcome = self.disk(|trail| trail.append(&batch, sync));
        let failed = outcome.is_err();
        if failed {
            // Before the answers: whoever hears of the failure must find the trail unavailable.
            self.shared.failed.store(true, Ordering::Release);
        } else {
            let count = u64::try_from(records).unwrap_or_default();
            self.shared.records.fetch_add(count, Ordering::Relaxed);
            self.shared.batches.fetch_add(1, Ordering::Relaxed);
        }
        for (request, outcomes) in answers {
            let (reply, records) = (request.reply, request.records);
            // Refused without a word: whoever waits hears that nothing will come.
            if !failed {
                // Nobody may be there to hear it; the records stay.
                let _ = reply.send(Answer { outcomes, records });
            }
            drop(request.places);
        }
        outcome
    }

    /// One operation on the trail, with its beginning visible from outside.
    fn disk(&mut self, work: impl FnOnce(&mut Trail<D>) -> io::Result<()>) -> io::Result<()> {
        self.shared
            .busy_since
            .store(self.clock.millis(), Ordering::Release);
        let outcome = work(&mut self.trail);
        self.shared.busy_since.store(0, Ordering::Release);
        self.shared
            .last_seq
            .store(self.trail.last_seq(), Ordering::Release);
        self.shared.syncs.store(self.trail.syncs, Ordering::Relaxed);
        outcome
    }

    /// Takes note of success or failure; a failure names the time of the next try.
    fn note(&self, outcome: io::Result<()>, was_failed: bool) -> Option<Instant> {
        match outcome {
            Ok(()) => {
                if was_failed {
                    tracing::info!("the audit trail can be written again");
                }
                self.shared.failed.store(false, Ordering::Release);
                None
            }
            Err(error) => {
                self.shared.failed.store(true, Ordering::Release);
                self.shared.failures.fetch_add(1, Ordering::Relaxed);
                if !was_failed {
                    tracing::error!(%error, "the audit trail cannot be written; requests are refused until it can");
                }
                Some(Instant::now() + RETRY)
            }
        }
    }
}
