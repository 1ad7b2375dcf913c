//! Where the leader is, and how commands and linearizable reads get there and back.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use strongroom_core::{Command, ReadError, State, SubmitError, Submitted};

use crate::{
    formation::status_at,
    formats::everybody_decodes,
    node::Inner,
    proposer::ProposeError,
    types::{NodeId, Peer, RaftMetrics, ServerState},
    wire::{self, Rpc, SubmitReply, SubmitRequest, TransportError},
};

/// Between two looks for a leader.
const RETRY: Duration = Duration::from_millis(20);
/// Between two looks for a leader, once some were in vain.
const RETRY_AT_LEAST: Duration = Duration::from_millis(500);
/// Before a node is asked again that said it does not lead, unless another leader is known earlier.
pub(crate) const REFUSED_PAUSE: Duration = Duration::from_millis(500);
/// How long a leader that was replaced may take to answer what it was asked before.
pub(crate) const LAST_WORDS: Duration = Duration::from_secs(1);

/// Where the leader is, as far as this node knows.
pub(crate) enum Leader {
    Here,
    At(Peer),
    Unknown,
}

impl Inner {
    pub(crate) fn leader(&self) -> Leader {
        let metrics = self.raft.metrics();
        let metrics = metrics.borrow();
        match metrics.current_leader {
            Some(id) if id == self.identity.raft_id => match metrics.state {
                ServerState::Leader => Leader::Here,
                _ => Leader::Unknown,
            },
            Some(id) => metrics
                .membership_config
                .membership()
                .get_node(&id)
                .map_or(Leader::Unknown, |peer| Leader::At(peer.clone())),
            None => Leader::Unknown,
        }
    }

    /// Hands a command to this node's openraft if it leads.
    pub(crate) async fn propose(
        &self,
        command: Command,
        within: Duration,
    ) -> Result<Submitted, ProposeError> {
        let Ok(_on_its_way) = self.proposals.try_acquire() else {
            return Err(ProposeError::NotLeader);
        };
        if !everybody_decodes(self, command.since()).await {
            return Err(ProposeError::NotEverywhere);
        }
        let proposed = tokio::time::timeout(within, self.proposer.propose(command)).await;
        proposed.unwrap_or(Err(ProposeError::Unknown))
    }

    async fn forward(
        &self,
        leader: &Peer,
        command: &Command,
        within: Duration,
    ) -> Result<SubmitReply, TransportError> {
        let within_ms = u64::try_from(within.as_millis()).unwrap_or(u64::MAX);
        let request = SubmitRequest {
            command: command.clone(),
            within_ms,
        };
        let body = wire::encode(&request).map_err(|_| TransportError::Unreachable)?;
        self.ask(self.addresses.address(leader), Rpc::Submit, body, within)
            .await
    }

    pub(crate) async fn submit(
        &self,
        command: Command,
        within: Duration,
    ) -> Result<Submitted, SubmitError> {
        let deadline = Instant::now() + within;
        let mut pause = RETRY;
        loop {
            if self.store_failed() {
                return Err(SubmitError::StoreFailed);
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(SubmitError::NoLeader);
            }
            let known = self.known_leader();
            match self.leader() {
                Leader::Here => match self.propose(command.clone(), left).await {
                    Ok(submitted) => return Ok(submitted),
                    Err(ProposeError::Unknown) => return Err(SubmitError::Unknown),
                    Err(ProposeError::NotEverywhere) => return Err(SubmitError::NotEverywhere),
                    Err(ProposeError::NotLeader) => {}
                },
                Leader::At(peer) if !self.leader_decodes(&peer, &command).await => {
                    return Err(SubmitError::NotEverywhere);
                }
                Leader::At(peer) => {
                    let forwarded = tokio::select! {
                        forwarded = self.forward(&peer, &command, left) => forwarded,
                        () = self.superseded(known) => Err(TransportError::TimedOut),
                    };
                    match forwarded {
                        Ok(Ok(submitted)) => return Ok(submitted),
                        Ok(Err(Some(error))) => return Err(error),
                        // It never heard, so nothing was handed over: try again.
                        Err(TransportError::Unreachable) => {}
                        // It does not lead. If it is about to stop, a question that comes while it
                        // closes its connections would be lost, so give it time.
                        Ok(Err(None)) => pause = pause.max(REFUSED_PAUSE),
                        Err(error) => {
                            tracing::debug!(%error, "the outcome of a forwarded write is unknown");
                            return Err(SubmitError::Unknown);
                        }
                    }
                }
                Leader::Unknown => {}
            }
            // Asked less and less often: there will be another leader, or none for a while.
            self.another_leader(known, pause.min(left)).await;
            pause = (pause * 2).min(RETRY_AT_LEAST);
        }
    }

    /// Whether the leader decodes a command. A newer follower must not hand it one that it cannot
    /// read: whether it was heard would not be known.
    pub(crate) async fn leader_decodes(&self, leader: &Peer, command: &Command) -> bool {
        let since = command.since();
        if since <= self.store.state().format() {
            return true;
        }
        let status = status_at(self, self.addresses.address(leader)).await;
        // One that does not answer now will not hear the command either.
        status.is_none_or(|status| status.decodes >= since)
    }

    fn known_leader(&self) -> (Option<NodeId>, u64) {
        let metrics = self.raft.metrics();
        let metrics = metrics.borrow();
        (metrics.current_leader, metrics.current_term)
    }

    /// Waits until this node knows another leader or term, at most `within`.
    async fn another_leader(&self, known: (Option<NodeId>, u64), within: Duration) {
        let mut metrics = self.raft.metrics();
        let other = metrics.wait_for(|now| (now.current_leader, now.current_term) != known);
        // Whoever waits looks again, whatever ended the wait.
        let _ = tokio::time::timeout(within, other).await;
    }

    /// Returns once another leader has been known for so long that the one before will not answer.
    async fn superseded(&self, known: (Option<NodeId>, u64)) {
        let mut metrics = self.raft.metrics();
        let other = |now: &RaftMetrics| now.current_leader.is_some() && now.current_term != known.1;
        if metrics.wait_for(other).await.is_err() {
            return std::future::pending().await;
        }
        tokio::time::sleep(LAST_WORDS).await;
    }

    /// The index a linearizable read must have seen, from wherever the leader is.
    async fn read_index(&self, within: Duration) -> Option<u64> {
        let leaders = self.leaders_read_index.get()?;
        tokio::time::timeout(within, leaders.get()).await.ok()?
    }

    pub(crate) async fn linearize(&self, within: Duration) -> Result<Arc<State>, ReadError> {
        let deadline = Instant::now() + within;
        loop {
            if self.store_failed() {
                return Err(ReadError::StoreFailed);
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(ReadError::NoLeader);
            }
            if let Some(index) = self.read_index(left).await {
                return self.at_least(index, deadline).await;
            }
            tokio::time::sleep(RETRY).await;
        }
    }

    pub(crate) async fn at_least(
        &self,
        index: u64,
        deadline: Instant,
    ) -> Result<Arc<State>, ReadError> {
        loop {
            if let Some(state) = self.store.state_at(index) {
                return Ok(state);
            }
            if self.store_failed() {
                return Err(ReadError::StoreFailed);
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(ReadError::NoLeader);
            }
            self.store.wait_applied(index, left).await;
        }
    }
}
