//! A cluster in its own network, with everything in reach that can go wrong, and how each fault is
//! done and undone.

use std::{
    sync::{Arc, atomic::AtomicU32, atomic::Ordering},
    time::{Duration, Instant},
};

use rustix::process::Signal;

use super::{
    fault::{Fault, Kind},
    net::Net,
};
use crate::{
    cluster::Cluster,
    node::Node,
    shim::{FailingDisk, PowerCut, WrongClock},
};

/// Nodes of a cluster.
pub const NODES: usize = 3;
const API_PORT: u16 = 8200;
const RAFT_PORT: u16 = 8201;

/// The cluster and its surroundings. Dropping it ends the processes and removes the network.
pub struct World {
    /// The nodes.
    pub cluster: Cluster,
    /// How often each was started.
    pub starts: Arc<Vec<AtomicU32>>,
    disks: Vec<FailingDisk>,
    clocks: Vec<WrongClock>,
    powers: Vec<PowerCut>,
    net: Net,
}

impl World {
    /// Everything up and ready.
    pub async fn start() -> Self {
        let net = Net::up(NODES);
        let peers: Vec<String> = (0..NODES)
            .map(|node| format!("{}={}:{RAFT_PORT}", node + 1, net.address(node)))
            .collect();
        let settings = [
            ("VAULT_PEERS", peers.join(",")),
            ("VAULT_ALLOWED_IPS", net.outside().to_string()),
            ("VAULT_RAFT_PLAINTEXT", "wireguard".to_owned()),
            ("VAULT_REQUEST_TIMEOUT_SECS", "5".to_owned()),
        ];
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
            let log = node.data_dir.join("log");
            clocks.push(WrongClock::install(node, &scratch));
            disks.push(FailingDisk::install(node, &scratch, &log));
            powers.push(PowerCut::install(node, &scratch));
        }
        let mut world = Self {
            cluster,
            starts: Arc::new((0..NODES).map(|_| AtomicU32::new(0)).collect()),
            disks,
            clocks,
            powers,
            net,
        };
        for node in 0..NODES {
            world.start_node(node);
        }
        world.cluster.wait_ready().await;
        world
    }

    fn start_node(&mut self, node: usize) {
        self.starts[node].fetch_add(1, Ordering::SeqCst);
        self.cluster.nodes[node].start();
    }

    /// Does a fault from its beginning to its end. Afterwards nothing is wrong any more, but for what
    /// the cluster makes of it. Returns whose it was and by which means, for the log.
    pub async fn strike(&mut self, fault: &Fault) -> String {
        let node = if fault.leader {
            self.cluster.leader().await
        } else {
            fault.node
        };
        let mut random = fastrand::Rng::with_seed(fault.seed);
        let means = match fault.kind {
            Kind::CutOff
            | Kind::Deaf
            | Kind::Mute
            | Kind::Split
            | Kind::Flapping
            | Kind::Loss
            | Kind::SlowLink => self.strike_network(fault, node, &mut random).await,
            Kind::Kill => {
                self.cluster.nodes[node].kill();
                tokio::time::sleep(fault.lasts).await;
                self.start_node(node);
                "SIGKILL".to_owned()
            }
            Kind::KillAll => self.kill_all(fault, false, &mut random).await,
            Kind::PowerCut => self.kill_all(fault, true, &mut random).await,
            Kind::Pause => {
                self.cluster.nodes[node].signal(Signal::STOP);
                tokio::time::sleep(fault.lasts).await;
                self.cluster.nodes[node].signal(Signal::CONT);
                "SIGSTOP".to_owned()
            }
            Kind::SlowDisk => {
                let by = Duration::from_millis(random.u64(30..1_500));
                self.disks[node].slow_down(by);
                tokio::time::sleep(fault.lasts).await;
                self.disks[node].heal();
                format!("syncs take {by:?} longer")
            }
            Kind::DiskFails => {
                self.disks[node].break_down();
                tokio::time::sleep(fault.lasts).await;
                self.disks[node].heal();
                self.cluster.nodes[node].kill();
                self.start_node(node);
                "EIO".to_owned()
            }
            Kind::Clock => {
                let secs = if random.bool() { 3_600 } else { -3_600 };
                self.clocks[node].set(secs);
                tokio::time::sleep(fault.lasts).await;
                self.clocks[node].set(0);
                format!("{secs} s")
            }
        };
        let leader = if fault.leader { " (leader)" } else { "" };
        format!("node {}{leader} {means}", node + 1)
    }

    async fn strike_network(
        &self,
        fault: &Fault,
        node: usize,
        random: &mut fastrand::Rng,
    ) -> String {
        let (net, others) = (&self.net, self.net.others(node));
        let mut means = String::new();
        match fault.kind {
            Kind::CutOff => self.cut_off(node),
            Kind::Deaf => net.cut(node, &others),
            Kind::Mute => others.iter().for_each(|other| net.cut(*other, &[node])),
            Kind::Split => {
                let other = others[random.usize(0..others.len())];
                net.cut(node, &[other]);
                net.cut(other, &[node]);
                means = format!("and node {}", other + 1);
            }
            Kind::Loss => {
                let percent = random.u32(5..50);
                (0..NODES).for_each(|node| net.lose(node, percent));
                means = format!("all nodes: {percent} of 100 packets");
            }
            Kind::SlowLink => net.slow(node).clone_into(&mut means),
            _ => {
                let began = Instant::now();
                while began.elapsed() < fault.lasts {
                    for _ in 0..2 {
                        self.cut_off(node);
                        tokio::time::sleep(Duration::from_millis(random.u64(50..1_000))).await;
                        net.heal();
                        tokio::time::sleep(Duration::from_millis(random.u64(50..1_000))).await;
                    }
                }
                return means;
            }
        }
        tokio::time::sleep(fault.lasts).await;
        net.heal();
        means
    }

    fn cut_off(&self, node: usize) {
        let others = self.net.others(node);
        self.net.cut(node, &others);
        others
            .iter()
            .for_each(|other| self.net.cut(*other, &[node]));
    }

    async fn kill_all(&mut self, fault: &Fault, power: bool, random: &mut fastrand::Rng) -> String {
        for node in &self.cluster.nodes {
            node.signal(Signal::KILL);
        }
        self.cluster.nodes.iter_mut().for_each(Node::kill);
        let mut writes = 0;
        for (node, cut) in self.cluster.nodes.iter().zip(&self.powers) {
            writes += cut.undo(node, power);
        }
        // In any order, and not at once.
        let mut order: Vec<usize> = (0..NODES).collect();
        random.shuffle(&mut order);
        for node in order {
            tokio::time::sleep(fault.lasts / 8).await;
            self.start_node(node);
        }
        if power {
            format!("all nodes, {writes} writes that were not synced are gone")
        } else {
            "all nodes".to_owned()
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
