//! Linearizable reads: the leader proves that it still leads, once for all who wait.

use tokio::sync::{mpsc, oneshot};

use crate::types::Raft;

const QUEUE: usize = 4_096;

/// Asks openraft for a read index, in rounds: who comes while a round is on its way waits for the
/// next, since a proof that began earlier says nothing about later writes.
#[derive(Clone)]
pub(crate) struct ReadIndex {
    queue: mpsc::Sender<oneshot::Sender<Option<u64>>>,
}

impl ReadIndex {
    /// Starts the asking task on the current runtime.
    pub(crate) fn start(raft: Raft) -> Self {
        let (queue, mut waiting) = mpsc::channel::<oneshot::Sender<Option<u64>>>(QUEUE);
        tokio::spawn(async move {
            while let Some(first) = waiting.recv().await {
                let mut round = vec![first];
                while let Ok(next) = waiting.try_recv() {
                    round.push(next);
                }
                let index = match raft.get_read_log_id().await {
                    Ok((read, _applied)) => Some(read.map_or(0, |id| id.index)),
                    Err(error) => {
                        tracing::debug!(%error, "no read index");
                        None
                    }
                };
                for waiter in round {
                    // A closed channel: the reader's deadline has passed.
                    let _ = waiter.send(index);
                }
            }
        });
        Self { queue }
    }

    /// The index that a linearizable read must have seen; `None` if this node does not lead or could
    /// not prove that it does.
    pub(crate) async fn get(&self) -> Option<u64> {
        let (reply, index) = oneshot::channel();
        self.queue.send(reply).await.ok()?;
        index.await.ok().flatten()
    }
}
