//! Sealing and opening: the cipher, and what is allocated and zeroized around it. No KMS.

use std::hint::black_box;

use bytes::Bytes;
use criterion::{BatchSize, Criterion, Throughput};
use strongroom_core::{KmsKeyId, WrappedDek};
use strongroom_seal::{Binding, DataKey, Dek, Plaintext, open, seal};

use crate::world;

const SIZES: [(&str, usize); 2] = [("32B", 32), ("4KiB", 4_096)];

fn dek() -> Dek {
    Dek::copy_from(&[9; 32]).unwrap()
}

/// A key is good for one seal, so there is one for each.
fn data_key() -> DataKey {
    let wrapped = WrappedDek(Bytes::from_static(&[7; 184]));
    DataKey::new(dek(), wrapped, KmsKeyId("key".into()), None)
}

pub(crate) fn benches(criterion: &mut Criterion) {
    let binding = Binding::new(&world::name(1), 1);
    for (size, bytes) in SIZES {
        let plaintext = Plaintext::copy_from(&vec![b'x'; bytes]);
        let mut group = criterion.benchmark_group("envelope");
        group.throughput(Throughput::Bytes(bytes.try_into().unwrap()));
        group.bench_function(format!("seal/{size}"), |bencher| {
            bencher.iter_batched(
                data_key,
                |key| seal(key, &binding, black_box(&plaintext)).unwrap(),
                BatchSize::SmallInput,
            );
        });
        let (dek, sealed) = (dek(), seal(data_key(), &binding, &plaintext).unwrap());
        group.bench_function(format!("open/{size}"), |bencher| {
            // What is opened is zeroized here too, as after every read.
            bencher.iter(|| open(&dek, &binding, black_box(&sealed)).unwrap().len());
        });
        group.finish();
    }
}
