//! Cluster keys: KMS draws, unwraps and rewraps them as it does data keys, past the cache.

use std::{sync::Arc, time::Duration};

use tokio::time::timeout;

use super::Keyring;
use crate::{
    Binding, KmsError, Operation,
    cluster_key::{ClusterKey, WrappedClusterKey},
    line::late,
};

impl Keyring {
    /// A fresh cluster key, wrapped. The key itself is dropped.
    ///
    /// # Errors
    /// What KMS answered; [`KmsError::Unavailable`] at the deadline, or while the breaker is open.
    pub async fn new_cluster_key(&self) -> Result<WrappedClusterKey, KmsError> {
        let kms = Arc::clone(&self.kms);
        let call = async move { kms.generate(&Binding::cluster_key()).await };
        let fresh = self
            .line
            .ask(Operation::Generate, Duration::MAX, call)
            .await?;
        let (wrapped, key_id) = fresh.into_wrapped();
        Ok(WrappedClusterKey::new(wrapped, key_id))
    }

    /// Unwraps a cluster key `within` a time.
    ///
    /// # Errors
    /// What KMS answered; [`KmsError::Unavailable`] when the time is over, or while the breaker is
    /// open.
    pub async fn cluster_key(
        &self,
        wrapped: &WrappedClusterKey,
        within: Duration,
    ) -> Result<ClusterKey, KmsError> {
        let ticket = self.admit(Operation::Unwrap, wrapped.key_id())?;
        let (kms, wrapped) = (Arc::clone(&self.kms), wrapped.clone());
        let call = async move {
            let (wrapped, key_id) = (wrapped.wrapped(), wrapped.key_id());
            kms.unwrap(wrapped, key_id, &Binding::cluster_key()).await
        };
        let asked = self.line.ask_with(ticket, Duration::MAX, call);
        let dek = timeout(within, asked).await.map_err(|_| late())??;
        Ok(ClusterKey::new(dek))
    }

    /// Wraps the same cluster key again, under the key in use now: nodes that have either form are one
    /// cluster.
    ///
    /// # Errors
    /// See [`Keyring::rewrap`].
    pub async fn rewrap_cluster_key(
        &self,
        wrapped: &WrappedClusterKey,
    ) -> Result<WrappedClusterKey, KmsError> {
        let moved = self
            .rewrap(wrapped.wrapped(), wrapped.key_id(), &Binding::cluster_key())
            .await?;
        Ok(WrappedClusterKey::new(moved.wrapped, moved.key_id))
    }
}
