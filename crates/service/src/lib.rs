//! Use cases: who asks, may they, audit, seal, submit; and the leader's workers.
//!
//! Handlers call [`Vault::authorize`] or [`Vault::admit_reader`] and hand the proof they get to a use
//! case, which cannot be called without one. Nothing here knows HTTP, AWS, openraft or sled.

pub mod audit;
pub mod authorize;
pub mod backup;
pub mod cluster;
pub mod context;
pub mod error;
mod hex;
mod kms_health;
mod last_used;
pub mod lockout;
mod members;
mod nodes;
pub mod operate;
pub mod operation;
pub mod page;
pub mod payload;
mod prewarm;
mod refusals;
pub mod rewrap;
pub mod roles;
mod rotation;
pub mod rounds;
pub mod secrets;
pub mod stats;
pub mod status;
pub mod targets;
pub mod tokens;
pub mod vault;
mod watch;
pub mod workers;

pub use authorize::{Authorized, Reader};
pub use context::RequestContext;
pub use error::VaultError;
pub use page::Page;
pub use vault::{Vault, VaultConfig};
