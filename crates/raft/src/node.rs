//! One node: openraft, the store and the transport put together, behind core's `Replica` port.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    sync::{
        Arc, OnceLock, Weak,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};

use openraft::Config;
use serde::de::DeserializeOwned;
use strongroom_core::replica::Answerer;
use tokio::sync::Semaphore;

use crate::{
    damage,
    epoch::{self, Epoch, Surpassed},
    formats::Asked,
    forwarder::Forwarder,
    identity::{DataDir, Identity},
    incoming::Incoming,
    last::Last,
    meters::Meters,
    network::{AddressBook, Network},
    proposer::Proposer,
    read_index::ReadIndex,
    store::{OpenError, Store},
    telling::Telling,
    types::{NodeId, Peer, Raft},
    voters::Heard,
    wire::{self, NodeStatus, Rpc, Transport, TransportError},
};

/// How often the leader shows itself, and the deadline of one AppendEntries, in milliseconds.
const HEARTBEAT_MS: u64 = 250;
/// The upper bound is the leader's lease: voters refuse another one for so long, in milliseconds. When
/// a follower stands is decided in `election`.
const ELECTION_MS: (u64, u64) = (400, 600);
/// Proposals at a time; more are refused as by a node that does not lead.
pub(crate) const PROPOSALS: u32 = 1 << 20;
/// How long a node that stops waits for the proposals on their way.
const DRAIN_WITHIN: Duration = Duration::from_secs(3);
/// How long a node that stops goes on refusing: who asked in this time asks again on a connection that
/// is not made any more, and knows that it was not heard. Shorter than [`REFUSED_PAUSE`](crate::leading::REFUSED_PAUSE).
const FAREWELL: Duration = Duration::from_millis(250);
/// How long Raft's core may take to answer, and between two times that it is asked.
const CORE_WITHIN: Duration = Duration::from_secs(2);
const CORE_EVERY: Duration = Duration::from_millis(500);
/// Bytes of a snapshot in one message.
const SNAPSHOT_CHUNK_BYTES: u64 = 1024 * 1024;
/// Entries in one message; bytes are limited by the log reader.
const ENTRIES_PER_MESSAGE: u64 = 256;

/// What a node is started with.
#[derive(Clone, Debug)]
pub struct NodeConfig {
    /// `NODE_ID`.
    pub name: String,
    /// Raft addresses by node name, this node's included; empty: a cluster of one.
    pub peers: BTreeMap<String, String>,
    /// This node's version, as others are told.
    pub version: String,
    /// The newest format of commands that this node announces to decode.
    pub decodes: u8,
    /// A snapshot is taken when this many bytes of log have come since the last one.
    pub snapshot_log_bytes: u64,
    /// Or this many entries.
    pub snapshot_log_entries: u64,
}

