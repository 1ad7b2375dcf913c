//! What this node knows of scheduled backups, while it leads.

use std::{
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use strongroom_core::LogTime;

/// When backups were taken that are still there, and counters since the start.
#[derive(Default)]
pub(crate) struct Progress(Mutex<Known>);

#[derive(Clone, Copy, Default)]
pub(super) struct Known {
    pub(super) newest: Option<LogTime>,
    pub(super) verified: Option<LogTime>,
    pub(super) taken: u64,
    pub(super) failures: u64,
}

/// A reading of what is known.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct BackupReading {
    /// How long ago the newest backup was taken, verified or not. `None`: this node does not lead, or
    /// has not found out, or there is none.
    pub age: Option<Duration>,
    /// The same of the newest that a rehearsal has restored.
    pub verified_age: Option<Duration>,
    /// Backups that this node took and verified.
    pub taken: u64,
    /// Tries that failed, looks at the store included.
    pub failures: u64,
}

impl Progress {
    /// The lock is held for a few loads and stores; a panic in between leaves them whole.
    pub(super) fn known(&self) -> MutexGuard<'_, Known> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whoever leads now knows better.
    pub(super) fn forget(&self) {
        let mut known = self.known();
        (known.newest, known.verified) = (None, None);
    }

    pub(crate) fn read(&self, now: LogTime) -> BackupReading {
        let known = *self.known();
        let age = |time: LogTime| Duration::from_millis(now.0.saturating_sub(time.0));
        BackupReading {
            age: known.newest.map(age),
            verified_age: known.verified.map(age),
            taken: known.taken,
            failures: known.failures,
        }
    }
}
