//! Unwrapping the data keys of all current versions at the start, so that a node which has just
//! started also reads through an outage of KMS.

use std::{
    collections::VecDeque,
    num::NonZeroU32,
    sync::{Arc, Weak},
    time::{Duration, Instant},
};

use strongroom_core::{Readiness, SecretName};
use strongroom_seal::{Binding, BreakerState, KmsError};
use tokio::{task::JoinSet, time::MissedTickBehavior};

use crate::vault::Vault;

/// Between two looks at whether this node has caught up, or KMS has come back.
const GLANCE: Duration = Duration::from_millis(500);
/// Between two lines in the log.
const REPORT: Duration = Duration::from_secs(10);
/// Calls under way at most: what keeps the pace when a call takes long.
const AT_ONCE: usize = 16;
/// Refusals in a row after which KMS is not asked any more.
const REFUSALS: u32 = 5;
/// How long one key is waited for.
const WITHIN: Duration = Duration::from_secs(10);

/// How one secret came out.
enum Warmed {
    /// Its key is in the cache, or there is nothing to unwrap any more.
    Done,
    /// KMS cannot be asked now.
    Later(SecretName),
    /// This key cannot be unwrapped; others may.
    Failed,
    /// KMS denies, or says that the key is disabled. If it says so of every key, asking on would be
    /// noise in its log; of one, it may be a version that a deleted KMS key wrapped.
    Refused(KmsError),
}

/// Runs once. Ends early when KMS refuses, or the vault is dropped.
pub(crate) async fn worker(weak: Weak<Vault>, per_sec: NonZeroU32) {
    let Some(names) = names_once_ready(&weak).await else {
        return;
    };
    let (total, began) = (names.len(), Instant::now());
    tracing::info!(
        secrets = total,
        per_sec,
        "unwrapping the data keys of current versions"
    );
    let mut progress = Progress::new(names);
    let mut pace = tokio::time::interval(Duration::from_secs(1) / per_sec.get());
    pace.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut reported = Instant::now();
    while let Some(name) = progress.next().await {
        pace.tick().await;
        loop {
            let Some(vault) = weak.upgrade() else { return };
            if vault.keyring.breaker() == BreakerState::Closed {
                break;
            }
            drop(vault);
            tokio::time::sleep(GLANCE).await;
        }
        let Some(vault) = weak.upgrade() else { return };
        progress
            .running
            .spawn(async move { warm(&vault, name).await });
        if reported.elapsed() >= REPORT {
            reported = Instant::now();
            let (done, failed) = (progress.done, progress.failed);
            tracing::info!(done, failed, total, "unwrapping data keys");
        }
    }
    let (done, failed) = (progress.done, progress.failed);
    let took = began.elapsed();
    match progress.gave_up {
        Some(error) => {
            tracing::warn!(%error, done, total, "KMS refuses: no more data keys are unwrapped in advance")
        }
        None => tracing::info!(
            done,
            failed,
            total,
            ?took,
            "the data keys of current versions are unwrapped"
        ),
    }
}

/// The secrets there are once this node is ready, as many as the cache has room for.
async fn names_once_ready(weak: &Weak<Vault>) -> Option<VecDeque<SecretName>> {
    loop {
        let vault = weak.upgrade()?;
        if vault.replica.readiness() == Readiness::Ready
            && let Ok(state) = vault.replica.local()
        {
            let room = vault.keyring.capacity();
            if state.secret_count() > room {
                tracing::warn!(
                    room,
                    secrets = state.secret_count(),
                    "the data key cache has no room for all secrets: VAULT_DEK_CACHE_ENTRIES"
                );
            }
            return Some(state.secret_names().take(room).cloned().collect());
        }
        drop(vault);
        tokio::time::sleep(GLANCE).await;
    }
}

async fn warm(vault: &Arc<Vault>, name: SecretName) -> Warmed {
    let Ok(state) = vault.replica.local() else {
        return Warmed::Later(name);
    };
    let current = state.secret(&name).and_then(|secret| secret.current());
    let Some((number, sealed)) = current.and_then(|version| {
        let sealed = version.readable(vault.replica.clock())?;
        Some((version.number, sealed))
    }) else {
        return Warmed::Done;
    };
    let binding = Binding::new(&name, number);
    match vault.keyring.dek(&binding, sealed, WITHIN).await {
        Ok(_) => Warmed::Done,
        Err(error) if error.is_retryable() => Warmed::Later(name),
        Err(error @ (KmsError::Denied(_) | KmsError::KeyDisabled(_))) => Warmed::Refused(error),
        Err(error) => {
            tracing::warn!(%name, version = number, %error, "a data key cannot be unwrapped");
            Warmed::Failed
        }
    }
}

/// What is left, what is under way, and what came of it.
struct Progress {
    waiting: VecDeque<SecretName>,
    running: JoinSet<Warmed>,
    done: usize,
    failed: usize,
    /// In a row.
    refusals: u32,
    gave_up: Option<KmsError>,
}

impl Progress {
    fn new(waiting: VecDeque<SecretName>) -> Self {
        Self {
            waiting,
            running: JoinSet::new(),
            done: 0,
            failed: 0,
            refusals: 0,
            gave_up: None,
        }
    }

    /// The next secret, once there is room for another call; `None` when all are through, or KMS
    /// has refused.
    async fn next(&mut self) -> Option<SecretName> {
        while let Some(ended) = self.running.try_join_next() {
            self.note(ended.ok());
        }
        loop {
            if self.gave_up.is_some() {
                return None;
            }
            if self.running.len() < AT_ONCE
                && let Some(name) = self.waiting.pop_front()
            {
                return Some(name);
            }
            let ended = self.running.join_next().await?;
            self.note(ended.ok());
        }
    }

    fn note(&mut self, warmed: Option<Warmed>) {
        match warmed {
            Some(Warmed::Done) => {
                self.done += 1;
                self.refusals = 0;
            }
            Some(Warmed::Later(name)) => self.waiting.push_back(name),
            Some(Warmed::Failed) | None => self.failed += 1,
            Some(Warmed::Refused(error)) => {
                self.failed += 1;
                self.refusals += 1;
                if self.refusals == REFUSALS {
                    self.gave_up = Some(error);
                }
            }
        }
    }
}
