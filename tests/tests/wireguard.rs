//! A cluster inside WireGuard, as WIREGUARD.md and `deploy/wireguard` make it: nodes and peers in network
//! namespaces, one who is outside of it, and a service behind a gateway that routes.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::print_stdout
)]

use std::time::{Duration, Instant};

use serde_json::Value;
use strongroom_tests::{
    api::Answer,
    cluster::{Cluster, TOKEN},
    node::PATIENCE,
    overlay::{self, Overlay, Peer},
    raw::audit_records,
};

const PEERS: [Peer; 6] = [
    peer("node-1", "node", "10.200.0.1", "-"),
    peer("node-2", "node", "10.200.0.2", "-"),
    peer("node-3", "node", "10.200.0.3", "-"),
    peer("admin-anna", "admin", "10.200.0.101", "-"),
    peer("admin-ben", "admin", "10.200.0.102", "-"),
    peer("gateway", "client", "10.200.0.201", "10.201.7.0/24"),
];
const ANNA: usize = 3;
const BEN: usize = 4;
const GATEWAY: usize = 5;
/// Who is no peer: a service behind the gateway, and somebody on the network below.
const SERVICE: usize = 6;
const STRANGER: usize = 7;
const SERVICE_ADDRESS: &str = "10.201.7.7";
const API: u16 = 8200;
const RAFT: u16 = 8201;
const READ: &str = "/v1/secrets/db/password?consistency=linearizable";

const fn peer(
    name: &'static str,
    role: &'static str,
    address: &'static str,
    behind: &'static str,
) -> Peer {
    Peer {
        name,
        role,
        address,
        behind,
    }
}

struct World {
    cluster: Cluster,
    overlay: Overlay,
}

impl World {
    /// The overlay, and a cluster with the settings that follow from its table.
    async fn start() -> Self {
        let overlay = Overlay::up(&PEERS, 2);
        route_to_the_service(&overlay);
        let mut cluster = Cluster::prepare(3, &[]);
        for (place, node) in cluster.nodes.iter_mut().enumerate() {
            node.netns = Some((
                overlay.net.space(place),
                PEERS[place].address.parse().unwrap(),
            ));
            node.api_port = API;
            node.env.extend(overlay.settings(place));
            node.start();
        }
        let world = Self { cluster, overlay };
        let deadline = Instant::now() + PATIENCE;
        for node in 0..3 {
            while world.ask(ANNA, node, "/readyz", None).map(|a| a.status) != Some(200) {
                let log = world.cluster.nodes[node].log_text();
                assert!(Instant::now() < deadline, "node {node} is not ready: {log}");
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
        world
    }

    /// What a node answers, at its address in the overlay.
    fn ask(&self, from: usize, node: usize, path: &str, token: Option<&str>) -> Option<Answer> {
        let url = format!("http://{}:{API}{path}", PEERS[node].address);
        self.overlay.curl(from, &url, token, None)
    }

    /// Status and address of a read, as the client sees the one and the node's audit trail the other.
    fn read(&self, from: usize, node: usize) -> (u16, String) {
        let before = audit_records(&self.cluster.nodes[node]).len();
        let answer = self.ask(from, node, READ, None).expect("an answer");
        let records = audit_records(&self.cluster.nodes[node]);
        let of_it = |record: &&Value| record["action"] == "secret.read";
        let record = records[before..].iter().find(of_it).expect("a record");
        assert_eq!(
            record["peer_ip"], record["client_ip"],
            "no proxy is trusted"
        );
        let address = record["client_ip"].as_str().unwrap();
        (answer.status, address.to_owned())
    }
}

/// A link between gateway and service; the gateway passes on, and changes no address.
fn route_to_the_service(overlay: &Overlay) {
    let space = overlay.net.space(SERVICE);
    let link = [
        "link", "add", "lan", "type", "veth", "peer", "name", "lan", "netns", &space,
    ];
    overlay.ip(GATEWAY, &link);
    for (place, address) in [(GATEWAY, "10.201.7.1/24"), (SERVICE, "10.201.7.7/24")] {
        overlay.ip(place, &["addr", "add", address, "dev", "lan"]);
        overlay.ip(place, &["link", "set", "lan", "up"]);
    }
    let routed = ["route", "add", overlay::OVERLAY, "via", "10.201.7.1"];
    overlay.ip(SERVICE, &routed);
    overlay.run(
        GATEWAY,
        "sysctl",
        &["-w".as_ref(), "net.ipv4.ip_forward=1".as_ref()],
    );
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs root, network namespaces and WireGuard; scripts/test runs it"]
async fn a_cluster_inside_wireguard_is_open_to_its_peers_alone() {
    if let Some(why) = overlay::missing() {
        panic!("WireGuard cannot be tested here: {why}");
    }
    let mut world = World::start().await;

    // An admin writes at one node. Admins are not among those who may read.
    let url = format!("http://{}:{API}/v1/secrets", PEERS[1].address);
    let body = r#"{"name":"db/password","value":"s3cret"}"#;
    let written = world.overlay.curl(ANNA, &url, Some(TOKEN), Some(body));
    written.expect("an answer").expect(201);
    for (from, status, address) in [
        (ANNA, 403, PEERS[ANNA].address),
        (GATEWAY, 200, PEERS[GATEWAY].address),
        // Behind the gateway, and known by its own address all the same.
        (SERVICE, 200, SERVICE_ADDRESS),
    ] {
        for node in 0..3 {
            let read = world.read(from, node);
            assert_eq!(read, (status, address.to_owned()), "node {node}");
        }
    }

    the_raft_port_is_for_nodes(&world.overlay);

    // An admin who leaves is out at every node, and nobody else is.
    for node in 0..3 {
        let before = world.ask(BEN, node, "/v1/admin/cluster", Some(TOKEN));
        before.expect("an answer").expect(200);
    }
    world.overlay.remove("admin-ben");
    for (node, peer) in PEERS.iter().enumerate().take(3) {
        let reached = world.overlay.connects(BEN, peer.address, API);
        assert!(!reached, "node {node} answers whom it does not know");
        let after = world.ask(ANNA, node, "/v1/admin/cluster", Some(TOKEN));
        after.expect("an answer").expect(200);
        assert_eq!(world.read(SERVICE, node).0, 200);
    }
}

/// It can be reached from another node, and from nowhere else.
fn the_raft_port_is_for_nodes(overlay: &Overlay) {
    let (first, below) = (PEERS[0].address, overlay.net.address(0).to_string());
    assert!(overlay.connects(1, first, RAFT), "nodes reach each other");
    for peer in [ANNA, GATEWAY, SERVICE] {
        assert!(overlay.connects(peer, first, API), "{peer}");
        assert!(!overlay.connects(peer, first, RAFT), "{peer}");
    }
    // A neighbour on the network below finds nobody there, neither at its address nor, with a route
    // that says so, at the overlay's.
    overlay.ip(STRANGER, &["route", "add", overlay::OVERLAY, "via", &below]);
    for address in [first, &below] {
        for port in [API, RAFT] {
            assert!(
                !overlay.connects(STRANGER, address, port),
                "{address}:{port}"
            );
        }
    }
}
