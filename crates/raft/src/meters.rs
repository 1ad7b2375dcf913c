//! What a node counts of its part in the agreement, and how that is read for metrics.

use std::sync::{
    Arc, Weak,
    atomic::{AtomicU64, Ordering::Relaxed},
};

use strongroom_core::{Agreement, PeerLag};

use crate::{
    node::Inner,
    types::{LogId, RaftMetrics},
};

/// Counters since the start.
#[derive(Default)]
pub(crate) struct Meters {
    elections: AtomicU64,
    leader_changes: AtomicU64,
}

pub(crate) fn start(inner: &Arc<Inner>) {
    tokio::spawn(count_elections(Arc::downgrade(inner)));
}

/// Wakes up only when a leader or a vote changes, not with every entry.
async fn count_elections(weak: Weak<Inner>) {
    let Some(mut server) = weak.upgrade().map(|inner| inner.raft.server_metrics()) else {
        return;
    };
    let (mut known, mut stood_in) = (None, None);
    loop {
        let (leader, vote) = {
            let now = server.borrow_and_update();
            (now.current_leader, now.vote.leader_id)
        };
        let Some(inner) = weak.upgrade() else { return };
        if leader != known {
            known = leader;
            inner.meters.leader_changes.fetch_add(1, Relaxed);
        }
        // Who stands votes for itself, in a term of its own.
        if vote.voted_for() == Some(inner.raft_id()) && stood_in != Some(vote.term) {
            stood_in = Some(vote.term);
            inner.meters.elections.fetch_add(1, Relaxed);
        }
        drop(inner);
        if server.changed().await.is_err() {
            return;
        }
    }
}

/// This node's part in the agreement.
pub(crate) fn agreement(inner: &Inner) -> Agreement {
    let log = inner.store.log();
    let (snapshots_installed, snapshot_failures) = inner.store.snapshots().installed_and_failed();
    let counted = Agreement {
        elections: inner.meters.elections.load(Relaxed),
        leader_changes: inner.meters.leader_changes.load(Relaxed),
        appends: log.appended(),
        commits: inner.proposer.commits(),
        syncs: log.synced(),
        store_bytes: log.size_on_disk().unwrap_or_default(),
        snapshots: inner.store.snapshots().written(),
        snapshot_failures,
        snapshots_installed,
        snapshot_bytes: inner.store.snapshot_bytes(),
        ..Agreement::default()
    };
    // Asked first: two borrows at a time may wait for each other.
    let has_leader = inner.has_leader();
    let metrics = inner.raft.metrics();
    let metrics = metrics.borrow();
    let index = |id: Option<LogId>| id.map_or(0, |id| id.index);
    let applied = index(metrics.last_applied);
    Agreement {
        term: metrics.current_term,
        has_leader,
        last_log_index: metrics.last_log_index.unwrap_or_default(),
        // openraft says it with the first entry that it commits; what is applied was committed.
        committed_index: log.committed().max(applied),
        snapshot_index: index(metrics.snapshot),
        purged_index: index(metrics.purged),
        lags: lags(inner, &metrics),
        ..counted
    }
}

fn lags(inner: &Inner, metrics: &RaftMetrics) -> Vec<PeerLag> {
    let last = metrics.last_log_index.unwrap_or_default();
    let replication = metrics.replication.iter().flatten();
    let others = replication.filter(|(id, _)| **id != inner.raft_id());
    let named = others.filter_map(|(id, matched)| {
        let peer = metrics.membership_config.nodes().find(|(of, _)| *of == id);
        let stored = matched.map_or(0, |id| id.index);
        Some(PeerLag {
            name: peer?.1.name.clone(),
            entries: last.saturating_sub(stored),
        })
    });
    named.collect()
}
