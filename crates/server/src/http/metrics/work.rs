//! Sealing, opening, and what workers do.

use prometheus_client::{
    encoding::EncodeLabelSet,
    metrics::{counter::Counter, family::Family, gauge::Gauge},
    registry::Registry,
};
use strongroom_service::Vault;

use super::{counter, durations::durations};

#[derive(Clone, PartialEq, Eq, Hash, Debug, EncodeLabelSet)]
struct WorkerLabels {
    worker: &'static str,
    outcome: &'static str,
}

pub(super) fn register(registry: &mut Registry, vault: &Vault) {
    let stats = vault.stats().read();
    durations(
        registry,
        "seal_duration_seconds",
        "Time that sealing a version took, without KMS",
        stats.seals,
    );
    durations(
        registry,
        "open_duration_seconds",
        "Time that opening a version took, without KMS",
        stats.opens,
    );
    counter(
        registry,
        "seal_failures",
        "Versions that could not be sealed",
        stats.seal_failures,
    );
    counter(
        registry,
        "open_failures",
        "Versions that their data key does not open: what is stored is not what was sealed",
        stats.open_failures,
    );
    register_workers(registry, vault);
}

fn register_workers(registry: &mut Registry, vault: &Vault) {
    let rounds = Family::<WorkerLabels, Counter>::default();
    let last = Family::<WorkerLabels, Gauge>::default();
    for reading in vault.rounds().read() {
        let labels = WorkerLabels {
            worker: reading.worker.as_str(),
            outcome: if reading.ok { "ok" } else { "failed" },
        };
        rounds.get_or_create(&labels).inc_by(reading.count);
        // Without a round there is no time: no number would be a true one.
        if let Some(at) = reading.last {
            let at = i64::try_from(at).unwrap_or(i64::MAX);
            last.get_or_create(&labels).set(at);
        }
    }
    registry.register(
        "worker_rounds",
        "What workers of this node have done while it led: a secret rotated, a value applied to its target, \
         a pass of re-wrapping ended or a look for one, a backup or a look for one, the bootstrap token proposed",
        rounds,
    );
    registry.register(
        "worker_last_round_timestamp_seconds",
        "When the last of these ended, in seconds since 1970",
        last,
    );
    counter(
        registry,
        "worker_panics",
        "Workers that panicked and began anew",
        vault.rounds().panics(),
    );
}
