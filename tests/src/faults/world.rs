//! A cluster in its own network, with everything in reach that can go wrong, and how each fault is
//! done and undone.

use std::{
    fs,
    sync::{Arc, atomic::AtomicU32, atomic::Ordering},
    time::{Duration, Instant},
};

use rustix::process::Signal;

use super::{
    fault::{Fault, Kind},
    kms::Kms,
    net::Net,
};
use crate::{
    cluster::Cluster,
    moto::gate::Mode,
    node::Node,
    shim::{FailingDisk, PowerCut, WrongClock},
};

/// Nodes of a cluster.
pub const NODES: usize = 3;
const API_PORT: u16 = 8200;
const RAFT_PORT: u16 = 8201;
/// How long a node may take to say who leads.
const ASK_WITHIN: Duration = Duration::from_millis(700);
/// Entries of log between two snapshots: few, so that who was away is sent a snapshot; some; and the
/// server's own choice.
const SNAPSHOTS_AFTER: [u64; 3] = [60, 400, 20_000];
/// How KMS is away: nobody is there, nobody answers, it has trouble of its own, it is asked too much.
const AWAY: [Mode; 4] = [
    Mode::Cut,
    Mode::Hold,
    Mode::Error(500, "KMSInternalException"),
    Mode::Error(400, "ThrottlingException"),
];
const BETWEEN_STARTS: Duration = Duration::from_millis(300);

/// The cluster and its surroundings. Dropping it ends the processes and removes the network.
pub struct World {
    /// The nodes.
    pub cluster: Cluster,
    /// How often each was started.
    pub starts: Arc<Vec<AtomicU32>>,
    disks: Vec<FailingDisk>,
    clocks: Vec<WrongClock>,
    powers: Vec<PowerCut>,
    kms: Kms,
    net: Net,
}

impl World {
    /// Everything up and ready. The seed says how often snapshots are taken.
    pub async fn start(seed: u64) -> Self {
        let snapshots = fastrand::Rng::with_seed(seed).choice(SNAPSHOTS_AFTER);
        let snapshots = snapshots.expect("a choice").to_string();
        println!("a snapshot after {snapshots} entries");
        let net = Net::up(NODES);
        let peers: Vec<String> = (0..NODES)
            .map(|node| format!("{}={}:{RAFT_PORT}", node + 1, net.address(node)))
            .collect();
        let kms = Kms::start(net.outside().into());
        let mut settings = vec![
            ("VAULT_PEERS", peers.join(",")),
            ("VAULT_ALLOWED_IPS", net.outside().to_string()),
            ("VAULT_RAFT_PLAINTEXT", "wireguard".to_owned()),
            ("VAULT_REQUEST_TIMEOUT_SECS", "5".to_owned()),
            ("VAULT_SNAPSHOT_LOG_ENTRIES", snapshots),
            // So that reads ask KMS as well.
            ("VAULT_DEK_CACHE_TTL_SECS", "1".to_owned()),
        ];
        settings.extend(kms.settings());
        let settings: Vec<_> = settings.iter().map(|(k, v)| (*k, v.as_str())).collect();
        let mut cluster = Cluster::prepare(NODES, &settings);
        let scratch = cluster.dir.path().to_owned();
        let (mut disks, mut clocks, mut powers) = (Vec::new(), Vec::new(), Vec::new());
        for (place, node) in cluster.nodes.iter_mut().enumerate() {
            let address = net.address(place);
            node.netns = Some((net.space(place), address));
            node.api_port = API_PORT;
            let api = format!("{address}:{API_PORT}");
            node.env.insert("VAULT_API_ADDR".to_owned(), api);
            clocks.push(WrongClock::install(node, &scratch));
            disks.push(FailingDisk::install(node, &scratch, &node.data_dir.clone()));
            powers.push(PowerCut::install(node, &scratch));
        }
        let mut world = Self {
            cluster,
            starts: Arc::new((0..NODES).map(|_| AtomicU32::new(0)).collect()),
            disks,
            clocks,
            powers,
            kms,
            net,
        };
        for node in 0..NODES {
            world.start_node(node);
        }
        world.cluster.wait_ready().await;
        world
    }

    /// Starts a node, unless another fault has ended with that already.
    fn start_node(&mut self, node: usize) {
        if self.cluster.nodes[node].is_running() {
            return;
        }
        self.starts[node].fetch_add(1, Ordering::SeqCst);
        self.powers[node].forget();
        self.cluster.nodes[node].start();
    }

    /// Does faults from their beginnings to their ends, which overlap. Afterwards nothing is wrong any
    /// more, but for what the cluster makes of it. Returns what was done to whom, for the log.
    pub async fn strike(&mut self, faults: &[Fault]) -> String {
        let (mut done, mut struck) = (Vec::new(), Vec::new());
        for fault in faults {
            let leader = if fault.leader {
                self.leader().await
            } else {
                None
            };
            let node = leader.unwrap_or(fault.node);
            let mut random = fastrand::Rng::with_seed(fault.seed);
            let means = self.begin(fault.kind, node, &mut random);
            let whose = if leader.is_some() { " (leader)" } else { "" };
            done.push(format!(
                "{:?} at node {}{whose} for {:.1?} {means}",
                fault.kind,
                node + 1,
                fault.lasts
            ));
            struck.push((fault.kind, node));
            self.hold(fault, node, &mut random).await;
        }
        // A node does not start without KMS: that comes back before anything that was killed.
        struck.sort_by_key(|(kind, _)| *kind == Kind::KmsAway);
        for (kind, node) in struck.into_iter().rev() {
            if let Some(more) = self.end(kind, node).await {
                done.push(more);
            }
        }
        done.join("; ")
    }

