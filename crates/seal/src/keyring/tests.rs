use std::sync::atomic::{AtomicU64, AtomicUsize};

use strongroom_core::SecretName;
use tokio::time::Instant;

use super::*;
use crate::{Detail, KmsFuture, LocalKms, Outcome, Plaintext, open, seal};

mod trouble;

/// Longer than anything takes.
const LONG: Duration = Duration::from_secs(60);

/// The local adapter with a delay in front, and errors on demand.
struct Slow {
    inner: LocalKms,
    delay: AtomicU64,
    unwraps: AtomicUsize,
    fail: Mutex<Option<KmsError>>,
}

impl Slow {
    fn new(delay: Duration) -> Arc<Self> {
        Arc::new(Self {
            inner: LocalKms::random().unwrap(),
            delay: AtomicU64::new(u64::try_from(delay.as_millis()).unwrap()),
            unwraps: AtomicUsize::new(0),
            fail: Mutex::new(None),
        })
    }

    async fn pause(&self) -> Result<(), KmsError> {
        tokio::time::sleep(Duration::from_millis(self.delay.load(Relaxed))).await;
        self.fail.lock().unwrap().clone().map_or(Ok(()), Err)
    }
}

impl Kms for Slow {
    fn generate<'a>(&'a self, binding: &'a Binding) -> KmsFuture<'a, DataKey> {
        Box::pin(async move {
            self.pause().await?;
            self.inner.generate(binding).await
        })
    }

    fn unwrap<'a>(
        &'a self,
        wrapped: &'a WrappedDek,
        key_id: &'a KmsKeyId,
        binding: &'a Binding,
    ) -> KmsFuture<'a, Dek> {
        Box::pin(async move {
            self.unwraps.fetch_add(1, Relaxed);
            self.pause().await?;
            self.inner.unwrap(wrapped, key_id, binding).await
        })
    }

    fn rewrap<'a>(
        &'a self,
        wrapped: &'a WrappedDek,
        key_id: &'a KmsKeyId,
        binding: &'a Binding,
    ) -> KmsFuture<'a, Rewrapped> {
        self.inner.rewrap(wrapped, key_id, binding)
    }

    fn rotations(&self) -> KmsFuture<'_, Rotations> {
        self.inner.rotations()
    }

    fn describe(&self) -> KmsDescription {
        self.inner.describe()
    }
}

fn binding(version: u64) -> Binding {
    Binding::new(&SecretName::parse("secret/a").unwrap(), version)
}

fn keyring(kms: &Arc<Slow>, ttl_secs: u64) -> Arc<Keyring> {
    let config = KeyringConfig {
        ttl: Duration::from_secs(ttl_secs),
        ..KeyringConfig::default()
    };
    Arc::new(Keyring::new(Arc::clone(kms) as Arc<dyn Kms>, config))
}

async fn sealed(keyring: &Keyring, version: u64) -> SealedVersion {
    let key = keyring.data_key(&binding(version)).await.unwrap();
    seal(key, &binding(version), &Plaintext::copy_from(b"{}")).unwrap()
}

/// Several readers of one version at once; their results.
async fn crowd(keyring: &Arc<Keyring>, sealed: &SealedVersion, n: usize) -> Vec<Option<KmsError>> {
    let readers: Vec<_> = (0..n)
        .map(|_| {
            let (keyring, sealed) = (Arc::clone(keyring), sealed.clone());
            tokio::spawn(async move { keyring.dek(&binding(1), &sealed, LONG).await.err() })
        })
        .collect();
    let mut results = Vec::new();
    for reader in readers {
        results.push(reader.await.unwrap());
    }
    results
}

#[tokio::test(start_paused = true)]
async fn a_fresh_key_is_warm_and_opens_what_it_sealed() {
    let kms = Slow::new(Duration::from_millis(5));
    let keyring = keyring(&kms, 300);
    let sealed = sealed(&keyring, 1).await;
    let dek = keyring.dek(&binding(1), &sealed, LONG).await.unwrap().dek;
    assert_eq!(open(&dek, &binding(1), &sealed).unwrap().expose(), b"{}");
    assert_eq!(kms.unwraps.load(Relaxed), 0);
    keyring.clear();
    keyring.dek(&binding(1), &sealed, LONG).await.unwrap();
    let stats = keyring.stats();
    assert_eq!((stats.hits, stats.misses, stats.entries), (1, 1, 1));
    assert_eq!(stats.count(Operation::Generate, Outcome::Ok), 1);
    assert_eq!(stats.count(Operation::Unwrap, Outcome::Ok), 1);
    let unwraps = stats
        .calls
        .iter()
        .find(|c| c.operation == Operation::Unwrap)
        .unwrap();
    assert!(unwraps.total >= Duration::from_millis(5));
}

#[tokio::test(start_paused = true)]
async fn a_cached_key_is_not_served_under_another_binding() {
    let kms = Slow::new(Duration::ZERO);
    let keyring = keyring(&kms, 300);
    let sealed = sealed(&keyring, 1).await;
    assert!(keyring.dek(&binding(1), &sealed, LONG).await.is_ok());
    let error = keyring.dek(&binding(2), &sealed, LONG).await.err().unwrap();
    assert!(matches!(error, KmsError::Malformed(_)), "{error}");
}

#[tokio::test(start_paused = true)]
async fn keys_expire_and_a_sweep_zeroizes_them() {
    let kms = Slow::new(Duration::ZERO);
    let keyring = keyring(&kms, 300);
    let sealed = sealed(&keyring, 1).await;
    let watch = Arc::downgrade(&keyring.dek(&binding(1), &sealed, LONG).await.unwrap().dek);
    tokio::time::advance(Duration::from_secs(300)).await;
    keyring.sweep().await;
    assert!(watch.upgrade().is_none());
    assert_eq!(keyring.stats().entries, 0);
    keyring.dek(&binding(1), &sealed, LONG).await.unwrap();
    assert_eq!(kms.unwraps.load(Relaxed), 1);
}

