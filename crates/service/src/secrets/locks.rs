//! One writer a name at this node: writers of the same secret would otherwise seal for the same
//! version number, and all but one would have to seal again.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError, Weak},
};

use strongroom_core::SecretName;
use strongroom_seal::BreakerState;
use tokio::{sync::OwnedMutexGuard, time::timeout};

use crate::{context::RequestContext, error::VaultError, vault::Vault};

type Lock = tokio::sync::Mutex<()>;

/// Locks by name, made when asked for and gone with their last holder.
#[derive(Default)]
pub(crate) struct NameLocks(Mutex<HashMap<SecretName, Weak<Lock>>>);

impl NameLocks {
    /// Waits for the name. It orders writers at one node and protects nothing: the state machine
    /// decides.
    pub(crate) async fn lock(&self, name: &SecretName) -> OwnedMutexGuard<()> {
        let lock = {
            let mut locks = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            if locks.len() > 1_024 {
                locks.retain(|_, lock| lock.strong_count() > 0);
            }
            match locks.get(name).and_then(Weak::upgrade) {
                Some(lock) => lock,
                None => {
                    let lock = Arc::new(Lock::default());
                    locks.insert(name.clone(), Arc::downgrade(&lock));
                    lock
                }
            }
        };
        lock.lock_owned().await
    }
}

impl Vault {
    /// Waits for this node's other writers of `name`, within the request's deadline.
    ///
    /// # Errors
    /// What those others must be waiting for: KMS, or a leader.
    pub(crate) async fn turn(
        &self,
        context: &RequestContext,
        name: &SecretName,
    ) -> Result<OwnedMutexGuard<()>, VaultError> {
        timeout(context.left(), self.name_locks.lock(name))
            .await
            .map_err(|_| {
                let closed = self.keyring.breaker() == BreakerState::Closed;
                match closed && self.kms_health.works() {
                    true => VaultError::NoLeader,
                    false => VaultError::KmsUnavailable,
                }
            })
    }
}
