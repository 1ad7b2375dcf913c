//! Passing leadership on, so that a leader can stop, or be relieved, without an election by timeout.
//!
//! openraft 0.9 has no transfer of leadership. Here the leader takes no more commands, waits until one
//! follower holds all it holds, falls silent, and tells that follower to stand (TimeoutNow, §3.10 of
//! Ongaro's thesis on Raft). The leader itself is not bound by its own lease and votes at once; others
//! do when the lease of the silent leader has run out. Nothing about who may lead is decided here: a
//! follower that lacks an entry is not elected, whatever it was told.

use std::{
    collections::BTreeSet,
    sync::atomic::Ordering,
    time::{Duration, Instant},
};

use serde::{Deserialize, Serialize};
use strongroom_core::HandOverError;

use crate::{
    formation::status_at,
    leading::Leader,
    node::{Inner, Node, PROPOSALS},
    types::{NodeId, Peer, ServerState},
    wire::{self, Addressed, Rpc},
};

/// How long commands on their way may take before leadership is passed on.
const DRAIN_WITHIN: Duration = Duration::from_secs(3);
/// How long a follower may take to hold what the leader holds, once the leader takes no more.
const LEVEL_WITHIN: Duration = Duration::from_secs(1);
/// How long a follower that was told to stand may take to lead: longer than the leader's lease.
const STANDS_WITHIN: Duration = Duration::from_millis(1_500);
/// Between two times that it stands.
const STANDS_EVERY: Duration = Duration::from_millis(150);
/// How long what has been stored may take to be reported.
const REPORTED_WITHIN: Duration = Duration::from_millis(500);
/// How long its answer may be on its way beyond that.
const ANSWER_WITHIN: Duration = Duration::from_secs(2);
/// How long passing leadership on may take as a whole.
pub(crate) const HAND_OVER_WITHIN: Duration = Duration::from_secs(4);
/// How long the one before may go on to look for who leads now.
const SEEN_WITHIN: Duration = Duration::from_secs(1);

/// What a follower is told.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(crate) struct TakeOver {
    /// The term in which it is told; in any other it means nothing.
    pub(crate) term: u64,
    /// Where the leader's log ends.
    pub(crate) last: Option<u64>,
}

/// What a leader is asked by another node.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct HandOver {
    pub(crate) to: Option<String>,
    pub(crate) within_ms: u64,
}

impl Inner {
    /// Passes leadership to the voter of this name, or to the one that is furthest. Asks the leader if
    /// this node is not it. Returns the name of who leads.
    pub(crate) async fn hand_over(
        &self,
        to: Option<String>,
        within: Duration,
    ) -> Result<String, HandOverError> {
        match self.leader() {
            Leader::Unknown => Err(HandOverError::NoLeader),
            Leader::Here => self.hand_over_here(to, within).await,
            Leader::At(leader) => {
                let within_ms = u64::try_from(within.as_millis()).unwrap_or(u64::MAX);
                let body =
                    wire::encode(&HandOver { to, within_ms }).map_err(|_| HandOverError::Failed)?;
                let address = self.addresses.address(&leader);
                let asked = self.ask(address, Rpc::HandOver, body, within + ANSWER_WITHIN);
                asked.await.unwrap_or(Err(HandOverError::Failed))
            }
        }
    }

    /// The same, if this node leads: who is asked by another does not ask a third.
    pub(crate) async fn hand_over_here(
        &self,
        to: Option<String>,
        within: Duration,
    ) -> Result<String, HandOverError> {
        if !matches!(self.leader(), Leader::Here) {
            return Err(HandOverError::NoLeader);
        }
        let within = within.min(HAND_OVER_WITHIN);
        tokio::time::timeout(within, self.pass_on(to.as_deref()))
            .await
            .unwrap_or(Err(HandOverError::Failed))
    }

    /// While this node leads. Commands are held by whoever has them until it is over; if nobody takes
    /// over, this node goes on as before.
    async fn pass_on(&self, to: Option<&str>) -> Result<String, HandOverError> {
        if to == Some(self.identity.node_id.as_str()) {
            return Ok(self.identity.node_id.clone());
        }
        let turn = self.turn(HAND_OVER_WITHIN).await;
        let _no_change_of_members = turn.ok_or(HandOverError::Failed)?;
        let candidates = self.candidates(to).await?;
        let drained = self.proposals.acquire_many(PROPOSALS);
        let Ok(Ok(_held)) = tokio::time::timeout(DRAIN_WITHIN, drained).await else {
            return Err(HandOverError::Failed);
        };
        let _silent = Silent::keep(self);
        for (id, peer) in candidates {
            if !self.is_level(id).await {
                tracing::info!(node = %peer.name, "not level: it is not offered the lead");
                continue;
            }
            let (term, last) = {
                let metrics = self.raft.metrics();
                let metrics = metrics.borrow();
                (metrics.current_term, metrics.last_log_index)
            };
            let message = TakeOver { term, last };
            let Ok(body) = wire::encode(&Addressed { to: id, message }) else {
                continue;
            };
            let address = self.addresses.address(&peer);
            let within = STANDS_WITHIN + ANSWER_WITHIN;
            let took: Result<bool, _> = self.ask(address, Rpc::TakeOver, body, within).await;
            if matches!(took, Ok(true)) {
                self.another_leads(term).await;
                tracing::info!(to = %peer.name, "passed leadership on");
                return Ok(peer.name);
            }
            if self.raft.metrics().borrow().state != ServerState::Leader {
                // Told to, or for another reason: leadership is gone, and who has it will be seen.
                return self.another_leads(term).await.ok_or(HandOverError::Failed);
            }
        }
        Err(HandOverError::NobodyFit)
    }