#[tokio::test(start_paused = true)]
async fn a_ttl_of_zero_asks_every_time() {
    let kms = Slow::new(Duration::ZERO);
    let keyring = keyring(&kms, 0);
    let sealed = sealed(&keyring, 1).await;
    for _ in 0..3 {
        keyring.dek(&binding(1), &sealed, LONG).await.unwrap();
    }
    assert_eq!(kms.unwraps.load(Relaxed), 3);
    assert_eq!(keyring.stats().entries, 0);
}

#[tokio::test(start_paused = true)]
async fn a_hundred_readers_of_a_cold_version_cost_one_call() {
    let kms = Slow::new(Duration::from_millis(50));
    let keyring = keyring(&kms, 300);
    let sealed = sealed(&keyring, 1).await;
    keyring.clear();
    assert!(
        crowd(&keyring, &sealed, 100)
            .await
            .iter()
            .all(Option::is_none)
    );
    assert_eq!(kms.unwraps.load(Relaxed), 1);
    let stats = keyring.stats();
    assert_eq!((stats.misses, stats.coalesced), (1, 99));
    assert_eq!(flight::lock(&keyring.shelf).flights(), 0);
}

#[tokio::test(start_paused = true)]
async fn errors_are_shared_and_not_kept() {
    let kms = Slow::new(Duration::from_millis(50));
    let keyring = keyring(&kms, 300);
    let sealed = sealed(&keyring, 1).await;
    keyring.clear();
    let denied = KmsError::Denied(Detail::new("no"));
    *kms.fail.lock().unwrap() = Some(denied.clone());
    let results = crowd(&keyring, &sealed, 20).await;
    assert!(
        results
            .iter()
            .all(|result| result.as_ref() == Some(&denied))
    );
    assert_eq!(kms.unwraps.load(Relaxed), 1);
    *kms.fail.lock().unwrap() = None;
    assert!(keyring.dek(&binding(1), &sealed, LONG).await.is_ok());
    assert_eq!(keyring.stats().count(Operation::Unwrap, Outcome::Denied), 1);
}

#[tokio::test(start_paused = true)]
async fn a_hanging_service_costs_one_deadline_for_everybody() {
    let kms = Slow::new(Duration::ZERO);
    let keyring = keyring(&kms, 300);
    let sealed = sealed(&keyring, 1).await;
    keyring.clear();
    kms.delay.store(3_600_000, Relaxed);
    let began = Instant::now();
    let results = crowd(&keyring, &sealed, 50).await;
    assert!(
        results
            .iter()
            .all(|result| matches!(result, Some(KmsError::Unavailable(_))))
    );
    assert!(began.elapsed() <= keyring.line.patience());
    assert_eq!(
        kms.unwraps.load(Relaxed),
        1,
        "waiters do not queue up for calls of their own"
    );
    assert_eq!(flight::lock(&keyring.shelf).flights(), 0);
    assert!(keyring.data_key(&binding(2)).await.is_err());
    assert!(keyring.probe(Duration::from_secs(1)).await.is_err());
}

#[tokio::test(start_paused = true)]
async fn a_call_outlives_whoever_asked() {
    let kms = Slow::new(Duration::from_millis(100));
    let keyring = keyring(&kms, 300);
    let sealed = sealed(&keyring, 1).await;
    keyring.clear();
    let spawn = || {
        let (keyring, sealed) = (Arc::clone(&keyring), sealed.clone());
        tokio::spawn(async move { keyring.dek(&binding(1), &sealed, LONG).await.is_ok() })
    };
    let (first, second) = (spawn(), spawn());
    tokio::time::sleep(Duration::from_millis(50)).await;
    first.abort();
    assert!(second.await.unwrap());
    assert_eq!(kms.unwraps.load(Relaxed), 1);

    keyring.clear();
    let (only, other) = (spawn(), spawn());
    tokio::time::sleep(Duration::from_millis(50)).await;
    only.abort();
    other.abort();
    let _ = (only.await, other.await);
    assert_eq!(flight::lock(&keyring.shelf).flights(), 1);
    tokio::time::sleep(Duration::from_millis(60)).await;
    assert_eq!(flight::lock(&keyring.shelf).flights(), 0);
    assert_eq!(kms.unwraps.load(Relaxed), 2);
    assert_eq!(
        keyring.stats().entries,
        1,
        "what it brought is there for the next"
    );
}

#[tokio::test(start_paused = true)]
async fn rewrap_rotations_and_probe_pass_through() {
    let kms = Slow::new(Duration::ZERO);
    let keyring = keyring(&kms, 300);
    let sealed = sealed(&keyring, 1).await;
    let moved = keyring
        .rewrap(&sealed.wrapped_dek, &sealed.kms_key_id, &binding(1))
        .await
        .unwrap();
    let rewrapped = SealedVersion {
        wrapped_dek: moved.wrapped,
        kms_key_id: moved.key_id,
        ..sealed.clone()
    };
    let dek = keyring
        .dek(&binding(1), &rewrapped, LONG)
        .await
        .unwrap()
        .dek;
    assert_eq!(open(&dek, &binding(1), &rewrapped).unwrap().expose(), b"{}");
    assert!(
        keyring
            .rotations()
            .await
            .unwrap()
            .current_material
            .is_some()
    );
    keyring.probe(Duration::from_secs(1)).await.unwrap();
    assert_eq!(
        keyring.stats().entries,
        2,
        "a probe leaves nothing in the cache"
    );
}