/// Why a node did not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The store cannot be opened.
    #[error(transparent)]
    Store(#[from] OpenError),
    /// openraft refused.
    #[error("Raft did not start: {0}")]
    Raft(String),
    /// The cluster was recovered without this node.
    #[error(transparent)]
    Surpassed(#[from] Surpassed),
}

/// A running node.
pub struct Node {
    pub(crate) inner: Arc<Inner>,
}

pub(crate) struct Inner {
    pub(crate) raft: Raft,
    pub(crate) identity: Identity,
    pub(crate) config: NodeConfig,
    pub(crate) store: Store,
    pub(crate) addresses: AddressBook,
    pub(crate) transport: Arc<dyn Transport>,
    pub(crate) proposer: Proposer,
    /// The way of commands to a leader elsewhere.
    pub(crate) forwarder: Forwarder,
    /// This node's own proof that it leads.
    pub(crate) read_index: ReadIndex,
    /// The leader's, wherever it is.
    pub(crate) leaders_read_index: OnceLock<ReadIndex>,
    /// What the others were told of what is committed.
    pub(crate) telling: Arc<Telling>,
    /// Whether it belonged to a cluster when it started.
    pub(crate) has_a_past: bool,
    pub(crate) epoch: Epoch,
    pub(crate) caught_up: AtomicBool,
    /// The cluster has gone on without it.
    pub(crate) removed: AtomicBool,
    /// Whether Raft's core answers: a disk that hangs takes it along.
    core_answers: AtomicBool,
    /// Held by each proposal on its way; closed when the node stops.
    pub(crate) proposals: Semaphore,
    pub(crate) stopping: AtomicBool,
    /// It was told to stop, and still answers.
    pub(crate) leaving: AtomicBool,
    /// The use cases have said that it cannot do what a leader is asked.
    pub(crate) unfit: AtomicBool,
    pub(crate) answerer: OnceLock<Answerer>,
    pub(crate) asked: Asked,
    /// When it last heard of a leader, or gave its vote to a candidate.
    pub(crate) contact: Last,
    pub(crate) incoming: Incoming,
    pub(crate) heard: Heard,
    pub(crate) meters: Meters,
    /// One change of the membership at a time.
    pub(crate) admitting: tokio::sync::Mutex<()>,
    /// Where a damaged store was set aside at this start.
    set_aside: Option<PathBuf>,
    /// How many wait for their turn and would not wait for a node that catches up.
    pub(crate) hurried: AtomicUsize,
    _data_dir: DataDir,
}

impl Node {
    /// Opens the store and starts Raft, formation and upkeep on the current runtime, which should
    /// serve nothing else.
    ///
    /// # Errors
    /// See [`StartError`].
    pub async fn start(
        mut data_dir: DataDir,
        config: NodeConfig,
        transport: Arc<dyn Transport>,
    ) -> Result<Self, StartError> {
        let addresses = AddressBook::new(config.peers.clone());
        let opened = damage::open(&mut data_dir, &addresses, transport.as_ref()).await?;
        let identity = data_dir.identity.clone();
        let store = opened.store.recall_committed().await;
        let machine = store
            .take_machine()
            .ok_or_else(|| StartError::Raft("no state machine".to_owned()))?;
        let last_id = store.log().ends().last_log_id;
        let last = last_id.map(|id| id.index);
        let vote = store.log().stored_vote();
        let has_a_past = vote.is_some() || last.is_some();
        let own = epoch::of_stored(vote.as_ref(), last_id.as_ref()).max(identity.epoch);
        // Before Raft starts: it may take up a lead that it had before, at once.
        if has_a_past
            && let (transport, name) = (transport.as_ref(), &identity.node_id)
            && let Some(newest) = epoch::surpassed(transport, &addresses, name, own).await
        {
            return Err(Surpassed { own, newest }.into());
        }
        if let Some(vote) = &vote {
            let laid_down = store.log().lay_down_lead(vote).await;
            laid_down.map_err(|error| StartError::Raft(error.to_string()))?;
        }
        let telling = Arc::<Telling>::default();
        let network = Network {
            transport: Arc::clone(&transport),
            addresses: addresses.clone(),
            snapshots: store.snapshots(),
            log: store.log(),
            telling: Arc::clone(&telling),
        };
        let raft_config = raft_config().map_err(|error| StartError::Raft(error.to_string()))?;
        let raft = Raft::new(
            identity.raft_id,
            Arc::new(raft_config),
            network,
            store.log(),
            machine,
        )
        .await
        .map_err(|error| StartError::Raft(error.to_string()))?;
        let inner = Arc::new(Inner {
            proposer: Proposer::start(raft.clone(), store.view()),
            forwarder: Forwarder::default(),
            read_index: ReadIndex::of_this_node(raft.clone()),
            leaders_read_index: OnceLock::new(),
            raft,
            identity,
            config,
            store,
            addresses,
            transport,
            telling,
            has_a_past,
            epoch: Epoch::begin(own),
            caught_up: AtomicBool::new(false),
            removed: AtomicBool::new(false),
            core_answers: AtomicBool::new(true),
            proposals: Semaphore::new(PROPOSALS as usize),
            stopping: AtomicBool::new(false),
            leaving: AtomicBool::new(false),
            unfit: AtomicBool::new(false),
            answerer: OnceLock::new(),
            asked: Asked::default(),
            contact: Last::now(),
            incoming: Incoming::default(),
            heard: Heard::default(),
            meters: Meters::default(),
            admitting: tokio::sync::Mutex::default(),
            set_aside: opened.set_aside,
            hurried: AtomicUsize::new(0),
            _data_dir: data_dir,
        });
        let leaders = ReadIndex::of_the_leader(Arc::downgrade(&inner));
        // Nobody else has set it: the node is new.
        let _ = inner.leaders_read_index.set(leaders);
        crate::election::start(&inner);
        crate::formation::start(&inner);
        crate::joining::start(&inner);
        crate::formats::start(&inner);
        crate::membership::start(&inner);
        epoch::start(&inner);
        crate::telling::start(&inner);
        crate::upkeep::start(&inner);
        crate::voters::start(&inner);
        crate::meters::start(&inner);
        tokio::spawn(watch_core(Arc::downgrade(&inner)));
        Ok(Self { inner })
    }

    /// Passes leadership on if this node leads, takes no more proposals, so that others hold theirs
    /// until there is another leader; waits for those on their way, and stops Raft.
    pub async fn shutdown(&self) {
        let inner = &self.inner;
        self.step_down().await;
        inner.stopping.store(true, Ordering::Release);
        let drained = inner.proposals.acquire_many(PROPOSALS);
        if tokio::time::timeout(DRAIN_WITHIN, drained).await.is_err() {
            tracing::warn!("some writes did not end in time: their outcome is unknown");
        }
        inner.proposals.close();
        if inner.config.peers.len() > 1 {
            tokio::time::sleep(FAREWELL).await;
        }
        match tokio::time::timeout(DRAIN_WITHIN, inner.raft.shutdown()).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::warn!(%error, "Raft did not stop cleanly"),
            Err(_) => tracing::warn!("Raft did not stop in time: does the disk hang?"),
        }
    }

    /// Where a store that was found damaged at this start was set aside, if one was.
    #[must_use]
    pub fn store_set_aside(&self) -> Option<&Path> {
        self.inner.set_aside.as_deref()
    }

    /// Whether it has begun to stop: whoever asks should not count on this connection again.
    #[must_use]
    pub fn is_stopping(&self) -> bool {
        self.inner.stopping.load(Ordering::Acquire)
    }
}