    /// The voters that may take over, who has most of the log first. Only those that answer: none else
    /// could, and each that does not would hold up all writers.
    async fn candidates(&self, to: Option<&str>) -> Result<Vec<(NodeId, Peer)>, HandOverError> {
        let mut voters: Vec<(NodeId, Peer, Option<u64>)> = {
            let metrics = self.raft.metrics();
            let metrics = metrics.borrow();
            let ids: BTreeSet<NodeId> = metrics.membership_config.voter_ids().collect();
            let matched = |id: &NodeId| {
                let all = metrics.replication.as_ref()?;
                all.get(id).copied().flatten().map(|log_id| log_id.index)
            };
            let nodes = metrics.membership_config.nodes();
            nodes
                .filter(|(id, _)| **id != self.raft_id() && ids.contains(id))
                .filter(|(_, peer)| to.is_none_or(|to| to == peer.name))
                .map(|(id, peer)| (*id, peer.clone(), matched(id)))
                .collect()
        };
        if voters.is_empty() && to.is_some() {
            return Err(HandOverError::UnknownNode);
        }
        voters.sort_by_key(|(_, _, matched)| std::cmp::Reverse(*matched));
        let asked = voters.into_iter().map(|(id, peer, _)| async move {
            let status = status_at(self, self.addresses.address(&peer)).await;
            let answers = status.is_some_and(|status| status.raft_id == id);
            answers.then_some((id, peer))
        });
        let answering = futures_util::future::join_all(asked).await;
        let found: Vec<_> = answering.into_iter().flatten().collect();
        match found.is_empty() {
            true => Err(HandOverError::NobodyFit),
            false => Ok(found),
        }
    }

    /// Waits until a follower holds all that this leader holds.
    async fn is_level(&self, follower: NodeId) -> bool {
        let mut metrics = self.raft.metrics();
        let level = metrics.wait_for(|now| {
            let all = now.replication.as_ref();
            let matched = all.and_then(|all| all.get(&follower).copied().flatten());
            now.state != ServerState::Leader || matched.map(|id| id.index) >= now.last_log_index
        });
        matches!(
            tokio::time::timeout(LEVEL_WITHIN, level).await,
            Ok(Ok(now)) if now.state == ServerState::Leader
        )
    }

    /// Waits until this node knows who leads after `term`, and returns the name.
    async fn another_leads(&self, term: u64) -> Option<String> {
        let mut metrics = self.raft.metrics();
        let other = metrics.wait_for(|now| now.current_term > term && now.current_leader.is_some());
        let seen = tokio::time::timeout(SEEN_WITHIN, other).await;
        let now = seen.ok()?.ok()?;
        let leader = now.current_leader?;
        let peer = now.membership_config.membership().get_node(&leader)?;
        Some(peer.name.clone())
    }

    /// Whether this node had better not lead: it is about to stop, or could not do what is asked of it.
    pub(crate) fn makes_way(&self) -> bool {
        [&self.stopping, &self.leaving, &self.unfit]
            .iter()
            .any(|reason| reason.load(Ordering::Acquire))
    }

    /// Whether this node has a vote and all that the leader had when it said so, in the same term. What is
    /// reported of Raft's core may be a moment behind.
    async fn follows(&self, told: TakeOver) -> bool {
        let id = self.raft_id();
        let mut metrics = self.raft.metrics();
        let follows = metrics.wait_for(|now| {
            let has_a_vote = now.membership_config.voter_ids().any(|voter| voter == id);
            now.current_term > told.term
                || (now.current_term == told.term && has_a_vote && now.last_log_index >= told.last)
        });
        let seen = tokio::time::timeout(REPORTED_WITHIN, follows).await;
        // In a later term it is a leader of the past that says so.
        matches!(seen, Ok(Ok(now)) if now.current_term == told.term)
    }

    /// Stands for election because the leader said so, until this node or another one leads. Whether
    /// this one does.
    pub(crate) async fn take_over(&self, told: TakeOver) -> bool {
        if self.makes_way() || self.store_failed() || !self.is_alive() || !self.follows(told).await
        {
            return false;
        }
        let until = Instant::now() + STANDS_WITHIN;
        let mut metrics = self.raft.metrics();
        while Instant::now() < until {
            if self.raft.trigger().elect().await.is_err() {
                return false;
            }
            let decided = metrics
                .wait_for(|now| now.current_term > told.term && now.current_leader.is_some());
            if let Ok(Ok(now)) = tokio::time::timeout(STANDS_EVERY, decided).await {
                return now.current_leader == Some(self.raft_id());
            }
        }
        false
    }
}

impl Node {
    /// Passes leadership on if this node leads and is not alone: who asks the cluster for something
    /// need not wait for an election then. It takes the lead no more unless there is nobody else.
    pub async fn step_down(&self) {
        let inner = &self.inner;
        inner.leaving.store(true, Ordering::Release);
        let alone = {
            let metrics = inner.raft.metrics();
            let metrics = metrics.borrow();
            metrics.membership_config.voter_ids().count() < 2
        };
        if alone || !matches!(inner.leader(), Leader::Here) {
            return;
        }
        if let Err(error) = inner.hand_over_here(None, HAND_OVER_WITHIN).await {
            tracing::warn!(%error, "leadership was not passed on: the others will elect a leader");
        }
    }
}

/// A leader that sends no heartbeats, so that its lease runs out; for as long as this lives.
struct Silent<'a>(&'a Inner);

impl<'a> Silent<'a> {
    fn keep(inner: &'a Inner) -> Self {
        inner.raft.runtime_config().heartbeat(false);
        Self(inner)
    }
}

impl Drop for Silent<'_> {
    fn drop(&mut self) {
        self.0.raft.runtime_config().heartbeat(true);
    }
}
