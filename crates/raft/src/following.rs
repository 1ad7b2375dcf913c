//! A leader's proof that it leads, by asking the others whether they still follow it.
//!
//! A linearizable read needs to know that nobody had been elected when it began (§6.4 of Ongaro's thesis).
//! openraft asks with an empty AppendEntries, which waits behind the entries before it: Raft's core at a
//! follower is busy until those are on its disk. But no disk has a say in this. What matters is whether a voter
//! has given its vote to anybody else; so it is asked just that, and answers from what its log store has been
//! told to write ([`LogStore::follows`](crate::log_store::LogStore::follows)). A vote counts from before it is
//! written, and so from before its candidate hears of it: when a majority still follows, no other leader had
//! been elected before they were asked.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::{sync::mpsc, time::timeout};

use crate::{
    node::Inner,
    types::{NodeId, Peer, ServerState, Vote},
    wire::{self, Addressed, Rpc},
};

/// How long a voter may take to answer before the proof is tried another way.
const ANSWER_WITHIN: Duration = Duration::from_millis(300);
/// Questions on their way to one voter. One that hangs is left out until it answers again.
const QUESTIONS: usize = 8;

/// Questions on their way, by voter.
#[derive(Clone, Default)]
pub(crate) struct Asking(Arc<Mutex<BTreeMap<NodeId, usize>>>);

impl Asking {
    fn begin(&self, id: NodeId) -> Option<Asked> {
        let mut counts = self.counts();
        let count = counts.entry(id).or_default();
        (*count < QUESTIONS).then(|| {
            *count += 1;
            Asked(self.clone(), id)
        })
    }

    fn counts(&self) -> MutexGuard<'_, BTreeMap<NodeId, usize>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A question on its way to a voter.
struct Asked(Asking, NodeId);

impl Drop for Asked {
    fn drop(&mut self) {
        let mut counts = self.0.counts();
        if let Some(count) = counts.get_mut(&self.1) {
            *count -= 1;
            if *count == 0 {
                counts.remove(&self.1);
            }
        }
    }
}

/// What this node leads with.
struct Lead {
    vote: Vote,
    /// The last entry that it has committed, which is one of its own.
    committed: u64,
    /// The voters' ids; two sets while the membership changes, of each of which a majority counts.
    voters: Vec<BTreeSet<NodeId>>,
    peers: Vec<(NodeId, Peer)>,
}

impl Inner {
    /// The index that a linearizable read must have seen, if this node leads and a majority still
    /// follows it. `None` says nothing: nobody may know the question, or this node has committed
    /// nothing yet.
    pub(crate) async fn proof_of_followers(self: &Arc<Self>) -> Option<u64> {
        // One whose disk hangs is silent, so that it is replaced.
        if self.store.log().is_stalled() {
            return None;
        }
        let lead = self.lead().await?;
        let mut following = BTreeSet::from([self.raft_id()]);
        let (tell, mut told) = mpsc::channel(lead.peers.len().max(1));
        for (id, peer) in lead.peers {
            if let Some(asked) = self.asking.begin(id) {
                let (inner, vote, tell) = (Arc::clone(self), lead.vote, tell.clone());
                // To its end, also when others have answered first: breaking it off would cost the
                // connection.
                tokio::spawn(async move {
                    let follows = inner.is_followed_by(id, &peer, vote).await;
                    drop(asked);
                    if follows {
                        // By then nobody may have to know any more.
                        let _ = tell.send(id).await;
                    }
                });
            }
        }
        drop(tell);
        let proof = async {
            while !is_majority(&following, &lead.voters) {
                following.insert(told.recv().await?);
            }
            Some(lead.committed)
        };
        timeout(ANSWER_WITHIN, proof).await.ok()?
    }

    /// As Raft's core sees it.
    async fn lead(&self) -> Option<Lead> {
        let own = self.raft_id();
        let lead = self.raft.with_raft_state(move |state| {
            let (vote, committed) = (*state.vote_ref(), state.committed?);
            let leads = state.server_state == ServerState::Leader
                && vote.committed
                && vote.leader_id.node_id == own;
            // Before that, what earlier leaders have committed may be unknown.
            (leads && committed.leader_id == vote.leader_id).then(|| {
                let membership = state.membership_state.effective().membership();
                let voters = membership.get_joint_config().clone();
                let is_asked =
                    |id: &NodeId| *id != own && voters.iter().any(|voters| voters.contains(id));
                Lead {
                    vote,
                    committed: committed.index,
                    peers: membership
                        .nodes()
                        .filter(|(id, _)| is_asked(id))
                        .map(|(id, peer)| (*id, peer.clone()))
                        .collect(),
                    voters,
                }
            })
        });
        lead.await.ok().flatten()
    }

    async fn is_followed_by(&self, id: NodeId, peer: &Peer, vote: Vote) -> bool {
        let message = Addressed {
            to: id,
            message: vote,
        };
        let Ok(body) = wire::encode(&message) else {
            return false;
        };
        let address = self.addresses.address(peer);
        let answer = self.ask(address, Rpc::Follows, body, ANSWER_WITHIN).await;
        answer.unwrap_or(false)
    }
}

fn is_majority(some: &BTreeSet<NodeId>, voters: &[BTreeSet<NodeId>]) -> bool {
    voters
        .iter()
        .all(|voters| voters.intersection(some).count() > voters.len() / 2)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_majority_is_one_of_each_set() {
        let set = |ids: &[u64]| ids.iter().copied().collect::<BTreeSet<_>>();
        let (old, new) = (set(&[1, 2, 3]), set(&[3, 4, 5, 6]));
        for (some, of_old, of_both) in [
            (set(&[1]), false, false),
            (set(&[1, 2]), true, false),
            (set(&[1, 3, 4]), true, false),
            (set(&[3, 4, 5]), false, false),
            (set(&[1, 3, 4, 5]), true, true),
            (set(&[7, 8, 9]), false, false),
        ] {
            assert_eq!(
                is_majority(&some, std::slice::from_ref(&old)),
                of_old,
                "{some:?}"
            );
            let both = [old.clone(), new.clone()];
            assert_eq!(is_majority(&some, &both), of_both, "{some:?}");
        }
    }

    #[test]
    fn one_that_hangs_is_asked_so_often_and_no_more() {
        let asking = Asking::default();
        let mut on_their_way: Vec<_> = (0..QUESTIONS).map(|_| asking.begin(7)).collect();
        assert!(on_their_way.iter().all(Option::is_some));
        assert!(asking.begin(7).is_none() && asking.begin(8).is_some());
        on_their_way.pop();
        assert!(asking.begin(7).is_some());
        drop(on_their_way);
        assert!(asking.counts().is_empty());
    }
}
