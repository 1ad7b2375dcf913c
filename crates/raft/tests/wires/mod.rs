//! Several nodes in one process, and the wires between them.
#![allow(dead_code, unreachable_pub)]

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    sync::{
        Arc, Mutex, OnceLock,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use bytes::Bytes;
use strongroom_core::{
    Admission, Command, MountName, NodeName, Replica, command::MountSettings, replica::PortFuture,
};
use strongroom_raft::{
    DataDir, IdentityError, Node, NodeConfig, Rpc, StartError, Transport, TransportError,
    durable::OpenError,
};

/// How long anything may take that a test waits for.
pub const WITHIN: Duration = Duration::from_secs(20);

/// What happens to the messages on their way to one node.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Way {
    /// They arrive.
    #[default]
    Open,
    /// They vanish.
    Cut,
    /// They are refused at once.
    Refused,
    /// Those with entries take so long.
    Slow(Duration),
}

/// AppendEntries without entries are shorter than this.
const HEARTBEAT_BYTES: usize = 80;

/// Carries messages between the nodes of this process, by address.
#[derive(Default)]
pub struct Wires {
    nodes: Mutex<HashMap<String, Arc<OnceLock<Arc<Node>>>>>,
    ways: Mutex<HashMap<String, Way>>,
    /// Nodes whose own messages vanish.
    mute: Mutex<HashSet<String>>,
    asked: AtomicU64,
    by_kind: Mutex<HashMap<Rpc, u64>>,
}

impl Wires {
    pub fn set(&self, name: &str, way: Way) {
        self.ways.lock().unwrap().insert(address(name), way);
    }

    pub fn remove(&self, name: &str) {
        self.remove_at(&address(name));
    }

    pub fn remove_at(&self, address: &str) {
        self.nodes.lock().unwrap().remove(address);
    }

    /// A node's end of the wires.
    pub fn end(self: &Arc<Self>, name: &str) -> impl Transport + use<> {
        End {
            wires: Arc::clone(self),
            name: name.to_owned(),
        }
    }

    /// Messages sent by now.
    pub fn asked(&self) -> u64 {
        self.asked.load(Ordering::Relaxed)
    }

    /// Messages of this kind sent by now.
    pub fn asked_for(&self, rpc: Rpc) -> u64 {
        let by_kind = self.by_kind.lock().unwrap();
        by_kind.get(&rpc).copied().unwrap_or_default()
    }

    /// Nothing reaches the node, and nothing it says reaches others; or both again.
    pub fn cut_off(&self, name: &str, cut: bool) {
        self.set(name, if cut { Way::Cut } else { Way::Open });
        let mut mute = self.mute.lock().unwrap();
        if cut {
            mute.insert(name.to_owned());
        } else {
            mute.remove(name);
        }
    }
}

/// Where a node is, unless a test says otherwise.
pub fn address(name: &str) -> String {
    format!("node-{name}")
}

/// One node's end of the wires.
struct End {
    wires: Arc<Wires>,
    name: String,
}

impl Transport for End {
    fn ask<'a>(
        &'a self,
        address: &'a str,
        rpc: Rpc,
        body: Vec<u8>,
        within: Duration,
    ) -> PortFuture<'a, Result<Bytes, TransportError>> {
        Box::pin(async move {
            self.wires.asked.fetch_add(1, Ordering::Relaxed);
            *self.wires.by_kind.lock().unwrap().entry(rpc).or_default() += 1;
            let way = self.wires.ways.lock().unwrap().get(address).copied();
            let mute = self.wires.mute.lock().unwrap().contains(&self.name);
            match way.unwrap_or_default() {
                _ if mute => {
                    tokio::time::sleep(within).await;
                    return Err(TransportError::TimedOut);
                }
                Way::Open => {}
                Way::Cut => {
                    tokio::time::sleep(within).await;
                    return Err(TransportError::TimedOut);
                }
                Way::Refused => return Err(TransportError::Failed),
                Way::Slow(delay) if rpc == Rpc::Append && body.len() > HEARTBEAT_BYTES => {
                    tokio::time::sleep(delay).await;
                }
                Way::Slow(_) => {}
            }
            let place = self.wires.nodes.lock().unwrap().get(address).cloned();
            let node = place.and_then(|place| place.get().cloned());
            let node = node.ok_or(TransportError::Unreachable)?;
            node.hears(rpc, &body);
            let answer = tokio::time::timeout(within, node.serve(rpc, body.into())).await;
            answer
                .map_err(|_| TransportError::TimedOut)?
                .map(Bytes::from)
                .map_err(|_| TransportError::Failed)
        })
    }
}

