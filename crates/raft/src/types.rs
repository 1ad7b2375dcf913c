//! What openraft is told about Strongroom: the shape of an entry, of a node and of a snapshot.

use serde::{Deserialize, Serialize};
use strongroom_core::{Applied, LogPosition, Proposal};

/// A member of the cluster as the log records it.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Peer {
    /// The operator's name for the node, `NODE_ID`.
    pub name: String,
    /// Where its Raft port is reached, `host:port`.
    pub address: String,
    /// The version of Strongroom it ran when this was recorded.
    pub version: String,
}

openraft::declare_raft_types!(
    /// Strongroom's types for openraft.
    pub TypeConfig:
        D            = Proposal,
        R            = Vec<Applied>,
        NodeId       = u64,
        Node         = Peer,
        Entry        = openraft::Entry<TypeConfig>,
        SnapshotData = tokio::fs::File,
        Responder    = openraft::impls::OneshotResponder<TypeConfig>,
        AsyncRuntime = openraft::TokioRuntime,
);

/// A Raft node's id, drawn at random at its first start.
pub type NodeId = u64;
/// One entry of the log.
pub type Entry = openraft::Entry<TypeConfig>;
/// The id of an entry: its leader's term and its index.
pub type LogId = openraft::LogId<NodeId>;
/// A node's vote.
pub type Vote = openraft::Vote<NodeId>;
/// The membership and the entry that recorded it.
pub type StoredMembership = openraft::StoredMembership<NodeId, Peer>;
/// What a snapshot holds: the last entry in it, the membership then, and its name.
pub type SnapshotMeta = openraft::SnapshotMeta<NodeId, Peer>;
/// A snapshot with a handle to read it.
pub type Snapshot = openraft::Snapshot<TypeConfig>;
/// What openraft is told when storing fails. It stops the node.
pub type StorageError = openraft::StorageError<NodeId>;
/// The I/O half of [`StorageError`].
pub type StorageIoError = openraft::StorageIOError<NodeId>;

/// Where an entry stands in the log, as core counts.
#[must_use]
pub fn position(id: &LogId) -> LogPosition {
    LogPosition {
        term: id.leader_id.term,
        index: id.index,
    }
}

/// openraft with Strongroom's types.
pub(crate) type Raft = openraft::Raft<TypeConfig>;
/// What openraft tells of itself.
pub(crate) type RaftMetrics = openraft::RaftMetrics<NodeId, Peer>;
/// The part of it that changes when a node leads, follows or votes, and not with each entry.
pub(crate) type RaftServerMetrics = openraft::metrics::RaftServerMetrics<NodeId, Peer>;
/// What a node is doing.
pub(crate) use openraft::ServerState;
