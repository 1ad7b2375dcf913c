//! Keeps the disk bounded: snapshots and purges by entries and by bytes, across restarts.

use std::{
    sync::{Arc, Weak},
    time::Duration,
};

use crate::node::Inner;

/// How late a snapshot or a purge may be: the log grows meanwhile.
const PAUSE: Duration = Duration::from_millis(100);
/// How much log stays behind a snapshot for followers that lag, as a share of what triggers one.
const KEEP_SHARE: u64 = 2;

pub(crate) fn start(inner: &Arc<Inner>) {
    tokio::spawn(keep_disk_bounded(Arc::downgrade(inner)));
}

async fn keep_disk_bounded(weak: Weak<Inner>) {
    let mut asked_for = None;
    loop {
        tokio::time::sleep(PAUSE).await;
        let Some(inner) = weak.upgrade() else { return };
        if inner.store_failed() {
            return;
        }
        let (snapshot, applied, purged) = {
            let metrics = inner.raft.metrics();
            let metrics = metrics.borrow();
            (
                metrics.snapshot.map(|id| id.index),
                metrics.last_applied.map(|id| id.index),
                metrics.purged.map(|id| id.index),
            )
        };
        let Some(applied) = applied else { continue };
        let after_snapshot = snapshot.map_or(0, |index| index + 1);
        if needs_snapshot(&inner, after_snapshot, applied) && asked_for != Some(after_snapshot) {
            // Asked once for each snapshot that came: building one may take longer than the pause.
            if inner.raft.trigger().snapshot().await.is_err() {
                return;
            }
            asked_for = Some(after_snapshot);
        }
        let Some(snapshot) = snapshot else { continue };
        let upto = purge_point(&inner, snapshot);
        if upto.is_some_and(|upto| purged.is_none_or(|purged| purged < upto))
            && inner
                .raft
                .trigger()
                .purge_log(upto.unwrap_or_default())
                .await
                .is_err()
        {
            return;
        }
    }
}

/// A snapshot costs as much as the state weighs, so a large state waits for as much log.
fn needs_snapshot(inner: &Inner, after_snapshot: u64, applied: u64) -> bool {
    let entries = (applied + 1).saturating_sub(after_snapshot);
    let bytes = inner.store.log_bytes_from(after_snapshot);
    let bytes_due = inner
        .config
        .snapshot_log_bytes
        .max(inner.store.snapshot_bytes());
    entries >= inner.config.snapshot_log_entries || (entries > 0 && bytes >= bytes_due)
}

/// The last index that may go: inside the snapshot, and leaving some log for followers that lag.
fn purge_point(inner: &Inner, snapshot: u64) -> Option<u64> {
    let keep_entries = inner.config.snapshot_log_entries / KEEP_SHARE;
    let keep_bytes = inner.config.snapshot_log_bytes / KEEP_SHARE;
    let by_entries = (snapshot + 1).checked_sub(keep_entries);
    let by_bytes = inner.store.first_index_within(snapshot, keep_bytes);
    by_entries
        .max(by_bytes)
        .and_then(|first_kept| first_kept.checked_sub(1))
}
