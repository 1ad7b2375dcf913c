//! When a node stands for election.
//!
//! openraft draws a node's election timeout once, for its whole life, and looks at its clock in steps:
//! two followers whose draws are close split the vote again and again. Here every try waits for a time
//! of its own. And what a leader says counts from its arrival, not from when Raft's core, which waits
//! for the disk, has come to it.
//!
//! A node asks before it stands (a pre-vote, as in §9.6 of Ongaro's thesis on Raft): one that was cut
//! off, or stood still, would otherwise come back with a higher term and depose a leader that works.

use std::{
    sync::{Arc, Weak},
    time::{Duration, Instant},
};

use futures_util::{StreamExt, stream::FuturesUnordered};
use serde::{Deserialize, Serialize};

use crate::{
    leading::Leader,
    node::Inner,
    types::{LogId, NodeId, Peer, ServerState, Vote},
    wire::{self, Addressed, NodeStatus, Rpc, TransportError},
};

/// Between two looks.
const STEP: Duration = Duration::from_millis(25);
/// A step that took so long: the process stood still, and what a leader has said meanwhile waits to
/// be read.
const STOOD_STILL: Duration = Duration::from_millis(500);
/// How long others may take to say whether they hear a leader.
const ASK_WITHIN: Duration = Duration::from_millis(300);
/// A node that has heard of a leader within this time is against another.
const CONTENT_MS: u64 = 600;
/// A leader that has been silent for so long, or that no quorum has answered, counts as none.
pub(crate) const SILENT_MS: u64 = 2_000;
/// How long a leader may be silent. Longer than the lease in which voters refuse another one.
const SILENCE: Duration = Duration::from_millis(900);
/// How much longer a node waits that had better not lead.
const MAKES_WAY: Duration = Duration::from_secs(2);
/// Added to that, drawn for each try.
const SPREAD_MS: u64 = 400;
/// Between a try that came to nothing and the next, drawn for each.
const AGAIN_MS: (u64, u64) = (150, 600);

impl Inner {
    /// Whether no leader has been heard for long. A node that nobody would elect does not stand, and
    /// so openraft never tells it that its leader is gone.
    pub(crate) fn hears_nobody(&self) -> bool {
        self.contact.ago() > Duration::from_millis(SILENT_MS)
    }

    /// Whether there is a leader, as far as this node can tell: one that it hears of, or itself with a quorum
    /// that answers.
    pub(crate) fn has_leader(&self) -> bool {
        let metrics = self.raft.metrics();
        let metrics = metrics.borrow();
        let quorum_is_silent = metrics.state == ServerState::Leader
            && metrics.membership_config.voter_ids().count() > 1
            && metrics
                .millis_since_quorum_ack
                .is_none_or(|silence| silence > SILENT_MS);
        let leader_is_silent = metrics.state != ServerState::Leader && self.hears_nobody();
        metrics.current_leader.is_some() && !quorum_is_silent && !leader_is_silent
    }

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
    let mut looked = Instant::now();
    loop {
        tokio::time::sleep(STEP).await;
        let Some(inner) = weak.upgrade() else { return };
        if looked.elapsed() > STOOD_STILL {
            inner.contact.note();
        }
        looked = Instant::now();
        let silence = inner.contact.ago();
        match standing(&inner) {
            Standing::Alone => due = Duration::ZERO,
            Standing::Leads | Standing::HasNoVote => inner.contact.note(),
            Standing::Follows if silence < SILENCE => due = SILENCE + drawn(0, SPREAD_MS),
            Standing::Follows => {}
        }
        let due_here = match inner.makes_way() {
            true => due + MAKES_WAY,
            false => due,
        };
        if silence < due_here || matches!(standing(&inner), Standing::Leads | Standing::HasNoVote) {
            continue;
        }
        let may_stand = has_support(&inner).await;
        looked = Instant::now();
        let silent_ms = u64::try_from(silence.as_millis()).unwrap_or(u64::MAX);
        let term = inner.raft.metrics().borrow().current_term;
        tracing::debug!(silent_ms, may_stand, term, "no leader is heard");
        if may_stand && inner.raft.trigger().elect().await.is_err() {
            return;
        }
        due = silence + drawn(AGAIN_MS.0, AGAIN_MS.1);
        if matches!(standing(&inner), Standing::Alone) {
            tokio::time::sleep(SILENCE).await;
        }
    }
}

/// What a node says that might stand.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(crate) struct PreVote {
    /// Where its log ends.
    last: Option<LogId>,
}

impl Inner {
    fn log_ends(&self) -> Option<LogId> {
        self.store.log().ends().last_log_id
    }

    /// Whether this node hears of no leader, and would have the other one as its leader. One whose log
    /// is shorter must not stand: it would not be elected, and each of its terms would be in the way of
    /// the one that could be.
    pub(crate) fn would_vote_for(&self, asked: PreVote) -> bool {
        let content = self.contact.ago() < Duration::from_millis(CONTENT_MS);
        let leads = matches!(self.leader(), Leader::Here);
        !content && !leads && asked.last >= self.log_ends()
    }
}

/// Whether a majority of the voters, this node among them, hears of no leader and has no more in its
/// log than this node.
async fn has_support(inner: &Arc<Inner>) -> bool {
    let membership = Arc::clone(&inner.raft.metrics().borrow().membership_config);
    let voters: Vec<NodeId> = membership.voter_ids().collect();
    let last = inner.log_ends();
    let mut asked: FuturesUnordered<_> = membership
        .nodes()
        .filter(|(id, _)| **id != inner.raft_id() && voters.contains(id))
        .map(|(id, peer)| supports(inner, *id, peer, PreVote { last }))
        .collect();
    let (mut support, majority) = (1, voters.len() / 2 + 1);
    while support < majority
        && let Some(supports) = asked.next().await
    {
        support += usize::from(supports);
    }
    support >= majority
}

async fn supports(inner: &Inner, id: NodeId, peer: &Peer, message: PreVote) -> bool {
    let address = inner.addresses.address(peer);
    let Ok(body) = wire::encode(&Addressed { to: id, message }) else {
        return false;
    };
    match inner.ask(address, Rpc::PreVote, body, ASK_WITHIN).await {
        Ok(supports) => supports,
        // Of a version that does not know the question; it says whether it hears of a leader.
        Err(TransportError::Failed) => {
            let asked = inner.ask::<NodeStatus>(address, Rpc::Status, Vec::new(), ASK_WITHIN);
            let in_favour = |status: NodeStatus| {
                status.raft_id == id
                    && status.leader != Some(status.raft_id)
                    && status.silence_ms >= CONTENT_MS
            };
            asked.await.is_ok_and(in_favour)
        }
        Err(_) => false,
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
