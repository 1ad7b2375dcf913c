//! What workers have done, counted: how often, when last, and how often in vain.

use std::{
    sync::atomic::{AtomicU64, Ordering::Relaxed},
    time::{SystemTime, UNIX_EPOCH},
};

/// A worker that does something now and then which may fail.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Worker {
    /// Takes up the bootstrap token.
    Bootstrap,
    /// Rotates what is due.
    Rotation,
    /// Looks for rotations of the KMS key, and moves versions onto it.
    Rewrap,
    /// Applies new values to targets.
    Targets,
    /// Takes backups.
    Backup,
}

impl Worker {
    /// All of them.
    pub const ALL: [Self; 5] = [
        Self::Bootstrap,
        Self::Rotation,
        Self::Rewrap,
        Self::Targets,
        Self::Backup,
    ];

    /// A stable label.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Bootstrap => "bootstrap",
            Self::Rotation => "rotation",
            Self::Rewrap => "rewrap",
            Self::Targets => "targets",
            Self::Backup => "backup",
        }
    }
}

/// Rounds with one outcome.
#[derive(Default)]
struct Ended {
    count: AtomicU64,
    /// Seconds since 1970; 0: never.
    last: AtomicU64,
}

/// Rounds of all workers since the start.
#[derive(Default)]
pub struct Rounds {
    ended: [[Ended; 2]; Worker::ALL.len()],
    panics: AtomicU64,
}

/// A reading of one worker's rounds with one outcome.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct RoundsReading {
    /// Whose.
    pub worker: Worker,
    /// Whether they did what they were for.
    pub ok: bool,
    /// How many.
    pub count: u64,
    /// When the last one ended, in seconds since 1970; `None`: there was none.
    pub last: Option<u64>,
}

impl Rounds {
    /// One round of a worker has ended.
    pub(crate) fn note(&self, worker: Worker, ok: bool) {
        let now = SystemTime::now().duration_since(UNIX_EPOCH);
        let row = self.ended.get(worker as usize);
        if let Some(ended) = row.and_then(|row| row.get(usize::from(ok))) {
            ended.count.fetch_add(1, Relaxed);
            let secs = now.map_or(0, |now| now.as_secs());
            ended.last.store(secs, Relaxed);
        }
    }

    pub(crate) fn panicked(&self) {
        self.panics.fetch_add(1, Relaxed);
    }

    /// Workers that panicked and began anew.
    #[must_use]
    pub fn panics(&self) -> u64 {
        self.panics.load(Relaxed)
    }

    /// Every worker and outcome, those that never were included.
    #[must_use]
    pub fn read(&self) -> Vec<RoundsReading> {
        let rows = Worker::ALL.into_iter().zip(&self.ended);
        let of = |(worker, row): (Worker, &[Ended; 2])| {
            let outcomes = [false, true].into_iter().zip(row);
            let readings = outcomes.map(|(ok, ended)| RoundsReading {
                worker,
                ok,
                count: ended.count.load(Relaxed),
                last: Some(ended.last.load(Relaxed)).filter(|last| *last > 0),
            });
            readings.collect::<Vec<_>>()
        };
        rows.flat_map(of).collect()
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn every_worker_and_outcome_has_its_own_counter() {
        let rounds = Rounds::default();
        let pairs = Worker::ALL.map(|worker| [(worker, false), (worker, true)]);
        for (times, (worker, ok)) in (1..).zip(pairs.into_iter().flatten()) {
            (0..times).for_each(|_| rounds.note(worker, ok));
        }
        for (times, reading) in (1..).zip(rounds.read()) {
            assert_eq!(reading.count, times, "{reading:?}");
            assert!(reading.last.unwrap() > 1_700_000_000);
        }
        assert!(Rounds::default().read().iter().all(|r| r.last.is_none()));
    }
}
