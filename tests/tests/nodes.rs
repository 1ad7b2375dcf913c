//! The members of a cluster change: it grows, shrinks, moves, and misses one.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::print_stdout
)]

use std::{
    fs,
    time::{Duration, Instant},
};

use serde_json::{Value, json};
use strongroom_tests::{
    alone,
    api::Api,
    cluster::Cluster,
    compare::metric,
    load::Load,
    node::{Node, PATIENCE, free_port},
};

const NODES: &str = "/v1/admin/cluster/nodes";

async fn view(api: &Api) -> Value {
    api.get("/v1/admin/cluster").await.expect(200).json
}

/// The names of the voters in a view, in order.
fn voters(view: &Value) -> Vec<String> {
    let nodes = view["nodes"].as_array().unwrap().iter();
    let voters = nodes.filter(|node| node["role"] != "learner");
    let mut names: Vec<_> = voters
        .map(|node| node["node_id"].as_str().unwrap().to_owned())
        .collect();
    names.sort();
    names
}

async fn until_voters(api: &Api, expected: &[&str]) {
    let until = Instant::now() + PATIENCE;
    loop {
        let view = view(api).await;
        if voters(&view) == expected {
            return;
        }
        assert!(Instant::now() < until, "{view}");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

async fn until_ready_says(node: &Node, code: &str) {
    let until = Instant::now() + PATIENCE;
    loop {
        let last = node.api().try_get("/readyz").await;
        let last = last.map(|answer| answer.code().to_owned());
        if last.as_deref().ok() == Some(code) {
            return;
        }
        assert!(Instant::now() < until, "{last:?}: {}", node.log_text());
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

async fn remove(api: &Api, name: &str) {
    api.delete(&format!("{NODES}/{name}")).await.expect(204);
}

/// Gives nodes new settings for their peers.
fn list(nodes: &mut [Node], peers: &str) {
    for node in nodes {
        node.env.insert("VAULT_PEERS".to_owned(), peers.to_owned());
    }
}

fn peers(count: usize) -> Vec<String> {
    (1..=count)
        .map(|id| format!("{id}=127.0.0.1:{}", free_port()))
        .collect()
}

/// What the audit trail of a node has of an action: target and outcome.
fn audited(node: &Node, action: &str) -> Vec<(String, String)> {
    let files = fs::read_dir(node.data_dir.join("audit")).unwrap();
    let mut found = Vec::new();
    for file in files {
        let text = fs::read_to_string(file.unwrap().path()).unwrap_or_default();
        for record in text.lines() {
            let record: Value = serde_json::from_str(record).unwrap_or_default();
            let field = |name: &str| record[name].as_str().unwrap_or_default().to_owned();
            if record["action"] == action {
                found.push((field("target"), field("outcome")));
            }
        }
    }
    found
}

fn attempt_and_end(target: &str) -> [(String, String); 2] {
    ["attempted", "done"].map(|outcome| (target.to_owned(), outcome.to_owned()))
}

/// 1, 3, 5, 3, 1, with writers at work; two of the five by command alone.
#[tokio::test(flavor = "multi_thread")]
async fn a_cluster_grows_from_one_to_five_and_shrinks_again_under_load() {
    let _turn = alone().await;
    let mut cluster = Cluster::prepare(5, &[]);
    let peers = peers(5);
    list(&mut cluster.nodes[..1], "");
    cluster.nodes[0].start();
    cluster.wait_ready().await;
    let admin = cluster.admin(0);
    let kept = json!({"name": "kept", "value": "from the beginning"});
    admin.post("/v1/secrets", kept).await.expect(201);

    let began = Instant::now();
    cluster.nodes[0].terminate();
    list(&mut cluster.nodes[..3], &peers[..3].join(","));
    cluster.nodes[..3].iter_mut().for_each(Node::start);
    cluster.wait_ready().await;
    until_voters(&admin, &["1", "2", "3"]).await;
    println!("1 to 3 in {:?}", began.elapsed());
    let load = Load::start(&[cluster.admin(0), cluster.admin(1)], 2, "load");
    load.wait_for_more(50).await;

    // The first three do not list these, and are not restarted.
    let began = Instant::now();
    list(&mut cluster.nodes[3..], &peers.join(","));
    for place in [3, 4] {
        let name = cluster.nodes[place].id.clone();
        let second = cluster.admin(1);
        let added = second.post(NODES, json!({"node_id": name})).await;
        let added = added.expect(202);
        assert_eq!(added.json, json!({"node_id": name, "status": "waiting"}));
        cluster.nodes[place].start();
    }
    cluster.wait_ready().await;
    until_voters(&admin, &["1", "2", "3", "4", "5"]).await;
    println!("3 to 5 in {:?}", began.elapsed());
    let added = admin.post(NODES, json!({"node_id": "4"})).await;
    assert_eq!(added.expect(202).json["status"], "member");
    cluster.bears(0, 2).await;
    load.wait_for_more(50).await;
    assert_eq!(audited(&cluster.nodes[1], "cluster.add").len(), 4);

    // The one that leads is among those that go: it is made to lead.
    let began = Instant::now();
    let to_five = json!({"to": "5"});
    cluster.hand_over(0, to_five).await.expect(200);
    remove(&cluster.admin(4), "5").await;
    remove(&admin, "4").await;
    until_voters(&admin, &["1", "2", "3"]).await;
    println!("5 to 3 in {:?}", began.elapsed());
    load.wait_for_more(50).await;
    for place in [3, 4] {
        until_ready_says(&cluster.nodes[place], "removed").await;
        let read = cluster.nodes[place].api().get("/v1/secrets/kept").await;
        assert_eq!(read.expect(503).code(), "removed");
        let seen = cluster.admin(place).get("/v1/admin/cluster").await;
        assert_eq!(seen.expect(503).code(), "removed");
        cluster.nodes[place].terminate();
    }
    let ledger = load.stop().await;
    println!(
        "{} acknowledged, {} refused, {} unknown, slowest {:?}",
        ledger.acknowledged, ledger.refused, ledger.unknown, ledger.slowest
    );
    assert_eq!((ledger.refused, ledger.unknown), (0, 0));

    let load = Load::start(std::slice::from_ref(&admin), 2, "last");
    for name in ["3", "2"] {
        remove(&cluster.admin(1), name).await;
        load.wait_for_more(20).await;
    }
    until_voters(&admin, &["1"]).await;
    let last = load.stop().await;
    assert_eq!((last.refused, last.unknown), (0, 0));
    let refused = admin.delete(&format!("{NODES}/1")).await.expect(409);
    assert_eq!(refused.code(), "quorum_at_risk");
    let unknown = admin.delete(&format!("{NODES}/9")).await.expect(404);
    assert_eq!(unknown.code(), "not_found");

    for (prefix, ledger) in [("load", ledger), ("last", last)] {
        let held = cluster.held_by(0, prefix).await;
        let held = held.into_iter().map(|(name, held)| (name, held.value));
        assert_eq!(ledger.contradictions(&held.collect()), [""; 0]);
    }
    let read = cluster.nodes[0].api().get("/v1/secrets/kept").await;
    assert_eq!(read.expect(200).json["value"], "from the beginning");
    let five = audited(&cluster.nodes[4], "cluster.remove");
    assert_eq!(five, attempt_and_end("5"));
}

/// Whatever a removed node does, it stays out until it is let in.
#[tokio::test(flavor = "multi_thread")]
async fn a_removed_node_stays_out_across_restarts_and_lost_disks() {
    let _turn = alone().await;
    let mut cluster = Cluster::start(3).await;
    let kept = json!({"name": "kept", "value": "v"});
    cluster.admin(0).post("/v1/secrets", kept).await.expect(201);
    let gone = (cluster.leader().await + 1) % 3;
    let (name, other) = (cluster.nodes[gone].id.clone(), (gone + 1) % 3);
    remove(&cluster.admin(other), &name).await;
    let began = Instant::now();
    until_ready_says(&cluster.nodes[gone], "removed").await;
    println!("it says that it was removed after {:?}", began.elapsed());
    let log = cluster.nodes[gone].log_text();
    assert!(log.contains("this node was removed"), "{log}");

    for lost_disk in [false, true] {
        cluster.nodes[gone].terminate();
        if lost_disk {
            fs::remove_dir_all(&cluster.nodes[gone].data_dir).unwrap();
        }
        cluster.nodes[gone].start();
        until_ready_says(&cluster.nodes[gone], "removed").await;
        let read = cluster.nodes[gone].api().get("/v1/secrets/kept").await;
        assert_eq!(read.expect(503).code(), "removed");
        // The others too are started anew, the leader among them, and go on with two.
        let place = (gone + 1 + usize::from(lost_disk)) % 3;
        cluster.nodes[place].terminate();
        cluster.nodes[place].start();
        cluster.nodes[place].wait_ready().await;
        tokio::time::sleep(Duration::from_secs(6)).await;
        let view = view(&cluster.admin(other)).await;
        assert_eq!(voters(&view).len(), 2, "{view}");
    }
    let began = Instant::now();
    let admin = cluster.admin(other);
    let added = admin.post(NODES, json!({"node_id": name})).await;
    assert_eq!(added.expect(202).json["status"], "waiting");
    cluster.wait_ready().await;
    println!("back {:?} after it was let in", began.elapsed());
    until_voters(&cluster.admin(gone), &["1", "2", "3"]).await;
    let read = cluster.nodes[gone].api().get("/v1/secrets/kept").await;
    assert_eq!(read.expect(200).json["value"], "v");
}

#[tokio::test(flavor = "multi_thread")]
async fn no_node_is_removed_that_the_quorum_needs() {
    let _turn = alone().await;
    let mut cluster = Cluster::start(3).await;
    let leader = cluster.leader().await;
    let (lives, dead) = ((leader + 1) % 3, (leader + 2) % 3);
    cluster.nodes[dead].kill();
    for (asked, named) in [(leader, lives), (lives, leader)] {
        let path = format!("{NODES}/{}", cluster.nodes[named].id);
        let refused = cluster.admin(asked).delete(&path).await.expect(409);
        assert_eq!(refused.code(), "quorum_at_risk");
    }
    let before = view(&cluster.admin(lives)).await;
    assert_eq!(voters(&before), ["1", "2", "3"]);
    assert_eq!(before["failure_tolerance"], 0);
    // The dead one is what stands in the way.
    remove(&cluster.admin(lives), &cluster.nodes[dead].id).await;
    remove(&cluster.admin(lives), &cluster.nodes[leader].id).await;
    until_voters(&cluster.admin(lives), &[&cluster.nodes[lives].id]).await;
    let body = json!({"name": "alone", "value": "v"});
    let written = cluster.admin(lives).post("/v1/secrets", body).await;
    written.expect(201);
}

/// No command: one node moves and only its own settings say so, then all are listed anew.
#[tokio::test(flavor = "multi_thread")]
async fn addresses_change_without_a_command() {
    let _turn = alone().await;
    let mut cluster = Cluster::prepare(3, &[]);
    let first = peers(3);
    list(&mut cluster.nodes, &first.join(","));
    cluster.nodes.iter_mut().for_each(Node::start);
    cluster.wait_ready().await;
    let kept = json!({"name": "kept", "value": "v"});
    cluster.admin(0).post("/v1/secrets", kept).await.expect(201);

    let leader = cluster.leader().await;
    let mut moved = first.clone();
    moved[leader] = format!("{}=127.0.0.1:{}", leader + 1, free_port());
    cluster.nodes[leader].terminate();
    list(&mut cluster.nodes[leader..=leader], &moved.join(","));
    let began = Instant::now();
    cluster.nodes[leader].start();
    cluster.wait_ready().await;
    for place in 0..3 {
        let until = Instant::now() + PATIENCE;
        let all_reachable = |view: &Value| {
            let nodes = view["nodes"].as_array().unwrap();
            nodes.iter().all(|node| node["reachable"] == true)
        };
        while !all_reachable(&view(&cluster.admin(place)).await) {
            assert!(
                Instant::now() < until,
                "{}",
                cluster.nodes[place].log_text()
            );
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }
    println!("one moved: {:?}", began.elapsed());
    assert!(began.elapsed() < Duration::from_secs(30));

    for node in &mut cluster.nodes {
        node.terminate();
    }
    list(&mut cluster.nodes, &peers(3).join(","));
    let began = Instant::now();
    cluster.nodes.iter_mut().for_each(Node::start);
    cluster.wait_ready().await;
    println!("all moved: {:?}", began.elapsed());
    assert!(began.elapsed() < Duration::from_secs(30));
    let read = "/v1/secrets/kept?consistency=linearizable";
    for node in &cluster.nodes {
        node.api().get(read).await.expect(200);
    }
    cluster.bears(0, 1).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dead_voter_is_taken_out_audited_and_comes_back_by_itself() {
    let _turn = alone().await;
    let mut cluster = Cluster::start_with(4, &[("VAULT_DEAD_NODE_SECS", "10")]).await;
    let leader = cluster.leader().await;
    let dead = (leader + 1) % 4;
    let name = cluster.nodes[dead].id.clone();
    cluster.nodes[dead].kill();
    let began = Instant::now();
    let admin = cluster.admin(leader);
    let left: Vec<_> = (1..=4).map(|id| id.to_string()).collect();
    let left: Vec<&str> = left
        .iter()
        .map(String::as_str)
        .filter(|id| *id != name)
        .collect();
    until_voters(&admin, &left).await;
    println!("taken out after {:?}", began.elapsed());
    assert!(began.elapsed() >= Duration::from_secs(10));
    // Who does it may have been another: leadership may have changed on a busy machine.
    let records: Vec<_> = cluster
        .nodes
        .iter()
        .flat_map(|node| audited(node, "cluster.drop_dead"))
        .collect();
    assert_eq!(records, attempt_and_end(&name));
    let until = Instant::now() + PATIENCE;
    let figures = ["voters", "voters_reachable", "failure_tolerance"];
    loop {
        let mut found = Vec::new();
        for figure in figures {
            found.push(metric(&admin, figure).await);
        }
        if found == [Some(3), Some(3), Some(1)] {
            break;
        }
        assert!(Instant::now() < until, "{found:?}");
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    // Three remain, whoever is dead.
    let second = (leader + 2) % 4;
    cluster.nodes[second].kill();
    tokio::time::sleep(Duration::from_secs(25)).await;
    assert_eq!(voters(&view(&admin).await).len(), 3);
    cluster.nodes[second].start();

    let began = Instant::now();
    cluster.nodes[dead].start();
    until_voters(&admin, &["1", "2", "3", "4"]).await;
    cluster.wait_ready().await;
    println!("back after {:?}", began.elapsed());
}
