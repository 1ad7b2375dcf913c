//! The worker that takes backups without being asked, while this node leads.

use std::{
    num::NonZeroUsize,
    sync::{Arc, Weak},
    time::{Duration, Instant},
};

use super::{store::BackupStore, turn::turn};
use crate::{rounds::Worker, vault::Vault};

/// Between two looks at whether this node leads.
const GLANCE: Duration = Duration::from_millis(200);
/// Between two looks at what is in the store, at most: somebody may have deleted it.
const LOOK: Duration = Duration::from_secs(600);
/// Before a failed backup is tried again, at most; half of it at least.
const RETRY: Duration = Duration::from_secs(300);

/// Where scheduled backups go, and when.
pub struct Backups {
    /// Where they are kept.
    pub store: Arc<dyn BackupStore>,
    /// A backup is taken once the newest verified one is this old.
    pub interval: Duration,
    /// How many verified ones are kept.
    pub keep: NonZeroUsize,
}

pub(crate) async fn worker(weak: Weak<Vault>) {
    let mut next: Option<Instant> = None;
    loop {
        tokio::time::sleep(GLANCE).await;
        let Some(vault) = weak.upgrade() else { return };
        let Some(backups) = &vault.backups else {
            return;
        };
        if !vault.replica.is_leader() {
            vault.backups_progress.forget();
            next = None;
            continue;
        }
        if next.is_some_and(|at| Instant::now() < at) {
            continue;
        }
        let done = turn(&vault, backups).await;
        vault.rounds.note(Worker::Backup, done.is_ok());
        let pause = match done {
            Ok(left) => left.min(LOOK),
            Err(error) => {
                vault.backups_progress.known().failures += 1;
                let again_in = retry_in(backups.interval);
                tracing::error!(%error, ?again_in, "the scheduled backup failed");
                again_in
            }
        };
        next = Some(Instant::now() + pause);
    }
}

/// Jittered, so that clusters which share a store that was away do not all come back at once.
fn retry_in(interval: Duration) -> Duration {
    let mut drawn = [0; 1];
    // Without randomness it is tried late, which is fine.
    let _ = getrandom::fill(&mut drawn);
    let half = RETRY.min(interval) / 2;
    half + half.mul_f64(f64::from(drawn[0]) / 256.0)
}
