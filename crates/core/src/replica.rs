//! The port between use cases and agreement. Whoever implements it stores and replicates; whoever
//! calls it decides.

use std::{future::Future, pin::Pin, sync::Arc, time::Duration};

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::{
    Applied, ClusterId, Command, DurationsReading, LogPosition, LogTime, NodeName, RequestId, State,
};

/// A future that the port returns; boxed, so that the port is usable as `dyn Replica`.
pub type PortFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// Answers what other members ask. The bytes mean something to the use cases only.
pub type Answerer = Arc<dyn Fn(&[u8]) -> Vec<u8> + Send + Sync>;

/// How fresh a read must be.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum ReadGate {
    /// What this node has applied. Never waits for another node.
    #[default]
    Local,
    /// At least everything acknowledged anywhere before the read began.
    Linearizable,
    /// At least everything up to this log index (read-your-writes).
    AtLeast(u64),
}

/// A command's result and where in the log it happened.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Submitted {
    /// The position of the entry that carried the command.
    pub position: LogPosition,
    /// What the command did.
    pub applied: Applied,
}

/// Why a command has no result.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error, Serialize, Deserialize)]
pub enum SubmitError {
    /// No leader was found within the deadline. The command was not handed over: nothing happened.
    #[error("no leader within the deadline")]
    NoLeader,
    /// The command was handed over and its fate is not known. It may still take effect.
    #[error("the outcome is unknown")]
    Unknown,
    /// This node can no longer persist and has stopped taking part.
    #[error("this node's store has failed")]
    StoreFailed,
    /// Not every member is known to decode this command: an upgrade is under way, or a member cannot
    /// be asked. The command was not handed over: nothing happened.
    #[error("not every node can decode this command yet")]
    NotEverywhere,
}

/// Why a read cannot be answered.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum ReadError {
    /// This node has not caught up with what it had committed before it stopped.
    #[error("this node is still starting")]
    Starting,
    /// The cluster has gone on without this node.
    #[error("this node was removed from its cluster")]
    Removed,
    /// No leader, or no quorum behind it, within the deadline.
    #[error("no leader within the deadline")]
    NoLeader,
    /// This node can no longer persist and has stopped taking part.
    #[error("this node's store has failed")]
    StoreFailed,
}

/// Why leadership was not passed on. Whoever led leads on, or there is an election.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error, Serialize, Deserialize)]
pub enum HandOverError {
    /// There is no leader that could.
    #[error("there is no leader")]
    NoLeader,
    /// No voter has this name.
    #[error("no voter has this name")]
    UnknownNode,
    /// No other voter answers and holds all that the leader holds.
    #[error("no other voter answers and has caught up")]
    NobodyFit,
    /// It was tried and came to nothing in time.
    #[error("no other node took over in time")]
    Failed,
}

/// Why a node was not removed. Only [`RemoveError::Unknown`] leaves open whether it was, or will be.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error, Serialize, Deserialize)]
pub enum RemoveError {
    /// There is no leader that could.
    #[error("there is no leader")]
    NoLeader,
    /// No member has this name, `VAULT_PEERS` does not list it, and nothing was decided about it.
    #[error("no node has this name")]
    UnknownNode,
    /// The voters that would be left and answer are no majority of those that would be left.
    #[error("the voters that would be left and answer would be no quorum")]
    QuorumAtRisk,
    /// The membership is being changed just now.
    #[error("the membership is being changed")]
    Busy,
    /// It leads, and no other voter took over.
    #[error("no other voter took over the lead")]
    NobodyFit,
    /// Not every member is known to decode the command.
    #[error("not every node can decode this command yet")]
    NotEverywhere,
    /// As many names are noted as there may be.
    #[error("as many names of nodes are noted as there may be")]
    Full,
    /// It was begun, and how it ended is not known. It may be asked for again.
    #[error("the outcome is unknown")]
    Unknown,
}

/// The voters, as this node last found them.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct VoterCount {
    /// How many there are.
    pub voters: u64,
    /// How many of them answered when this node last asked, itself included.
    pub reachable: u64,
    /// How many more may fail with the quorum still standing.
    pub failure_tolerance: u64,
}

