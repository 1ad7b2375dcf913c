//! One scheduled backup: written, read again, rehearsed, and only then given the name of one
//! (invariant 27).

use std::{num::NonZeroUsize, sync::Arc, time::Duration};

use futures_util::StreamExt;
use strongroom_core::{
    ClusterId, LogTime, ReadError, ReadGate, State,
    backup::{BackupError, Reader},
    limits,
    rehearsal::{RehearsalError, rehearse},
};

use super::{
    name::BackupName,
    pieces::pieces,
    schedule::Backups,
    store::{BackupStore, StoreError},
};
use crate::{
    context::RequestContext,
    vault::{Event, Vault},
};

/// How long the leader may take to be sure that it is one.
const LEADS_WITHIN: Duration = Duration::from_secs(10);
/// How long one backup may take, its rehearsal included.
const WITHIN: Duration = Duration::from_secs(3_600);
const ACTION: &str = "backup.scheduled";
const WORKER: &str = "worker/backup";

/// Why there is no new backup.
#[derive(Debug, thiserror::Error)]
pub(super) enum TurnError {
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error("what was read again is wrong: {0}")]
    Backup(#[from] BackupError),
    #[error(transparent)]
    Rehearsal(#[from] RehearsalError),
    #[error("it is over 1 GiB, and could not be restored")]
    TooLarge,
    #[error("it took more than an hour")]
    TooLong,
    #[error("the audit trail cannot be written")]
    Audit,
    #[error(transparent)]
    Read(#[from] ReadError),
    #[error("the rehearsal broke off")]
    BrokeOff,
    #[error("there is a new backup, and older ones could not be deleted: {0}")]
    Old(StoreError),
}

/// The backups of this cluster in the store, the newest first.
pub(super) struct Found {
    pub(super) verified: Vec<BackupName>,
    pub(super) unverified: Vec<BackupName>,
}

pub(super) async fn look(store: &dyn BackupStore, cluster: ClusterId) -> Result<Found, StoreError> {
    let files = store.list().await?;
    let names = files
        .iter()
        .filter_map(|file| BackupName::parse(file, cluster));
    let (mut verified, mut unverified) = (Vec::new(), Vec::new());
    for (name, is_verified) in names {
        match is_verified {
            true => verified.push(name),
            false => unverified.push(name),
        }
    }
    for names in [&mut verified, &mut unverified] {
        names.sort_unstable_by(|a, b| b.cmp(a));
    }
    Ok(Found {
        verified,
        unverified,
    })
}

/// The newest that is not from the future: such a one, of a clock that was ahead, must not keep others
/// from being taken.
fn newest(names: &[BackupName], now: LogTime) -> Option<LogTime> {
    names.iter().map(|name| name.time).find(|time| *time <= now)
}

/// Looks what there is, and takes a backup if one is due. Returns how long it is until the next one.
pub(super) async fn turn(vault: &Vault, backups: &Backups) -> Result<Duration, TurnError> {
    let replica = &*vault.replica;
    // Also makes sure that nobody else leads by now and does the same.
    let state = replica.read(ReadGate::Linearizable, LEADS_WITHIN).await?;
    let Some(cluster) = state.cluster_id() else {
        return Ok(backups.interval);
    };
    let store = &*backups.store;
    let found = look(store, cluster).await?;
    let now = replica.clock();
    note(vault, &found, now);
    if let Some(left) = left(&found, now, backups.interval) {
        return Ok(left);
    }
    for leftover in &found.unverified {
        store.delete(&leftover.unverified()).await?;
    }
    let index = state.position().map_or(0, |position| position.index);
    let name = BackupName::new(cluster, now, index);
    let taken = audited(vault, &name, take(store, &name, state)).await;
    // Even if it failed there may be a new file.
    let found = look(store, cluster).await;
    if let Ok(found) = &found {
        note(vault, found, replica.clock());
    }
    taken?;
    vault.backups_progress.known().taken += 1;
    tracing::info!(%name, "a backup was taken, read again and rehearsed");
    let kept = delete_old(store, &found?, backups.keep).await;
    kept.map_err(TurnError::Old)?;
    Ok(backups.interval)
}

/// How long the newest verified backup still suffices.
pub(super) fn left(found: &Found, now: LogTime, interval: Duration) -> Option<Duration> {
    let age = now.0 - newest(&found.verified, now)?.0;
    let left = interval.saturating_sub(Duration::from_millis(age));
    (!left.is_zero()).then_some(left)
}

fn note(vault: &Vault, found: &Found, now: LogTime) {
    let verified = newest(&found.verified, now);
    let mut known = vault.backups_progress.known();
    known.verified = verified;
    known.newest = verified.max(newest(&found.unverified, now));
}

pub(super) async fn take(
    store: &dyn BackupStore,
    name: &BackupName,
    state: Arc<State>,
) -> Result<(), TurnError> {
    let taking = async {
        let unverified = name.unverified();
        store.write(&unverified, pieces(Arc::clone(&state))).await?;
        let read_again = read_again(store, &unverified).await?;
        let rehearsed = tokio::task::spawn_blocking(move || rehearse(&state, &read_again)).await;
        rehearsed.map_err(|_| TurnError::BrokeOff)??;
        Ok(store.rename(&unverified, &name.to_string()).await?)
    };
    let taken = tokio::time::timeout(WITHIN, taking).await;
    taken.unwrap_or(Err(TurnError::TooLong))
}

async fn read_again(store: &dyn BackupStore, file: &str) -> Result<State, TurnError> {
    let mut coming = store.read(file).await?;
    let mut reader = Reader::default();
    while let Some(piece) = coming.next().await {
        reader.push(&piece?)?;
        if reader.bytes() > limits::RESTORE_BYTES {
            return Err(TurnError::TooLarge);
        }
    }
    let whole = tokio::task::spawn_blocking(move || reader.finish()).await;
    Ok(whole.map_err(|_| TurnError::BrokeOff)??)
}

/// Nothing leaves this node, sealed as it is, without a record of it before.
async fn audited(
    vault: &Vault,
    name: &BackupName,
    taking: impl Future<Output = Result<(), TurnError>>,
) -> Result<(), TurnError> {
    let context = RequestContext::of_worker(WITHIN);
    let target = name.to_string();
    let event = |outcome| Event {
        actor: WORKER,
        action: ACTION,
        target: &target,
        outcome,
        status: None,
    };
    let attempted = vault.record(&context, event("attempted")).await;
    attempted.map_err(|_| TurnError::Audit)?;
    let taken = taking.await;
    let outcome = match &taken {
        Ok(()) => "done",
        Err(_) => "failed",
    };
    if let Err(error) = vault.record(&context, event(outcome)).await {
        tracing::error!(%error, %name, outcome, "the end of a backup is not in the audit trail");
    }
    taken
}

/// Keeps the newest; files of others are not touched.
pub(super) async fn delete_old(
    store: &dyn BackupStore,
    found: &Found,
    keep: NonZeroUsize,
) -> Result<(), StoreError> {
    for name in found.verified.iter().skip(keep.get()) {
        store.delete(&name.to_string()).await?;
    }
    Ok(())
}
