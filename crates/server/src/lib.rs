//! The process: configuration, HTTP surfaces, AWS KMS, transport between nodes, and the wiring.
//!
//! Nothing is hidden from it, so it decides nothing: handlers in [`http`] take requests apart and ask
//! the vault.

mod api_port;
mod api_tls;
pub mod audit;
pub mod backup;
mod backup_store;
pub mod cluster_key;
pub mod dev_ca;
pub mod dev_keys;
pub mod doctor;
pub mod http;
pub mod hygiene;
mod keyring;
pub mod kms;
mod listen;
pub mod logging;
mod raft_port;
pub mod raft_tls;
pub mod recover;
pub mod run;
mod run_error;
mod seldom;
pub mod settings;
mod signals;
mod targets;
pub mod traces;

pub use run::{VERSION, run};
pub use run_error::RunError;
pub use signals::stop_on_signal;

/// The formats that this version reads and writes.
pub struct Formats {
    /// Commands, results and state records.
    pub commands: u8,
    /// The data directory.
    pub data_directory: u32,
    /// Written by the log on disk, which also opens those before.
    pub log: u8,
    /// Messages between nodes.
    pub messages: u8,
}

/// The formats that this version reads and writes.
#[must_use]
pub fn formats() -> Formats {
    Formats {
        commands: strongroom_core::codec::FORMAT,
        data_directory: strongroom_raft::identity::DATA_FORMAT,
        log: strongroom_raft::durable::FORMAT,
        messages: strongroom_raft::wire::WIRE_FORMAT,
    }
}
