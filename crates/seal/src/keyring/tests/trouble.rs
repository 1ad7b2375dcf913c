//! A KMS that does not do its job: the breaker, stale keys, and who waits how long.

use super::*;

const TTL: u64 = 300;
const STALE: Duration = Duration::from_secs(600);

fn with_stale(kms: &Arc<Slow>) -> Arc<Keyring> {
    let config = KeyringConfig {
        ttl: Duration::from_secs(TTL),
        stale: STALE,
        ..KeyringConfig::default()
    };
    Arc::new(Keyring::new(Arc::clone(kms) as Arc<dyn Kms>, config))
}

fn fail(kms: &Slow, error: Option<fn(Detail) -> KmsError>) {
    *kms.fail.lock().unwrap() = error.map(|error| error(Detail::new("why")));
}

async fn read(keyring: &Keyring, sealed: &SealedVersion) -> Result<bool, KmsError> {
    let found = keyring.dek(&binding(1), sealed, LONG).await?;
    assert!(open(&found.dek, &binding(1), sealed).is_ok());
    Ok(found.stale)
}

#[tokio::test(start_paused = true)]
async fn the_breaker_opens_on_unavailable_alone_and_closes_by_itself() {
    type Case = (fn(Detail) -> KmsError, bool);
    let cases: [Case; 4] = [
        (KmsError::Unavailable, true),
        (KmsError::Throttled, false),
        (KmsError::Denied, false),
        (KmsError::KeyDisabled, false),
    ];
    for (error, opens) in cases {
        let kms = Slow::new(Duration::ZERO);
        let keyring = keyring(&kms, TTL);
        let sealed = sealed(&keyring, 1).await;
        keyring.clear();
        fail(&kms, Some(error));
        for _ in 0..10 {
            let answer = read(&keyring, &sealed).await.unwrap_err();
            assert_eq!(
                std::mem::discriminant(&answer),
                std::mem::discriminant(&error(Detail::new("")))
            );
        }
        let stats = keyring.stats();
        let calls = if opens { 3 } else { 10 };
        assert_eq!(kms.unwraps.load(Relaxed), calls);
        assert_eq!(
            stats.calls.iter().map(|c| c.count).sum::<u64>(),
            1 + calls as u64
        );
        assert_eq!(stats.refused, 10 - calls as u64);
        let expected = if opens {
            BreakerState::Open
        } else {
            BreakerState::Closed
        };
        assert_eq!((stats.breaker, stats.opened), (expected, u64::from(opens)));

        fail(&kms, None);
        let refused = keyring.data_key(&binding(2)).await.err();
        assert_eq!(
            refused.is_some_and(|error| error.is_refused_by_breaker()),
            opens
        );
        tokio::time::advance(Duration::from_secs(4)).await;
        assert_eq!(read(&keyring, &sealed).await, Ok(false));
        assert_eq!(keyring.breaker(), BreakerState::Closed);
    }
}

#[tokio::test(start_paused = true)]
async fn half_open_one_call_passes_and_the_others_fail_at_once() {
    let kms = Slow::new(Duration::ZERO);
    let keyring = keyring(&kms, TTL);
    let sealed = sealed(&keyring, 1).await;
    keyring.clear();
    kms.delay.store(3_600_000, Relaxed);
    for _ in 0..3 {
        assert!(read(&keyring, &sealed).await.is_err());
    }
    tokio::time::advance(Duration::from_secs(4)).await;
    assert_eq!(keyring.breaker(), BreakerState::HalfOpen);
    let probe = tokio::spawn({
        let keyring = Arc::clone(&keyring);
        async move { keyring.probe(LONG).await }
    });
    tokio::task::yield_now().await;
    let began = Instant::now();
    let refused = keyring.data_key(&binding(2)).await.err().unwrap();
    assert!(refused.is_refused_by_breaker(), "{refused}");
    assert!(
        read(&keyring, &sealed)
            .await
            .unwrap_err()
            .is_refused_by_breaker()
    );
    assert_eq!(began.elapsed(), Duration::ZERO);
    kms.delay.store(0, Relaxed);
    assert!(probe.await.unwrap().is_err(), "it hangs with what it asked");
    assert_eq!(keyring.breaker(), BreakerState::Open);
    tokio::time::advance(Duration::from_secs(4)).await;
    keyring.probe(LONG).await.unwrap();
    assert_eq!(keyring.breaker(), BreakerState::Closed);
}

