//! KMS, the breaker in front of it, and the cache of data keys.

use std::sync::atomic::AtomicU64;

use prometheus_client::{
    encoding::EncodeLabelSet,
    metrics::{counter::Counter, family::Family, gauge::Gauge},
    registry::Registry,
};
use strongroom_seal::{BreakerState, KeyringStats};
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

pub(super) fn register(registry: &mut Registry, vault: &Vault) {
    let keys = vault.keyring().stats();
    let calls = Family::<KmsLabels, Counter>::default();
    let seconds = Family::<KmsLabels, Counter<f64, AtomicU64>>::default();
    for call in &keys.calls {
        let labels = KmsLabels {
            operation: call.operation.as_str(),
            outcome: call.outcome.as_str(),
        };
        calls.get_or_create(&labels).inc_by(call.count);
        seconds
            .get_or_create(&labels)
            .inc_by(call.total.as_secs_f64());
    }
    registry.register("kms_calls", "Calls to KMS by operation and outcome", calls);
    registry.register(
        "kms_call_seconds",
        "Time that calls to KMS took together, retries included, by operation and outcome",
        seconds,
    );
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
