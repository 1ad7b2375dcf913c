//! What the leader knows of a pass beside what is replicated.

use std::{
    collections::BTreeMap,
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use serde::{Deserialize, Serialize};
use strongroom_core::SecretName;

use super::Method;

/// How long a count of what is pending is good for metrics.
const COUNTED_EVERY: Duration = Duration::from_secs(5);
/// Failures kept by name; more are only counted.
pub(super) const FAILURES: usize = 1_000;

#[derive(Default)]
struct Known {
    pass: u64,
    failures: BTreeMap<(SecretName, u64), String>,
    failed: u64,
    /// Why the last of them failed.
    last_failure: Option<String>,
    /// What keeps everything from going on at the moment.
    trouble: Option<String>,
    method: Option<Method>,
    /// How many were pending, and when that was counted.
    pending: Option<(u64, Instant)>,
}

/// What a node tells others of it.
#[derive(Default, Serialize, Deserialize)]
pub(crate) struct View {
    /// Whether it leads, so that what it says is how things stand.
    pub(crate) leads: bool,
    /// `name:version` with the reason.
    pub(crate) failures: BTreeMap<String, String>,
    pub(crate) last_error: Option<String>,
    pub(crate) method: Option<Method>,
}

/// Local to a node; lost when it restarts, and found again by the next attempt.
#[derive(Default)]
pub(crate) struct Progress(Mutex<Known>);

impl Progress {
    fn lock(&self) -> MutexGuard<'_, Known> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How many are pending: as counted a moment ago, or now.
    pub(crate) fn counted(&self, count: impl FnOnce() -> u64) -> u64 {
        let mut known = self.lock();
        match known.pending {
            Some((pending, at)) if at.elapsed() < COUNTED_EVERY => pending,
            _ => {
                let pending = count();
                known.pending = Some((pending, Instant::now()));
                pending
            }
        }
    }

    /// Forgets the failures of an earlier attempt.
    pub(crate) fn begin(&self, pass: u64) {
        let mut known = self.lock();
        *known = Known {
            pass,
            method: known.method,
            pending: known.pending,
            ..Known::default()
        };
    }

    /// Forgets everything about passes: this node does not lead them.
    pub(crate) fn forget(&self) {
        let mut known = self.lock();
        if known.pass != 0 {
            *known = Known {
                method: known.method,
                pending: known.pending,
                ..Known::default()
            };
        }
    }

    pub(crate) fn note_failure(&self, name: &SecretName, version: u64, error: &str) {
        let mut known = self.lock();
        known.failed += 1;
        known.last_failure = Some(error.to_owned());
        if known.failures.len() < FAILURES {
            known
                .failures
                .insert((name.clone(), version), error.to_owned());
        }
    }

    /// What keeps everything from going on, or that nothing does. What single versions suffer from
    /// stays noted.
    pub(crate) fn note_trouble(&self, trouble: Option<String>) {
        self.lock().trouble = trouble;
    }

    pub(crate) fn note_method(&self, method: Method) {
        self.lock().method = Some(method);
    }

    pub(crate) fn method(&self) -> Option<Method> {
        self.lock().method
    }

    /// How many versions could not be moved in this attempt, and why the last of them.
    pub(crate) fn failed(&self) -> (u64, Option<String>) {
        let known = self.lock();
        (known.failed, known.last_failure.clone())
    }

    pub(crate) fn view(&self, leads: bool) -> View {
        let known = self.lock();
        View {
            leads,
            failures: known
                .failures
                .iter()
                .map(|((name, version), error)| (format!("{name}:{version}"), error.clone()))
                .collect(),
            last_error: known.trouble.clone().or(known.last_failure.clone()),
            method: known.method,
        }
    }
}
