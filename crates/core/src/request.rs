//! Requests that may be tried more than once: what came of one is kept for a while, so that a second
//! try finds it instead of doing it again.

use std::sync::Arc;

use imbl::{OrdMap, OrdSet};
use serde::{Deserialize, Serialize};

use crate::{Effect, limits};

/// Names one request over all its tries: 128 bits that no other request has.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
pub struct RequestId(pub [u8; 16]);

/// One try of a request.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Attempt {
    /// Which request.
    pub request: RequestId,
    /// A log index that had been applied before the node that was asked handed it over for the first
    /// time: what came of that, if anything, came later. Says nothing of tries at other nodes.
    pub since: u64,
}

/// What a request did, and where in the log.
#[derive(Clone, PartialEq, Debug)]
pub(crate) struct Outcome {
    pub(crate) index: u64,
    pub(crate) effect: Effect,
}

/// What the newest requests did. Bounded in number and in bytes; the oldest are forgotten first.
#[derive(Clone, PartialEq, Debug, Default)]
pub(crate) struct Outcomes {
    /// Shared, since a map that changes copies the neighbours as well.
    by_request: OrdMap<RequestId, Arc<Outcome>>,
    /// Derived: the oldest first.
    order: OrdSet<(u64, RequestId)>,
    /// Derived: the weight of all.
    weight: usize,
    /// The newest index of which an outcome has been forgotten; 0: none has.
    pub(crate) forgotten: u64,
}

impl Outcomes {
    /// None, of a log of which everything up to `index` is forgotten.
    pub(crate) fn forgotten_to(index: u64) -> Self {
        Self {
            forgotten: index,
            ..Self::default()
        }
    }

    pub(crate) fn get(&self, request: &RequestId) -> Option<&Outcome> {
        self.by_request.get(request).map(Arc::as_ref)
    }

    /// The oldest first.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (&RequestId, &Outcome)> {
        let found = |(_, request)| Some((request, self.get(request)?));
        self.order
            .iter()
            .map(|(at, request)| (at, request))
            .filter_map(found)
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.by_request.is_empty() && self.forgotten == 0
    }

    /// Whether what came of an attempt may have been forgotten.
    pub(crate) fn may_have_forgotten(&self, attempt: &Attempt) -> bool {
        attempt.since < self.forgotten
    }

    /// Keeps an outcome, and forgets what is over the limits. `false`: the request had one.
    pub(crate) fn keep(&mut self, request: RequestId, outcome: Outcome) -> bool {
        let (index, added) = (outcome.index, weight(&outcome.effect));
        if self.by_request.contains_key(&request) {
            return false;
        }
        self.by_request.insert(request, Arc::new(outcome));
        self.order.insert((index, request));
        self.weight += added;
        while self.by_request.len() > limits::OUTCOMES || self.weight > limits::OUTCOME_BYTES {
            let Some((index, oldest)) = self.order.remove_min() else {
                break;
            };
            if let Some(gone) = self.by_request.remove(&oldest) {
                self.weight -= weight(&gone.effect);
                self.forgotten = self.forgotten.max(index);
            }
        }
        true
    }
}

/// Bytes an outcome weighs in memory, roughly and the same everywhere.
fn weight(effect: &Effect) -> usize {
    const OVERHEAD: usize = 256;
    OVERHEAD
        + match effect {
            Effect::Secret(summary) => 2 * summary.name.as_str().len() + summary.description.len(),
            Effect::Done | Effect::Token { .. } | Effect::Pass { .. } => 0,
        }
}
