use std::collections::HashMap;

use proptest::prelude::*;
use strongroom_core::SecretName;

use super::*;
use crate::Detail;

const TTL: Duration = Duration::from_secs(10);
const NONE: Duration = Duration::ZERO;
const STALE: Duration = Duration::from_secs(60);

fn key(n: u64) -> CacheKey {
    let name = SecretName::parse("secret/a").unwrap();
    let wrapped = WrappedDek(n.to_be_bytes().to_vec().into());
    CacheKey::new(&wrapped, &Binding::new(&name, 1))
}

fn dek() -> Arc<Dek> {
    Arc::new(Dek::random().unwrap())
}

/// Keys, and places in both orders.
fn counts(cache: &DekCache) -> [usize; 3] {
    [cache.len(), cache.ages.len(), cache.turns.len()]
}

fn sweep(cache: &mut DekCache) {
    while !cache.take_expired().is_empty() {}
}

#[tokio::test(start_paused = true)]
async fn an_expired_key_is_not_served_and_a_sweep_drops_it() {
    let mut cache = DekCache::new(TTL, NONE, 4);
    let dek = dek();
    let watch = Arc::downgrade(&dek);
    cache.put(key(1), dek);
    tokio::time::advance(TTL - Duration::from_millis(1)).await;
    assert!(cache.get(&key(1)).is_some());
    sweep(&mut cache);
    assert!(watch.upgrade().is_some());
    tokio::time::advance(Duration::from_millis(1)).await;
    assert!(
        cache.get(&key(1)).is_none(),
        "a hit did not extend its life"
    );
    sweep(&mut cache);
    assert!(
        watch.upgrade().is_none(),
        "the key is gone when the sweep returns"
    );
    assert_eq!(counts(&cache), [0; 3]);
}

#[tokio::test(start_paused = true)]
async fn it_is_bounded_and_keeps_what_is_used() {
    let mut cache = DekCache::new(TTL, NONE, 3);
    for n in 1..=3 {
        assert_eq!(cache.put(key(n), dek()), 0);
    }
    assert!(cache.get(&key(1)).is_some());
    assert_eq!(cache.put(key(4), dek()), 1);
    assert!(
        cache.get(&key(2)).is_none(),
        "the first that nobody used went"
    );
    for n in [1, 3, 4] {
        assert!(cache.get(&key(n)).is_some(), "{n}");
    }
    for n in 5..1_000 {
        cache.put(key(n), dek());
        assert!(cache.len() <= 3 && counts(&cache) == [cache.len(); 3]);
    }
}

#[tokio::test(start_paused = true)]
async fn replacing_and_clearing_keep_entries_and_orders_equal() {
    let mut cache = DekCache::new(TTL, NONE, 3);
    for _ in 0..5 {
        cache.put(key(1), dek());
    }
    assert_eq!(counts(&cache), [1; 3]);
    tokio::time::advance(TTL).await;
    cache.put(key(1), dek());
    assert!(cache.get(&key(1)).is_some(), "an expired entry is replaced");
    cache.clear();
    assert_eq!(counts(&cache), [0; 3]);
}

#[tokio::test(start_paused = true)]
async fn off_keeps_nothing() {
    for mut cache in [
        DekCache::new(Duration::ZERO, NONE, 3),
        DekCache::new(TTL, NONE, 0),
    ] {
        assert!(cache.is_off());
        cache.put(key(1), dek());
        assert!(cache.get(&key(1)).is_none());
    }
}

#[tokio::test(start_paused = true)]
async fn another_binding_is_another_key() {
    let mut cache = DekCache::new(TTL, NONE, 3);
    let wrapped = WrappedDek(b"wrapped".to_vec().into());
    let key = |name, version| {
        let name = SecretName::parse(name).unwrap();
        CacheKey::new(&wrapped, &Binding::new(&name, version))
    };
    cache.put(key("secret/a", 1), dek());
    assert!(cache.get(&key("secret/a", 1)).is_some());
    assert!(cache.get(&key("secret/b", 1)).is_none());
    assert!(cache.get(&key("secret/a", 2)).is_none());
}