/// How far another member is behind the leader.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct PeerLag {
    /// Its name, `NODE_ID`.
    pub name: String,
    /// Entries of the leader's log that it is not known to have stored.
    pub entries: u64,
}

/// This node's part in the agreement, for metrics. Counters are since its start.
#[derive(Clone, Default, Debug)]
pub struct Agreement {
    /// The current term.
    pub term: u64,
    /// Whether it hears of a leader, or leads with a quorum that answers.
    pub has_leader: bool,
    /// The last entry in its log.
    pub last_log_index: u64,
    /// The last entry that it knows to be committed.
    pub committed_index: u64,
    /// The last entry in its newest snapshot.
    pub snapshot_index: u64,
    /// The last entry that it has removed from its log.
    pub purged_index: u64,
    /// How often it has stood for election.
    pub elections: u64,
    /// How often it has seen another node, or none, lead than before.
    pub leader_changes: u64,
    /// From handing entries to the store until they are durable.
    pub appends: DurationsReading,
    /// From proposing an entry, as the leader, until it is applied.
    pub commits: DurationsReading,
    /// Syncs of the store's journal: what makes writes durable.
    pub syncs: DurationsReading,
    /// Bytes of the store on disk.
    pub store_bytes: u64,
    /// Snapshots written.
    pub snapshots: DurationsReading,
    /// Snapshots that could not be written or installed.
    pub snapshot_failures: u64,
    /// Snapshots of the leader's that were installed.
    pub snapshots_installed: u64,
    /// Bytes of the newest snapshot.
    pub snapshot_bytes: u64,
    /// While it leads: how far the others are behind.
    pub lags: Vec<PeerLag>,
}

/// Whether a node can do its whole job.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Readiness {
    /// It knows a leader and has caught up.
    Ready,
    /// It has not caught up since its start.
    Starting,
    /// The cluster has gone on without it.
    Removed,
    /// It knows no leader, or the leader has lost its quorum.
    NoLeader,
    /// It can no longer persist.
    StoreFailed,
}

/// One node as the cluster sees it.
#[derive(Clone, Debug)]
pub struct NodeView {
    /// The operator's name, `NODE_ID`.
    pub name: String,
    /// The Raft id, drawn at the node's first start.
    pub raft_id: u64,
    /// Its Raft address.
    pub address: String,
    /// `leader`, `voter` or `learner`.
    pub role: &'static str,
    /// The last log index it is known to have applied or stored.
    pub applied: Option<u64>,
    /// The version of Strongroom it runs, where known.
    pub version: Option<String>,
    /// Whether it answers now.
    pub reachable: bool,
}

/// The cluster as this node sees it.
#[derive(Clone, Debug)]
pub struct ClusterView {
    /// The cluster's identity, once formed.
    pub cluster_id: Option<ClusterId>,
    /// This node's name.
    pub node_name: String,
    /// The leader's name, if there is one.
    pub leader: Option<String>,
    /// The current term.
    pub term: u64,
    /// How many voters may fail with the quorum still standing, counting those that fail already.
    pub failure_tolerance: u64,
    /// All members.
    pub nodes: Vec<NodeView>,
}

