//! A slow disk costs time, and no leadership.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::print_stdout
)]

use std::time::{Duration, Instant};

use serde_json::{Value, json};
use strongroom_tests::{
    alone, api::Api, cluster::Cluster, load::Load, node::Node, shim::FailingDisk,
};

/// How much longer syncs take, in milliseconds. An ordinary disk takes 1 to 10.
const SYNCS_TAKE_MS: [u64; 2] = [50, 250];

async fn term(cluster: &Cluster) -> (u64, Value) {
    for place in 0..3 {
        let view = cluster.admin(place).get("/v1/admin/cluster").await;
        if view.status == 200 {
            return (
                view.json["term"].as_u64().unwrap(),
                view.json["leader"].clone(),
            );
        }
    }
    (0, Value::Null)
}

/// Three nodes, ready, whose disks can be made slow.
async fn on_slow_disks(env: &[(&str, &str)]) -> (Cluster, Vec<FailingDisk>) {
    let mut cluster = Cluster::prepare(3, env);
    let scratch = cluster.dir.path().to_owned();
    let install = |node: &mut Node| {
        let dir = node.data_dir.join("log");
        FailingDisk::install(node, &scratch, &dir)
    };
    let disks = cluster.nodes.iter_mut().map(install).collect();
    cluster.nodes.iter_mut().for_each(Node::start);
    cluster.wait_ready().await;
    (cluster, disks)
}

#[tokio::test(flavor = "multi_thread")]
async fn slow_syncs_cost_no_election() {
    let _turn = alone().await;
    let patient = [("VAULT_REQUEST_TIMEOUT_SECS", "60")];
    let (cluster, disks) = on_slow_disks(&patient).await;
    let admins: Vec<Api> = (0..3).map(|place| cluster.admin(place)).collect();
    let mut seen = Vec::new();
    for ms in SYNCS_TAKE_MS {
        let before = term(&cluster).await;
        for disk in &disks {
            disk.slow_down(Duration::from_millis(ms));
        }
        let began = Instant::now();
        let load = Load::start(&admins, 4, &format!("load-{ms}"));
        tokio::time::sleep(Duration::from_secs(3)).await;
        let acked = load.acknowledged();
        let ledger = load.stop().await;
        let took = began.elapsed();
        let middle = term(&cluster).await;
        let began = Instant::now();
        let writers: Vec<_> = (0..12)
            .map(|n| {
                let admin = admins[n % 3].clone();
                tokio::spawn(async move {
                    let body =
                        json!({"name": format!("large-{ms}/{n}"), "value": "x".repeat(400 * 1024)});
                    admin.post("/v1/secrets", body).await
                })
            })
            .collect();
        let mut refused = Vec::new();
        for writer in writers {
            let answer = writer.await.unwrap();
            if answer.status != 201 {
                refused.push(answer.text);
            }
        }
        let after = term(&cluster).await;
        println!(
            "syncs take {ms} ms longer: {acked} small writes in {took:?}, {} unknown; 12 of 400 KB in \
             {:?}, refused {refused:?}; term and leader {before:?}, {middle:?}, {after:?}",
            ledger.unknown,
            began.elapsed()
        );
        seen.push((before, after));
    }
    for disk in &disks {
        disk.heal();
    }
    cluster.assert_equal("").await;
    assert!(
        seen.iter().all(|(before, after)| before == after),
        "{seen:?}"
    );
}

/// The leader sends an entry to the others while its own disk writes it. Until that is done, the entry counts as
/// committed nowhere: the leader does not answer, and the others, which have it on their disks, do not show
/// it.
#[tokio::test(flavor = "multi_thread")]
async fn what_the_leader_does_not_have_on_its_disk_is_committed_nowhere() {
    const SLOW: Duration = Duration::from_millis(900);
    let _turn = alone().await;
    let (cluster, disks) = on_slow_disks(&[]).await;
    let led = cluster.leader().await;
    let admin = cluster.admin(led);
    let made = json!({"name": "a", "value": "old"});
    admin.post("/v1/secrets", made).await.expect(201);
    // Written lazily, and then nothing is.
    tokio::time::sleep(Duration::from_secs(1)).await;
    disks[led].slow_down(SLOW);
    let began = Instant::now();
    let put = tokio::spawn(async move {
        admin
            .put("/v1/secrets/a", json!({"value": "new"}))
            .await
            .expect(200);
        began.elapsed()
    });
    let mut looks = 0;
    for place in (0..3).cycle() {
        let read = cluster.nodes[place].api().get("/v1/secrets/a").await;
        if began.elapsed() >= SLOW {
            break;
        }
        assert_eq!(read.json["value"], "old", "node {place}");
        looks += 1;
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let took = put.await.unwrap();
    println!("answered after {took:?}; {looks} looks before");
    assert!(took >= SLOW, "{took:?}");
    assert!(looks > 0);
    disks[led].heal();
    cluster.assert_equal("").await;
}

/// What openraft tells of a commit comes before the leader's disk has the entry, where others' are quicker, and
/// so tells nothing. Followers hear of it once it may be told, and not with the next heartbeat.
#[tokio::test(flavor = "multi_thread")]
async fn followers_hear_of_a_write_once_the_leader_has_it() {
    let _turn = alone().await;
    let (cluster, disks) = on_slow_disks(&[]).await;
    let led = cluster.leader().await;
    let made = json!({"name": "a", "value": "0"});
    let admin = cluster.admin(led);
    admin.post("/v1/secrets", made).await.expect(201);
    // As long as another node has asked lately, it is told at once, and this would show nothing.
    tokio::time::sleep(Duration::from_millis(1_100)).await;
    // Where no other write follows, the news of one waits for nothing; nor where it had to be left out.
    for (more, name) in [(None, "as they are"), (Some(30), "30 ms slower")] {
        if let Some(more) = more {
            disks[led].slow_down(Duration::from_millis(more));
        }
        let lags = lags(&cluster, led).await;
        println!("disks {name}: a follower shows a write after {lags:?}");
        let late = lags.iter().filter(|lag| **lag > LATE).count();
        let most = lags.len() / 2;
        assert!(late < most, "{late} later than {LATE:?}, disks {name}");
    }
    disks[led].heal();
}

/// A heartbeat comes every 250 ms: without being told, three of four are later.
const LATE: Duration = Duration::from_millis(60);

/// How long after a write's answer a follower shows it, some times.
async fn lags(cluster: &Cluster, led: usize) -> Vec<Duration> {
    const WRITES: u64 = 15;
    let admin = cluster.admin(led);
    let follower = cluster.nodes[(led + 1) % 3].api();
    let mut lags = Vec::new();
    for n in 1..=WRITES {
        let written = n.to_string();
        let value = json!({"value": written});
        admin.put("/v1/secrets/a", value).await.expect(200);
        let began = Instant::now();
        while follower.get("/v1/secrets/a").await.expect(200).json["value"] != written {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        lags.push(began.elapsed());
        // Not in step with heartbeats.
        tokio::time::sleep(Duration::from_millis(37 * (n % 7))).await;
    }
    lags
}