/// Starts node `name` of three, with its files below `dir`.
pub async fn start(
    dir: &tempfile::TempDir,
    wires: &Arc<Wires>,
    name: &str,
    decodes: u8,
) -> Arc<Node> {
    let peers = ["1", "2", "3"].map(|name| (name, address(name)));
    start_with(dir, wires, name, decodes, &peers).await
}

/// Starts node `name`, which knows these nodes and where they are, itself among them.
pub async fn start_with(
    dir: &tempfile::TempDir,
    wires: &Arc<Wires>,
    name: &str,
    decodes: u8,
    peers: &[(&str, String)],
) -> Arc<Node> {
    let peers = peers
        .iter()
        .map(|(name, at)| ((*name).to_owned(), at.clone()));
    let peers: BTreeMap<_, _> = peers.collect();
    let own = peers[name].clone();
    let config = NodeConfig {
        name: name.to_owned(),
        peers,
        version: "test".to_owned(),
        decodes,
        snapshot_log_bytes: 1 << 20,
        snapshot_log_entries: 1_000,
    };
    let path = dir.path().join(name);
    let transport = Arc::new(End {
        wires: Arc::clone(wires),
        name: name.to_owned(),
    });
    // A node that was dropped may be looked after for a moment yet, and so may its store.
    let deadline = Instant::now() + WITHIN;
    let node = loop {
        let is_held = match DataDir::open(&path, name) {
            Ok(data_dir) => {
                let transport = Arc::clone(&transport) as Arc<dyn Transport>;
                match Node::start(data_dir, config.clone(), transport).await {
                    Ok(node) => break Arc::new(node),
                    Err(StartError::Store(error @ OpenError::Locked(_))) => error.to_string(),
                    Err(error) => panic!("{error}"),
                }
            }
            Err(error @ IdentityError::Locked(_)) => error.to_string(),
            Err(error) => panic!("{error}"),
        };
        assert!(Instant::now() < deadline, "{is_held}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    };
    let place = Arc::new(OnceLock::new());
    place.set(Arc::clone(&node)).ok().unwrap();
    wires.nodes.lock().unwrap().insert(own, place);
    node
}

/// Three nodes that have formed a cluster.
pub async fn three(dir: &tempfile::TempDir, wires: &Arc<Wires>) -> [Arc<Node>; 3] {
    let newest = strongroom_core::codec::FORMAT;
    let nodes = [
        start(dir, wires, "1", newest).await,
        start(dir, wires, "2", newest).await,
        start(dir, wires, "3", newest).await,
    ];
    for node in &nodes {
        until("a node is caught up", || node.local().is_ok()).await;
    }
    nodes
}

/// Waits for something that must come.
pub async fn until(what: &str, holds: impl Fn() -> bool) {
    let deadline = Instant::now() + WITHIN * 3;
    while !holds() {
        assert!(Instant::now() < deadline, "in vain: {what}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// The place of the node that leads.
pub async fn leader(nodes: &[Arc<Node>]) -> usize {
    until("a leader", || nodes.iter().any(|node| node.is_leader())).await;
    let leads = nodes.iter().position(|node| node.is_leader());
    leads.unwrap_or(0)
}

/// A command that every version decodes: a mount of this name.
pub fn mount(name: &str) -> Command {
    Command::CreateMount {
        mount: MountName::parse(name).unwrap(),
        settings: MountSettings::default(),
    }
}

/// Whether a state has a mount of this name.
pub fn has_mount(state: &strongroom_core::State, name: &str) -> bool {
    state.mount(&MountName::parse(name).unwrap()).is_some()
}

/// A node's name.
pub fn named(name: &str) -> NodeName {
    NodeName::parse(name).unwrap()
}

/// The name of the node at a place, as `three` has them.
pub fn name_of(place: usize) -> String {
    (place + 1).to_string()
}

/// What is decided about a name.
pub fn admit(name: &str, admission: Admission) -> Command {
    Command::AdmitNode {
        name: named(name),
        admission,
    }
}

/// The names of the voters, as a node sees them.
pub async fn voters(node: &Node) -> Vec<String> {
    let nodes = node.cluster().await.nodes.into_iter();
    let voters = nodes.filter(|node| node.role != "learner");
    let mut names: Vec<_> = voters.map(|node| node.name).collect();
    names.sort();
    names
}

/// Waits until a node sees just these voters.
pub async fn until_voters(node: &Node, expected: &[&str]) {
    let deadline = Instant::now() + WITHIN * 3;
    loop {
        let found = voters(node).await;
        if found == expected {
            return;
        }
        assert!(Instant::now() < deadline, "{found:?}, not {expected:?}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// Writes something that `has_mount` finds.
pub async fn write(node: &Node, name: &str) {
    node.submit(mount(name), WITHIN).await.unwrap();
}
