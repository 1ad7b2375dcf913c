//! How a member leaves by command, and stays away.
//!
//! That nodes of its name stay out is decided first, by a command in the log; then the membership is
//! changed. If the leader fails in between, the next one finds the decision and carries it out. Nothing
//! is begun that would leave fewer voters that answer than the new membership needs (invariant 26).

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::{Duration, Instant},
};

use futures_util::future::join_all;
use openraft::ChangeMembers;
use serde::{Deserialize, Serialize};
use strongroom_core::{Admission, Applied, Command, HandOverError, NodeName, RemoveError};

use crate::{
    formation::status_at,
    formats::{announced_by, everybody_decodes},
    handover::HAND_OVER_WITHIN,
    leading::Leader,
    node::Inner,
    proposer::ProposeError,
    types::{NodeId, Peer, ServerState},
    wire::{self, Rpc, TransportError},
};

/// How long another change of the membership is waited for.
const TURN_WITHIN: Duration = Duration::from_secs(3);
/// How long the leader may take to prove that it is one, and the decision to be replicated.
const DECIDED_WITHIN: Duration = Duration::from_secs(3);
/// How long the change of the membership may take; it goes on by itself.
const CHANGED_WITHIN: Duration = Duration::from_secs(5);
/// How long the leader's answer may be on its way beyond what it was given.
const ANSWER_WITHIN: Duration = Duration::from_secs(1);
/// Between two looks for a leader.
const RETRY: Duration = Duration::from_millis(100);

/// What a leader is asked by another node.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct RemoveNode {
    pub(crate) name: NodeName,
}

