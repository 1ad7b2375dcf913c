//! KMS, the breaker in front of it, and the cache of data keys.

use std::fmt;

use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, EncodeLabelSet, NoLabelSet},
    metrics::{MetricType, counter::Counter, family::Family, gauge::Gauge},
    registry::Registry,
};
use strongroom_seal::{BreakerState, KeyringStats, LATENCY_BOUNDS_MS, Latency};
use strongroom_service::Vault;

use super::{counter, gauge};

#[derive(Clone, PartialEq, Eq, Hash, Debug, EncodeLabelSet)]
struct StateLabels {
    state: &'static str,
}

#[derive(Clone, PartialEq, Eq, Hash, Debug, EncodeLabelSet)]
struct KmsLabels {
    operation: &'static str,
    outcome: &'static str,
}

#[derive(Clone, PartialEq, Eq, Hash, Debug, EncodeLabelSet)]
struct OperationLabels {
    operation: &'static str,
}

/// Counted in the keyring, which knows nothing of Prometheus.
#[derive(Debug)]
struct Latencies(Vec<Latency>);

impl Collector for Latencies {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let (name, help) = (
            "kms_call_duration_seconds",
            "Time that calls to KMS took, retries included, by operation",
        );
        let mut family = encoder.encode_descriptor(name, help, None, MetricType::Histogram)?;
        let bounds = LATENCY_BOUNDS_MS.map(|ms| ms as f64 / 1_000.0);
        for latency in &self.0 {
            let labels = OperationLabels {
                operation: latency.operation.as_str(),
            };
            let bounds = bounds.iter().copied().chain([f64::INFINITY]);
            let buckets: Vec<_> = bounds.zip(latency.buckets).collect();
            let (sum, count) = (latency.total.as_secs_f64(), latency.buckets.iter().sum());
            family
                .encode_family(&labels)?
                .encode_histogram::<NoLabelSet>(sum, count, &buckets, None)?;
        }
        Ok(())
    }
}

pub(super) fn register(registry: &mut Registry, vault: &Vault) {
    let keys = vault.keyring().stats();
    let calls = Family::<KmsLabels, Counter>::default();
    for call in &keys.calls {
        let labels = KmsLabels {
            operation: call.operation.as_str(),
            outcome: call.outcome.as_str(),
        };
        calls.get_or_create(&labels).inc_by(call.count);
    }
    registry.register("kms_calls", "Calls to KMS by operation and outcome", calls);
    registry.register_collector(Box::new(Latencies(keys.latency.clone())));
    breaker(registry, &keys);
    counter(
        registry,
        "dek_cache_hits",
        "Data keys answered from the cache",
        keys.hits,
    );
    counter(
        registry,
        "dek_cache_misses",
        "Data keys that KMS had to unwrap",
        keys.misses,
    );
    counter(
        registry,
        "dek_cache_coalesced",
        "Data keys that waited for another request's call",
        keys.coalesced,
    );
    counter(
        registry,
        "dek_cache_stale",
        "Data keys used past their time because KMS could not be asked",
        keys.stale,
    );
    gauge(
        registry,
        "dek_cache_entries",
        "Data keys in the cache",
        keys.entries as u64,
    );
}

fn breaker(registry: &mut Registry, keys: &KeyringStats) {
    let states = Family::<StateLabels, Gauge>::default();
    for state in BreakerState::ALL {
        let labels = StateLabels {
            state: state.as_str(),
        };
        states
            .get_or_create(&labels)
            .set(i64::from(state == keys.breaker));
    }
    registry.register(
        "kms_breaker",
        "1 for the state that the circuit breaker in front of KMS is in",
        states,
    );
    counter(
        registry,
        "kms_breaker_opened",
        "Times that the breaker opened",
        keys.opened,
    );
    counter(
        registry,
        "kms_breaker_refused",
        "Calls to KMS that were not made because the breaker was open",
        keys.refused,
    );
}
