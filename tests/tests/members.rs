//! Members that stood still, come back with what they had, or are sent something damaged.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::print_stdout
)]

use std::{
    fs,
    path::Path,
    time::{Duration, Instant},
};

use rustix::process::Signal;
use serde_json::{Value, json};
use strongroom_tests::{alone, api::Api, cluster::Cluster, node::PATIENCE};

const PATH: &str = "/v1/secrets/kept";

async fn put(api: &Api, value: &str) {
    api.put(PATH, json!({"value": value})).await.expect(200);
}

async fn cluster_view(api: &Api) -> Value {
    api.get("/v1/admin/cluster").await.expect(200).json
}

fn copy_tree(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let (path, copy) = (entry.path(), to.join(entry.file_name()));
        if path.is_dir() {
            copy_tree(&path, &copy);
        } else {
            fs::copy(&path, &copy).unwrap();
        }
    }
}

/// It was replaced while its disk was away: as far as it knows it is a voter still.
#[tokio::test(flavor = "multi_thread")]
async fn a_node_with_a_past_that_is_over_serves_nothing_of_it() {
    let _alone = alone().await;
    let mut cluster = Cluster::start(3).await;
    let leader = cluster.leader().await;
    let place = (leader + 1) % 3;
    let admin = cluster.admin(leader);
    let created = json!({"name": "kept", "value": "of the past"});
    admin.post("/v1/secrets", created).await.expect(201);
    cluster.nodes[place].terminate();
    let (data, past) = (
        cluster.nodes[place].data_dir.clone(),
        cluster.dir.path().join("past"),
    );
    copy_tree(&data, &past);
    fs::remove_dir_all(&data).unwrap();
    cluster.nodes[place].start();
    cluster.nodes[place].wait_ready().await;
    cluster.nodes[place].terminate();
    put(&admin, "of today").await;

    // Its old disk turns up.
    fs::remove_dir_all(&data).unwrap();
    copy_tree(&past, &data);
    cluster.nodes[place].start();
    let api = cluster.nodes[place].api();
    let (until, mut said_so) = (Instant::now() + PATIENCE, false);
    loop {
        if let Ok(ready) = api.try_get("/readyz").await {
            said_so |= ready.code() == "removed";
            let read = api.get(PATH).await;
            match read.status {
                200 => assert_eq!(read.json["value"], "of today"),
                status => assert_eq!(status, 503, "{}", read.text),
            }
            if ready.status == 200 {
                break;
            }
        }
        assert!(
            Instant::now() < until,
            "{}",
            cluster.nodes[place].log_text()
        );
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert!(said_so, "{}", cluster.nodes[place].log_text());
    let view = cluster.bears(place, 1).await;
    assert_eq!(view["nodes"].as_array().unwrap().len(), 3, "{view}");
}

/// What the leader has said meanwhile waits to be read.
#[tokio::test(flavor = "multi_thread")]
async fn a_follower_that_stood_still_deposes_nobody() {
    let _alone = alone().await;
    let cluster = Cluster::start(3).await;
    let leader = cluster.leader().await;
    let before = cluster_view(&cluster.admin(leader)).await;
    for follower in [(leader + 1) % 3, (leader + 2) % 3] {
        cluster.nodes[follower].signal(Signal::STOP);
        tokio::time::sleep(Duration::from_secs(3)).await;
        cluster.nodes[follower].signal(Signal::CONT);
        tokio::time::sleep(Duration::from_secs(2)).await;
    }
    let after = cluster_view(&cluster.admin(leader)).await;
    assert_eq!(after["term"], before["term"]);
    assert_eq!(after["leader"], before["leader"]);
}

/// A disk has changed a byte of the leader's snapshot.
#[tokio::test(flavor = "multi_thread")]
async fn a_damaged_snapshot_is_not_passed_on() {
    let _alone = alone().await;
    let small = [("VAULT_SNAPSHOT_LOG_ENTRIES", "20")];
    let mut cluster = Cluster::start_with(3, &small).await;
    let leader = cluster.leader().await;
    let admin = cluster.admin(leader);
    for n in 0..60 {
        let body = json!({"name": format!("n/{n}"), "value": format!("value {n}")});
        admin.post("/v1/secrets", body).await.expect(201);
    }
    let follower = (leader + 1) % 3;
    cluster.nodes[follower].terminate();
    let snapshots = cluster.nodes[leader].data_dir.join("snapshots");
    let newest = || {
        let files = fs::read_dir(&snapshots).unwrap();
        let mut files: Vec<_> = files.map(|file| file.unwrap().path()).collect();
        files.retain(|path| path.extension().is_some_and(|end| end == "snapshot"));
        files.sort();
        files.pop()
    };
    let until = Instant::now() + PATIENCE;
    while newest().is_none() {
        assert!(Instant::now() < until);
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    tokio::time::sleep(Duration::from_secs(2)).await;
    let file = newest().unwrap();
    let mut bytes = fs::read(&file).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::write(&file, bytes).unwrap();

    fs::remove_dir_all(&cluster.nodes[follower].data_dir).unwrap();
    cluster.nodes[follower].start();
    cluster.nodes[follower].wait_ready().await;
    let read = cluster.nodes[follower].api().get("/v1/secrets/n/7").await;
    assert_eq!(read.expect(200).json["value"], "value 7");
    assert_eq!(cluster.leader().await, leader);
    let log = cluster.nodes[leader].log_text();
    assert!(
        log.contains("a snapshot is damaged, and set aside"),
        "{log}"
    );
}
