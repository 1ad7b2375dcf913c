//! What other nodes ask this one.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use futures_util::future::join_all;
use openraft::raft::{AppendEntriesRequest, InstallSnapshotRequest, VoteRequest};
use serde::{Serialize, de::DeserializeOwned};
use strongroom_core::{Attempt, Command, SubmitError, limits};

use crate::{
    election::PreVote,
    handover::{HAND_OVER_WITHIN, HandOver, TakeOver},
    node::{Inner, Node},
    proposer::ProposeError,
    removal::RemoveNode,
    types::{NodeId, TypeConfig},
    wire::{
        self, Addressed, AttemptRequest, OneOfMany, Rpc, SubmitReply, SubmitRequest, WireError,
    },
};

impl Node {
    /// Notes what the beginning of a message says, before it has arrived as a whole.
    pub fn hears(&self, rpc: Rpc, beginning: &[u8]) {
        if matches!(rpc, Rpc::Append | Rpc::Snapshot) {
            self.inner.heard_beginning(beginning);
        }
    }

    /// Answers another node.
    ///
    /// # Errors
    /// [`WireError`] for bytes that make no sense or are meant for another node.
    pub async fn serve(&self, rpc: Rpc, body: Bytes) -> Result<Vec<u8>, WireError> {
        let inner = &self.inner;
        let (rpc, body) = inner.take_out(rpc, body)?;
        if matches!(
            rpc,
            Rpc::Submit | Rpc::Attempt | Rpc::SubmitMany | Rpc::ReadIndex | Rpc::Question
        ) {
            inner.telling.note_asked();
        }
        match rpc {
            Rpc::Append => {
                let message: AppendEntriesRequest<TypeConfig> = inner.addressed(&body)?;
                inner.in_epoch(message.vote.leader_id.term)?;
                inner.heard_from_leader(&message.vote);
                wire::encode(&inner.append(message).await?)
            }
            Rpc::Vote => {
                let message: VoteRequest<NodeId> = inner.addressed(&body)?;
                inner.in_epoch(message.vote.leader_id.term)?;
                let answer = inner.raft.vote(message).await;
                tracing::debug!(?answer, "was asked for a vote");
                if answer.as_ref().is_ok_and(|answer| answer.vote_granted) {
                    inner.contact.note();
                }
                wire::encode(&answer)
            }
            Rpc::Snapshot => {
                let message: InstallSnapshotRequest<TypeConfig> = inner.addressed(&body)?;
                inner.in_epoch(message.vote.leader_id.term)?;
                inner.heard_from_leader(&message.vote);
                wire::encode(&inner.receive_snapshot(message).await)
            }
            Rpc::Status => wire::encode(&inner.status()),
            Rpc::Join => {
                let (joiner, inner) = (wire::decode(&body)?, Arc::clone(inner));
                // To its end, also if the joiner hangs up: half a change of the membership would stay.
                let admitted =
                    tokio::spawn(async move { crate::formation::admit(&inner, joiner).await });
                wire::encode(&admitted.await.map_err(|_| WireError::Busy)?)
            }
            Rpc::Submit => {
                let request: SubmitRequest = wire::decode(&body)?;
                let proposed = inner.proposed(request.command, None, request.within_ms);
                wire::encode(&proposed.await)
            }
            Rpc::Attempt => {
                let request: AttemptRequest = wire::decode(&body)?;
                let attempt = Some(request.attempt);
                let proposed = inner.proposed(request.command, attempt, request.within_ms);
                wire::encode(&proposed.await)
            }
            Rpc::SubmitMany => {
                let requests: Vec<OneOfMany> = wire::decode_list(&body, limits::PROPOSAL_COMMANDS)?;
                let proposed = requests
                    .into_iter()
                    .map(|one| inner.proposed(one.command, one.attempt, one.within_ms));
                wire::encode(&join_all(proposed).await)
            }
            Rpc::ReadIndex => wire::encode(&inner.read_index.get().await),
            Rpc::Question => Ok(inner
                .answerer
                .get()
                .map(|answer| answer(&body))
                .unwrap_or_default()),
            Rpc::PreVote => {
                let asked: PreVote = inner.addressed(&body)?;
                wire::encode(&inner.would_vote_for(asked))
            }
            Rpc::HandOver => {
                let HandOver { to, within_ms } = wire::decode(&body)?;
                let within = Duration::from_millis(within_ms).min(HAND_OVER_WITHIN);
                let inner = Arc::clone(inner);
                // To its end, also if who asked hangs up.
                let passed = tokio::spawn(async move { inner.hand_over_here(to, within).await });
                wire::encode(&passed.await.map_err(|_| WireError::Busy)?)
            }
            Rpc::RemoveNode => {
                let RemoveNode { name } = wire::decode(&body)?;
                let inner = Arc::clone(inner);
                // To its end, also if who asked hangs up.
                let removed = tokio::spawn(async move { inner.remove_here(name).await });
                wire::encode(&removed.await.map_err(|_| WireError::Busy)?)
            }
            Rpc::TakeOver => {
                let told: TakeOver = inner.addressed(&body)?;
                inner.in_epoch(told.term)?;
                wire::encode(&inner.take_over(told).await)
            }
            // Taken out above, and never one in another.
            Rpc::InEpoch => Err(WireError::Malformed),
        }
    }
}

impl Inner {
    /// What came of a command that another node has passed on.
    async fn proposed(
        &self,
        command: Command,
        attempt: Option<Attempt>,
        within_ms: u64,
    ) -> SubmitReply {
        let within = Duration::from_millis(within_ms);
        let proposed = self.propose(command, attempt, within).await;
        proposed.map_err(|error| match error {
            ProposeError::NotLeader => None,
            ProposeError::Unknown => Some(SubmitError::Unknown),
            ProposeError::NotEverywhere => Some(SubmitError::NotEverywhere),
        })
    }

    fn addressed<T: DeserializeOwned + Serialize>(&self, body: &[u8]) -> Result<T, WireError> {
        let Addressed { to, message } = wire::decode(body)?;
        if to == self.identity.raft_id {
            Ok(message)
        } else {
            Err(WireError::Misaddressed)
        }
    }
}
