//! Nodes that know each other by a cluster key.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::print_stdout
)]

#[path = "raft_tls/start.rs"]
mod start;
#[path = "raft_tls/strangers.rs"]
mod strangers;

use std::time::{Duration, Instant};

use serde_json::json;
use strongroom_tests::{
    alone,
    api::Api,
    canary::Hunt,
    cluster::{Cluster, MASTER_KEY},
    node::{Node, PATIENCE},
    raft_tls::{cluster_key, new_key, unwrap},
};

/// Three nodes with this cluster key, ready.
async fn start(key: &str) -> Cluster {
    Cluster::start_with(3, &[("VAULT_CLUSTER_KEY", key)]).await
}

async fn write(api: &Api, name: &str) {
    let body = json!({"name": name, "value": format!("value of {name}")});
    api.post("/v1/secrets", body).await.expect(201);
}

async fn read(node: &Node, name: &str) {
    let path = format!("/v1/secrets/{name}?consistency=linearizable");
    let answer = node.api().get(&path).await.expect(200);
    assert_eq!(answer.json["value"], format!("value of {name}"));
}

async fn says(node: &Node, words: &str) {
    let until = Instant::now() + PATIENCE;
    while !node.log_text().contains(words) {
        assert!(Instant::now() < until, "no {words}: {}", node.log_text());
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn three_nodes_form_a_cluster_and_survive_a_restart_of_all_and_of_each() {
    let _turn = alone().await;
    let key = new_key();
    let mut cluster = start(&key).await;
    for node in 0..3 {
        write(&cluster.admin(node), &format!("by/{node}")).await;
    }
    for node in &mut cluster.nodes {
        assert!(node.terminate().success());
    }
    cluster.nodes.iter_mut().for_each(Node::start);
    cluster.wait_ready().await;
    for at in 0..3 {
        cluster.nodes[at].kill();
        cluster.leader().await;
        write(&cluster.admin((at + 1) % 3), &format!("without/{at}")).await;
        cluster.nodes[at].start();
        cluster.wait_ready().await;
    }
    for node in &cluster.nodes {
        for name in [
            "by/0",
            "by/1",
            "by/2",
            "without/0",
            "without/1",
            "without/2",
        ] {
            read(node, name).await;
        }
        let log = node.log_text();
        assert!(log.contains("they have the cluster key"), "{log}");
        // Nodes that come and go are no strangers.
        for alarm in ["no trust between", "was refused"] {
            assert!(!log.contains(alarm), "{log}");
        }
    }
    let seed = unwrap(&key).await.authority_seed().unwrap();
    let hunt = Hunt::new([]).and_bytes("the authority's seed", seed.expose());
    let (found, files, bytes) = hunt.in_files(cluster.dir.path());
    assert!(found.is_empty(), "{found:?}");
    assert!(files > 3 && bytes > 1_000, "{files} files of {bytes} bytes");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_with_another_key_or_with_none_stays_outside() {
    let _turn = alone().await;
    let key = new_key();
    let mut cluster = start(&key).await;
    let other = new_key();
    for (given, words) in [(other.as_str(), "no trust between this node"), ("", "")] {
        let node = &mut cluster.nodes[2];
        assert!(node.terminate().success());
        node.env.insert("VAULT_CLUSTER_KEY".into(), given.into());
        node.start();
        says(node, words).await;
        write(&cluster.admin(0), &format!("meanwhile/{}", given.len())).await;
        let until = Instant::now() + PATIENCE;
        let answer = loop {
            if let Ok(answer) = cluster.nodes[2].api().try_get("/readyz").await {
                break answer.expect(503);
            }
            assert!(Instant::now() < until, "{}", cluster.nodes[2].log_text());
            tokio::time::sleep(Duration::from_millis(20)).await;
        };
        assert_ne!(answer.json["reason"], "kms_unavailable");
    }
    says(
        &cluster.nodes[0],
        "it is not of a node with this cluster key",
    )
    .await;
    let node = &mut cluster.nodes[2];
    assert!(node.terminate().success());
    node.env.insert("VAULT_CLUSTER_KEY".into(), key);
    node.start();
    node.wait_ready().await;
    read(&cluster.nodes[2], &format!("meanwhile/{}", other.len())).await;
}

/// A KMS key can be left one node at a time.
#[tokio::test(flavor = "multi_thread")]
async fn the_same_key_wrapped_anew_is_the_same_cluster() {
    let _turn = alone().await;
    let key = new_key();
    let mut cluster = start(&key).await;
    write(&cluster.admin(0), "before").await;
    let both = format!("AQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQE=,{MASTER_KEY}");
    let moved = cluster_key(
        "rewrap",
        &[
            ("VAULT_KMS_MODE", "local"),
            ("VAULT_LOCAL_MASTER_KEY", &both),
            ("VAULT_CLUSTER_KEY", &key),
        ],
    );
    let moved = moved.unwrap();
    assert_ne!(moved, key);
    for at in 0..3 {
        let node = &mut cluster.nodes[at];
        assert!(node.terminate().success());
        node.env
            .insert("VAULT_LOCAL_MASTER_KEY".into(), both.clone());
        node.env.insert("VAULT_CLUSTER_KEY".into(), moved.clone());
        node.start();
        node.wait_ready().await;
        cluster.leader().await;
        write(&cluster.admin(at), &format!("after/{at}")).await;
    }
    for node in &cluster.nodes {
        read(node, "before").await;
    }
}

/// As OPERATIONS says: a changed node and an unchanged one do not hear each other, and two are enough.
#[tokio::test(flavor = "multi_thread")]
async fn a_key_is_turned_on_and_replaced_one_node_at_a_time() {
    let _turn = alone().await;
    let mut cluster = start("").await;
    write(&cluster.admin(0), "plain").await;
    for round in 0..2 {
        let key = new_key();
        for at in 0..3 {
            let node = &mut cluster.nodes[at];
            assert!(node.terminate().success());
            node.env.insert("VAULT_CLUSTER_KEY".into(), key.clone());
            node.start();
            if at > 0 {
                node.wait_ready().await;
                cluster.leader().await;
                write(&cluster.admin(at), &format!("round/{round}/{at}")).await;
            }
        }
        cluster.wait_ready().await;
    }
    for node in &cluster.nodes {
        for name in ["plain", "round/0/1", "round/0/2", "round/1/1", "round/1/2"] {
            read(node, name).await;
        }
    }
}

/// What trust costs: told, and not judged.
#[tokio::test(flavor = "multi_thread")]
async fn what_it_costs_is_told() {
    const WRITERS: usize = 16;
    const FOR: Duration = Duration::from_secs(4);
    let _turn = alone().await;
    let key = new_key();
    let mut rates = Vec::new();
    for given in ["", key.as_str()] {
        let mut cluster = start(given).await;
        cluster.leader().await;
        let until = Instant::now() + FOR;
        let writers = (0..WRITERS).map(|writer| {
            let admin = cluster.admin(writer % 3);
            tokio::spawn(async move {
                let mut times = Vec::new();
                while Instant::now() < until {
                    let began = Instant::now();
                    write(&admin, &format!("w/{writer}/{}", times.len())).await;
                    times.push(began.elapsed());
                }
                times
            })
        });
        let mut times = Vec::new();
        for writer in writers.collect::<Vec<_>>() {
            times.extend(writer.await.unwrap());
        }
        times.sort();
        let at = |part: usize| times[times.len() * part / 100];
        let leader = cluster.leader().await;
        let killed = Instant::now();
        cluster.nodes[leader].kill();
        write(&cluster.admin((leader + 1) % 3), "after").await;
        println!(
            "{}: {} writes in {FOR:?}, median {:?}, p99 {:?}; a leader replaced within {:?}",
            if given.is_empty() { "plain" } else { "TLS" },
            times.len(),
            at(50),
            at(99),
            killed.elapsed()
        );
        rates.push(times.len() as f64);
    }
    println!("TLS / plain: {:.2}", rates[1] / rates[0]);
}
