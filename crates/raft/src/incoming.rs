//! What a leader sends this node: entries and snapshots.

use std::{sync::Arc, time::Duration};

use openraft::{
    error::{InstallSnapshotError, RaftError, SnapshotMismatch},
    network::snapshot_transport::{Chunked, SnapshotTransport, Streaming},
    raft::{
        AppendEntriesRequest, AppendEntriesResponse, InstallSnapshotRequest,
        InstallSnapshotResponse,
    },
};
use tokio::sync::{Mutex, Semaphore};

use crate::{
    node::Inner,
    snapshot_files,
    types::{NodeId, Snapshot, TypeConfig},
    wire::{self, WireError},
};

/// AppendEntries that wait for Raft's core at a time. A leader sends one, and again after a while if
/// the disk here is slow: more would only pile up.
const APPENDS: usize = 8;
/// Between two notes that a leader is being heard.
const HEARD_EVERY: Duration = Duration::from_millis(100);
/// Before a leader is told that a snapshot has to be sent again.
const AGAIN_AFTER: Duration = Duration::from_secs(1);

/// A leader's messages on their way into Raft's core.
pub(crate) struct Incoming {
    appends: Arc<Semaphore>,
    receiving: Mutex<Option<Streaming<TypeConfig>>>,
}

impl Default for Incoming {
    fn default() -> Self {
        Self {
            appends: Arc::new(Semaphore::new(APPENDS)),
            receiving: Mutex::new(None),
        }
    }
}

type Appended = Result<AppendEntriesResponse<NodeId>, RaftError<NodeId>>;
type Received = Result<InstallSnapshotResponse<NodeId>, RaftError<NodeId, InstallSnapshotError>>;

impl Inner {
    /// Takes a leader's entries.
    ///
    /// # Errors
    /// [`WireError::Busy`] while too many wait already.
    pub(crate) async fn append(
        &self,
        message: AppendEntriesRequest<TypeConfig>,
    ) -> Result<Appended, WireError> {
        let permit = Arc::clone(&self.incoming.appends).try_acquire_owned();
        let permit = permit.map_err(|_| WireError::Busy)?;
        let raft = self.raft.clone();
        // Held until the core has answered, whether or not the leader waits for it.
        let appended = tokio::spawn(async move {
            let appended = raft.append_entries(message).await;
            drop(permit);
            appended
        });
        appended.await.map_err(|_| WireError::Busy)
    }

    /// Takes a chunk of a leader's snapshot. The last one installs it, which may take long: the leader
    /// counts as heard meanwhile, since it sends nothing else.
    pub(crate) async fn receive_snapshot(
        &self,
        message: InstallSnapshotRequest<TypeConfig>,
    ) -> Received {
        let received = self.receive(message);
        let mut received = std::pin::pin!(received);
        loop {
            match tokio::time::timeout(HEARD_EVERY, received.as_mut()).await {
                Ok(received) => return received,
                Err(_) => self.contact.note(),
            }
        }
    }

    async fn receive(&self, message: InstallSnapshotRequest<TypeConfig>) -> Received {
        let vote = message.vote;
        let own = self.raft.with_raft_state(|state| *state.vote_ref()).await?;
        let answer = InstallSnapshotResponse { vote: own };
        if vote < own {
            return Ok(answer);
        }
        let segment = openraft::SnapshotSegmentId {
            id: message.meta.snapshot_id.clone(),
            offset: message.offset,
        };
        let whole = {
            let mut receiving = self.incoming.receiving.lock().await;
            Chunked::receive_snapshot(&mut *receiving, &self.raft, message).await?
        };
        let Some(snapshot) = whole else {
            return Ok(answer);
        };
        if !is_intact(&snapshot).await {
            tracing::error!("a snapshot arrived damaged; it is asked for again");
            tokio::time::sleep(AGAIN_AFTER).await;
            let expect = openraft::SnapshotSegmentId {
                offset: 0,
                ..segment.clone()
            };
            let got = segment;
            return Err(RaftError::APIError(SnapshotMismatch { expect, got }.into()));
        }
        let installed = self.raft.install_full_snapshot(vote, snapshot).await?;
        Ok(installed.into())
    }

    /// Notes that a leader is sending, from the beginning of its message: a large one may take longer
    /// to arrive than a leader may be silent.
    pub(crate) fn heard_beginning(&self, beginning: &[u8]) {
        if let Some((to, term)) = wire::leaders_term(beginning)
            && to == self.raft_id()
            && term >= self.raft.metrics().borrow().current_term
        {
            self.contact.note();
        }
    }
}

/// One that does not install would be the end of this node.
async fn is_intact(snapshot: &Snapshot) -> bool {
    let Ok(copy) = snapshot.snapshot.try_clone().await else {
        return false;
    };
    let (copy, wanted) = (copy.into_std().await, snapshot.meta.clone());
    let checked = tokio::task::spawn_blocking(move || snapshot_files::verify(copy));
    matches!(checked.await, Ok(Ok((found, _))) if found == wanted)
}
