//! What a keyring is told, and what it tells.

use std::{sync::Arc, time::Duration};

use crate::{BreakerConfig, Dek};

/// How a [`Keyring`](crate::Keyring) caches and how long it waits.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct KeyringConfig {
    /// How long an unwrapped key may be used again. Zero: every read asks KMS.
    pub ttl: Duration,
    /// How much longer it is kept for when KMS is unavailable or throttles. Denied and disabled
    /// keys are never answered with one.
    pub stale: Duration,
    /// How many unwrapped keys are kept at most.
    pub max_entries: usize,
    /// How long one call of KMS may take, its retries included.
    pub deadline: Duration,
    /// When KMS is left alone for a while.
    pub breaker: BreakerConfig,
}

impl Default for KeyringConfig {
    fn default() -> Self {
        Self {
            ttl: Duration::from_secs(300),
            stale: Duration::ZERO,
            max_entries: 10_000,
            deadline: Duration::from_secs(8),
            breaker: BreakerConfig::default(),
        }
    }
}

/// A data key that was looked for.
pub struct FoundDek {
    /// The key.
    pub dek: Arc<Dek>,
    /// Whether it is past its time, and used because KMS cannot be asked.
    pub stale: bool,
}
