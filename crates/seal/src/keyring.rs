//! KMS with a cache in front: what the use cases talk to.

use std::{
    future::Future,
    sync::{Arc, Mutex, MutexGuard, PoisonError, atomic::Ordering::Relaxed},
    time::Duration,
};

use strongroom_core::{KmsKeyId, SealedVersion, WrappedDek};
use tokio::time::timeout;

use crate::{
    Binding, BreakerState, DataKey, Dek, KeyringStats, Kms, KmsDescription, KmsError, Operation,
    Rewrapped, Rotations,
    cache::{CacheKey, DekCache},
    flight::{self, Found, Landing, Shelf},
    kms::{self, probe_binding},
    line::{Line, Ticket, late},
    request::carried,
};

mod cluster;
mod config;

pub use config::{FoundDek, KeyringConfig};

/// Whoever has a stale key at hand waits this long for KMS before using it.
const STALE_PATIENCE: Duration = Duration::from_secs(1);

/// A [`Kms`] with a cache of unwrapped keys, single flight, a circuit breaker, deadlines and
/// counters.
///
/// A call, once made, runs to its end or its deadline on its own task: whoever asked may stop
/// waiting, and what it brings is still cached, counted, and heard of by the breaker.
pub struct Keyring {
    kms: Arc<dyn Kms>,
    config: KeyringConfig,
    shelf: Arc<Mutex<Shelf>>,
    line: Arc<Line>,
    /// The key that the newest data key has got.
    own_key: Mutex<Option<KmsKeyId>>,
}

impl Keyring {
    /// Puts a cache in front of `kms`.
    #[must_use]
    pub fn new(kms: Arc<dyn Kms>, config: KeyringConfig) -> Self {
        let cache = DekCache::new(config.ttl, config.stale, config.max_entries);
        Self {
            kms,
            config,
            shelf: Arc::new(Mutex::new(Shelf::new(cache))),
            line: Arc::new(Line::new(config.deadline, config.breaker)),
            own_key: Mutex::default(),
        }
    }

    /// Leave for a call about `key_id`.
    fn admit(&self, operation: Operation, key_id: &KmsKeyId) -> Result<Ticket, KmsError> {
        match &*self.own_key() {
            Some(own) if own != key_id => self.line.admit_another(operation),
            _ => self.line.admit(operation),
        }
    }

    fn own_key(&self) -> MutexGuard<'_, Option<KmsKeyId>> {
        self.own_key.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// An alias may point elsewhere one day.
    fn note_own_key(&self, key_id: &KmsKeyId) {
        let mut own = self.own_key();
        if own.as_ref() != Some(key_id) {
            *own = Some(key_id.clone());
        }
    }

    /// A fresh data key for one seal. What it seals is warm for the first read.
    ///
    /// # Errors
    /// What KMS answered; [`KmsError::Unavailable`] at the deadline, or while the breaker is open.
    pub async fn data_key(&self, binding: &Binding) -> Result<DataKey, KmsError> {
        let (kms, bound) = (Arc::clone(&self.kms), binding.clone());
        let call = async move { kms.generate(&bound).await };
        let fresh = self
            .line
            .ask(Operation::Generate, Duration::MAX, call)
            .await?;
        let key = CacheKey::new(fresh.wrapped(), binding);
        self.note_own_key(fresh.key_id());
        let known = Ok(fresh.shared_dek());
        let mut shelf = flight::lock(&self.shelf);
        let evicted = shelf.cache.learn(&key, fresh.key_id(), &known);
        self.line.counters.evicted.fetch_add(evicted, Relaxed);
        Ok(fresh)
    }

    /// The data key that opens `sealed` under `binding`: from the cache, from a call already under
    /// way, or from KMS; waited for `within` a time. When KMS cannot be asked, a stale one if there
    /// is one.
    ///
    /// # Errors
    /// What KMS answered; [`KmsError::Unavailable`] when the time is over, or while the breaker is
    /// open.
    pub async fn dek(
        &self,
        binding: &Binding,
        sealed: &SealedVersion,
        within: Duration,
    ) -> Result<FoundDek, KmsError> {
        let counters = &self.line.counters;
        let fresh = |dek| FoundDek { dek, stale: false };
        if self.cache_is_off() {
            counters.misses.fetch_add(1, Relaxed);
            let unwrap = unwrap(Arc::clone(&self.kms), sealed, binding);
            let ticket = self.admit(Operation::Unwrap, &sealed.kms_key_id)?;
            let asked = Box::pin(self.line.ask_with(ticket, within, unwrap));
            return asked.await.map(fresh);
        }
        let key = CacheKey::new(&sealed.wrapped_dek, binding);
        let waiting = match flight::find(&self.shelf, &key) {
            Found::Cached(dek) => {
                counters.hits.fetch_add(1, Relaxed);
                return Ok(fresh(dek));
            }
            Found::Joined(waiting) => {
                counters.coalesced.fetch_add(1, Relaxed);
                waiting
            }
            Found::First(landing, waiting) => {
                counters.misses.fetch_add(1, Relaxed);
                self.take_off(landing, binding, sealed);
                waiting
            }
        };
        let mut patience = within.min(self.line.patience());
        if self.stale(&key, sealed).is_some() {
            patience = patience.min(STALE_PATIENCE);
        }
        match Box::pin(waiting.wait(patience)).await {
            Ok(dek) => Ok(fresh(dek)),
            // Looked for again: a refusal that came meanwhile has taken it away.
            Err(error) if error.is_retryable() => match self.stale(&key, sealed) {
                Some(dek) => {
                    counters.stale.fetch_add(1, Relaxed);
                    Ok(FoundDek { dek, stale: true })
                }
                None => Err(error),
            },
            Err(error) => Err(error),
        }
    }

