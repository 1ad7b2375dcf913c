//! The envelope: the only place where plaintext and data keys exist, and the [`Kms`] port.
//!
//! A version of a secret is sealed under a data key of its own. KMS wraps that key; what is stored
//! and replicated is a [`SealedVersion`](strongroom_core::SealedVersion), ciphertext and wrapped
//! key. Both are tied to the version's name and number by a [`Binding`].
//!
//! Reading order: [`envelope`], [`binding`], [`kms`], [`keyring`].
#![deny(missing_docs)]

mod aead;
pub mod binding;
pub mod breaker;
mod cache;
pub mod cluster_key;
pub mod dek;
pub mod envelope;
mod flight;
pub mod generate;
pub mod keyring;
pub mod kms;
mod line;
pub mod local;
pub mod plaintext;
pub mod request;
pub mod stats;
#[cfg(test)]
mod test_util;
pub mod token;

pub use binding::{Binding, ContextStyle};
pub use breaker::{BreakerConfig, BreakerState};
pub use cluster_key::{AuthoritySeed, ClusterKey, ClusterKeyError, WrappedClusterKey};
pub use dek::{DataKey, Dek, DekError};
pub use envelope::{OpenError, SealError, open, seal};
pub use generate::{GenerateError, generate_value};
pub use keyring::{FoundDek, Keyring, KeyringConfig};
pub use kms::{
    Detail, Kms, KmsDescription, KmsError, KmsFuture, KmsMode, Rewrapped, Rotation, RotationKind,
    Rotations, probe,
};
pub use local::{LocalKeyError, LocalKms};
pub use plaintext::Plaintext;
pub use stats::{CallStats, KeyringStats, LATENCY_BOUNDS_MS, Latency, Operation, Outcome};
pub use token::{AdminToken, TokenError};
