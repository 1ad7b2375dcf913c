//! What a caller may learn, and a private source for the log.

use strongroom_core::{NameError, ReadError, Rejection, SubmitError};
use strongroom_seal::KmsError;

/// Why a use case did not do what it was asked. What is said here goes to the caller; it never holds
/// a value from the request.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum VaultError {
    /// The request makes no sense.
    #[error("{0}")]
    Invalid(String),
    /// No token, or one that opens nothing.
    #[error("a valid token is required")]
    Unauthenticated,
    /// The client's address may not do this.
    #[error("this address is not allowed")]
    AddressNotAllowed,
    /// The token's role does not grant this.
    #[error("permission denied")]
    PermissionDenied,
    /// There is no such thing.
    #[error("not found")]
    NotFound,
    /// There is such a thing already.
    #[error("it exists already")]
    AlreadyExists,
    /// The caller expected another current version.
    #[error("the current version is another than expected")]
    VersionMismatch,
    /// It is in use.
    #[error("it is in use")]
    InUse,
    /// A part of the request is over its limit.
    #[error("{0}")]
    TooLarge(&'static str),
    /// Too many wrong tokens from this address.
    #[error("too many wrong tokens from this address")]
    LockedOut {
        /// Seconds until the next try.
        retry_after_secs: u64,
    },
    /// Too many requests of this client were refused, so that this refusal is not recorded by itself; or
    /// too many requests are under way.
    #[error("too many requests were refused, or are under way")]
    RateLimited,
    /// No leader, or no quorum, within the deadline. Nothing happened.
    #[error("no leader within the deadline")]
    NoLeader,
    /// The cluster has not come to the log index that was asked for.
    #[error("the cluster has not reached this index")]
    IndexNotReached,
    /// No other voter could take over the lead. Whoever led leads on.
    #[error("no other voter answers and has caught up, or none took over in time")]
    NoSuccessor,
    /// The voters that would be left and answer would be no quorum. Nothing was changed.
    #[error("the nodes that would be left and answer would be no quorum")]
    QuorumAtRisk,
    /// The membership is being changed. Nothing was done.
    #[error("another change of the cluster's members is under way")]
    ChangeUnderWay,
    /// KMS does not answer.
    #[error("KMS is unavailable")]
    KmsUnavailable,
    /// The KMS key is disabled, or waits for its deletion.
    #[error("the KMS key is disabled")]
    KmsKeyDisabled,
    /// KMS refuses these credentials, or this wrapped key.
    #[error("KMS denied the call")]
    KmsDenied,
    /// The target cannot be reached, or takes no writes.
    #[error("the target is unavailable")]
    TargetUnavailable,
    /// A new value is on its way to the secret's target, and it is not known yet which one works
    /// there.
    #[error("a new value is being applied to the secret's target")]
    RotationPending,
    /// The audit trail cannot be written, so nothing is done.
    #[error("the audit trail cannot be written")]
    AuditUnavailable,
    /// The change may have happened, or may still.
    #[error("the outcome is unknown: the change may have happened")]
    OutcomeUnknown,
    /// Not every node can decode this change yet.
    #[error("not every node can take part in this yet: upgrade all of them")]
    UpgradePending,
    /// This node is not ready yet.
    #[error("this node is starting")]
    Starting,
    /// The cluster has gone on without this node.
    #[error("this node was removed from its cluster")]
    Removed,
    /// This node can no longer store anything.
    #[error("this node's store has failed")]
    StoreFailed,
    /// A bug. Details are in the log.
    #[error("internal error")]
    Internal,
}

impl VaultError {
    /// An invalid request, said in words that hold nothing of it.
    #[must_use]
    pub fn invalid(message: &str) -> Self {
        Self::Invalid(message.to_owned())
    }

    /// Logs what the caller must not learn, and answers with what it may.
    pub(crate) fn bug(what: &'static str, source: &dyn std::fmt::Display) -> Self {
        tracing::error!(what, %source, "internal error");
        Self::Internal
    }
}

impl From<NameError> for VaultError {
    fn from(error: NameError) -> Self {
        Self::Invalid(error.to_string())
    }
}

impl From<ReadError> for VaultError {
    fn from(error: ReadError) -> Self {
        match error {
            ReadError::Starting => Self::Starting,
            ReadError::Removed => Self::Removed,
            ReadError::NoLeader => Self::NoLeader,
            ReadError::StoreFailed => Self::StoreFailed,
        }
    }
}

impl From<SubmitError> for VaultError {
    fn from(error: SubmitError) -> Self {
        match error {
            SubmitError::NoLeader => Self::NoLeader,
            SubmitError::Unknown => Self::OutcomeUnknown,
            SubmitError::StoreFailed => Self::StoreFailed,
            SubmitError::NotEverywhere => Self::UpgradePending,
        }
    }
}

impl From<Rejection> for VaultError {
    fn from(rejection: Rejection) -> Self {
        match rejection {
            Rejection::AlreadyExists => Self::AlreadyExists,
            Rejection::NotFound => Self::NotFound,
            Rejection::CasMismatch { .. } | Rejection::VersionTaken { .. } => Self::VersionMismatch,
            Rejection::CasRequired => Self::invalid("cas is required for this secret"),
            Rejection::InUse => Self::InUse,
            Rejection::Protected => Self::invalid("it is protected"),
            Rejection::Invalid => {
                Self::invalid("a field is over its limit or does not fit this kind of secret")
            }
            Rejection::TokenSpent => Self::Unauthenticated,
            Rejection::OutcomeForgotten => Self::OutcomeUnknown,
            // Nothing was done, and the use case that hears it decides anew.
            Rejection::AccessChanged => Self::PermissionDenied,
            Rejection::BootstrapClosed | Rejection::Formation => Self::Internal,
        }
    }
}

impl From<KmsError> for VaultError {
    fn from(error: KmsError) -> Self {
        if error.is_refused_by_breaker() {
            // Said once where the breaker is watched, and not for every request of an outage.
            tracing::debug!(%error, "KMS");
        } else {
            tracing::warn!(%error, "KMS");
        }
        match error {
            KmsError::Throttled(_) | KmsError::Unavailable(_) => Self::KmsUnavailable,
            KmsError::KeyDisabled(_) => Self::KmsKeyDisabled,
            KmsError::Denied(_) | KmsError::Malformed(_) | KmsError::Unsupported(_) => {
                Self::KmsDenied
            }
        }
    }
}
