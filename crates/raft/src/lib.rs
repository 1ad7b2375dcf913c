//! Agreement and durability: openraft and sled behind core's `Replica` port.
//!
//! Nothing here knows plaintext, keys, the HTTP API or who may do what. sled is named in `durable.rs`
//! only. Reading order: `node`, `leading`, `proposer`, `read_index`, `telling`, `incoming`, `formation`, `joining`,
//! `membership`, `removal`, `voters`, `election`, `upkeep`, `meters`; then the store:
//! `durable`, `writer`, `journal`, `keeper`, `mark`, `log_store`, `machine`, `snapshot_files`; then trouble: `damage`, `epoch`,
//! `recover`.

// openraft's errors are large and travel by value through its traits.
#![allow(clippy::result_large_err)]

// The tests' wires name the crate as those outside of it do.
#[cfg(test)]
extern crate self as strongroom_raft;

mod change;
mod damage;
mod deadline;
pub mod durable;
mod election;
mod epoch;
mod failing;
mod files;
mod formation;
mod formats;
mod forwarder;
mod gathering;
mod handover;
pub mod identity;
mod incoming;
mod joining;
mod journal;
mod keeper;
mod keys;
mod last;
mod leading;
pub mod log_store;
pub mod machine;
mod mark;
mod membership;
mod meters;
mod network;
pub mod node;
mod open_error;
mod paced;
mod proposer;
mod read_index;
pub mod recover;
mod removal;
mod replacement;
mod replica;
mod rows;
mod serving;
pub mod snapshot_codec;
pub mod snapshot_files;
mod store;
mod store_format;
mod telling;
pub mod types;
mod upkeep;
mod view;
mod voters;
pub mod wire;
pub mod writer;

pub use epoch::Surpassed;
pub use identity::{DataDir, IdentityError};
pub use node::{Node, NodeConfig, StartError};
pub use wire::{Rpc, Transport, TransportError, WireError};
