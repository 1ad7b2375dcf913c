//! A follower that was away: by log, by snapshot, and from nothing.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::print_stdout
)]

use std::{
    fs,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use serde_json::json;
use strongroom_tests::{alone, api::Api, cluster::Cluster};

const WRITERS: usize = 48;
const LARGE: usize = 40;
const LARGE_BYTES: usize = 400 * 1024;
const SMALL: usize = 20_000;

/// What a node logs when it has taken over the leader's snapshot.
const BY_SNAPSHOT: &str = "installed a snapshot";

fn value(name: &str, bytes: usize) -> String {
    name.repeat((bytes / name.len()).max(1))
}

/// Does `work` for each of `0..count`, many at a time, spread over `apis`.
async fn each<F>(apis: &[Api], count: usize, at_a_time: usize, work: fn(Api, usize) -> F)
where
    F: Future<Output = ()> + Send + 'static,
{
    let next = Arc::new(AtomicUsize::new(0));
    let mut tasks = Vec::new();
    for worker in 0..at_a_time {
        let (api, next) = (apis[worker % apis.len()].clone(), Arc::clone(&next));
        tasks.push(tokio::spawn(async move {
            loop {
                let n = next.fetch_add(1, Ordering::Relaxed);
                if n >= count {
                    return;
                }
                work(api.clone(), n).await;
            }
        }));
    }
    for task in tasks {
        task.await.expect("a writer");
    }
}

async fn create_small(api: Api, n: usize) {
    let name = format!("bulk/small/{n:05}");
    let body = json!({"name": name, "value": value(&name, 0)});
    api.post("/v1/secrets", body).await.expect(201);
}

async fn create_large(api: Api, n: usize) {
    let name = format!("bulk/large/{n:05}");
    let body = json!({"name": name, "value": value(&name, LARGE_BYTES)});
    api.post("/v1/secrets", body).await.expect(201);
}

async fn delete_early(api: Api, n: usize) {
    let path = format!("/v1/secrets/early/{n:05}");
    api.delete(&path).await.expect(204);
}

async fn delete_small(api: Api, n: usize) {
    let path = format!("/v1/secrets/bulk/small/{:05}", n * 50);
    api.delete(&path).await.expect(204);
}

async fn delete_large(api: Api, n: usize) {
    let path = format!("/v1/secrets/bulk/large/{:05}", n * 10);
    api.delete(&path).await.expect(204);
}

async fn create_early(api: Api, n: usize) {
    let name = format!("early/{n:05}");
    let body = json!({"name": name, "value": value(&name, 0)});
    api.post("/v1/secrets", body).await.expect(201);
}

/// A follower is killed, all that is written, and the follower started again. Returns the place of
/// the follower.
async fn miss_everything(cluster: &mut Cluster, small: usize) -> usize {
    let all: Vec<Api> = (0..3).map(|node| cluster.admin(node)).collect();
    each(&all, 100, WRITERS, create_early).await;
    let leader = cluster.leader().await;
    let follower = (leader + 1) % 3;
    cluster.nodes[follower].kill();
    let others: Vec<Api> = (0..3)
        .filter(|node| *node != follower)
        .map(|node| cluster.admin(node))
        .collect();
    let began = Instant::now();
    each(&others, small, WRITERS, create_small).await;
    let took = began.elapsed();
    println!(
        "{small} small writes at two of three nodes: {took:?}, {:.0} a second",
        small as f64 / took.as_secs_f64()
    );
    let began = Instant::now();
    each(&others, LARGE, 4, create_large).await;
    println!(
        "{LARGE} writes of 400 KB, 4 at a time: {:?}",
        began.elapsed()
    );
    each(&others, small / 50, WRITERS, delete_small).await;
    each(&others, LARGE / 10, 4, delete_large).await;
    // What the follower had is deleted too: it must not come back with it.
    each(&others, 50, WRITERS, delete_early).await;
    let began = Instant::now();
    cluster.nodes[follower].start();
    cluster.nodes[follower].wait_ready().await;
    let ready = began.elapsed();
    cluster.wait_level().await;
    println!(
        "the follower: ready after {ready:?}, level after {:?}",
        began.elapsed()
    );
    follower
}

async fn assert_all_have_it(cluster: &Cluster, small: usize) {
    let held = cluster.assert_equal("bulk/").await;
    assert_eq!(held.len(), small - small / 50 + LARGE - LARGE / 10);
    for (name, held) in &held {
        let bytes = if name.contains("large") {
            LARGE_BYTES
        } else {
            0
        };
        assert_eq!(held.value, value(name, bytes), "{name}");
    }
    let early = cluster.assert_equal("early/").await;
    assert_eq!(early.len(), 50);
}

fn has_snapshot(cluster: &Cluster, node: usize) -> bool {
    fs::read_dir(cluster.nodes[node].data_dir.join("snapshots"))
        .is_ok_and(|files| files.count() > 0)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_follower_catches_up_by_log() {
    let _turn = alone().await;
    let never = [
        ("VAULT_SNAPSHOT_LOG_BYTES", "1GiB"),
        ("VAULT_SNAPSHOT_LOG_ENTRIES", "1000000"),
    ];
    let mut cluster = Cluster::start_with(3, &never).await;
    miss_everything(&mut cluster, SMALL).await;
    for node in 0..3 {
        assert!(!has_snapshot(&cluster, node), "this is the log's test");
    }
    assert_all_have_it(&cluster, SMALL).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_follower_catches_up_by_snapshot_and_so_does_one_that_lost_its_disk() {
    let _turn = alone().await;
    let often = [
        ("VAULT_SNAPSHOT_LOG_BYTES", "1MiB"),
        ("VAULT_SNAPSHOT_LOG_ENTRIES", "500"),
    ];
    let mut cluster = Cluster::start_with(3, &often).await;
    let follower = miss_everything(&mut cluster, SMALL).await;
    let log = cluster.nodes[follower].log_text();
    assert!(
        log.contains(BY_SNAPSHOT),
        "this is the snapshot's test: {log}"
    );
    assert_all_have_it(&cluster, SMALL).await;

    // And one that lost its disk, under the same name.
    let view = cluster.admin(0).get("/v1/admin/cluster").await.expect(200);
    cluster.nodes[follower].kill();
    fs::remove_dir_all(&cluster.nodes[follower].data_dir).unwrap();
    let began = Instant::now();
    cluster.nodes[follower].start();
    cluster.nodes[follower].wait_ready().await;
    println!("a wiped follower is ready after {:?}", began.elapsed());
    assert_is_voter_again(&cluster, follower, &view.json).await;
    assert_all_have_it(&cluster, SMALL).await;
}

async fn assert_is_voter_again(cluster: &Cluster, follower: usize, before: &serde_json::Value) {
    let id = &cluster.nodes[follower].id;
    let raft_id = |view: &serde_json::Value| {
        let nodes = view["nodes"].as_array().unwrap();
        assert_eq!(nodes.len(), 3, "{view}");
        let node = nodes.iter().find(|node| node["node_id"] == **id).unwrap();
        (node["raft_id"].clone(), node["role"].clone())
    };
    let deadline = Instant::now() + Duration::from_secs(30);
    loop {
        let answer = cluster.admin(follower).get("/v1/admin/cluster").await;
        let view = answer.expect(200).json;
        let nodes = view["nodes"].as_array().map_or(0, Vec::len);
        let whole = nodes == 3 && view["failure_tolerance"] == 1;
        if whole && raft_id(&view).1 == "voter" {
            assert_ne!(raft_id(&view).0, raft_id(before).0, "{view}");
            assert_eq!(view["cluster_id"], before["cluster_id"]);
            return;
        }
        assert!(Instant::now() < deadline, "not a voter again: {view}");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}