    /// Whether unwrapped keys are not kept at all.
    #[must_use]
    pub fn cache_is_off(&self) -> bool {
        self.config.ttl.is_zero() || self.config.max_entries == 0
    }

    /// How many unwrapped keys are kept at most.
    #[must_use]
    pub fn capacity(&self) -> usize {
        self.config.max_entries
    }

    fn stale(&self, key: &CacheKey, sealed: &SealedVersion) -> Option<Arc<Dek>> {
        if self.config.stale.is_zero() {
            return None;
        }
        let shelf = flight::lock(&self.shelf);
        shelf.cache.get_stale(key, &sealed.kms_key_id)
    }

    /// Asks KMS for the key that `landing` stands for.
    fn take_off(&self, landing: Landing, binding: &Binding, sealed: &SealedVersion) {
        let key_id = sealed.kms_key_id.clone();
        match self.admit(Operation::Unwrap, &key_id) {
            Err(refused) => {
                landing.land(&key_id, Err(refused));
            }
            Ok(ticket) => {
                let unwrap = unwrap(Arc::clone(&self.kms), sealed, binding);
                let line = Arc::clone(&self.line);
                let asked = async move {
                    let evicted = landing.land(&key_id, ticket.call(unwrap).await);
                    line.counters.evicted.fetch_add(evicted, Relaxed);
                };
                // Whoever asks first: others wait for the same.
                tokio::spawn(carried(asked));
            }
        }
    }

    /// See [`Kms::rewrap`].
    ///
    /// # Errors
    /// What KMS answered; [`KmsError::Unavailable`] at the deadline, or while the breaker is open.
    pub async fn rewrap(
        &self,
        wrapped: &WrappedDek,
        key_id: &KmsKeyId,
        binding: &Binding,
    ) -> Result<Rewrapped, KmsError> {
        let kms = Arc::clone(&self.kms);
        let ticket = self.admit(Operation::Rewrap, key_id)?;
        let (wrapped, key_id, binding) = (wrapped.clone(), key_id.clone(), binding.clone());
        let call = async move { kms.rewrap(&wrapped, &key_id, &binding).await };
        self.line.ask_with(ticket, Duration::MAX, call).await
    }

    /// See [`Kms::rotations`].
    ///
    /// # Errors
    /// What KMS answered; [`KmsError::Unavailable`] at the deadline, or while the breaker is open.
    pub async fn rotations(&self) -> Result<Rotations, KmsError> {
        let kms = Arc::clone(&self.kms);
        let call = async move { kms.rotations().await };
        self.line
            .ask(Operation::Rotations, Duration::MAX, call)
            .await
    }

    /// One wrap and one unwrap, past the cache, `within` a time for both. To the breaker they are
    /// calls like any other: a probe is what closes it when nobody else asks.
    ///
    /// # Errors
    /// What KMS answered; [`KmsError::Unavailable`] when the time is over, or while the breaker is
    /// open.
    pub async fn probe(&self, within: Duration) -> Result<(), KmsError> {
        timeout(within, self.wrap_and_unwrap())
            .await
            .map_err(|_| late())?
    }

    async fn wrap_and_unwrap(&self) -> Result<(), KmsError> {
        let binding = probe_binding()?;
        let (kms, bound) = (Arc::clone(&self.kms), binding.clone());
        let call = async move { kms.generate(&bound).await };
        let fresh = self
            .line
            .ask(Operation::Generate, Duration::MAX, call)
            .await?;
        self.note_own_key(fresh.key_id());
        let kms = Arc::clone(&self.kms);
        let (wrapped, key_id) = (fresh.wrapped().clone(), fresh.key_id().clone());
        let call = async move { kms.unwrap(&wrapped, &key_id, &binding).await };
        let unwrapped = self
            .line
            .ask(Operation::Unwrap, Duration::MAX, call)
            .await?;
        kms::same_key(&unwrapped, fresh.dek())
    }

    /// Which service and key this is.
    #[must_use]
    pub fn describe(&self) -> KmsDescription {
        self.kms.describe()
    }

    /// Drops expired keys, so that they leave memory: to be called every second or so. A key in use
    /// at that moment is zeroized when its use ends.
    pub async fn sweep(&self) {
        loop {
            let expired = flight::lock(&self.shelf).cache.take_expired();
            if expired.is_empty() {
                return;
            }
            drop(expired);
            // Whoever waits for the lock, or for this thread, comes first.
            tokio::task::yield_now().await;
        }
    }

    /// Drops all keys.
    pub fn clear(&self) {
        flight::lock(&self.shelf).cache.clear();
    }

    /// Where the breaker stands.
    #[must_use]
    pub fn breaker(&self) -> BreakerState {
        self.line.state()
    }

    /// The counters.
    #[must_use]
    pub fn stats(&self) -> KeyringStats {
        let entries = flight::lock(&self.shelf).cache.len();
        let (breaker, opened) = (self.line.state(), self.line.opened());
        self.line.counters.read(entries, breaker, opened)
    }
}

/// The call that unwraps `sealed`'s key; it borrows nothing.
fn unwrap(
    kms: Arc<dyn Kms>,
    sealed: &SealedVersion,
    binding: &Binding,
) -> impl Future<Output = Result<Arc<Dek>, KmsError>> + Send + use<> {
    let (wrapped, key_id) = (sealed.wrapped_dek.clone(), sealed.kms_key_id.clone());
    let binding = binding.clone();
    async move {
        let dek = kms.unwrap(&wrapped, &key_id, &binding).await?;
        Ok(Arc::new(dek))
    }
}

#[cfg(test)]
mod tests;
