//! What gates and use cases have done, counted.

use std::{
    sync::atomic::{AtomicU64, Ordering},
    time::Instant,
};

use strongroom_core::{Durations, DurationsReading};

use crate::{VaultError, vault::TRACE};

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
    admitted_address: AtomicU64,
    admitted_token: AtomicU64,
    unrecorded_refusals: AtomicU64,
    seals: Durations,
    opens: Durations,
    seal_failures: AtomicU64,
    open_failures: AtomicU64,
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
    /// Requests let in by address.
    pub admitted_address: u64,
    /// Requests let in by token and role.
    pub admitted_token: u64,
    /// Refusals that were too many to be recorded one by one.
    pub unrecorded_refusals: u64,
    /// Versions sealed; KMS is asked before.
    pub seals: DurationsReading,
    /// Versions opened; KMS is asked before.
    pub opens: DurationsReading,
    /// Versions that could not be sealed.
    pub seal_failures: u64,
    /// Versions that could not be opened with their data key.
    pub open_failures: u64,
}

/// A gate that lets requests in.
#[derive(Clone, Copy)]
pub(crate) enum Gate {
    Address,
    Token,
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

    pub(crate) fn admitted(&self, gate: Gate) {
        let counter = match gate {
            Gate::Address => &self.admitted_address,
            Gate::Token => &self.admitted_token,
        };
        counter.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn refused_unrecorded(&self) {
        self.unrecorded_refusals.fetch_add(1, Ordering::Relaxed);
    }

    /// Counts one sealing, and how long it took.
    pub(crate) fn sealing<T, E>(&self, seal: impl FnOnce() -> Result<T, E>) -> Result<T, E> {
        tracing::debug_span!(target: TRACE, "seal")
            .in_scope(|| timed(&self.seals, &self.seal_failures, seal))
    }

    /// Counts one opening, and how long it took.
    pub(crate) fn opening<T, E>(&self, open: impl FnOnce() -> Result<T, E>) -> Result<T, E> {
        tracing::debug_span!(target: TRACE, "open")
            .in_scope(|| timed(&self.opens, &self.open_failures, open))
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
            admitted_address: get(&self.admitted_address),
            admitted_token: get(&self.admitted_token),
            unrecorded_refusals: get(&self.unrecorded_refusals),
            seals: self.seals.read(),
            opens: self.opens.read(),
            seal_failures: get(&self.seal_failures),
            open_failures: get(&self.open_failures),
        }
    }
}

fn timed<T, E>(
    durations: &Durations,
    failures: &AtomicU64,
    work: impl FnOnce() -> Result<T, E>,
) -> Result<T, E> {
    let began = Instant::now();
    let done = work();
    durations.note(began.elapsed());
    if done.is_err() {
        failures.fetch_add(1, Ordering::Relaxed);
    }
    done
}
