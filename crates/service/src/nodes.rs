//! Nodes that are let in, removed, or missed.

use std::{
    sync::Weak,
    time::{Duration, Instant},
};

use strongroom_core::{Admission, Command, Rejection, RemoveError};

use crate::{
    authorize::Authorized,
    context::RequestContext,
    error::VaultError,
    operation::{AddNode, DropDeadNode, RemoveNode},
    vault::Vault,
};

impl Vault {
    /// Lets nodes of a name into the cluster, whether `VAULT_PEERS` lists them or not. They come by
    /// themselves. Returns whether one of them has a vote already.
    ///
    /// # Errors
    /// [`VaultError::TooLarge`] if something is noted of as many names as there may be,
    /// [`VaultError::UpgradePending`], [`VaultError::NoLeader`], [`VaultError::OutcomeUnknown`],
    /// [`VaultError::AuditUnavailable`].
    pub async fn add_node(&self, permit: Authorized<AddNode>) -> Result<bool, VaultError> {
        let command = Command::AdmitNode {
            name: permit.target.clone(),
            admission: Admission::Allowed,
        };
        let submitted = async {
            let submitted = self.submit_command(&permit.context, command).await?;
            match submitted.applied.into_result() {
                Ok(_) => Ok(()),
                Err(Rejection::Invalid) => Err(TOO_MANY),
                Err(other) => Err(other.into()),
            }
        };
        self.audited(&permit, 202, submitted).await?;
        let view = self.replica.cluster().await;
        let mut nodes = view.nodes.iter();
        let votes = |role: &str| role != "learner";
        Ok(nodes.any(|node| node.name == permit.target.as_str() && votes(node.role)))
    }

    /// Removes the nodes of a name from the cluster, and keeps them out. Doing it again changes
    /// nothing.
    ///
    /// # Errors
    /// [`VaultError::NotFound`] for a name of which nothing is known, [`VaultError::QuorumAtRisk`] if
    /// the rest could not go on, [`VaultError::ChangeUnderWay`], [`VaultError::NoSuccessor`] if it
    /// leads and nobody takes over, and as [`Vault::add_node`].
    pub async fn remove_node(&self, permit: Authorized<RemoveNode>) -> Result<(), VaultError> {
        let removed = async {
            let (name, within) = (permit.target.clone(), permit.context.left());
            Ok(self.replica.remove_node(name, within).await?)
        };
        self.audited(&permit, 204, removed).await
    }
}

const TOO_MANY: VaultError =
    VaultError::TooLarge("as many names of nodes are noted as there may be");

impl From<RemoveError> for VaultError {
    fn from(error: RemoveError) -> Self {
        match error {
            RemoveError::NoLeader => Self::NoLeader,
            RemoveError::UnknownNode => Self::NotFound,
            RemoveError::QuorumAtRisk => Self::QuorumAtRisk,
            RemoveError::Busy => Self::ChangeUnderWay,
            RemoveError::NobodyFit => Self::NoSuccessor,
            RemoveError::NotEverywhere => Self::UpgradePending,
            RemoveError::Full => TOO_MANY,
            RemoveError::Unknown => Self::OutcomeUnknown,
        }
    }
}

/// Between two looks for a dead voter.
const LOOK: Duration = Duration::from_secs(5);
/// After a try that came to nothing.
const AGAIN: Duration = Duration::from_secs(60);
/// How long taking one out may take.
const WITHIN: Duration = Duration::from_secs(10);

/// Voters that have not answered for `VAULT_DEAD_NODE_SECS` are taken out, one at a time.
pub(crate) async fn dead_node_worker(weak: Weak<Vault>) {
    let mut not_before = Instant::now();
    loop {
        tokio::time::sleep(LOOK).await;
        let Some(vault) = weak.upgrade() else { return };
        let silent = vault.config.dead_node;
        if silent.is_zero() {
            return;
        }
        if Instant::now() < not_before {
            continue;
        }
        let (Some(name), Ok(state)) = (vault.replica.dead_voter(silent), vault.replica.local())
        else {
            continue;
        };
        tracing::warn!(node = %name, ?silent, "a voter has not answered: it is taken out of the membership");
        let context = RequestContext::of_worker(WITHIN);
        let permit = Authorized::for_dead_node_worker(context, name, state);
        if let Err(error) = vault.drop_dead_node(permit).await {
            tracing::warn!(%error, "the dead voter is not taken out yet");
            not_before = Instant::now() + AGAIN;
        }
    }
}

impl Vault {
    async fn drop_dead_node(&self, permit: Authorized<DropDeadNode>) -> Result<(), VaultError> {
        let dropped = async {
            let (name, silent) = (permit.target.clone(), self.config.dead_node);
            Ok(self.replica.drop_dead_voter(name, silent).await?)
        };
        self.audited(&permit, 204, dropped).await
    }
}
