//! What is true in Strongroom: domain types, commands, the pure state machine, access rules and
//! allowlists.
//!
//! Nothing here performs I/O, reads a clock, draws randomness, blocks or sees plaintext. The same
//! commands in the same order give the same [`State`] on every node and at every replay.
#![deny(missing_docs)]

pub mod access;
pub mod admission;
pub mod allowlist;
pub mod backup;
pub mod codec;
pub mod command;
pub mod durations;
pub mod limits;
pub mod name;
pub mod outcome;
pub mod position;
pub mod query;
pub mod rehearsal;
pub mod replica;
pub mod request;
pub mod restore;
pub mod rewrap;
pub mod sealed;
pub mod secret;
pub mod shared_text;
pub mod state;
pub mod time;
pub mod token;

pub use access::{Access, Action, Capability, PathPattern, Permission, Role, Rule};
pub use admission::Admission;
pub use allowlist::Allowlist;
pub use command::{Command, Proposal};
pub use durations::{Durations, DurationsReading};
pub use name::{MountName, NameError, NodeName, RoleName, SecretName, TargetName, TokenName};
pub use outcome::{Applied, Effect, Rejection};
pub use position::{ClusterId, LogPosition};
pub use replica::{
    Agreement, ClusterView, HandOverError, NodeView, PeerLag, ReadError, ReadGate, Readiness,
    RemoveError, Replica, SubmitError, Submitted, VoterCount,
};
pub use request::{Attempt, RequestId};
pub use restore::RestoreId;
pub use sealed::{KmsKeyId, SealedVersion, WrappedDek};
pub use secret::{
    Generator, Kind, Material, Pending, Secret, SecretSettings, SecretSummary, SecretVersion,
};
pub use shared_text::SharedText;
pub use state::State;
pub use time::LogTime;
pub use token::{TokenFingerprint, TokenGrant};
