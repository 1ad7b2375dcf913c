//! How nodes become one cluster, and stay it.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::print_stdout
)]

use std::{collections::BTreeSet, time::Duration};

use serde_json::{Value, json};
use strongroom_tests::{alone, cluster::Cluster, load::Load};

async fn view(cluster: &Cluster, place: usize) -> Value {
    let answer = cluster.admin(place).get("/v1/admin/cluster").await;
    answer.expect(200).json
}

fn raft_ids(view: &Value) -> BTreeSet<(String, u64)> {
    let nodes = view["nodes"].as_array().unwrap().iter();
    nodes
        .map(|node| {
            let name = node["node_id"].as_str().unwrap().to_owned();
            (name, node["raft_id"].as_u64().unwrap())
        })
        .collect()
}

async fn assert_one_cluster(cluster: &Cluster) -> Value {
    let first = cluster.bears(0, 1).await;
    assert!(first["cluster_id"].is_string(), "{first}");
    for place in 0..cluster.nodes.len() {
        let other = cluster.bears(place, 1).await;
        assert_eq!(other["cluster_id"], first["cluster_id"]);
        assert_eq!(other["leader"], first["leader"]);
        assert_eq!(other["node_id"], *cluster.nodes[place].id);
        assert_eq!(raft_ids(&other), raft_ids(&first));
        assert_eq!(raft_ids(&other).len(), cluster.nodes.len());
    }
    first
}

#[tokio::test(flavor = "multi_thread")]
async fn nodes_started_in_any_order_form_one_cluster_and_none_without_the_others() {
    let _turn = alone().await;
    for order in [[0, 1, 2], [2, 0, 1], [1, 2, 0]] {
        let mut cluster = Cluster::prepare(3, &[]);
        for place in &order[..2] {
            cluster.nodes[*place].start();
            tokio::time::sleep(Duration::from_millis(1_500)).await;
        }
        // Two of three would be a quorum, but the third may belong to a cluster they know not of.
        for place in &order[..2] {
            let ready = cluster.nodes[*place].api().get("/readyz").await.expect(503);
            assert_eq!(ready.code(), "starting", "{}", ready.text);
            let read = cluster.nodes[*place].api().get("/v1/secrets/none").await;
            assert_eq!(read.expect(503).code(), "starting");
        }
        cluster.nodes[order[2]].start();
        cluster.wait_ready().await;
        assert_one_cluster(&cluster).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_stops_with_zero_and_comes_back_as_itself() {
    let _turn = alone().await;
    let mut cluster = Cluster::start(3).await;
    let before = assert_one_cluster(&cluster).await;
    let body = json!({"name": "kept", "value": "v"});
    cluster.admin(0).post("/v1/secrets", body).await.expect(201);
    for place in 0..3 {
        let status = cluster.nodes[place].terminate();
        assert_eq!(
            status.code(),
            Some(0),
            "{}",
            cluster.nodes[place].log_text()
        );
        cluster.nodes[place].start();
        cluster.wait_ready().await;
    }
    let after = assert_one_cluster(&cluster).await;
    assert_eq!(raft_ids(&before), raft_ids(&after));
    assert_eq!(before["cluster_id"], after["cluster_id"]);
    for node in &cluster.nodes {
        let read = node.api().get("/v1/secrets/kept").await.expect(200);
        assert_eq!(read.json["value"], "v");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_followers_restart_costs_no_election() {
    let _turn = alone().await;
    let mut cluster = Cluster::start(3).await;
    let leader = cluster.leader().await;
    let before = view(&cluster, leader).await;
    for place in (0..3).filter(|place| *place != leader) {
        cluster.nodes[place].terminate();
        cluster.nodes[place].start();
        cluster.nodes[place].wait_ready().await;
        cluster.nodes[place].kill();
        tokio::time::sleep(Duration::from_secs(2)).await;
        cluster.nodes[place].start();
        cluster.nodes[place].wait_ready().await;
    }
    let after = view(&cluster, leader).await;
    assert_eq!(before["term"], after["term"]);
    assert_eq!(before["leader"], after["leader"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_directory_of_another_node_is_refused_with_three() {
    let _turn = alone().await;
    let mut cluster = Cluster::start(1).await;
    let node = &mut cluster.nodes[0];
    assert_eq!(node.terminate().code(), Some(0));
    node.env.insert("NODE_ID".to_owned(), "2".to_owned());
    node.start();
    assert_eq!(node.wait().code(), Some(3), "{}", node.log_text());
    assert!(node.log_text().contains("NODE_ID"), "{}", node.log_text());
    node.env.insert("NODE_ID".to_owned(), "1".to_owned());
    node.start();
    node.wait_ready().await;
}

/// Nodes are restarted one by one, as in an upgrade, the leader among them. Writers at the others see
/// no error: their writes are held until there is a leader again.
#[tokio::test(flavor = "multi_thread")]
async fn a_rolling_restart_fails_no_write() {
    let _turn = alone().await;
    let verbose = [("VAULT_LOG", "info,strongroom_raft=debug")];
    let mut cluster = Cluster::start_with(3, &verbose).await;
    let first = cluster.leader().await;
    for round in 0..3 {
        // The first round takes the leader down.
        let place = (first + round) % 3;
        let others: Vec<_> = (0..3)
            .filter(|other| *other != place)
            .map(|other| cluster.admin(other))
            .collect();
        let load = Load::start(&others, 4, &format!("load-{round}"));
        load.wait_for_more(100).await;
        assert_eq!(cluster.nodes[place].terminate().code(), Some(0));
        load.wait_for_more(100).await;
        cluster.nodes[place].start();
        cluster.wait_ready().await;
        let ledger = load.stop().await;
        println!(
            "round {round}: {} acknowledged, {} refused, {} unknown, slowest {:?}",
            ledger.acknowledged, ledger.refused, ledger.unknown, ledger.slowest
        );
        if (ledger.refused, ledger.unknown) != (0, 0) {
            let logs = cluster.nodes.iter().map(|node| {
                let text = node.log_text();
                let lines = text.lines().filter(|line| line.contains("unknown"));
                format!("node {}: {}", node.id, lines.collect::<Vec<_>>().join("\n"))
            });
            panic!("{}", logs.collect::<Vec<_>>().join("\n"));
        }
    }
    cluster.assert_equal("load").await;
}