/// What ends the one and what begins the other cannot be shifted.
#[test]
fn a_key_is_of_the_wrapped_key_and_of_the_binding() {
    let key = |wrapped: &'static [u8], name| {
        let name = SecretName::parse(name).unwrap();
        CacheKey::new(&WrappedDek(wrapped.into()), &Binding::new(&name, 1))
    };
    assert_eq!(key(b"w", "a/b"), key(b"w", "a/b"));
    assert_ne!(key(b"w", "a/b"), key(b"v", "a/b"));
    assert_ne!(key(b"wa", "a/b"), key(b"w", "aa/b"));
}

fn kms_key(name: &str) -> KmsKeyId {
    KmsKeyId(name.into())
}

#[tokio::test(start_paused = true)]
async fn a_stale_key_is_kept_for_its_time_and_found_only_when_asked_for() {
    let mut cache = DekCache::new(TTL, STALE, 4);
    let dek = dek();
    let watch = Arc::downgrade(&dek);
    cache.put(key(1), dek);
    tokio::time::advance(TTL + STALE - Duration::from_millis(1)).await;
    sweep(&mut cache);
    assert!(cache.get(&key(1)).is_none());
    assert!(cache.get_stale(&key(1), &kms_key("k")).is_some());
    assert!(cache.get_stale(&key(2), &kms_key("k")).is_none());
    tokio::time::advance(Duration::from_millis(1)).await;
    assert!(cache.get_stale(&key(1), &kms_key("k")).is_none());
    sweep(&mut cache);
    assert!(watch.upgrade().is_none());
    assert_eq!(counts(&cache), [0; 3]);
}

#[tokio::test(start_paused = true)]
async fn a_refusal_ends_what_is_stale() {
    type Refusal = fn(Detail) -> KmsError;
    let cases: [(Refusal, bool, bool); 6] = [
        (KmsError::Unavailable, true, true),
        (KmsError::Throttled, true, true),
        (KmsError::Denied, false, true),
        (KmsError::Malformed, false, true),
        (KmsError::Unsupported, false, true),
        (KmsError::KeyDisabled, false, false),
    ];
    for (refusal, this, others) in cases {
        let error = refusal(Detail::new("why"));
        let (ours, theirs) = (kms_key("ours"), kms_key("theirs"));
        let mut cache = DekCache::new(TTL, STALE, 4);
        for n in 1..=3 {
            cache.put(key(n), dek());
        }
        tokio::time::advance(TTL).await;
        cache.learn(&key(1), &ours, &Err(error.clone()));
        assert_eq!(cache.get_stale(&key(1), &ours).is_some(), this, "{error}");
        assert_eq!(cache.get_stale(&key(2), &ours).is_some(), others, "{error}");
        assert!(cache.get_stale(&key(3), &theirs).is_some(), "{error}");
        assert_eq!(counts(&cache), [cache.len(); 3]);

        cache.learn(&key(1), &ours, &Ok(dek()));
        for n in [1, 2] {
            let known = cache.get_stale(&key(n), &ours).is_some();
            assert!(known, "the KMS key works again, {error}");
        }
        assert_eq!(counts(&cache), [3; 3]);
    }
}

#[tokio::test(start_paused = true)]
async fn what_is_past_its_time_is_taken_some_at_a_time_and_nothing_else() {
    let mut cache = DekCache::new(TTL, NONE, 10_000);
    let many = u64::try_from(AT_ONCE).unwrap() + 10;
    for n in 0..many {
        cache.put(key(n), dek());
    }
    tokio::time::advance(TTL / 2).await;
    // The first of all begins anew, and goes last.
    for n in (many..2 * many).chain([0]) {
        cache.put(key(n), dek());
    }
    tokio::time::advance(TTL / 2).await;
    assert_eq!(cache.take_expired().len(), AT_ONCE);
    assert_eq!(cache.take_expired().len(), 9);
    assert_eq!(cache.take_expired().len(), 0);
    assert_eq!(counts(&cache), [AT_ONCE + 11; 3]);
    assert!(cache.get(&key(0)).is_some() && cache.get(&key(many)).is_some());
    tokio::time::advance(TTL / 2).await;
    sweep(&mut cache);
    assert_eq!(counts(&cache), [0; 3]);
}

