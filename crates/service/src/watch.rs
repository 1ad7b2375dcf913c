//! Waiting for a newer version of a secret, without polling: one task follows what is applied, asks
//! the state what has changed, and wakes who waits for it.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError, Weak},
    time::Duration,
};

use strongroom_core::{Secret, SecretName};
use tokio::sync::{Notify, watch};

use crate::{authorize::Reader, error::VaultError, vault::Vault};

/// How long the task waits for a change before it looks whether the vault is still there.
const ROUND: Duration = Duration::from_secs(1);

/// Who waits for which name.
#[derive(Default)]
pub(crate) struct Watches {
    names: Mutex<HashMap<SecretName, Weak<Notify>>>,
    over: watch::Sender<bool>,
}

impl Watches {
    fn subscribe(&self, name: &SecretName) -> Arc<Notify> {
        let mut watches = self.names.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(notify) = watches.get(name).and_then(Weak::upgrade) {
            return notify;
        }
        if watches.len() >= watches.capacity() {
            watches.retain(|_, notify| notify.strong_count() > 0);
        }
        let notify = Arc::new(Notify::new());
        watches.insert(name.clone(), Arc::downgrade(&notify));
        notify
    }

    fn wake<'a>(&self, changed: impl Iterator<Item = &'a SecretName>) {
        let watches = self.names.lock().unwrap_or_else(PoisonError::into_inner);
        if watches.is_empty() {
            return;
        }
        for name in changed {
            if let Some(notify) = watches.get(name).and_then(Weak::upgrade) {
                notify.notify_waiters();
            }
        }
    }
}

impl Vault {
    /// Whether there is a secret of this name, as far as this node has applied.
    ///
    /// # Errors
    /// [`VaultError::Starting`], [`VaultError::StoreFailed`].
    pub fn is_there(&self, _reader: &Reader, name: &SecretName) -> Result<bool, VaultError> {
        Ok(self.replica.local()?.secret(name).is_some())
    }

    /// Waits until this node has applied a version of the secret newer than `after`, at most
    /// `within`, and not when the node stops. Returns whether there is one.
    ///
    /// # Errors
    /// [`VaultError::Starting`], [`VaultError::StoreFailed`].
    pub async fn wait_for_version(
        &self,
        _reader: &Reader,
        name: &SecretName,
        after: u64,
        within: Duration,
    ) -> Result<bool, VaultError> {
        let newer =
            |secret: Option<&Secret>| secret.is_some_and(|secret| secret.current_version > after);
        self.wait_for_change(name, newer, within).await
    }

    /// Waits until what this node has applied of the secret is as `awaited` says, at most `within`, and
    /// not when the node stops. Returns whether it is.
    ///
    /// # Errors
    /// As [`Vault::wait_for_version`].
    pub(crate) async fn wait_for_change(
        &self,
        name: &SecretName,
        awaited: impl Fn(Option<&Secret>) -> bool,
        within: Duration,
    ) -> Result<bool, VaultError> {
        let notify = self.watches.subscribe(name);
        let mut over = self.watches.over.subscribe();
        let newer = async {
            loop {
                let mut woken = std::pin::pin!(notify.notified());
                // Registered before looking, so that a change between the two is not missed.
                woken.as_mut().enable();
                let state = self.replica.local()?;
                if awaited(state.secret(name).map(Arc::as_ref)) {
                    return Ok(true);
                }
                woken.await;
            }
        };
        tokio::select! {
            biased;
            found = newer => found,
            _ = over.wait_for(|over| *over) => Ok(false),
            () = tokio::time::sleep(within) => Ok(false),
        }
    }

    /// Ends all waits, now and from now on: this node stops, and must not be held up by them.
    pub fn end_waits(&self) {
        self.watches.over.send_replace(true);
    }
}

/// Follows what is applied.
pub(crate) async fn worker(weak: Weak<Vault>) {
    let mut seen = None;
    loop {
        let Some(vault) = weak.upgrade() else { return };
        let replica = Arc::clone(&vault.replica);
        drop(vault);
        let position = seen
            .as_ref()
            .and_then(|state: &Arc<strongroom_core::State>| state.position());
        let state = replica.next_state(position, ROUND).await;
        let Some(vault) = weak.upgrade() else { return };
        if let Some(before) = &seen {
            vault.watches.wake(state.changed_secrets(before));
        }
        seen = Some(state);
    }
}
