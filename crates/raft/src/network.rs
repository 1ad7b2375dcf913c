//! openraft's view of the transport.

use std::{
    collections::{BTreeMap, BTreeSet},
    future::Future,
    sync::{Arc, PoisonError, RwLock},
    time::{Duration, Instant},
};

use openraft::{
    AnyError, OptionalSend,
    error::{
        Fatal, InstallSnapshotError, NetworkError, RPCError, RaftError, RemoteError,
        ReplicationClosed, StreamingError, Unreachable,
    },
    network::{
        Backoff, RPCOption, RaftNetwork, RaftNetworkFactory,
        snapshot_transport::{Chunked, SnapshotTransport},
    },
    raft::{
        AppendEntriesRequest, AppendEntriesResponse, InstallSnapshotRequest,
        InstallSnapshotResponse, SnapshotResponse, VoteRequest, VoteResponse,
    },
};
use serde::{Serialize, de::DeserializeOwned};
use tokio::task::JoinHandle;

use crate::{
    log_store::LogStore,
    snapshot_files::{self, SnapshotFiles},
    telling::Telling,
    types::{LogId, NodeId, Peer, Snapshot, TypeConfig, Vote},
    wire::{self, Addressed, Rpc, Transport, TransportError},
};

/// How long what a member has answered counts for its being there.
const JUST_NOW: Duration = Duration::from_millis(1);
/// How long to leave an unreachable node alone.
const BACKOFF: Duration = Duration::from_millis(200);
/// How long a message may be on its way, and how long more for each [`SLICE_BYTES`] of it. openraft
/// gives up waiting after a heartbeat's interval, and asks again: then the answer to the first sending
/// counts for the second.
const MESSAGE_WITHIN: Duration = Duration::from_secs(1);
const SLICE_BYTES: usize = 64 * 1024;

/// Where nodes are: as `VAULT_PEERS` says, since all may have moved while none ran; or as the membership
/// says, of those that are not listed, and of those that were found there and not where they are listed.
#[derive(Clone, Debug, Default)]
pub(crate) struct AddressBook(Arc<Book>);

#[derive(Debug, Default)]
struct Book {
    listed: BTreeMap<String, String>,
    /// Names and addresses of members that were found where the membership has them.
    moved: RwLock<BTreeSet<(String, String)>>,
}

impl AddressBook {
    pub(crate) fn new(listed: BTreeMap<String, String>) -> Self {
        let moved = RwLock::default();
        Self(Arc::new(Book { listed, moved }))
    }

    pub(crate) fn address<'a>(&'a self, peer: &'a Peer) -> &'a str {
        let moved = || self.0.moved.read().unwrap_or_else(PoisonError::into_inner);
        match self.0.listed.get(&peer.name) {
            Some(listed) if *listed != peer.address && !moved().contains(&named(peer)) => listed,
            _ => &peer.address,
        }
    }

    /// Notes whether a node was found where the membership has it, and not where it is listed.
    pub(crate) fn note(&self, peer: &Peer, has_moved: bool) {
        let moved = self.0.moved.write();
        let mut moved = moved.unwrap_or_else(PoisonError::into_inner);
        match has_moved {
            true => moved.insert(named(peer)),
            false => moved.remove(&named(peer)),
        };
    }

    /// Where a node is listed.
    pub(crate) fn listed(&self, name: &str) -> Option<&str> {
        self.0.listed.get(name).map(String::as_str)
    }

    pub(crate) fn contains(&self, name: &str) -> bool {
        self.0.listed.contains_key(name)
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (&String, &String)> {
        self.0.listed.iter()
    }

    pub(crate) fn len(&self) -> usize {
        self.0.listed.len()
    }
}

fn named(peer: &Peer) -> (String, String) {
    (peer.name.clone(), peer.address.clone())
}

/// Makes connections for openraft.
pub(crate) struct Network {
    pub(crate) transport: Arc<dyn Transport>,
    pub(crate) addresses: AddressBook,
    pub(crate) snapshots: Arc<SnapshotFiles>,
    pub(crate) log: LogStore,
    pub(crate) telling: Arc<Telling>,
}

impl RaftNetworkFactory<TypeConfig> for Network {
    type Network = Connection;

