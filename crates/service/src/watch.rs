//! Waiting for a newer version of a secret, without polling: one task follows what is applied, asks
//! the state what has changed, and wakes who waits for it.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError, Weak},
    time::Duration,
};

use strongroom_core::{Secret, SecretName, State};
use tokio::sync::{Notify, watch};

use crate::{
    audit::READER,
    authorize::Reader,
    error::VaultError,
    secrets::READ,
    vault::{Event, Vault},
};

/// The audit trail's word for a wait that ended without a newer version.
const UNCHANGED: &str = "unchanged";
/// How long the task waits for a change before it looks whether the vault is still there.
const ROUND: Duration = Duration::from_secs(1);

/// Who waits for which name.
#[derive(Default)]
pub(crate) struct Watches {
    names: Mutex<HashMap<SecretName, Weak<Notify>>>,
    over: watch::Sender<bool>,
    /// Told of each who comes to wait.
    came: Arc<Notify>,
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

    fn wake_all(&self) {
        let watches = self.names.lock().unwrap_or_else(PoisonError::into_inner);
        watches
            .values()
            .filter_map(Weak::upgrade)
            .for_each(|notify| notify.notify_waiters());
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
    /// Says, on the record, that a secret has no version newer than `after`, as far as this node has
    /// applied. `false` if it has, or if there is no such secret.
    ///
    /// # Errors
    /// [`VaultError::Starting`], [`VaultError::StoreFailed`], [`VaultError::AuditUnavailable`].
    pub async fn is_unchanged(
        &self,
        reader: &Reader,
        name: &SecretName,
        after: u64,
    ) -> Result<bool, VaultError> {
        let state = self.replica.local()?;
        let newer = state.secret(name).is_none_or(|s| s.current_version > after);
        if newer {
            return Ok(false);
        }
        let event = Event {
            actor: READER,
            action: READ,
            target: name.as_str(),
            outcome: UNCHANGED,
            status: Some(304),
        };
        self.record(&reader.context, event).await?;
        Ok(true)
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
        self.watches.came.notify_one();
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

    /// How many wait now.
    #[must_use]
    pub fn waits(&self) -> usize {
        self.watches.over.receiver_count()
    }

    /// Ends all waits, now and from now on: this node stops, and must not be held up by them.
    pub(crate) fn end_waits(&self) {
        self.watches.over.send_replace(true);
    }
}

/// Follows what is applied, while anybody waits: nobody mostly does, and each write would wake it.
pub(crate) async fn worker(weak: Weak<Vault>) {
    let mut seen: Option<Arc<State>> = None;
    loop {
        let Some(vault) = weak.upgrade() else { return };
        if vault.waits() == 0 {
            let came = Arc::clone(&vault.watches.came);
            drop(vault);
            seen = None;
            // In vain: it looks whether the vault is still there.
            let _ = tokio::time::timeout(ROUND, came.notified()).await;
            continue;
        }
        let replica = Arc::clone(&vault.replica);
        drop(vault);
        let position = seen.as_ref().and_then(|state| state.position());
        let state = replica.next_state(position, ROUND).await;
        let Some(vault) = weak.upgrade() else { return };
        match &seen {
            Some(before) => vault.watches.wake(state.changed_secrets(before)),
            // What changed before this worker began is not known.
            None => vault.watches.wake_all(),
        }
        seen = Some(state);
    }
}
