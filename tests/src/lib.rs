//! The cluster harness and the black-box suites.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::print_stdout
)]

pub mod moto;

pub mod api;
pub mod backup;
pub mod canary;
pub mod cluster;
pub mod compare;
pub mod faults;
pub mod fresh;
pub mod kms_cluster;
pub mod load;
pub mod metrics;
pub mod node;
pub mod overlay;
pub mod postgres;
pub mod prometheus;
pub mod raft_tls;
pub mod raw;
pub mod shim;
pub mod tls;
pub mod values;

/// Held by a test whose cluster would starve, or be starved by, another test's of the same binary.
pub async fn alone() -> tokio::sync::MutexGuard<'static, ()> {
    static TURN: tokio::sync::Mutex<()> = tokio::sync::Mutex::const_new(());
    TURN.lock().await
}
