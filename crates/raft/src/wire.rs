//! What nodes say to each other: one format byte, then postcard.

use bytes::Bytes;
use serde::{Deserialize, Deserializer, Serialize, de::DeserializeOwned};
use std::time::Duration;
use strongroom_core::{Attempt, Command, SubmitError, Submitted, replica::PortFuture};

/// The format of messages between nodes that this version speaks.
pub const WIRE_FORMAT: u8 = 1;

/// A question one node can ask another.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Rpc {
    /// Raft's AppendEntries.
    Append,
    /// Raft's RequestVote.
    Vote,
    /// A chunk of a snapshot.
    Snapshot,
    /// Who are you, and where do you stand?
    Status,
    /// Let me in.
    Join,
    /// Replicate this command; only the leader does.
    Submit,
    /// What must a linearizable read have seen? Only the leader answers.
    ReadIndex,
    /// A question of the use cases, which answer it.
    Question,
    /// Pass leadership on; only the leader does.
    HandOver,
    /// Stand for election now, says the leader.
    TakeOver,
    /// Replicate this command as a try of a request; only the leader does.
    Attempt,
    /// Would I have your vote?
    PreVote,
    /// One of the others, in a cluster that was recovered: with its epoch.
    InEpoch,
    /// Remove a node; only the leader does.
    RemoveNode,
    /// Replicate these commands, each on its own; only the leader does.
    SubmitMany,
}

impl Rpc {
    /// All of them.
    pub const ALL: [Self; 15] = [
        Self::Append,
        Self::Vote,
        Self::Snapshot,
        Self::Status,
        Self::Join,
        Self::Submit,
        Self::ReadIndex,
        Self::Question,
        Self::HandOver,
        Self::TakeOver,
        Self::Attempt,
        Self::PreVote,
        Self::InEpoch,
        Self::RemoveNode,
        Self::SubmitMany,
    ];

    /// Whether it is Raft's own: what clients ask must never hold it up.
    #[must_use]
    pub fn is_rafts_own(self) -> bool {
        matches!(
            self,
            Self::Append
                | Self::Vote
                | Self::Snapshot
                | Self::Status
                | Self::TakeOver
                | Self::PreVote
        )
    }

    /// Its word in a path.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Append => "append",
            Self::Vote => "vote",
            Self::Snapshot => "snapshot",
            Self::Status => "status",
            Self::Join => "join",
            Self::Submit => "submit",
            Self::ReadIndex => "read-index",
            Self::Question => "question",
            Self::HandOver => "hand-over",
            Self::TakeOver => "take-over",
            Self::Attempt => "attempt",
            Self::PreVote => "pre-vote",
            Self::InEpoch => "in-epoch",
            Self::RemoveNode => "remove-node",
            Self::SubmitMany => "submit-many",
        }
    }
}

/// Why another node gave no answer.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum TransportError {
    /// No connection was made, so the question was never heard.
    #[error("no connection")]
    Unreachable,
    /// No answer in time. The question may have been heard.
    #[error("no answer in time")]
    TimedOut,
    /// The connection broke or the answer made no sense. The question may have been heard.
    #[error("the connection failed")]
    Failed,
}

/// Carries bytes to another node. The server's HTTP client implements it.
pub trait Transport: Send + Sync + 'static {
    /// Asks the node at `address` and waits for its answer, at most `within`.
    ///
    /// # Errors
    /// See [`TransportError`].
    fn ask<'a>(
        &'a self,
        address: &'a str,
        rpc: Rpc,
        body: Vec<u8>,
        within: Duration,
    ) -> PortFuture<'a, Result<Bytes, TransportError>>;
}

/// Bytes from another node that make no sense, or are not meant for this one.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum WireError {
    /// Another format, or malformed.
    #[error("malformed message")]
    Malformed,
    /// The message is for another node, perhaps one that had this address before.
    #[error("the message is for another node")]
    Misaddressed,
    /// Too many messages of a leader wait already.
    #[error("too many messages wait")]
    Busy,
}

/// A Raft message with the id of the node it is for: an address may have been taken over.
#[derive(Serialize, Deserialize)]
pub(crate) struct Addressed<T> {
    pub(crate) to: u64,
    pub(crate) message: T,
}

