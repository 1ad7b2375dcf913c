//! What single steps cost, each by itself: `cargo bench -p strongroom-bench`, with `-- seal` for some
//! and `-- --quick` for a first look. What a whole server does is measured by `cargo xtask bench`.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic
)]

mod access;
mod allowlist;
mod audit;
mod envelope;
mod keyring;
mod snapshot;
mod state;
mod world;

use criterion::{criterion_group, criterion_main};

criterion_group!(
    micro,
    envelope::benches,
    keyring::benches,
    state::benches,
    allowlist::benches,
    access::benches,
    audit::benches,
    snapshot::benches,
);
criterion_main!(micro);
