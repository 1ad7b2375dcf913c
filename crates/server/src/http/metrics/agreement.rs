//! Raft and its store.

use std::time::{SystemTime, UNIX_EPOCH};

use prometheus_client::{
    encoding::EncodeLabelSet,
    metrics::{family::Family, gauge::Gauge},
    registry::Registry,
};
use strongroom_core::{Agreement, Replica};
use strongroom_service::Vault;

use super::{counter, durations::durations, gauge};

/// Members are few, and named by the operator.
#[derive(Clone, PartialEq, Eq, Hash, Debug, EncodeLabelSet)]
struct PeerLabels {
    peer: String,
}

pub(super) fn register(registry: &mut Registry, vault: &Vault) {
    let agreement = vault.replica().agreement();
    for (name, help, value) in [
        ("raft_term", "The current term", agreement.term),
        (
            "raft_has_leader",
            "1 while this node hears of a leader, or leads with a quorum that answers",
            u64::from(agreement.has_leader),
        ),
        (
            "raft_last_log_index",
            "The last entry in this node's log",
            agreement.last_log_index,
        ),
        (
            "raft_committed_index",
            "The last entry that this node knows to be committed",
            agreement.committed_index,
        ),
        (
            "raft_snapshot_index",
            "The last entry in this node's newest snapshot",
            agreement.snapshot_index,
        ),
        (
            "raft_purged_index",
            "The last entry that was removed from this node's log",
            agreement.purged_index,
        ),
        (
            "raft_snapshot_bytes",
            "Size of this node's newest snapshot",
            agreement.snapshot_bytes,
        ),
        (
            "store_bytes",
            "Size of this node's store on disk, snapshots aside",
            agreement.store_bytes,
        ),
        (
            "clock_behind_seconds",
            "How far this node's clock is behind the cluster's time",
            clock_behind(vault.replica()),
        ),
    ] {
        gauge(registry, name, help, value);
    }
    let lags = Family::<PeerLabels, Gauge>::default();
    for lag in &agreement.lags {
        let peer = PeerLabels {
            peer: lag.name.clone(),
        };
        let entries = i64::try_from(lag.entries).unwrap_or(i64::MAX);
        lags.get_or_create(&peer).set(entries);
    }
    registry.register(
        "raft_peer_lag_entries",
        "Entries that a member is not known to have stored yet; the leader alone tells it",
        lags,
    );
    register_counts(registry, &agreement);
}

fn register_counts(registry: &mut Registry, agreement: &Agreement) {
    for (name, help, count) in [
        (
            "raft_elections",
            "Times that this node stood for election",
            agreement.elections,
        ),
        (
            "raft_leader_changes",
            "Times that this node saw another node, or none, lead than before",
            agreement.leader_changes,
        ),
        (
            "raft_snapshots_installed",
            "Snapshots of the leader's that this node installed",
            agreement.snapshots_installed,
        ),
        (
            "raft_snapshot_failures",
            "Snapshots that could not be written or installed",
            agreement.snapshot_failures,
        ),
    ] {
        counter(registry, name, help, count);
    }
    for (name, help, reading) in [
        (
            "raft_append_duration_seconds",
            "Time from handing entries to the store until they were durable",
            agreement.appends,
        ),
        (
            "raft_commit_duration_seconds",
            "Time from proposing an entry, as the leader, until it was applied",
            agreement.commits,
        ),
        (
            "raft_snapshot_duration_seconds",
            "Time that writing a snapshot took",
            agreement.snapshots,
        ),
        (
            "store_sync_duration_seconds",
            "Time that the store's disk syncs took: nothing is acknowledged before one",
            agreement.syncs,
        ),
    ] {
        durations(registry, name, help, reading);
    }
}

/// Whole seconds. The cluster's time goes on by itself, so a clock that is right, or ahead, gives 0.
fn clock_behind(replica: &dyn Replica) -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    let now = now.map_or(0, |now| now.as_millis());
    let behind = u128::from(replica.clock().0).saturating_sub(now);
    u64::try_from(behind / 1_000).unwrap_or(u64::MAX)
}
