//! Linearizable reads: the leader proves that it still leads, once for all who wait.

use std::{future::Future, sync::Weak, time::Duration};

use tokio::sync::{mpsc, oneshot};

use crate::{
    leading::Leader,
    node::Inner,
    types::{Raft, Vote},
    wire::Rpc,
};

const QUEUE: usize = 4_096;
/// How long a leader elsewhere may take to prove that it leads, before it is asked again.
const ASK_WITHIN: Duration = Duration::from_secs(1);

/// Asks for a read index in rounds: who comes while a round is on its way waits for the next, since a
/// proof that began earlier says nothing about later writes.
#[derive(Clone)]
pub(crate) struct ReadIndex {
    queue: mpsc::Sender<oneshot::Sender<Option<u64>>>,
}

impl ReadIndex {
    /// This node's own proof, for as long as it leads.
    pub(crate) fn of_this_node(raft: Raft, floor: Option<Floor>) -> Self {
        Self::start(move || proof(raft.clone(), floor))
    }

    /// What the leader says, wherever it is. At a follower one question answers all who wait.
    pub(crate) fn of_the_leader(inner: Weak<Inner>) -> Self {
        Self::start(move || asked(inner.clone()))
    }

    /// Starts the asking task on the current runtime.
    fn start<F>(ask: impl Fn() -> F + Send + 'static) -> Self
    where
        F: Future<Output = Option<u64>> + Send,
    {
        let (queue, mut waiting) = mpsc::channel::<oneshot::Sender<Option<u64>>>(QUEUE);
        tokio::spawn(async move {
            while let Some(first) = waiting.recv().await {
                let mut round = vec![first];
                while let Ok(next) = waiting.try_recv() {
                    round.push(next);
                }
                let index = ask().await;
                for waiter in round {
                    // A closed channel: the reader's deadline has passed.
                    let _ = waiter.send(index);
                }
            }
        });
        Self { queue }
    }

    /// The index that a linearizable read must have seen; `None` if nobody could prove that it leads.
    pub(crate) async fn get(&self) -> Option<u64> {
        let (reply, index) = oneshot::channel();
        self.queue.send(reply).await.ok()?;
        index.await.ok().flatten()
    }
}

/// What a leader that was started again must have seen in the term that it led before.
///
/// openraft restores such a leader without an election, takes the first entry of its term for the last
/// that others may have committed, and the commit index on disk for its own. Both lie before what it
/// had acknowledged: that ends where its log does.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Floor {
    term: u64,
    index: u64,
}

impl Floor {
    /// The floor of a node that finds this vote and this end of its log at its start.
    pub(crate) fn found(vote: Option<Vote>, own_id: u64, last: Option<u64>) -> Option<Self> {
        let led = vote.filter(|vote| vote.committed && vote.leader_id.node_id == own_id)?;
        Some(Self {
            term: led.leader_id.term,
            index: last?,
        })
    }
}

async fn proof(raft: Raft, floor: Option<Floor>) -> Option<u64> {
    // Asked for before: a later term's proof needs no floor, and an earlier one's never comes after.
    let term = raft.metrics().borrow().current_term;
    let floor = floor.filter(|floor| term <= floor.term);
    match raft.get_read_log_id().await {
        Ok((read, _applied)) => {
            let index = read.map_or(0, |id| id.index);
            Some(index.max(floor.map_or(0, |floor| floor.index)))
        }
        Err(error) => {
            tracing::debug!(%error, "no read index");
            None
        }
    }
}

async fn asked(inner: Weak<Inner>) -> Option<u64> {
    let inner = inner.upgrade()?;
    match inner.leader() {
        Leader::Here => inner.read_index.get().await,
        Leader::At(peer) => {
            let address = inner.addresses.address(&peer);
            // Asking again is safe, and by then there may be another leader.
            inner
                .ask(address, Rpc::ReadIndex, Vec::new(), ASK_WITHIN)
                .await
                .ok()?
        }
        Leader::Unknown => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_who_led_when_it_stopped_has_a_floor() {
        let led = Vote::new_committed(3, 7);
        let floor = Floor { term: 3, index: 20 };
        assert_eq!(Floor::found(Some(led), 7, Some(20)), Some(floor));
        assert_eq!(Floor::found(Some(led), 8, Some(20)), None);
        assert_eq!(Floor::found(Some(Vote::new(3, 7)), 7, Some(20)), None);
        assert_eq!(Floor::found(Some(led), 7, None), None);
        assert_eq!(Floor::found(None, 7, Some(20)), None);
    }
}