impl Inner {
    /// Removes the nodes of this name, wherever the leader is. Asking again is safe.
    pub(crate) async fn remove_node(
        &self,
        name: NodeName,
        within: Duration,
    ) -> Result<(), RemoveError> {
        let deadline = Instant::now() + within;
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(RemoveError::NoLeader);
            }
            let asked = match self.leader() {
                Leader::Here => self.remove_here(name.clone()).await,
                Leader::At(leader) => self.ask_to_remove(&leader, name.clone(), left).await,
                Leader::Unknown => Err(RemoveError::NoLeader),
            };
            match asked {
                // Nothing was begun there; and whoever handed over to be removed says the same.
                Err(RemoveError::NoLeader) => tokio::time::sleep(RETRY.min(left)).await,
                decided => return decided,
            }
        }
    }

    async fn ask_to_remove(
        &self,
        leader: &Peer,
        name: NodeName,
        within: Duration,
    ) -> Result<(), RemoveError> {
        if !self.leader_decodes(leader, &stay_out(&name)).await {
            return Err(RemoveError::NotEverywhere);
        }
        let body = wire::encode(&RemoveNode { name }).map_err(|_| RemoveError::Unknown)?;
        let address = self.addresses.address(leader);
        let within = within + ANSWER_WITHIN;
        match self.ask(address, Rpc::RemoveNode, body, within).await {
            Ok(answer) => answer,
            Err(TransportError::Unreachable) => Err(RemoveError::NoLeader),
            Err(_) => Err(RemoveError::Unknown),
        }
    }

    /// The same, if this node leads. A leader that is to go itself hands over, and says that it leads
    /// no more: whoever asked asks the next one.
    pub(crate) async fn remove_here(&self, name: NodeName) -> Result<(), RemoveError> {
        // Before it is this one's turn: asking members for their format takes a turn of its own.
        let all_decode = everybody_decodes(self, stay_out(&name).since()).await;
        let turn = self.turn(TURN_WITHIN).await.ok_or(RemoveError::Busy)?;
        if self.raft.metrics().borrow().state != ServerState::Leader {
            return Err(RemoveError::NoLeader);
        }
        let state = self.linearize(DECIDED_WITHIN).await;
        let state = state.map_err(|_| RemoveError::NoLeader)?;
        let gone = self.members_where(|peer| peer.name == name.as_str());
        let listed = self.addresses.contains(name.as_str()) || state.admission(&name).is_some();
        if gone.is_empty() && !listed {
            return Err(RemoveError::UnknownNode);
        }
        if !self.can_do_without(&gone).await {
            return Err(RemoveError::QuorumAtRisk);
        }
        if gone.contains(&self.raft_id()) {
            drop(turn);
            return match self.hand_over_here(None, HAND_OVER_WITHIN).await {
                Ok(_) | Err(HandOverError::NoLeader) => Err(RemoveError::NoLeader),
                Err(_) => Err(RemoveError::NobodyFit),
            };
        }
        let is_known = state.keeps_out(name.as_str());
        if !all_decode && !self.all_decode_but(&gone, stay_out(&name).since()).await {
            return Err(RemoveError::NotEverywhere);
        }
        tracing::warn!(node = %name, members = gone.len(), "removing a node, as it was asked for");
        match (is_known, all_decode) {
            (true, _) => self.expel(gone).await,
            (false, true) => {
                self.decide(stay_out(&name)).await?;
                self.expel(gone).await
            }
            // It died before an upgrade, and nothing new can be decided while it is a member.
            (false, false) => {
                self.expel(gone).await?;
                drop(turn);
                self.decide_late(stay_out(&name)).await
            }
        }
    }

    /// Whether the members but these have announced that they decode a format.
    async fn all_decode_but(&self, gone: &BTreeSet<NodeId>, format: u8) -> bool {
        let membership = Arc::clone(&self.raft.metrics().borrow().membership_config);
        let rest = membership.nodes().filter(|(id, _)| !gone.contains(id));
        let asked = rest.map(|(id, peer)| announced_by(self, *id, peer));
        let mut announced = join_all(asked).await.into_iter();
        announced.all(|announced| announced.is_some_and(|decodes| decodes >= format))
    }

    /// Once whoever could not decode a command is no member any more.
    async fn decide_late(&self, command: Command) -> Result<(), RemoveError> {
        let until = Instant::now() + DECIDED_WITHIN;
        while !everybody_decodes(self, command.since()).await && Instant::now() < until {
            tokio::time::sleep(RETRY).await;
        }
        // The membership has changed already.
        let decided = self.decide(command).await;
        decided.map_err(|_| RemoveError::Unknown)
    }

    async fn decide(&self, command: Command) -> Result<(), RemoveError> {
        match self.propose(command, None, DECIDED_WITHIN).await {
            Ok(submitted) => match submitted.applied {
                Applied::Effect(_) => Ok(()),
                Applied::Rejected(_) => Err(RemoveError::Full),
            },
            Err(ProposeError::NotLeader) => Err(RemoveError::NoLeader),
            Err(ProposeError::NotEverywhere) => Err(RemoveError::NotEverywhere),
            Err(ProposeError::Unknown) => Err(RemoveError::Unknown),
        }
    }

    /// The members of which something holds.
    pub(crate) fn members_where(&self, holds: impl Fn(&Peer) -> bool) -> BTreeSet<NodeId> {
        let metrics = self.raft.metrics();
        let metrics = metrics.borrow();
        let nodes = metrics.membership_config.nodes();
        nodes
            .filter(|(_, peer)| holds(peer))
            .map(|(id, _)| *id)
            .collect()
    }

    /// Whether the voters that would be left and answer are a majority of those that would be left.
    pub(crate) async fn can_do_without(&self, gone: &BTreeSet<NodeId>) -> bool {
        let (voters, left): (BTreeSet<NodeId>, BTreeMap<NodeId, Peer>) = {
            let metrics = self.raft.metrics();
            let metrics = metrics.borrow();
            let voters: BTreeSet<NodeId> = metrics.membership_config.voter_ids().collect();
            let nodes = metrics.membership_config.nodes();
            let left = nodes
                .filter(|(id, _)| voters.contains(id) && !gone.contains(id))
                .map(|(id, peer)| (*id, peer.clone()))
                .collect();
            (voters, left)
        };
        // Learners have no vote.
        if voters.is_disjoint(gone) {
            return true;
        }
        let asked = left.iter().map(|(id, peer)| async move {
            if *id == self.raft_id() {
                return true;
            }
            let status = status_at(self, self.addresses.address(peer)).await;
            status.is_some_and(|status| status.raft_id == *id)
        });
        let answering = join_all(asked).await.into_iter().filter(|yes| *yes).count();
        answering > left.len() / 2
    }

    /// Takes members off the membership. Whoever calls it holds the turn.
    pub(crate) async fn expel(&self, gone: BTreeSet<NodeId>) -> Result<(), RemoveError> {
        let voters: BTreeSet<NodeId> = {
            let metrics = self.raft.metrics();
            let metrics = metrics.borrow();
            metrics.membership_config.voter_ids().collect()
        };
        let (voters, learners): (BTreeSet<_>, BTreeSet<_>) =
            gone.into_iter().partition(|id| voters.contains(id));
        let changes = [
            (!voters.is_empty()).then_some(ChangeMembers::RemoveVoters(voters)),
            (!learners.is_empty()).then_some(ChangeMembers::RemoveNodes(learners)),
        ];
        for change in changes.into_iter().flatten() {
            let changed = self.raft.change_membership(change, false);
            match tokio::time::timeout(CHANGED_WITHIN, changed).await {
                Ok(Ok(_)) => {}
                Ok(Err(error)) => {
                    tracing::warn!(%error, "a node is not removed yet");
                    return Err(RemoveError::Unknown);
                }
                Err(_) => return Err(RemoveError::Unknown),
            }
        }
        Ok(())
    }

    /// While this node leads: carries out what was decided, and not carried out by who decided it.
    pub(crate) async fn expel_who_stays_out(self: &Arc<Self>) {
        let state = self.store.state();
        let gone = self.members_where(|peer| state.keeps_out(&peer.name));
        if gone.is_empty() {
            return;
        }
        let Ok(turn) = self.admitting.try_lock() else {
            return;
        };
        if !self.can_do_without(&gone).await {
            tracing::debug!("nodes are to go, and the others could not go on without them");
            return;
        }
        if gone.contains(&self.raft_id()) {
            drop(turn);
            if let Err(error) = self.hand_over_here(None, HAND_OVER_WITHIN).await {
                tracing::warn!(%error, "this node leads and is to go: nobody takes over");
            }
            return;
        }
        tracing::info!(?gone, "removing nodes, as it was decided");
        // It is looked at again in a moment.
        let _ = self.expel(gone).await;
    }
}

fn stay_out(name: &NodeName) -> Command {
    Command::AdmitNode {
        name: name.clone(),
        admission: Admission::Removed,
    }
}
