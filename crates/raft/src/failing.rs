//! That a store has failed, told once and for good (invariant 8).

use std::{
    io,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::Arc,
};

use tokio::sync::watch;

use crate::durable::DiskError;

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

/// Where those who work with the disk tell that it fails, and look whether it has.
#[derive(Clone)]
pub(crate) struct Failing(Arc<watch::Sender<Option<StoreFailed>>>);

impl Failing {
    pub(crate) fn new() -> Self {
        Self(Arc::new(watch::Sender::new(None)))
    }

    /// Becomes `Some` when the store fails.
    pub(crate) fn failed(&self) -> watch::Receiver<Option<StoreFailed>> {
        self.0.subscribe()
    }

    /// Whether the store still persists.
    pub(crate) fn check(&self) -> Result<(), StoreFailed> {
        self.0.borrow().clone().map_or(Ok(()), Err)
    }

    /// Does something with the disk, unless that has failed before. If it fails, so has the store.
    pub(crate) fn guard(
        &self,
        work: impl FnOnce() -> Result<(), DiskError>,
    ) -> Result<(), StoreFailed> {
        self.check()?;
        // sled panics on what it thinks cannot happen. After that nothing it says counts.
        let done = catch_unwind(AssertUnwindSafe(work))
            .unwrap_or_else(|_| Err(DiskError::new("what works with it panicked")));
        done.map_err(|error| {
            let failed = StoreFailed(error.reason.into());
            tracing::error!(reason = %failed.0, "the store has failed; nothing more is written");
            self.0.send_if_modified(|known| {
                let first = known.is_none();
                known.get_or_insert_with(|| failed.clone());
                first
            });
            failed
        })
    }
}