#[tokio::test(start_paused = true)]
async fn where_all_are_used_one_goes_all_the_same_and_before_long() {
    let many = AT_ONCE * 3;
    let mut cache = DekCache::new(TTL, NONE, many);
    for n in 0..many as u64 {
        cache.put(key(n), dek());
        assert!(cache.get(&key(n)).is_some());
    }
    assert_eq!(cache.put(key(9_999), dek()), 1);
    // After as many that were spared.
    let spared = AT_ONCE as u64;
    assert!(cache.get(&key(spared)).is_none());
    assert!(cache.get(&key(spared - 1)).is_some() && cache.get(&key(spared + 1)).is_some());
    assert_eq!(counts(&cache), [many; 3]);
}

#[derive(Clone, Copy, Debug)]
enum Step {
    Put(u64),
    Refuse(u64),
    Get(u64),
    Wait(u64),
    Sweep,
    Clear,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        6 => (0u64..8).prop_map(Step::Put),
        1 => (0u64..8).prop_map(Step::Refuse),
        4 => (0u64..8).prop_map(Step::Get),
        2 => (1u64..TTL.as_secs()).prop_map(Step::Wait),
        2 => Just(Step::Sweep),
        1 => Just(Step::Clear),
    ]
}

/// Takes the steps, and says what is wrong after one, if anything is. A key may be missing from the cache,
/// since it may have been in the way of another; what is there is the newest, and in its time.
async fn misstep(steps: &[Step]) -> Option<String> {
    const CAPACITY: usize = 5;
    let mut cache = DekCache::new(TTL, STALE, CAPACITY);
    let mut newest: HashMap<u64, (Arc<Dek>, Instant)> = HashMap::new();
    for step in steps {
        match *step {
            Step::Put(n) => {
                let dek = dek();
                newest.insert(n, (Arc::clone(&dek), Instant::now()));
                cache.put(key(n), dek);
            }
            Step::Refuse(n) => {
                newest.remove(&n);
                let denied = Err(KmsError::Denied(Detail::new("why")));
                cache.learn(&key(n), &kms_key("k"), &denied);
            }
            Step::Get(n) => {
                cache.get(&key(n));
            }
            Step::Wait(secs) => tokio::time::advance(Duration::from_secs(secs)).await,
            Step::Sweep => {
                sweep(&mut cache);
                newest.retain(|_, (_, since)| since.elapsed() < TTL + STALE);
                if cache.len() > newest.len() {
                    return Some(format!("{step:?} left what is past its time"));
                }
            }
            Step::Clear => {
                cache.clear();
                newest.clear();
            }
        }
        if counts(&cache) != [cache.len(); 3] || cache.len() > CAPACITY {
            return Some(format!("{step:?}: {:?}", counts(&cache)));
        }
        for n in 0..8 {
            let right = |found: &Arc<Dek>, within| {
                let known = newest.get(&n);
                known
                    .is_some_and(|(dek, since)| Arc::ptr_eq(dek, found) && since.elapsed() < within)
            };
            let stale = cache.get_stale(&key(n), &kms_key("k"));
            let fresh = cache
                .entries
                .get(&key(n))
                .filter(|entry| entry.expires > Instant::now());
            let wrong = fresh.is_some_and(|entry| !right(&entry.dek, TTL))
                || stale.is_some_and(|dek| !right(&dek, TTL + STALE));
            if wrong {
                return Some(format!("{step:?}: the wrong key for {n}"));
            }
        }
    }
    None
}

proptest! {
    #[test]
    fn whatever_happens_it_keeps_to_its_times_and_its_orders(
        steps in proptest::collection::vec(step(), 0..120),
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .start_paused(true)
            .build()
            .unwrap();
        prop_assert_eq!(runtime.block_on(misstep(&steps)), None);
    }
}
