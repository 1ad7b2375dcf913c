//! When something happened last.

use std::{
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

/// A moment that is noted by one thread and looked at by others.
pub(crate) struct Last(Mutex<Instant>);

impl Last {
    /// Now, to begin with.
    pub(crate) fn now() -> Self {
        Self(Mutex::new(Instant::now()))
    }

    /// It happened.
    pub(crate) fn note(&self) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Instant::now();
    }

    /// How long ago that was.
    pub(crate) fn ago(&self) -> Duration {
        let at = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        at.elapsed()
    }
}