/// A core that waits for a disk that hangs reports nothing, and its metrics stay as they were.
async fn watch_core(weak: Weak<Inner>) {
    loop {
        let Some(inner) = weak.upgrade() else { return };
        let asked = inner.raft.with_raft_state(|_| ());
        let answers = tokio::time::timeout(CORE_WITHIN, asked).await.is_ok();
        if inner.core_answers.swap(answers, Ordering::AcqRel) != answers {
            tracing::warn!(answers, "Raft's core has changed whether it answers");
        }
        drop(inner);
        tokio::time::sleep(CORE_EVERY).await;
    }
}

fn raft_config() -> Result<Config, openraft::ConfigError> {
    Config {
        cluster_name: "strongroom".to_owned(),
        heartbeat_interval: HEARTBEAT_MS,
        election_timeout_min: ELECTION_MS.0,
        election_timeout_max: ELECTION_MS.1,
        enable_elect: false,
        max_payload_entries: ENTRIES_PER_MESSAGE,
        snapshot_max_chunk_size: SNAPSHOT_CHUNK_BYTES,
        install_snapshot_timeout: 10_000,
        // Upkeep decides by bytes as well as by entries, which openraft's own policies cannot.
        snapshot_policy: openraft::SnapshotPolicy::Never,
        max_in_snapshot_log_to_keep: u64::MAX,
        ..Config::default()
    }
    .validate()
}

impl Inner {
    pub(crate) fn status(&self) -> NodeStatus {
        let epoch = self.epoch();
        let metrics = self.raft.metrics();
        let metrics = metrics.borrow();
        NodeStatus {
            name: self.identity.node_id.clone(),
            raft_id: self.identity.raft_id,
            version: self.config.version.clone(),
            decodes: self.config.decodes,
            // Metrics know no membership until Raft's core has first reported.
            member: self.has_a_past
                || self.identity.rejoins
                || metrics.membership_config.nodes().next().is_some(),
            leader: metrics.current_leader.filter(|_| !self.epoch.is_over()),
            applied: metrics.last_applied.map(|id| id.index),
            silence_ms: u64::try_from(self.contact.ago().as_millis()).unwrap_or(u64::MAX),
            membership: metrics.membership_config.log_id().map(|id| id.index),
            voters: metrics.membership_config.voter_ids().collect(),
            epoch: Some(epoch),
        }
    }

    /// Whether Raft's core answers, and the disk of a node that leads does.
    pub(crate) fn is_alive(&self) -> bool {
        let core_answers = self.core_answers.load(Ordering::Acquire);
        core_answers && self.store.log().waits_for_disk() < CORE_WITHIN
    }

    pub(crate) fn store_failed(&self) -> bool {
        self.store.failed() || self.raft.metrics().borrow().running_state.is_err()
    }

    pub(crate) async fn ask<T: DeserializeOwned>(
        &self,
        address: &str,
        rpc: Rpc,
        body: Vec<u8>,
        within: Duration,
    ) -> Result<T, TransportError> {
        let answer = self.carry(address, rpc, body, within).await?;
        wire::decode(&answer).map_err(|_| TransportError::Failed)
    }
}

impl Inner {
    pub(crate) fn this_peer(&self) -> Peer {
        Peer {
            name: self.identity.node_id.clone(),
            address: self
                .config
                .peers
                .get(&self.identity.node_id)
                .cloned()
                .unwrap_or_default(),
            version: self.config.version.clone(),
        }
    }

    pub(crate) fn raft_id(&self) -> NodeId {
        self.identity.raft_id
    }
}
