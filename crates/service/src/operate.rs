//! What operators look at.

use strongroom_core::{LogTime, Readiness, limits};
use strongroom_seal::{KeyringStats, KmsDescription};

use crate::{
    authorize::Authorized,
    error::VaultError,
    operation::{ReadAudit, ViewKms},
    vault::Vault,
};

/// Why a node is not ready.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum NotReady {
    /// It was told to stop: what it is asked it still answers, for a moment.
    Stopping,
    /// It has not caught up, or the bootstrap token has not been taken up yet.
    Starting,
    /// The cluster has gone on without it.
    Removed,
    /// It knows no leader, or the leader has no quorum.
    NoLeader,
    /// It can no longer store.
    StoreFailed,
    /// It cannot write its audit trail.
    AuditUnavailable,
    /// KMS does not do its job.
    KmsUnavailable,
}

impl NotReady {
    /// The word on the wire.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Stopping => "stopping",
            Self::Starting => "starting",
            Self::Removed => "removed",
            Self::NoLeader => "no_leader",
            Self::StoreFailed => "store_failed",
            Self::AuditUnavailable => "audit_unavailable",
            Self::KmsUnavailable => "kms_unavailable",
        }
    }
}

/// The key service, the cache in front of it, and the last rotation of the key that was seen.
pub struct KmsView {
    /// Which service and key.
    pub service: KmsDescription,
    /// The cache and the calls.
    pub stats: KeyringStats,
    /// When the key's material was last rotated, as far as re-wrapping has looked.
    pub last_rotation: Option<LogTime>,
}

impl Vault {
    /// Whether this node can do its whole job.
    ///
    /// # Errors
    /// The first reason why not.
    pub fn ready(&self) -> Result<(), NotReady> {
        if self.is_stopping() {
            return Err(NotReady::Stopping);
        }
        if !self.audit.healthy() {
            return Err(NotReady::AuditUnavailable);
        }
        match self.replica.readiness() {
            Readiness::StoreFailed => Err(NotReady::StoreFailed),
            Readiness::Starting => Err(NotReady::Starting),
            Readiness::Removed => Err(NotReady::Removed),
            Readiness::NoLeader => Err(NotReady::NoLeader),
            Readiness::Ready if !self.bootstrap_settled() => Err(NotReady::Starting),
            Readiness::Ready if !self.kms_health.works() => Err(NotReady::KmsUnavailable),
            Readiness::Ready => Ok(()),
        }
    }

    /// The key service and the cache in front of it.
    ///
    /// # Errors
    /// [`VaultError::AuditUnavailable`].
    pub async fn view_kms(&self, permit: Authorized<ViewKms>) -> Result<KmsView, VaultError> {
        self.audited_look(&permit, true).await?;
        let rewrap = permit.state.rewrap();
        let seen = rewrap
            .running
            .as_ref()
            .map(|pass| &pass.target)
            .or(rewrap.watermark.as_ref());
        Ok(KmsView {
            service: self.keyring.describe(),
            stats: self.keyring.stats(),
            last_rotation: seen.and_then(|watermark| watermark.rotation_at),
        })
    }

    /// This node's audit records after the one numbered `after`.
    ///
    /// # Errors
    /// [`VaultError::AuditUnavailable`] if they cannot be read, or the reading not be recorded.
    pub async fn read_audit(
        &self,
        permit: Authorized<ReadAudit>,
        after: Option<u64>,
        limit: usize,
    ) -> Result<Vec<serde_json::Value>, VaultError> {
        self.audited_look(&permit, true).await?;
        let limit = limit.clamp(1, limits::PAGE_ROWS);
        match self.audit.read(after, limit).await {
            Ok(records) => Ok(records),
            Err(error) => {
                tracing::error!(%error, "the audit trail cannot be read");
                Err(VaultError::AuditUnavailable)
            }
        }
    }
}
