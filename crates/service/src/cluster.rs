//! The cluster, as operators see it and change it.

use std::{sync::Weak, time::Duration};

use strongroom_core::{ClusterView, HandOverError, NodeName};

use crate::{
    authorize::Authorized,
    error::VaultError,
    operation::{HandOver, ViewCluster},
    vault::Vault,
};

impl Vault {
    /// The cluster, every member asked.
    ///
    /// # Errors
    /// [`VaultError::AuditUnavailable`].
    pub async fn view_cluster(
        &self,
        permit: Authorized<ViewCluster>,
    ) -> Result<ClusterView, VaultError> {
        let view = self.replica.cluster().await;
        self.audited_look(&permit, true).await?;
        Ok(view)
    }

    /// Passes leadership to the node that was asked for, or to the fittest. Returns the name of who
    /// leads then. Writes meanwhile are held, not refused.
    ///
    /// # Errors
    /// [`VaultError::NotFound`] if no voter has the name, [`VaultError::NoSuccessor`] if nobody took
    /// over, [`VaultError::NoLeader`], [`VaultError::AuditUnavailable`].
    pub async fn hand_over(&self, permit: Authorized<HandOver>) -> Result<String, VaultError> {
        let to = permit.target.as_ref().map(NodeName::to_string);
        let passed = async {
            let passed = self.replica.hand_over(to, permit.context.left()).await;
            passed.map_err(VaultError::from)
        };
        self.audited(&permit, 200, passed).await
    }
}

/// Between two looks at whether this node can still lead.
const LOOK: Duration = Duration::from_secs(1);
/// Between two tries to be relieved.
const AGAIN: Duration = Duration::from_secs(10);
/// How long one try may take.
const WITHIN: Duration = Duration::from_secs(6);

/// A leader that cannot write its audit trail does nothing that is asked of it, and others forward to
/// it in vain: it has itself relieved.
pub(crate) async fn relief_worker(weak: Weak<Vault>) {
    loop {
        tokio::time::sleep(LOOK).await;
        let Some(vault) = weak.upgrade() else { return };
        let fit = vault.audit.healthy();
        vault.replica.set_fit_to_lead(fit);
        if fit || !vault.replica.is_leader() {
            continue;
        }
        tracing::error!("the audit trail cannot be written: leadership is passed on");
        if let Err(error) = vault.replica.hand_over(None, WITHIN).await {
            tracing::warn!(%error, "leadership was not passed on");
        }
        drop(vault);
        tokio::time::sleep(AGAIN).await;
    }
}

impl From<HandOverError> for VaultError {
    fn from(error: HandOverError) -> Self {
        match error {
            HandOverError::NoLeader => Self::NoLeader,
            HandOverError::UnknownNode => Self::NotFound,
            HandOverError::NobodyFit | HandOverError::Failed => Self::NoSuccessor,
        }
    }
}