    async fn new_client(&mut self, target: NodeId, node: &Peer) -> Connection {
        Connection {
            transport: Arc::clone(&self.transport),
            addresses: self.addresses.clone(),
            peer: node.clone(),
            target,
            snapshots: Arc::clone(&self.snapshots),
            log: self.log.clone(),
            telling: Arc::clone(&self.telling),
            sending: None,
            appended: None,
        }
    }
}

/// Where one member is reached.
pub(crate) struct Connection {
    transport: Arc<dyn Transport>,
    addresses: AddressBook,
    peer: Peer,
    target: NodeId,
    snapshots: Arc<SnapshotFiles>,
    log: LogStore,
    telling: Arc<Telling>,
    sending: Option<Sending>,
    /// What it had last, by its own word.
    appended: Option<(Extent, Instant)>,
}

type RpcFailure<E> = RPCError<NodeId, Peer, RaftError<NodeId, E>>;
type Appended = Result<AppendEntriesResponse<NodeId>, RpcFailure<openraft::error::Infallible>>;

/// Entries on their way, which go on if openraft does not wait for them.
struct Sending {
    what: Extent,
    answer: JoinHandle<Appended>,
}

/// What is sent, as far as an answer to it can be told from an answer to something else.
#[derive(Clone, PartialEq, Eq)]
struct Extent {
    vote: Vote,
    after: Option<LogId>,
    last: LogId,
}

impl Extent {
    /// `None` for a heartbeat, which carries nothing and is sent anew.
    fn of(rpc: &AppendEntriesRequest<TypeConfig>) -> Option<Self> {
        Some(Self {
            vote: rpc.vote,
            after: rpc.prev_log_id,
            last: rpc.entries.last()?.log_id,
        })
    }

    /// Whether the answer to a message is known from this having been taken so long ago: it carries no entries, comes
    /// from the same lead, and asks about nothing beyond.
    fn answers(&self, rpc: &AppendEntriesRequest<TypeConfig>, ago: Duration) -> bool {
        rpc.entries.is_empty()
            && rpc.vote == self.vote
            && rpc.prev_log_id <= Some(self.last)
            && ago < JUST_NOW
    }
}

/// Asks a member. Whatever goes wrong but a deadline is left alone for a while, since it would go
/// wrong again at once: a node whose store has failed, one that does not understand, or another node
/// at the address. `within`: by the message's size, if nothing else is said.
async fn send<Request, Reply, E>(
    transport: &dyn Transport,
    address: &str,
    target: NodeId,
    rpc: Rpc,
    message: Request,
    within: Option<Duration>,
) -> Result<Reply, RpcFailure<E>>
where
    Request: Serialize,
    Reply: DeserializeOwned,
    E: std::error::Error + DeserializeOwned,
{
    let unusable = |error: &(dyn std::error::Error + 'static)| {
        RPCError::Unreachable(Unreachable::new(&AnyError::error(error.to_string())))
    };
    let to = target;
    let body = wire::encode(&Addressed { to, message }).map_err(|error| unusable(&error))?;
    let slices = u32::try_from(body.len() / SLICE_BYTES).unwrap_or(u32::MAX);
    let within = within.unwrap_or(MESSAGE_WITHIN.saturating_mul(slices.saturating_add(1)));
    let answer = transport.ask(address, rpc, body, within).await;
    let answer = answer.map_err(|error| match error {
        TransportError::TimedOut => RPCError::Network(NetworkError::new(&error)),
        TransportError::Unreachable | TransportError::Failed => unusable(&error),
    })?;
    let decoded = wire::decode::<Result<Reply, RaftError<NodeId, E>>>(&answer);
    match decoded.map_err(|error| unusable(&error))? {
        Ok(reply) => Ok(reply),
        Err(RaftError::Fatal(fatal)) => Err(unusable(&fatal)),
        Err(error) => Err(RPCError::RemoteError(RemoteError::new(target, error))),
    }
}

impl Connection {
    fn address(&self) -> &str {
        self.addresses.address(&self.peer)
    }

    /// The answer to the same entries if they are on their way already, else to what is sent now.
    /// Cancelling it cancels no sending.
    async fn append(&mut self, mut rpc: AppendEntriesRequest<TypeConfig>) -> Appended {
        let known = self.appended.as_ref();
        let known = known.is_some_and(|(taken, at)| taken.answers(&rpc, at.elapsed()));
        if known && self.telling.defer(self.target, rpc.leader_commit) {
            return Ok(AppendEntriesResponse::Success);
        }
        let what = Extent::of(&rpc);
        if let Some(sending) = &mut self.sending {
            let answer = (&mut sending.answer).await;
            let same = Some(&sending.what) == what.as_ref();
            self.sending = None;
            if let (true, Ok(answer)) = (same, answer) {
                return answer;
            }
        }
        // openraft counts this node's own disk from the start (invariant 28).
        let durable = self.log.durable_end();
        rpc.leader_commit = self.telling.lower(self.target, rpc.leader_commit, durable);
        let (transport, address) = (Arc::clone(&self.transport), self.address().to_owned());
        let target = self.target;
        let Some(what) = what else {
            let transport = transport.as_ref();
            return send(transport, &address, target, Rpc::Append, rpc, None).await;
        };
        let answer = tokio::spawn(async move {
            send(transport.as_ref(), &address, target, Rpc::Append, rpc, None).await
        });
        let sending = self.sending.insert(Sending { what, answer });
        let answered = (&mut sending.answer).await;
        let appended = self.sending.take().filter(|_| {
            let answer = answered
                .as_ref()
                .ok()
                .and_then(|answer| answer.as_ref().ok());
            matches!(answer, Some(AppendEntriesResponse::Success))
        });
        self.appended = appended.map(|sent| (sent.what, Instant::now()));
        answered.unwrap_or_else(|error| Err(RPCError::Unreachable(Unreachable::new(&error))))
    }
}

impl RaftNetwork<TypeConfig> for Connection {
    async fn append_entries(
        &mut self,
        rpc: AppendEntriesRequest<TypeConfig>,
        _option: RPCOption,
    ) -> Appended {
        if self.log.is_stalled() {
            let stalled = AnyError::error("this node's own disk does not answer");
            return Err(Unreachable::new(&stalled).into());
        }
        self.append(rpc).await
    }

