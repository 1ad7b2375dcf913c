//! Prometheus metrics: requests counted here, everything else read from its owner when asked.

use std::{
    sync::{
        Arc,
        atomic::{AtomicI64, AtomicU64, Ordering},
    },
    time::Duration,
};

use http::{Method, StatusCode};
use prometheus_client::{
    encoding::{EncodeLabelSet, text::encode},
    metrics::{counter::Counter, family::Family, gauge::Gauge, histogram::Histogram},
    registry::Registry,
};
use strongroom_core::{Readiness, Replica};
use strongroom_service::{Vault, VaultError};

mod agreement;
mod durations;
mod edge;
mod gates;
mod keys;
mod process;
mod work;

pub use edge::EdgeStats;

#[derive(Clone, PartialEq, Eq, Hash, Debug, EncodeLabelSet)]
struct RequestLabels {
    route: &'static str,
    method: &'static str,
    status: u16,
}

#[derive(Clone, PartialEq, Eq, Hash, Debug, EncodeLabelSet)]
struct RouteLabels {
    route: &'static str,
}

/// Requests by route, method and status; durations by route. Labels are bounded by the route table.
pub struct HttpMetrics {
    requests: Family<RequestLabels, Counter>,
    durations: Family<RouteLabels, Histogram, fn() -> Histogram>,
    edge: EdgeStats,
    in_flight: Arc<AtomicI64>,
}

/// A request that is being answered, until it is dropped.
pub(super) struct InFlight(Arc<AtomicI64>);

impl Drop for InFlight {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// A method, as one of few words.
pub(super) fn known(method: &Method) -> &'static str {
    match method.as_str() {
        "GET" => "GET",
        "PUT" => "PUT",
        "POST" => "POST",
        "DELETE" => "DELETE",
        "HEAD" => "HEAD",
        "LIST" => "LIST",
        "PATCH" => "PATCH",
        _ => "other",
    }
}

fn duration_histogram() -> Histogram {
    Histogram::new([
        0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 15.0,
    ])
}

impl Default for HttpMetrics {
    fn default() -> Self {
        Self::new(EdgeStats::default())
    }
}

impl HttpMetrics {
    /// Nothing counted yet but what the listeners count.
    #[must_use]
    pub fn new(edge: EdgeStats) -> Self {
        Self {
            requests: Family::default(),
            durations: Family::new_with_constructor(duration_histogram),
            edge,
            in_flight: Arc::default(),
        }
    }

    /// Counts a request as under way until what is returned is dropped.
    pub(super) fn begin(&self) -> InFlight {
        self.in_flight.fetch_add(1, Ordering::Relaxed);
        InFlight(Arc::clone(&self.in_flight))
    }

    pub(super) fn observe(
        &self,
        route: &'static str,
        method: &'static str,
        status: StatusCode,
        took: Duration,
    ) {
        self.durations
            .get_or_create(&RouteLabels { route })
            .observe(took.as_secs_f64());
        self.requests
            .get_or_create(&RequestLabels {
                route,
                method,
                status: status.as_u16(),
            })
            .inc();
    }

    /// The page that Prometheus reads.
    pub(super) fn page(&self, vault: &Vault) -> Result<String, VaultError> {
        let mut all = Registry::default();
        process::register(&mut all);
        let registry = all.sub_registry_with_prefix("strongroom");
        registry.register(
            "http_requests",
            "Requests by route, method and status",
            self.requests.clone(),
        );
        registry.register(
            "http_request_duration_seconds",
            "Time from request to response",
            self.durations.clone(),
        );
        let in_flight = self.in_flight.load(Ordering::Relaxed);
        gauge(
            registry,
            "http_requests_in_flight",
            "Requests that are being answered, this one and those that wait for a newer version included",
            u64::try_from(in_flight).unwrap_or_default(),
        );
        gates::register(registry, vault);
        work::register(registry, vault);
        keys::register(registry, vault);
        edge::register(registry, &self.edge);
        agreement::register(registry, vault);
        register_node(registry, vault);
        let mut page = String::new();
        encode(&mut page, &all).map_err(|_| VaultError::Internal)?;
        Ok(page)
    }
}

fn counter(registry: &mut Registry, name: &str, help: &str, value: u64) {
    let counter = Counter::<u64, AtomicU64>::default();
    counter.inc_by(value);
    registry.register(name, help, counter);
}

fn gauge(registry: &mut Registry, name: &str, help: &str, value: u64) {
    let gauge = Gauge::<i64>::default();
    gauge.set(i64::try_from(value).unwrap_or(i64::MAX));
    registry.register(name, help, gauge);
}

fn register_node(registry: &mut Registry, vault: &Vault) {
    let replica = vault.replica();
    gauge(
        registry,
        "ready",
        "1 while the node is ready",
        u64::from(vault.ready().is_ok()),
    );
    gauge(
        registry,
        "leader",
        "1 while the node leads",
        u64::from(replica.is_leader()),
    );
    let failed = replica.readiness() == Readiness::StoreFailed;
    gauge(
        registry,
        "store_failed",
        "1 once the node can no longer store",
        u64::from(failed),
    );
    gauge(
        registry,
        "rewrap_pending",
        "Versions that the running re-wrap pass has still to move",
        vault.rewraps_pending(),
    );
    gauge(
        registry,
        "waits",
        "Requests that wait for a newer version",
        vault.waits() as u64,
    );
    register_voters(registry, replica);
    register_backups(registry, vault);
    if let Ok(state) = replica.local() {
        let applied = state.position().map_or(0, |position| position.index);
        gauge(
            registry,
            "applied_index",
            "The last log index applied",
            applied,
        );
        gauge(
            registry,
            "target_rotations_pending",
            "Rotations whose value is not known to be in effect at its target yet",
            state.pending_rotation_count() as u64,
        );
        gauge(
            registry,
            "secrets",
            "Secrets in the state",
            state.secret_count() as u64,
        );
    }
}

fn register_backups(registry: &mut Registry, vault: &Vault) {
    let Some(backups) = vault.backups() else {
        return;
    };
    for (name, help, age) in [
        (
            "backup_age_seconds",
            "Age of the newest scheduled backup; the leader alone tells it",
            backups.age,
        ),
        (
            "backup_verified_age_seconds",
            "Age of the newest scheduled backup that a rehearsal has restored; the leader alone tells it",
            backups.verified_age,
        ),
    ] {
        // Without a backup there is no age: no number would be a true one.
        if let Some(age) = age {
            gauge(registry, name, help, age.as_secs());
        }
    }
    counter(
        registry,
        "backups",
        "Scheduled backups that this node took and rehearsed",
        backups.taken,
    );
    counter(
        registry,
        "backup_failures",
        "Scheduled backups that failed",
        backups.failures,
    );
}

fn register_voters(registry: &mut Registry, replica: &dyn Replica) {
    let Some(count) = replica.voters() else {
        return;
    };
    gauge(registry, "voters", "Voters of the cluster", count.voters);
    gauge(
        registry,
        "voters_reachable",
        "Voters that answered this node when it last asked, itself included",
        count.reachable,
    );
    gauge(
        registry,
        "failure_tolerance",
        "How many more voters may fail with the quorum still standing",
        count.failure_tolerance,
    );
}
