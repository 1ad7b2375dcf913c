//! The number and the word for each error: one table for the answer and for the audit trail.

use crate::VaultError;

/// The HTTP status of an error.
#[must_use]
pub fn status(error: &VaultError) -> u16 {
    entry(error).0
}

/// The stable code of an error.
#[must_use]
pub fn code(error: &VaultError) -> &'static str {
    entry(error).1
}

/// The word for how a request ended, in the audit trail.
pub(crate) fn outcome(error: &VaultError) -> &'static str {
    match error {
        VaultError::Unauthenticated
        | VaultError::AddressNotAllowed
        | VaultError::PermissionDenied
        | VaultError::LockedOut { .. } => "denied",
        VaultError::OutcomeUnknown => "unknown",
        _ => "failed",
    }
}

fn entry(error: &VaultError) -> (u16, &'static str) {
    match error {
        VaultError::Invalid(_) => (400, "invalid_request"),
        VaultError::Unauthenticated => (401, "unauthenticated"),
        VaultError::AddressNotAllowed => (403, "address_not_allowed"),
        VaultError::PermissionDenied => (403, "permission_denied"),
        VaultError::NotFound => (404, "not_found"),
        VaultError::AlreadyExists => (409, "already_exists"),
        VaultError::VersionMismatch => (409, "version_mismatch"),
        VaultError::InUse => (409, "in_use"),
        VaultError::QuorumAtRisk => (409, "quorum_at_risk"),
        VaultError::ChangeUnderWay => (409, "change_under_way"),
        VaultError::IndexNotReached => (412, "index_not_reached"),
        VaultError::TooLarge(_) => (413, "too_large"),
        VaultError::LockedOut { .. } => (429, "locked_out"),
        VaultError::RateLimited => (429, "rate_limited"),
        VaultError::Internal => (500, "internal"),
        VaultError::NoLeader => (503, "no_leader"),
        VaultError::NoSuccessor => (503, "no_successor"),
        VaultError::KmsUnavailable => (503, "kms_unavailable"),
        VaultError::KmsKeyDisabled => (503, "kms_key_disabled"),
        VaultError::KmsDenied => (503, "kms_denied"),
        VaultError::TargetUnavailable => (503, "target_unavailable"),
        VaultError::RotationPending => (503, "rotation_pending"),
        VaultError::AuditUnavailable => (503, "audit_unavailable"),
        VaultError::OutcomeUnknown => (503, "outcome_unknown"),
        VaultError::UpgradePending => (503, "upgrade_pending"),
        VaultError::Starting => (503, "starting"),
        VaultError::Removed => (503, "removed"),
        VaultError::StoreFailed => (503, "store_failed"),
    }
}