/// Who a leader's message is for, and the leader's term, from the first bytes of it: what
/// [`Addressed`] begins with, and then the vote that AppendEntries and InstallSnapshot begin with.
pub(crate) fn leaders_term(beginning: &[u8]) -> Option<(u64, u64)> {
    let (&WIRE_FORMAT, body) = beginning.split_first()? else {
        return None;
    };
    let ((to, term), _) = postcard::take_from_bytes::<(u64, u64)>(body).ok()?;
    Some((to, term))
}

/// A node about itself.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct NodeStatus {
    pub(crate) name: String,
    pub(crate) raft_id: u64,
    pub(crate) version: String,
    /// The newest format of commands that it decodes.
    pub(crate) decodes: u8,
    /// Whether it belongs to a cluster (its log holds a membership).
    pub(crate) member: bool,
    pub(crate) leader: Option<u64>,
    pub(crate) applied: Option<u64>,
    /// Milliseconds since it heard of a leader, or gave its vote.
    pub(crate) silence_ms: u64,
    /// The index of the newest membership that it knows, and the voters in it.
    pub(crate) membership: Option<u64>,
    pub(crate) voters: Vec<u64>,
    /// Its epoch; `None`: it is of the first release, and has said nothing. What is added at the end is
    /// passed over by those who do not know it.
    #[serde(deserialize_with = "or_nothing")]
    pub(crate) epoch: Option<u32>,
}

/// What stands at the end of a message, if the sender knows of it.
fn or_nothing<'de, D: Deserializer<'de>>(from: D) -> Result<Option<u32>, D::Error> {
    Ok(Option::deserialize(from).unwrap_or_default())
}

/// A node that wants to become a member.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Joiner {
    pub(crate) name: String,
    pub(crate) raft_id: u64,
    pub(crate) address: String,
    pub(crate) version: String,
}

/// Why a node was not let in.
#[derive(Clone, Debug, Serialize, Deserialize, thiserror::Error)]
pub(crate) enum JoinError {
    #[error("this node does not lead")]
    NotLeader,
    #[error("the node is not in VAULT_PEERS of the leader, and was not let in by command")]
    UnknownName,
    #[error("another live node has this name")]
    NameTaken,
    #[error("the leader does not reach the node at its address")]
    Unreachable,
    #[error("the node is of an older version than the cluster's: upgrade it")]
    TooOld,
    #[error("the node did not catch up in time")]
    NotLevel,
    #[error("the membership could not be changed: {0}")]
    Raft(String),
    #[error("the node was removed by command")]
    Removed,
    #[error("the cluster has as many members as it may have")]
    Full,
}

/// A command with the time left for it, in milliseconds.
#[derive(Serialize, Deserialize)]
pub(crate) struct SubmitRequest {
    pub(crate) command: Command,
    pub(crate) within_ms: u64,
}

/// The same for a try of a request. Sent to those alone that know attempts.
#[derive(Serialize, Deserialize)]
pub(crate) struct AttemptRequest {
    pub(crate) attempt: Attempt,
    pub(crate) command: Command,
    pub(crate) within_ms: u64,
}

/// One of many commands that are handed over together, as a try of a request if it counts once. Sent
/// to those alone that know [`TOGETHER`](strongroom_core::codec::TOGETHER).
#[derive(Serialize, Deserialize)]
pub(crate) struct OneOfMany {
    pub(crate) attempt: Option<Attempt>,
    pub(crate) command: Command,
    pub(crate) within_ms: u64,
}

/// The leader's answer. `Err(None)`: not handed over, since the asked node does not lead.
pub(crate) type SubmitReply = Result<Submitted, Option<SubmitError>>;

pub(crate) fn encode<T: Serialize>(value: &T) -> Result<Vec<u8>, WireError> {
    postcard::to_extend(value, vec![WIRE_FORMAT]).map_err(|_| WireError::Malformed)
}

pub(crate) fn decode<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, WireError> {
    match bytes.split_first() {
        Some((&WIRE_FORMAT, body)) => postcard::from_bytes(body).map_err(|_| WireError::Malformed),
        _ => Err(WireError::Malformed),
    }
}

