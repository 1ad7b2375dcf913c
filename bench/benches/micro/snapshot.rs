//! A snapshot of 10,000 secrets of three versions as bytes, into memory: what it costs beside the disk.

use criterion::{Criterion, Throughput};
use strongroom_raft::{snapshot_codec, types::SnapshotMeta};

use crate::world;

pub(crate) fn benches(criterion: &mut Criterion) {
    let (state, meta) = (world::state(3), SnapshotMeta::default());
    let mut bytes = Vec::new();
    snapshot_codec::write(&mut bytes, &meta, &state).unwrap();
    let mut group = criterion.benchmark_group("snapshot");
    group.throughput(Throughput::Bytes(bytes.len().try_into().unwrap()));
    group.sample_size(30);
    group.bench_function("encode/10000x3", |bencher| {
        bencher.iter(|| {
            bytes.clear();
            snapshot_codec::write(&mut bytes, &meta, &state).unwrap();
        });
    });
    group.finish();
}