/// Agreement and durability, as the use cases see them.
pub trait Replica: Send + Sync + 'static {
    /// Replicates a command and applies it, once. Holds it across elections for up to `within`.
    ///
    /// # Errors
    /// See [`SubmitError`]: only [`SubmitError::NoLeader`] promises that nothing happened.
    fn submit(
        &self,
        command: Command,
        within: Duration,
    ) -> PortFuture<'_, Result<Submitted, SubmitError>>;

    /// The same for a request that its caller may try again: under one id it takes effect once, and what
    /// it did is said again. Outcomes are kept as long as
    /// [`limits::OUTCOMES`](crate::limits::OUTCOMES) says, and from [`codec::ATTEMPTS`](crate::codec::ATTEMPTS) on.
    ///
    /// # Errors
    /// As [`Replica::submit`].
    fn submit_request(
        &self,
        request: RequestId,
        command: Command,
        within: Duration,
    ) -> PortFuture<'_, Result<Submitted, SubmitError>>;

    /// The state through `gate`, waiting up to `within` for it to open.
    ///
    /// # Errors
    /// See [`ReadError`].
    fn read(
        &self,
        gate: ReadGate,
        within: Duration,
    ) -> PortFuture<'_, Result<Arc<State>, ReadError>>;

    /// What this node has applied, without waiting.
    ///
    /// # Errors
    /// [`ReadError::Starting`] before the node has caught up, [`ReadError::StoreFailed`] once it
    /// can no longer persist.
    fn local(&self) -> Result<Arc<State>, ReadError>;

    /// What this node has applied, once that is beyond `after`, or when the time is over. Unlike
    /// [`Replica::local`] it says nothing about whether the node may serve it.
    fn next_state(
        &self,
        after: Option<LogPosition>,
        within: Duration,
    ) -> PortFuture<'_, Arc<State>>;

    /// What time it is for the cluster, as far as this node knows: what its clock says, or the time of
    /// the last entry applied and what has passed since, whichever is later. So time goes on at its
    /// pace when a clock is set back, or had jumped ahead and is set right.
    fn clock(&self) -> LogTime;

    /// The term in which this node leads, if it does.
    fn leads_in(&self) -> Option<u64>;

    /// Whether this node leads.
    fn is_leader(&self) -> bool {
        self.leads_in().is_some()
    }

    /// Whether this node can do its whole job.
    fn readiness(&self) -> Readiness;

    /// Asks every other member, and gives the answers that came within the time.
    fn ask_members(&self, question: Vec<u8>, within: Duration) -> PortFuture<'_, Vec<Bytes>>;

    /// Asks the leader, if it is another member. `None`: there is none, or it has not answered in time.
    fn ask_leader(&self, question: Vec<u8>, within: Duration) -> PortFuture<'_, Option<Bytes>>;

    /// Says who answers what other members ask; until then they get an empty answer. Only the first
    /// call counts.
    fn answer_members_with(&self, answerer: Answerer);

    /// Says whether this node could do what a leader is asked. One that could not is not passed the
    /// lead, and takes it only if nobody else does.
    fn set_fit_to_lead(&self, fit: bool);

    /// Passes leadership to the voter of this name, or to the fittest, from wherever the leader is.
    /// Commands submitted meanwhile are held. Returns the name of who leads then.
    ///
    /// # Errors
    /// See [`HandOverError`].
    fn hand_over(
        &self,
        to: Option<String>,
        within: Duration,
    ) -> PortFuture<'_, Result<String, HandOverError>>;

    /// Removes the nodes of this name from the cluster, and keeps them out until a command lets them
    /// in again. Asks the leader, wherever it is; a leader that is to go hands over first.
    ///
    /// # Errors
    /// See [`RemoveError`].
    fn remove_node(
        &self,
        name: NodeName,
        within: Duration,
    ) -> PortFuture<'_, Result<(), RemoveError>>;

    /// The voters as this node found them some seconds ago at most. `None` before it has asked.
    fn voters(&self) -> Option<VoterCount>;

    /// This node's part in the agreement, for metrics. Never waits.
    fn agreement(&self) -> Agreement;

    /// While this node leads: a voter that has not answered it for `silent`, in which it has had a
    /// quorum all the time, and that the others can do without: three voters that answer remain.
    fn dead_voter(&self, silent: Duration) -> Option<String>;

    /// While this node leads: takes such a voter out of the membership. Unlike [`Replica::remove_node`]
    /// it decides nothing: the node joins again if it comes back.
    ///
    /// # Errors
    /// See [`RemoveError`].
    fn drop_dead_voter(
        &self,
        name: String,
        silent: Duration,
    ) -> PortFuture<'_, Result<(), RemoveError>>;

    /// The cluster, with every member asked for its state (briefly).
    fn cluster(&self) -> PortFuture<'_, ClusterView>;
}