/// A key that was left behind, and fails or hangs by itself.
#[tokio::test(start_paused = true)]
async fn another_key_neither_opens_the_breaker_nor_closes_it() {
    let kms = Slow::new(Duration::ZERO);
    let keyring = keyring(&kms, TTL);
    let own = sealed(&keyring, 1).await;
    let mut other = own.clone();
    other.kms_key_id = KmsKeyId("another".into());
    keyring.clear();
    fail(&kms, Some(KmsError::Unavailable));
    for _ in 0..10 {
        assert!(read(&keyring, &other).await.is_err());
    }
    assert_eq!(keyring.breaker(), BreakerState::Closed);
    // That it answers does not make up for the own key's failures.
    keyring.clear();
    for _ in 0..2 {
        assert!(read(&keyring, &own).await.is_err());
    }
    fail(&kms, None);
    let answer = read(&keyring, &other).await.unwrap_err();
    assert!(
        matches!(answer, KmsError::Malformed(_) | KmsError::Denied(_)),
        "{answer}"
    );
    fail(&kms, Some(KmsError::Unavailable));
    assert!(read(&keyring, &own).await.is_err());
    assert_eq!(keyring.breaker(), BreakerState::Open);
    // It does not take the place of the probe.
    tokio::time::advance(Duration::from_secs(4)).await;
    assert_eq!(keyring.breaker(), BreakerState::HalfOpen);
    let refused = read(&keyring, &other).await.unwrap_err();
    assert!(refused.is_refused_by_breaker(), "{refused}");
    fail(&kms, None);
    assert_eq!(read(&keyring, &own).await, Ok(false));
    assert_eq!(keyring.breaker(), BreakerState::Closed);
}

#[tokio::test(start_paused = true)]
async fn requests_wait_no_longer_than_they_may_and_the_breaker_still_hears() {
    let kms = Slow::new(Duration::ZERO);
    let keyring = keyring(&kms, TTL);
    let first = sealed(&keyring, 1).await;
    keyring.clear();
    kms.delay.store(3_600_000, Relaxed);
    let (began, within) = (Instant::now(), Duration::from_millis(700));
    let error = keyring
        .dek(&binding(1), &first, within)
        .await
        .err()
        .unwrap();
    assert!(matches!(error, KmsError::Unavailable(_)), "{error}");
    for version in 2..=3 {
        let late = timeout(within, keyring.data_key(&binding(version))).await;
        assert!(late.is_err());
    }
    assert_eq!(began.elapsed(), within * 3);
    assert_eq!(keyring.breaker(), BreakerState::Closed);
    tokio::time::sleep(KeyringConfig::default().deadline).await;
    assert_eq!(keyring.breaker(), BreakerState::Open);
}

#[tokio::test(start_paused = true)]
async fn stale_keys_are_used_only_while_kms_cannot_be_asked() {
    for error in [
        KmsError::Unavailable as fn(Detail) -> KmsError,
        KmsError::Throttled,
    ] {
        let kms = Slow::new(Duration::ZERO);
        let keyring = with_stale(&kms);
        let sealed = sealed(&keyring, 1).await;
        fail(&kms, Some(error));
        assert_eq!(read(&keyring, &sealed).await, Ok(false), "cached");
        tokio::time::advance(Duration::from_secs(TTL)).await;
        for _ in 0..10 {
            keyring.sweep().await;
            assert_eq!(read(&keyring, &sealed).await, Ok(true));
        }
        assert_eq!(keyring.stats().stale, 10);
        fail(&kms, None);
        tokio::time::advance(Duration::from_secs(4)).await;
        assert_eq!(read(&keyring, &sealed).await, Ok(false), "KMS is back");
        assert_eq!(
            read(&keyring, &sealed).await,
            Ok(false),
            "and the key is new"
        );
        fail(&kms, Some(error));
        tokio::time::advance(Duration::from_secs(TTL) + STALE).await;
        assert!(read(&keyring, &sealed).await.is_err(), "too old");
        keyring.sweep().await;
        assert_eq!(keyring.stats().entries, 0);
    }
}

