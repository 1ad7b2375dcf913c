//! What gates and use cases have done, counted.

use std::sync::atomic::{AtomicU64, Ordering};

use crate::VaultError;

/// Counters since the start. Monotonic.
#[derive(Default, Debug)]
pub struct Stats {
    reads: AtomicU64,
    refused_address: AtomicU64,
    refused_token: AtomicU64,
    refused_permission: AtomicU64,
    refused_lockout: AtomicU64,
    lockouts: AtomicU64,
    applied_to_target: AtomicU64,
    target_failures: AtomicU64,
}

/// A reading of [`Stats`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct StatsReading {
    /// Values handed out.
    pub reads: u64,
    /// Requests refused by address.
    pub refused_address: u64,
    /// Requests refused for a missing or wrong token.
    pub refused_token: u64,
    /// Requests refused by role.
    pub refused_permission: u64,
    /// Requests refused because of a lockout.
    pub refused_lockout: u64,
    /// Lockouts begun.
    pub lockouts: u64,
    /// Values applied to a target.
    pub applied_to_target: u64,
    /// Tries of that which did not work.
    pub target_failures: u64,
}

impl Stats {
    pub(crate) fn read_values(&self, count: u64) {
        self.reads.fetch_add(count, Ordering::Relaxed);
    }

    pub(crate) fn locked_out(&self) {
        self.lockouts.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn tried_target(&self, worked: bool) {
        let counter = match worked {
            true => &self.applied_to_target,
            false => &self.target_failures,
        };
        counter.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn refused(&self, error: &VaultError) {
        let counter = match error {
            VaultError::AddressNotAllowed => &self.refused_address,
            VaultError::Unauthenticated => &self.refused_token,
            VaultError::PermissionDenied => &self.refused_permission,
            VaultError::LockedOut { .. } => &self.refused_lockout,
            _ => return,
        };
        counter.fetch_add(1, Ordering::Relaxed);
    }

    /// The counters now.
    #[must_use]
    pub fn read(&self) -> StatsReading {
        let get = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        StatsReading {
            reads: get(&self.reads),
            refused_address: get(&self.refused_address),
            refused_token: get(&self.refused_token),
            refused_permission: get(&self.refused_permission),
            refused_lockout: get(&self.refused_lockout),
            lockouts: get(&self.lockouts),
            applied_to_target: get(&self.applied_to_target),
            target_failures: get(&self.target_failures),
        }
    }
}
