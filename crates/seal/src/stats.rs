//! What the keyring counts, for metrics and `/v1/admin/kms`.

use std::{
    sync::atomic::{AtomicU64, Ordering::Relaxed},
    time::Duration,
};

use crate::{BreakerState, KmsError};

/// A call of the [`Kms`](crate::Kms) port.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Operation {
    /// A fresh data key.
    Generate,
    /// A data key unwrapped.
    Unwrap,
    /// A data key wrapped again.
    Rewrap,
    /// The key's rotations listed.
    Rotations,
}

impl Operation {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Generate, Self::Unwrap, Self::Rewrap, Self::Rotations];

    /// A stable label.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Generate => "generate",
            Self::Unwrap => "unwrap",
            Self::Rewrap => "rewrap",
            Self::Rotations => "rotations",
        }
    }
}

/// How a call ended.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Outcome {
    /// As asked.
    Ok,
    /// [`KmsError::Denied`].
    Denied,
    /// [`KmsError::KeyDisabled`].
    KeyDisabled,
    /// [`KmsError::Throttled`].
    Throttled,
    /// [`KmsError::Unavailable`].
    Unavailable,
    /// [`KmsError::Malformed`].
    Malformed,
    /// [`KmsError::Unsupported`].
    Unsupported,
}

impl Outcome {
    /// All of them.
    pub const ALL: [Self; 7] = [
        Self::Ok,
        Self::Denied,
        Self::KeyDisabled,
        Self::Throttled,
        Self::Unavailable,
        Self::Malformed,
        Self::Unsupported,
    ];

    /// A stable label.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Denied => "denied",
            Self::KeyDisabled => "key_disabled",
            Self::Throttled => "throttled",
            Self::Unavailable => "unavailable",
            Self::Malformed => "malformed",
            Self::Unsupported => "unsupported",
        }
    }

    pub(crate) fn of<T>(result: &Result<T, KmsError>) -> Self {
        match result {
            Ok(_) => Self::Ok,
            Err(KmsError::Denied(_)) => Self::Denied,
            Err(KmsError::KeyDisabled(_)) => Self::KeyDisabled,
            Err(KmsError::Throttled(_)) => Self::Throttled,
            Err(KmsError::Unavailable(_)) => Self::Unavailable,
            Err(KmsError::Malformed(_)) => Self::Malformed,
            Err(KmsError::Unsupported(_)) => Self::Unsupported,
        }
    }
}

/// Calls of one operation with one outcome, since the start of the process.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct CallStats {
    /// What was asked.
    pub operation: Operation,
    /// How it ended.
    pub outcome: Outcome,
    /// How often.
    pub count: u64,
    /// How long all of them took together, to microseconds.
    pub total: Duration,
}

/// Upper bounds of the [`Latency`] buckets, in milliseconds; one more bucket has the rest.
pub const LATENCY_BOUNDS_MS: [u64; 12] = [1, 2, 5, 10, 25, 50, 100, 250, 500, 1_000, 2_500, 5_000];

/// How long calls of one operation took, retries included, whatever came of them.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Latency {
    /// What was asked.
    pub operation: Operation,
    /// All of them together.
    pub total: Duration,
    /// Calls by [`LATENCY_BOUNDS_MS`]; each is in one bucket.
    pub buckets: [u64; LATENCY_BOUNDS_MS.len() + 1],
}

/// A keyring's counters at one moment.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct KeyringStats {
    /// Keys answered from the cache.
    pub hits: u64,
    /// Keys that KMS was asked for.
    pub misses: u64,
    /// Requests that waited for the answer to another's question.
    pub coalesced: u64,
    /// Requests answered with a key past its time, because KMS could not be asked.
    pub stale: u64,
    /// Keys dropped because the cache was full.
    pub evicted: u64,
    /// Keys in the cache, expired ones included until they are swept.
    pub entries: usize,
    /// Where the breaker stands.
    pub breaker: BreakerState,
    /// How often it opened.
    pub opened: u64,
    /// Calls it refused.
    pub refused: u64,
    /// Every operation and outcome, the ones that never happened included.
    pub calls: Vec<CallStats>,
    /// Every operation, the ones that never happened included.
    pub latency: Vec<Latency>,
}

impl KeyringStats {
    /// How often `operation` ended with `outcome`.
    #[must_use]
    pub fn count(&self, operation: Operation, outcome: Outcome) -> u64 {
        let same = |call: &&CallStats| call.operation == operation && call.outcome == outcome;
        self.calls.iter().filter(same).map(|call| call.count).sum()
    }
}