#[tokio::test(start_paused = true)]
async fn a_revoked_key_is_not_answered_with_a_stale_one() {
    for error in [
        KmsError::Denied as fn(Detail) -> KmsError,
        KmsError::KeyDisabled,
        KmsError::Malformed,
    ] {
        let kms = Slow::new(Duration::ZERO);
        let keyring = with_stale(&kms);
        let sealed = sealed(&keyring, 1).await;
        tokio::time::advance(Duration::from_secs(TTL)).await;
        fail(&kms, Some(error));
        let refusal = read(&keyring, &sealed).await.unwrap_err();
        assert!(!refusal.is_retryable(), "{refusal}");
        fail(&kms, Some(KmsError::Unavailable));
        assert!(
            read(&keyring, &sealed).await.is_err(),
            "an outage does not bring it back"
        );
        assert_eq!(keyring.stats().stale, 0);
    }
}

#[tokio::test(start_paused = true)]
async fn who_has_a_stale_key_waits_little_for_a_hanging_service() {
    let kms = Slow::new(Duration::ZERO);
    let keyring = with_stale(&kms);
    let sealed = sealed(&keyring, 1).await;
    tokio::time::advance(Duration::from_secs(TTL)).await;
    kms.delay.store(3_600_000, Relaxed);
    let began = Instant::now();
    assert_eq!(read(&keyring, &sealed).await, Ok(true));
    assert_eq!(began.elapsed(), STALE_PATIENCE);
    assert_eq!(kms.unwraps.load(Relaxed), 1);

    // A refusal that comes late ends it all the same.
    fail(&kms, Some(KmsError::Denied));
    kms.delay.store(2_000, Relaxed);
    tokio::time::sleep(Duration::from_secs(8)).await;
    assert_eq!(read(&keyring, &sealed).await, Ok(true));
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert!(matches!(
        read(&keyring, &sealed).await,
        Err(KmsError::Denied(_))
    ));
}

/// A panic in an adapter is one failed call.
#[tokio::test(start_paused = true)]
async fn a_call_that_ends_without_an_answer_leaves_nothing_behind() {
    struct Panics;
    impl Kms for Panics {
        fn generate<'a>(&'a self, _: &'a Binding) -> KmsFuture<'a, DataKey> {
            Box::pin(async { panic!("on purpose") })
        }
        fn unwrap<'a>(
            &'a self,
            _: &'a WrappedDek,
            _: &'a KmsKeyId,
            _: &'a Binding,
        ) -> KmsFuture<'a, Dek> {
            Box::pin(async { panic!("on purpose") })
        }
        fn rewrap<'a>(
            &'a self,
            _: &'a WrappedDek,
            _: &'a KmsKeyId,
            _: &'a Binding,
        ) -> KmsFuture<'a, Rewrapped> {
            Box::pin(async { panic!("on purpose") })
        }
        fn rotations(&self) -> KmsFuture<'_, Rotations> {
            Box::pin(async { panic!("on purpose") })
        }
        fn describe(&self) -> KmsDescription {
            LocalKms::random().unwrap().describe()
        }
    }
    let sealed = sealed(&keyring(&Slow::new(Duration::ZERO), TTL), 1).await;
    let keyring = Keyring::new(Arc::new(Panics), KeyringConfig::default());
    for _ in 0..5 {
        let error = keyring.dek(&binding(1), &sealed, LONG).await.err().unwrap();
        assert!(matches!(error, KmsError::Unavailable(_)), "{error}");
        assert!(keyring.data_key(&binding(1)).await.is_err());
    }
    assert_eq!(flight::lock(&keyring.shelf).flights(), 0);
    assert_eq!(keyring.breaker(), BreakerState::Closed, "nobody was asked");
}
