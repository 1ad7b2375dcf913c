//! openraft's view of the transport.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use openraft::{
    error::{InstallSnapshotError, NetworkError, RPCError, RaftError, RemoteError, Unreachable},
    network::{Backoff, RPCOption, RaftNetwork, RaftNetworkFactory},
    raft::{
        AppendEntriesRequest, AppendEntriesResponse, InstallSnapshotRequest,
        InstallSnapshotResponse, VoteRequest, VoteResponse,
    },
};
use serde::{Serialize, de::DeserializeOwned};

use crate::{
    types::{NodeId, Peer, TypeConfig},
    wire::{self, Addressed, Rpc, Transport, TransportError},
};

/// How long to leave an unreachable node alone.
const BACKOFF: Duration = Duration::from_millis(200);

/// Where nodes are: `VAULT_PEERS` first, since addresses may change between restarts, then what the
/// membership recorded.
#[derive(Clone, Debug, Default)]
pub(crate) struct AddressBook(Arc<BTreeMap<String, String>>);

impl AddressBook {
    pub(crate) fn new(peers: BTreeMap<String, String>) -> Self {
        Self(Arc::new(peers))
    }

    pub(crate) fn address<'a>(&'a self, peer: &'a Peer) -> &'a str {
        self.0.get(&peer.name).unwrap_or(&peer.address)
    }

    pub(crate) fn contains(&self, name: &str) -> bool {
        self.0.contains_key(name)
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (&String, &String)> {
        self.0.iter()
    }

    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }
}

/// Makes connections for openraft.
pub(crate) struct Network {
    pub(crate) transport: Arc<dyn Transport>,
    pub(crate) addresses: AddressBook,
}

impl RaftNetworkFactory<TypeConfig> for Network {
    type Network = Connection;

    async fn new_client(&mut self, target: NodeId, node: &Peer) -> Connection {
        Connection {
            transport: Arc::clone(&self.transport),
            address: self.addresses.address(node).to_owned(),
            target,
        }
    }
}

/// Where one member is reached.
pub(crate) struct Connection {
    transport: Arc<dyn Transport>,
    address: String,
    target: NodeId,
}

type RpcFailure<E> = RPCError<NodeId, Peer, RaftError<NodeId, E>>;

impl Connection {
    async fn send<Request, Reply, E>(
        &self,
        rpc: Rpc,
        message: Request,
        option: &RPCOption,
    ) -> Result<Reply, RpcFailure<E>>
    where
        Request: Serialize,
        Reply: DeserializeOwned,
        E: std::error::Error + DeserializeOwned,
    {
        let body = wire::encode(&Addressed {
            to: self.target,
            message,
        })
        .map_err(|error| RPCError::Network(NetworkError::new(&error)))?;
        let answer = self
            .transport
            .ask(&self.address, rpc, body, option.hard_ttl())
            .await;
        let answer = answer.map_err(|error| match error {
            TransportError::Unreachable => RPCError::Unreachable(Unreachable::new(&error)),
            _ => RPCError::Network(NetworkError::new(&error)),
        })?;
        wire::decode::<Result<Reply, RaftError<NodeId, E>>>(&answer)
            .map_err(|error| RPCError::Network(NetworkError::new(&error)))?
            .map_err(|error| RPCError::RemoteError(RemoteError::new(self.target, error)))
    }
}

impl RaftNetwork<TypeConfig> for Connection {
    async fn append_entries(
        &mut self,
        rpc: AppendEntriesRequest<TypeConfig>,
        option: RPCOption,
    ) -> Result<AppendEntriesResponse<NodeId>, RpcFailure<openraft::error::Infallible>> {
        self.send(Rpc::Append, rpc, &option).await
    }

    async fn install_snapshot(
        &mut self,
        rpc: InstallSnapshotRequest<TypeConfig>,
        option: RPCOption,
    ) -> Result<InstallSnapshotResponse<NodeId>, RpcFailure<InstallSnapshotError>> {
        self.send(Rpc::Snapshot, rpc, &option).await
    }

    async fn vote(
        &mut self,
        rpc: VoteRequest<NodeId>,
        option: RPCOption,
    ) -> Result<VoteResponse<NodeId>, RpcFailure<openraft::error::Infallible>> {
        self.send(Rpc::Vote, rpc, &option).await
    }

    fn backoff(&self) -> Backoff {
        Backoff::new(std::iter::repeat(BACKOFF))
    }
}