    fn begin(&mut self, kind: Kind, node: usize, random: &mut fastrand::Rng) -> String {
        let (net, others) = (&self.net, self.net.others(node));
        match kind {
            Kind::CutOff | Kind::Flapping => self.cut_off(node),
            Kind::Deaf => net.cut(node, &others),
            Kind::Mute => others.iter().for_each(|other| net.cut(*other, &[node])),
            Kind::Split => {
                let other = others[random.usize(0..others.len())];
                net.cut(node, &[other]);
                net.cut(other, &[node]);
                return format!("from node {}", other + 1);
            }
            Kind::Loss => {
                let percent = random.u32(5..50);
                (0..NODES).for_each(|node| net.lose(node, percent));
                return format!("and all others: {percent} of 100 packets");
            }
            Kind::SlowLink => return format!("by {}", net.slow(node)),
            Kind::Kill => self.cluster.nodes[node].kill(),
            Kind::KillAll => self.kill_all(),
            Kind::PowerCut => {
                // So that there is something to lose.
                let by = Duration::from_millis(random.u64(2..80));
                self.disks.iter().for_each(|disk| disk.slow_down(by));
            }
            Kind::Pause => self.signal(node, Signal::STOP),
            Kind::SlowDisk => {
                let by = Duration::from_millis(random.u64(30..1_500));
                self.disks[node].slow_down(by);
                return format!("by {by:?} a sync");
            }
            Kind::DiskFails => self.disks[node].break_down(),
            Kind::FullDisk => self.disks[node].fill_up(),
            Kind::LostDisk => {
                let node = &mut self.cluster.nodes[node];
                node.kill();
                fs::remove_dir_all(&node.data_dir).expect("a data directory");
            }
            Kind::Clock => {
                let secs = if random.bool() { 3_600 } else { -3_600 };
                self.clocks[node].set(secs);
                return format!("by {secs} s");
            }
            Kind::KmsAway => {
                let mode = AWAY[random.usize(0..AWAY.len())].clone();
                let from = random.bool().then(|| self.net.address(node).into());
                let whose = if from.is_some() {
                    ""
                } else {
                    "and all others: "
                };
                let means = format!("{whose}{mode:?}");
                self.kms.go_away(from, mode);
                return means;
            }
        }
        String::new()
    }

    async fn hold(&self, fault: &Fault, node: usize, random: &mut fastrand::Rng) {
        let began = Instant::now();
        while fault.kind == Kind::Flapping && began.elapsed() < fault.lasts {
            tokio::time::sleep(Duration::from_millis(random.u64(50..1_000))).await;
            self.net.heal();
            tokio::time::sleep(Duration::from_millis(random.u64(50..1_000))).await;
            self.cut_off(node);
        }
        tokio::time::sleep(fault.lasts.saturating_sub(began.elapsed())).await;
    }

    async fn end(&mut self, kind: Kind, node: usize) -> Option<String> {
        match kind {
            Kind::CutOff
            | Kind::Flapping
            | Kind::Deaf
            | Kind::Mute
            | Kind::Split
            | Kind::Loss
            | Kind::SlowLink => self.net.heal(),
            Kind::Kill | Kind::LostDisk => self.start_node(node),
            Kind::KillAll => self.start_all(node).await,
            Kind::PowerCut => {
                self.kill_all();
                let nodes = self.cluster.nodes.iter().zip(&self.powers);
                let gone: usize = nodes.map(|(node, power)| power.undo(node)).sum();
                self.disks.iter().for_each(FailingDisk::heal);
                self.start_all(node).await;
                return Some(format!("{gone} writes that were not synced are gone"));
            }
            Kind::Pause => self.signal(node, Signal::CONT),
            Kind::SlowDisk => self.disks[node].heal(),
            Kind::DiskFails | Kind::FullDisk => {
                self.disks[node].heal();
                self.cluster.nodes[node].kill();
                self.start_node(node);
            }
            Kind::Clock => self.clocks[node].set(0),
            Kind::KmsAway => self.kms.come_back(),
        }
        None
    }

    /// Who leads, if any node says so soon.
    async fn leader(&self) -> Option<usize> {
        for place in 0..NODES {
            let api = self.cluster.admin(place);
            let asked = tokio::time::timeout(ASK_WITHIN, api.try_get("/v1/admin/cluster"));
            let Ok(Ok(view)) = asked.await else { continue };
            let leader = view.json["leader"].as_str().unwrap_or_default();
            let found = self.cluster.nodes.iter().position(|node| node.id == leader);
            if found.is_some() {
                return found;
            }
        }
        None
    }

    fn signal(&self, node: usize, signal: Signal) {
        let node = &self.cluster.nodes[node];
        if node.is_running() {
            node.signal(signal);
        }
    }

    fn cut_off(&self, node: usize) {
        let others = self.net.others(node);
        self.net.cut(node, &others);
        others
            .iter()
            .for_each(|other| self.net.cut(*other, &[node]));
    }

    fn kill_all(&mut self) {
        for node in 0..NODES {
            self.signal(node, Signal::KILL);
        }
        self.cluster.nodes.iter_mut().for_each(Node::kill);
    }

    /// Starts all nodes, from `first` on and not at once.
    async fn start_all(&mut self, first: usize) {
        for node in 0..NODES {
            self.start_node((first + node) % NODES);
            tokio::time::sleep(BETWEEN_STARTS).await;
        }
    }

    /// Votes held so far, as the highest term that a node knows.
    pub async fn term(&self) -> u64 {
        let mut term = 0;
        for place in 0..NODES {
            let view = self.cluster.admin(place).try_get("/v1/admin/cluster").await;
            let known = view.ok().and_then(|view| view.json["term"].as_u64());
            term = term.max(known.unwrap_or_default());
        }
        term
    }
}