/// Decodes a list of at most so many, which is looked at before anything of it is decoded: postcard
/// puts a list's length in front.
pub(crate) fn decode_list<T: DeserializeOwned>(
    bytes: &[u8],
    most: usize,
) -> Result<Vec<T>, WireError> {
    let length = bytes.get(1..).map(postcard::take_from_bytes::<usize>);
    match length {
        Some(Ok((length, _))) if length <= most => decode(bytes),
        _ => Err(WireError::Malformed),
    }
}

#[cfg(test)]
mod tests {
    use openraft::raft::{AppendEntriesRequest, InstallSnapshotRequest};

    use super::*;
    use crate::types::{SnapshotMeta, TypeConfig, Vote};

    /// A node's status in the form that the first release has.
    #[derive(Serialize, Deserialize)]
    struct FirstStatus {
        name: String,
        raft_id: u64,
        version: String,
        decodes: u8,
        member: bool,
        leader: Option<u64>,
        applied: Option<u64>,
        silence_ms: u64,
        membership: Option<u64>,
        voters: Vec<u64>,
    }

    #[test]
    fn a_status_with_an_epoch_and_one_without_are_both_read_by_both() {
        let first = FirstStatus {
            name: "1".to_owned(),
            raft_id: 7,
            version: "0".to_owned(),
            decodes: 2,
            member: true,
            leader: Some(7),
            applied: Some(900),
            silence_ms: 300,
            membership: Some(3),
            voters: vec![7, 8],
        };
        let mut status: NodeStatus = decode(&encode(&first).unwrap()).unwrap();
        assert_eq!((status.epoch, &status.voters), (None, &vec![7, 8]));
        status.epoch = Some(300);
        let bytes = encode(&status).unwrap();
        let again: NodeStatus = decode(&bytes).unwrap();
        assert_eq!(again.epoch, Some(300));
        let read: FirstStatus = decode(&bytes).unwrap();
        assert_eq!((read.silence_ms, read.voters), (300, vec![7, 8]));
    }

    #[test]
    fn a_list_is_as_long_as_it_may_be_and_no_longer() {
        for length in [0, 1, 127, 128, 512] {
            let list = vec![7_u8; length];
            let bytes = encode(&list).unwrap();
            assert_eq!(decode_list::<u8>(&bytes, length), Ok(list));
            assert_eq!(
                decode_list::<u8>(&bytes[..1], length),
                Err(WireError::Malformed)
            );
            if let Some(fewer) = length.checked_sub(1) {
                assert_eq!(decode_list::<u8>(&bytes, fewer), Err(WireError::Malformed));
            }
        }
        assert_eq!(decode_list::<u8>(&[], 9), Err(WireError::Malformed));
        assert_eq!(
            decode_list::<u8>(&[WIRE_FORMAT + 1, 0], 9),
            Err(WireError::Malformed)
        );
    }

    #[test]
    fn a_leaders_messages_begin_with_who_they_are_for_and_its_term() {
        let vote = Vote::new_committed(300, 7);
        let append = AppendEntriesRequest::<TypeConfig> {
            vote,
            prev_log_id: None,
            entries: Vec::new(),
            leader_commit: None,
        };
        let snapshot = InstallSnapshotRequest::<TypeConfig> {
            vote,
            meta: SnapshotMeta::default(),
            offset: 0,
            data: vec![1; 100],
            done: false,
        };
        let to = u64::MAX;
        for bytes in [
            encode(&Addressed {
                to,
                message: append,
            }),
            encode(&Addressed {
                to,
                message: snapshot,
            }),
        ] {
            let bytes = bytes.unwrap();
            assert_eq!(leaders_term(&bytes), Some((to, 300)));
            assert_eq!(leaders_term(&bytes[..14]), Some((to, 300)));
            assert_eq!(leaders_term(&bytes[..5]), None);
        }
        assert_eq!(leaders_term(&[]), None);
        assert_eq!(leaders_term(&[WIRE_FORMAT + 1, 0, 0]), None);
    }
}
