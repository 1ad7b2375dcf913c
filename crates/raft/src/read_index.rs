//! Linearizable reads: the leader proves that it still leads, once for all who wait.

use std::{future::Future, sync::Weak, time::Duration};

use tokio::sync::{mpsc, oneshot};

use crate::{leading::Leader, node::Inner, types::Raft, wire::Rpc};

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
    pub(crate) fn of_this_node(raft: Raft) -> Self {
        Self::start(move || proof(raft.clone()))
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

async fn proof(raft: Raft) -> Option<u64> {
    match raft.get_read_log_id().await {
        Ok((read, _applied)) => Some(read.map_or(0, |id| id.index)),
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
