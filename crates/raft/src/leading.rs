//! Where the leader is, and how commands and linearizable reads get there and back.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use strongroom_core::{
    Applied, Attempt, Command, ReadError, Rejection, RequestId, State, SubmitError, Submitted,
    codec,
};

use crate::{
    formation::status_at,
    formats::everybody_decodes,
    node::Inner,
    proposer::ProposeError,
    types::{NodeId, Peer, RaftServerMetrics, ServerState},
    wire::TransportError,
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

/// What handing a command over came to.
enum Submission {
    Applied(Submitted),
    Failed(SubmitError),
    /// It was handed over, and may take effect or not.
    InDoubt,
    /// Whoever was asked does not lead.
    Refused,
    /// Nobody was asked.
    NotHeard,
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
        attempt: Option<Attempt>,
        within: Duration,
    ) -> Result<Submitted, ProposeError> {
        let Ok(_on_its_way) = self.proposals.try_acquire() else {
            return Err(ProposeError::NotLeader);
        };
        if !everybody_decodes(self, command.since()).await {
            return Err(ProposeError::NotEverywhere);
        }
        let proposed = tokio::time::timeout(within, self.proposer.propose(command, attempt)).await;
        proposed.unwrap_or(Err(ProposeError::Unknown))
    }

    /// Which request a command is a try of: the caller's, or one of its own. `None`: it may be done
    /// again without harm, or not every member knows attempts.
    fn attempt(&self, command: &Command, request: Option<RequestId>) -> Option<Attempt> {
        let state = self.store.state();
        if state.format() < codec::ATTEMPTS || !command.counts_once() {
            return None;
        }
        let request = request.or_else(|| {
            let mut drawn = [0; 16];
            getrandom::fill(&mut drawn).ok()?;
            Some(RequestId(drawn))
        })?;
        let since = state.position().map_or(0, |position| position.index);
        Some(Attempt { request, since })
    }

    /// Replicates a command, wherever the leader is. As one try of a request it is handed over again
    /// when it is not known what came of it, since it cannot be done twice.
    pub(crate) async fn submit(
        self: &Arc<Self>,
        request: Option<RequestId>,
        command: Command,
        within: Duration,
    ) -> Result<Submitted, SubmitError> {
        let deadline = Instant::now() + within;
        let mut attempt = self.attempt(&command, request);
        if request.is_some() && command.counts_once() && attempt.is_none() {
            // Its caller relies on it.
            return Err(SubmitError::NotEverywhere);
        }
        let (mut pause, mut in_doubt) = (RETRY, false);
        loop {
            if self.store_failed() {
                return Err(match in_doubt {
                    true => SubmitError::Unknown,
                    false => SubmitError::StoreFailed,
                });
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(match in_doubt {
                    true => SubmitError::Unknown,
                    false => SubmitError::NoLeader,
                });
            }
            let known = self.known_leader();
            match self.submit_to(self.leader(), &command, attempt, left).await {
                Submission::Applied(submitted) => match (submitted.applied, &mut attempt) {
                    // This node lags: what was forgotten came before its first try.
                    (Applied::Rejected(Rejection::OutcomeForgotten), Some(attempt))
                        if !in_doubt =>
                    {
                        attempt.since = submitted.position.index;
                        continue;
                    }
                    // It was tried before, here, and nobody knows any more with what success.
                    (Applied::Rejected(Rejection::OutcomeForgotten), _) => {
                        return Err(SubmitError::Unknown);
                    }
                    // The first try may still be on its way, and find the state otherwise. Versions
                    // only grow, and so do access and time; and a target comes with a version.
                    // So these stay refused.
                    (Applied::Rejected(rejection), _)
                        if in_doubt
                            && !matches!(
                                rejection,
                                Rejection::CasMismatch { .. }
                                    | Rejection::VersionTaken { .. }
                                    | Rejection::AccessChanged
                            ) =>
                    {
                        return Err(SubmitError::Unknown);
                    }
                    (applied, _) => {
                        let position = submitted.position;
                        return Ok(Submitted { position, applied });
                    }
                },
                Submission::Failed(SubmitError::NotEverywhere) if in_doubt => {
                    return Err(SubmitError::Unknown);
                }
                Submission::Failed(error) => return Err(error),
                Submission::InDoubt if attempt.is_none() => return Err(SubmitError::Unknown),
                Submission::InDoubt => {
                    in_doubt = true;
                    pause = RETRY;
                }
                // It does not lead. If it is about to stop, a question that comes while it closes
                // its connections would be lost, so give it time.
                Submission::Refused => pause = pause.max(REFUSED_PAUSE),
                Submission::NotHeard => {}
            }
            // Asked less and less often: there will be another leader, or none for a while.
            self.another_leader(known, pause.min(left)).await;
            pause = (pause * 2).min(RETRY_AT_LEAST);
        }
    }

    /// Hands a command to who leads, once.
    async fn submit_to(
        self: &Arc<Self>,
        leader: Leader,
        command: &Command,
        attempt: Option<Attempt>,
        within: Duration,
    ) -> Submission {
        let peer = match leader {
            Leader::Unknown => return Submission::NotHeard,
            Leader::Here => {
                return match self.propose(command.clone(), attempt, within).await {
                    Ok(submitted) => Submission::Applied(submitted),
                    Err(ProposeError::Unknown) => Submission::InDoubt,
                    Err(ProposeError::NotEverywhere) => {
                        Submission::Failed(SubmitError::NotEverywhere)
                    }
                    Err(ProposeError::NotLeader) => Submission::NotHeard,
                };
            }
            Leader::At(peer) => peer,
        };
        if !self.leader_decodes(&peer, command).await {
            return Submission::Failed(SubmitError::NotEverywhere);
        }
        let known = self.known_leader();
        let forwarded = tokio::select! {
            forwarded = self.forward(&peer, known, command, attempt, within) => forwarded,
            () = self.superseded(known) => Err(TransportError::TimedOut),
        };
        match forwarded {
            Ok(Ok(submitted)) => Submission::Applied(submitted),
            Ok(Err(Some(SubmitError::Unknown))) => Submission::InDoubt,
            Ok(Err(Some(error))) => Submission::Failed(error),
            Ok(Err(None)) => Submission::Refused,
            // It never heard, so nothing was handed over.
            Err(TransportError::Unreachable) => Submission::NotHeard,
            Err(error) => {
                tracing::debug!(%error, "what came of a forwarded write is not known");
                Submission::InDoubt
            }
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

    pub(crate) fn known_leader(&self) -> (Option<NodeId>, u64) {
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
        let mut metrics = self.raft.server_metrics();
        let other = |now: &RaftServerMetrics| {
            now.current_leader.is_some() && now.vote.leader_id.term != known.1
        };
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
            if self.epoch.is_over() {
                return Err(ReadError::Removed);
            }
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