    async fn install_snapshot(
        &mut self,
        rpc: InstallSnapshotRequest<TypeConfig>,
        option: RPCOption,
    ) -> Result<InstallSnapshotResponse<NodeId>, RpcFailure<InstallSnapshotError>> {
        let (transport, within) = (self.transport.as_ref(), Some(option.hard_ttl()));
        send(
            transport,
            self.address(),
            self.target,
            Rpc::Snapshot,
            rpc,
            within,
        )
        .await
    }

    /// Checked before it leaves: one that is damaged would stop every node that takes it.
    async fn full_snapshot(
        &mut self,
        vote: Vote,
        snapshot: Snapshot,
        cancel: impl Future<Output = ReplicationClosed> + OptionalSend + 'static,
        option: RPCOption,
    ) -> Result<SnapshotResponse<NodeId>, StreamingError<TypeConfig, Fatal<NodeId>>> {
        let copy = snapshot.snapshot.try_clone().await;
        let copy = copy
            .map_err(|error| NetworkError::new(&error))?
            .into_std()
            .await;
        let checked = tokio::task::spawn_blocking(move || snapshot_files::verify(copy));
        let wanted = &snapshot.meta;
        match checked.await {
            Ok(Ok((found, _))) if found == *wanted => {
                Chunked::send_snapshot(self, vote, snapshot, cancel, option).await
            }
            _ => {
                self.snapshots.set_aside(&wanted.snapshot_id);
                let damaged = AnyError::error("the snapshot is damaged; another is written");
                Err(Unreachable::new(&damaged).into())
            }
        }
    }

    async fn vote(
        &mut self,
        rpc: VoteRequest<NodeId>,
        option: RPCOption,
    ) -> Result<VoteResponse<NodeId>, RpcFailure<openraft::error::Infallible>> {
        let (transport, within) = (self.transport.as_ref(), Some(option.hard_ttl()));
        send(
            transport,
            self.address(),
            self.target,
            Rpc::Vote,
            rpc,
            within,
        )
        .await
    }

    fn backoff(&self) -> Backoff {
        Backoff::new(std::iter::repeat(BACKOFF))
    }
}

#[cfg(test)]
mod tests {
    use openraft::{CommittedLeaderId, testing::blank_ent};

    use super::*;

    fn rpc(term: u64, after: u64, entries: u64) -> AppendEntriesRequest<TypeConfig> {
        let entries = after + 1..=after + entries;
        AppendEntriesRequest {
            vote: Vote::new_committed(term, 1),
            prev_log_id: Some(LogId::new(CommittedLeaderId::new(term, 1), after)),
            entries: entries
                .map(|index| blank_ent::<TypeConfig>(term, 1, index))
                .collect(),
            leader_commit: None,
        }
    }

    #[test]
    fn only_a_message_that_asks_nothing_new_is_answered_from_memory() {
        let taken = Extent::of(&rpc(2, 4, 3)).unwrap();
        let (now, later) = (Duration::ZERO, JUST_NOW);
        assert!(taken.answers(&rpc(2, 7, 0), now) && taken.answers(&rpc(2, 5, 0), now));
        assert!(!taken.answers(&rpc(2, 7, 0), later), "it may be gone");
        assert!(!taken.answers(&rpc(2, 8, 0), now), "it may not have that");
        assert!(!taken.answers(&rpc(3, 7, 0), now), "another lead");
        assert!(!taken.answers(&rpc(2, 7, 1), now), "an entry");
        assert!(Extent::of(&rpc(2, 7, 0)).is_none());
    }
}
