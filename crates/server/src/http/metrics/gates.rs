//! Who was let in and who was not, and what the audit trail had to do.

use prometheus_client::{
    encoding::EncodeLabelSet,
    metrics::{counter::Counter, family::Family},
    registry::Registry,
};
use strongroom_service::Vault;

use super::{counter, durations::durations, gauge};

#[derive(Clone, PartialEq, Eq, Hash, Debug, EncodeLabelSet)]
struct ReasonLabels {
    reason: &'static str,
}

#[derive(Clone, PartialEq, Eq, Hash, Debug, EncodeLabelSet)]
struct GateLabels {
    gate: &'static str,
}

pub(super) fn register(registry: &mut Registry, vault: &Vault) {
    register_gates(registry, vault);
    register_audit(registry, vault);
}

fn register_gates(registry: &mut Registry, vault: &Vault) {
    let gates = vault.stats().read();
    let refusals = Family::<ReasonLabels, Counter>::default();
    for (reason, count) in [
        ("address", gates.refused_address),
        ("token", gates.refused_token),
        ("permission", gates.refused_permission),
        ("lockout", gates.refused_lockout),
    ] {
        refusals
            .get_or_create(&ReasonLabels { reason })
            .inc_by(count);
    }
    registry.register("refusals", "Requests refused, by reason", refusals);
    counter(registry, "values_read", "Values handed out", gates.reads);
    counter(
        registry,
        "target_rotations",
        "Values that this node applied to a target",
        gates.applied_to_target,
    );
    counter(
        registry,
        "target_failures",
        "Tries to apply a value to a target that did not work",
        gates.target_failures,
    );
    counter(
        registry,
        "lockouts",
        "Addresses locked out after wrong tokens",
        gates.lockouts,
    );
    counter(
        registry,
        "refusals_unrecorded",
        "Refusals that were too many to be recorded one by one",
        gates.unrecorded_refusals,
    );
    let admissions = Family::<GateLabels, Counter>::default();
    for (gate, count) in [
        ("address", gates.admitted_address),
        ("token", gates.admitted_token),
    ] {
        admissions.get_or_create(&GateLabels { gate }).inc_by(count);
    }
    registry.register("admissions", "Requests let in, by gate", admissions);
}

fn register_audit(registry: &mut Registry, vault: &Vault) {
    let audit = vault.audit().stats();
    counter(
        registry,
        "audit_records",
        "Audit records written",
        audit.records,
    );
    counter(
        registry,
        "audit_batches",
        "Writes that carried them",
        audit.batches,
    );
    counter(
        registry,
        "audit_syncs",
        "Disk syncs of the audit trail",
        audit.syncs,
    );
    counter(
        registry,
        "audit_failures",
        "Failed writes, syncs and repairs of the audit trail",
        audit.failures,
    );
    gauge(
        registry,
        "audit_healthy",
        "1 while the audit trail can be written",
        u64::from(vault.audit().healthy()),
    );
    durations(
        registry,
        "audit_write_duration_seconds",
        "Time that writes to the audit file took, failed ones included",
        audit.write_took,
    );
    durations(
        registry,
        "audit_sync_duration_seconds",
        "Time that disk syncs of the audit file took, failed ones included",
        audit.sync_took,
    );
}
