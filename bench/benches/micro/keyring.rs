//! The cache of data keys: finding one, and the sweep that takes out those past their time, while
//! 100,000 are kept. No read finds its key while the sweep holds the lock.

use std::{
    hint::black_box,
    sync::Arc,
    time::{Duration, Instant},
};

use criterion::Criterion;
use strongroom_core::SealedVersion;
use strongroom_seal::{Binding, Keyring, KeyringConfig, LocalKms, Plaintext, seal};
use tokio::runtime::{Builder, Runtime};

use crate::world;

const KEPT: u64 = 100_000;
/// New keys each second, and as many that are past their time.
const EACH_SECOND: u64 = 1_000;
const LIFE: Duration = Duration::from_secs(KEPT / EACH_SECOND);
const SECOND: Duration = Duration::from_secs(1);

/// A keyring in a runtime whose clock moves only when told.
struct Kept {
    runtime: Runtime,
    keyring: Keyring,
    made: u64,
}

impl Kept {
    fn new() -> Self {
        let runtime = Builder::new_current_thread()
            .enable_time()
            .start_paused(true)
            .build()
            .unwrap();
        let config = KeyringConfig {
            ttl: LIFE,
            max_entries: usize::try_from(2 * KEPT).unwrap(),
            ..KeyringConfig::default()
        };
        let keyring = Keyring::new(Arc::new(LocalKms::random().unwrap()), config);
        let mut this = Self {
            runtime,
            keyring,
            made: 0,
        };
        while this.made < KEPT {
            this.pass_a_second();
        }
        this
    }

    fn pass_a_second(&mut self) {
        let (keyring, made) = (&self.keyring, self.made);
        self.runtime.block_on(async {
            tokio::time::advance(SECOND).await;
            for n in made..made + EACH_SECOND {
                let binding = Binding::new(&world::name(n), 1);
                drop(keyring.data_key(&binding).await.unwrap());
            }
        });
        self.made += EACH_SECOND;
    }

    /// One whose key is in the cache.
    fn sealed(&self) -> (Binding, SealedVersion) {
        let binding = Binding::new(&world::name(self.made), 1);
        let key = self.runtime.block_on(self.keyring.data_key(&binding));
        let sealed = seal(key.unwrap(), &binding, &Plaintext::copy_from(b"x"));
        (binding, sealed.unwrap())
    }
}

pub(crate) fn benches(criterion: &mut Criterion) {
    let mut kept = Kept::new();
    let mut group = criterion.benchmark_group("keyring/100000");
    let (binding, sealed) = kept.sealed();
    group.bench_function("find", |bencher| {
        bencher.iter(|| {
            let found = kept.keyring.dek(&binding, black_box(&sealed), SECOND);
            kept.runtime.block_on(found).unwrap()
        });
    });
    group.sample_size(10);
    group.bench_function(format!("sweep/{EACH_SECOND}"), |bencher| {
        bencher.iter_custom(|times| {
            let mut took = Duration::ZERO;
            for _ in 0..times {
                kept.pass_a_second();
                let began = Instant::now();
                kept.runtime.block_on(kept.keyring.sweep());
                took += began.elapsed();
                // And the one that `find` finds.
                assert!(kept.keyring.stats().entries as u64 <= KEPT + 1);
            }
            took
        });
    });
    group.finish();
}