#[derive(Default)]
struct Call {
    count: AtomicU64,
    micros: AtomicU64,
}

#[derive(Default)]
pub(crate) struct Counters {
    pub(crate) hits: AtomicU64,
    pub(crate) misses: AtomicU64,
    pub(crate) coalesced: AtomicU64,
    pub(crate) stale: AtomicU64,
    pub(crate) evicted: AtomicU64,
    pub(crate) refused: AtomicU64,
    calls: [[Call; Outcome::ALL.len()]; Operation::ALL.len()],
    buckets: [[AtomicU64; LATENCY_BOUNDS_MS.len() + 1]; Operation::ALL.len()],
}

impl Counters {
    pub(crate) fn record(&self, operation: Operation, outcome: Outcome, took: Duration) {
        let row = self.calls.get(operation as usize);
        if let Some(call) = row.and_then(|row| row.get(outcome as usize)) {
            call.count.fetch_add(1, Relaxed);
            call.micros
                .fetch_add(u64::try_from(took.as_micros()).unwrap_or(u64::MAX), Relaxed);
        }
        let bounds = LATENCY_BOUNDS_MS.map(Duration::from_millis);
        let bucket = bounds.partition_point(|bound| *bound < took);
        let row = self.buckets.get(operation as usize);
        if let Some(count) = row.and_then(|row| row.get(bucket)) {
            count.fetch_add(1, Relaxed);
        }
    }

    fn latency(&self, calls: &[CallStats]) -> Vec<Latency> {
        let of = |(operation, row): (Operation, &[AtomicU64; _])| Latency {
            operation,
            total: calls
                .iter()
                .filter(|call| call.operation == operation)
                .map(|call| call.total)
                .sum(),
            buckets: row.each_ref().map(|count| count.load(Relaxed)),
        };
        Operation::ALL
            .into_iter()
            .zip(&self.buckets)
            .map(of)
            .collect()
    }

    pub(crate) fn read(&self, entries: usize, breaker: BreakerState, opened: u64) -> KeyringStats {
        let mut calls = Vec::with_capacity(Operation::ALL.len() * Outcome::ALL.len());
        for (operation, row) in Operation::ALL.into_iter().zip(&self.calls) {
            for (outcome, call) in Outcome::ALL.into_iter().zip(row) {
                let count = call.count.load(Relaxed);
                let total = Duration::from_micros(call.micros.load(Relaxed));
                calls.push(CallStats {
                    operation,
                    outcome,
                    count,
                    total,
                });
            }
        }
        KeyringStats {
            hits: self.hits.load(Relaxed),
            misses: self.misses.load(Relaxed),
            coalesced: self.coalesced.load(Relaxed),
            stale: self.stale.load(Relaxed),
            evicted: self.evicted.load(Relaxed),
            entries,
            breaker,
            opened,
            refused: self.refused.load(Relaxed),
            latency: self.latency(&calls),
            calls,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_call_is_in_the_bucket_of_its_duration() {
        let counters = Counters::default();
        for micros in [0, 1_000, 1_001, 3_000, 5_000_000, 5_000_001, 60_000_000] {
            let took = Duration::from_micros(micros);
            counters.record(Operation::Unwrap, Outcome::Unavailable, took);
        }
        let stats = counters.read(0, BreakerState::Closed, 0);
        let of = |operation| {
            let mut found = stats.latency.iter();
            *found
                .find(|latency| latency.operation == operation)
                .unwrap()
        };
        let unwraps = of(Operation::Unwrap);
        assert_eq!(unwraps.buckets, [2, 1, 1, 0, 0, 0, 0, 0, 0, 0, 0, 1, 2]);
        assert_eq!(unwraps.total, Duration::from_micros(70_005_002));
        assert_eq!(of(Operation::Generate).buckets, [0; 13]);
    }

    #[test]
    fn every_pair_has_its_own_counter() {
        let counters = Counters::default();
        let pairs = Operation::ALL
            .into_iter()
            .flat_map(|op| Outcome::ALL.map(|out| (op, out)));
        for (times, (operation, outcome)) in (1..).zip(pairs.clone()) {
            for _ in 0..times {
                counters.record(operation, outcome, Duration::from_micros(3));
            }
        }
        let stats = counters.read(0, BreakerState::Closed, 0);
        for (times, (operation, outcome)) in (1u32..).zip(pairs) {
            assert_eq!(stats.count(operation, outcome), u64::from(times));
            let call = stats.calls[times as usize - 1];
            assert_eq!((call.operation, call.outcome), (operation, outcome));
            assert_eq!(call.total, Duration::from_micros(3) * times);
        }
    }
}
