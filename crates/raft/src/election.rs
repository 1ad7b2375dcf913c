//! When a node stands for election.
//!
//! openraft draws a node's election timeout once, for its whole life, and looks at its clock in steps:
//! two followers whose draws are close split the vote again and again. Here every try waits for a time
//! of its own. And what a leader says counts from its arrival, not from when Raft's core, which waits
//! for the disk, has come to it.

use std::{
    sync::{Arc, Mutex, PoisonError, Weak},
    time::{Duration, Instant},
};

use crate::{
    node::Inner,
    types::{ServerState, Vote},
};

/// Between two looks.
const STEP: Duration = Duration::from_millis(25);
/// How long a leader may be silent. Longer than the lease in which voters refuse another one.
const SILENCE: Duration = Duration::from_millis(900);
/// Added to that, drawn for each try.
const SPREAD_MS: u64 = 400;
/// Between a try that came to nothing and the next, drawn for each.
const AGAIN_MS: (u64, u64) = (150, 600);

/// When this node last heard of a leader, or gave its vote to a candidate.
pub(crate) struct Contact(Mutex<Instant>);

impl Default for Contact {
    fn default() -> Self {
        Self(Mutex::new(Instant::now()))
    }
}

impl Contact {
    pub(crate) fn note(&self) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Instant::now();
    }

    fn silence(&self) -> Duration {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .elapsed()
    }
}

impl Inner {
    /// Notes a message of a leader, unless it is one of an earlier term.
    pub(crate) fn heard_from_leader(&self, vote: &Vote) {
        if vote.leader_id.term >= self.raft.metrics().borrow().current_term {
            self.contact.note();
        }
    }
}

pub(crate) fn start(inner: &Arc<Inner>) {
    tokio::spawn(stand_when_due(Arc::downgrade(inner)));
}

async fn stand_when_due(weak: Weak<Inner>) {
    let mut due = SILENCE + drawn(0, SPREAD_MS);
    loop {
        tokio::time::sleep(STEP).await;
        let Some(inner) = weak.upgrade() else { return };
        let silence = inner.contact.silence();
        match standing(&inner) {
            Standing::Alone => due = Duration::ZERO,
            Standing::Leads | Standing::HasNoVote => inner.contact.note(),
            Standing::Follows if silence < SILENCE => due = SILENCE + drawn(0, SPREAD_MS),
            Standing::Follows => {}
        }
        if silence < due || matches!(standing(&inner), Standing::Leads | Standing::HasNoVote) {
            continue;
        }
        if inner.raft.trigger().elect().await.is_err() {
            return;
        }
        due = silence + drawn(AGAIN_MS.0, AGAIN_MS.1);
        if matches!(standing(&inner), Standing::Alone) {
            tokio::time::sleep(SILENCE).await;
        }
    }
}

enum Standing {
    Leads,
    /// The only voter: there is nobody to wait for.
    Alone,
    Follows,
    HasNoVote,
}

fn standing(inner: &Inner) -> Standing {
    let metrics = inner.raft.metrics();
    let metrics = metrics.borrow();
    let mut voters = metrics.membership_config.voter_ids();
    if metrics.state == ServerState::Leader {
        return Standing::Leads;
    }
    match (
        voters.any(|id| id == inner.raft_id()),
        metrics.membership_config.voter_ids().count(),
    ) {
        (false, _) => Standing::HasNoVote,
        (true, 1) => Standing::Alone,
        (true, _) => Standing::Follows,
    }
}

fn drawn(from_ms: u64, to_ms: u64) -> Duration {
    let random = getrandom::u64().unwrap_or_default();
    Duration::from_millis(from_ms + random % (to_ms - from_ms))
}
