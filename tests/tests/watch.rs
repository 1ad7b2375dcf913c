//! Waiting for a newer version.
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
    api::{Answer, Api},
    cluster::{Cluster, TOKEN},
    compare::metric,
    node::{Node, PATIENCE},
    raw::{Raw, audited},
};
use tokio::task::JoinHandle;

fn waiting(api: &Api, target: &str) -> JoinHandle<(Answer, Duration)> {
    let (api, target) = (api.clone(), format!("/v1/secrets/{target}"));
    tokio::spawn(async move {
        let began = Instant::now();
        let answer = api.get(&target).await;
        (answer, began.elapsed())
    })
}

async fn create(cluster: &Cluster, name: &str) {
    let body = json!({"name": name, "value": "one"});
    cluster.admin(0).post("/v1/secrets", body).await.expect(201);
}

async fn update(cluster: &Cluster, node: usize, name: &str, value: &str) -> Value {
    let path = format!("/v1/secrets/{name}");
    let admin = cluster.admin(node);
    let put = admin.put(&path, json!({"value": value})).await;
    put.expect(200).json
}

/// Until all nodes have applied a version.
async fn settled(cluster: &Cluster, name: &str, version: u64) {
    for node in &cluster.nodes {
        let target = format!("{name}?wait=30s&after_version={}", version - 1);
        let (answer, _) = waiting(&node.api(), &target).await.unwrap();
        assert_eq!(answer.expect(200).json["version"], version);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wait_ends_with_a_newer_version_or_with_its_time() {
    let _alone = alone().await;
    let cluster = Cluster::start(3).await;
    create(&cluster, "w/a").await;
    settled(&cluster, "w/a", 1).await;
    let api = cluster.nodes[1].api();

    // Nothing newer: 304 when the time is over, and not before.
    for after in [1, 7] {
        let (answer, took) = waiting(&api, &format!("w/a?wait=1s&after_version={after}"))
            .await
            .unwrap();
        let answer = answer.expect(304);
        assert_eq!(answer.text, "");
        assert!((1.0..10.0).contains(&took.as_secs_f64()), "{took:?}");
    }
    // Something newer already: at once. A number without its unit counts in seconds.
    for wait in ["30s", "30"] {
        let (answer, took) = waiting(&api, &format!("w/a?wait={wait}&after_version=0"))
            .await
            .unwrap();
        assert_eq!(answer.expect(200).json["value"], "one");
        assert!(took < Duration::from_secs(10), "{took:?}");
    }
    // It becomes newer at another node while somebody waits at each.
    let waits: Vec<_> = (0..3)
        .map(|node| {
            let api = cluster.nodes[node].api();
            waiting(&api, "w/a?wait=25s&after_version=1")
        })
        .collect();
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert!(waits.iter().all(|wait| !wait.is_finished()));
    let updated = Instant::now();
    assert_eq!(update(&cluster, 2, "w/a", "two").await["version"], 2);
    for wait in waits {
        let (answer, _) = wait.await.unwrap();
        let answer = answer.expect(200);
        assert_eq!(answer.json["version"], 2);
        assert_eq!(answer.json["value"], "two");
    }
    let took = updated.elapsed();
    println!("all three nodes told it {took:?} after the update was sent");
    assert!(took < Duration::from_secs(10), "{took:?}");
    // A wait for what comes later is not woken by what comes before, nor by settings or other secrets.
    let later = waiting(&api, "w/a?wait=3s&after_version=4");
    update(&cluster, 0, "w/a", "three").await;
    update(&cluster, 0, "w/a", "four").await;
    let described = json!({"description": "d"});
    let admin = cluster.admin(0);
    let put = admin.put("/v1/secrets/w/a", described).await;
    put.expect(200);
    create(&cluster, "w/other").await;
    let (answer, took) = later.await.unwrap();
    answer.expect(304);
    assert!(took >= Duration::from_secs(3));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_there_yet_can_be_waited_for() {
    let _alone = alone().await;
    let cluster = Cluster::start(3).await;
    let api = cluster.nodes[2].api();
    let (answer, took) = waiting(&api, "w/none?wait=1s&after_version=0")
        .await
        .unwrap();
    assert_eq!(answer.expect(404).code(), "not_found");
    assert!(took >= Duration::from_secs(1), "{took:?}");
    let wait = waiting(&api, "w/new?wait=25s&after_version=0");
    tokio::time::sleep(Duration::from_millis(500)).await;
    let made = Instant::now();
    create(&cluster, "w/new").await;
    let (answer, _) = wait.await.unwrap();
    assert_eq!(answer.expect(200).json["value"], "one");
    assert!(made.elapsed() < Duration::from_secs(10));
    // Deleted meanwhile, and made anew: its first version is none after the first.
    let wait = waiting(&api, "w/new?wait=2s&after_version=1");
    let deleted = cluster.admin(0).delete("/v1/secrets/w/new").await;
    deleted.expect(204);
    let (answer, took) = wait.await.unwrap();
    answer.expect(404);
    assert!(took >= Duration::from_secs(2), "{took:?}");
    // A wait outlives the time that other requests have, and a leader.
    let mut cluster = cluster;
    create(&cluster, "w/long").await;
    let leader = cluster.leader().await;
    let there = (leader + 1) % 3;
    settled(&cluster, "w/long", 1).await;
    let wait = waiting(
        &cluster.nodes[there].api(),
        "w/long?wait=28s&after_version=1",
    );
    cluster.nodes[leader].kill();
    tokio::time::sleep(Duration::from_secs(17)).await;
    assert!(!wait.is_finished());
    update(&cluster, there, "w/long", "two").await;
    let (answer, _) = wait.await.unwrap();
    assert_eq!(answer.expect(200).json["version"], 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn waits_that_make_no_sense_are_refused_at_once() {
    let _alone = alone().await;
    let cluster = Cluster::start_with(1, &[("VAULT_ALLOWED_IPS", "127.0.0.1")]).await;
    create(&cluster, "w/b").await;
    let node = &cluster.nodes[0];
    let raw = Raw::node(node);
    let began = Instant::now();
    for query in [
        "wait=30s",
        "wait=&after_version=1",
        "wait=0s&after_version=1",
        "wait=0&after_version=1",
        "wait=301s&after_version=1",
        "wait=-1s&after_version=1",
        "wait=5m&after_version=1",
        "wait=1.5s&after_version=1",
        "wait=99999999999999999999s&after_version=1",
        "wait=s&after_version=1",
        "wait=5s&after_version=",
        "wait=5s&after_version=x",
        "wait=5s&after_version=-1",
        "wait=5s&after_version=99999999999999999999",
        "wait=5s&after_version=1&version=1",
        "wait=300s&after_version=1&consistency=bad",
        "wait=%zz&after_version=1",
    ] {
        let answer = raw.get(&format!("/v1/secrets/w/b?{query}")).await;
        assert_eq!(answer.status, 400, "{query}: {}", answer.text);
        assert_eq!(answer.code(), "invalid_request", "{query}");
    }
    // Who may not read does not wait either, and is not told what is wrong.
    let outside = raw.from("127.0.0.2").token(TOKEN);
    for query in ["wait=30s&after_version=1", "wait=bad", "wait=30s"] {
        let answer = outside.get(&format!("/v1/secrets/w/b?{query}")).await;
        assert_eq!(answer.expect(403).code(), "address_not_allowed");
    }
    assert!(began.elapsed() < Duration::from_secs(5));
    // Without wait, after_version says nothing.
    let read = raw.get("/v1/secrets/w/b?after_version=9").await.expect(200);
    assert_eq!(audited(node, &read).len(), 1);
    // A value that left is in the audit trail; a 304 carries none.
    let waited = raw.get("/v1/secrets/w/b?wait=10s&after_version=0").await;
    let record = &audited(node, &waited.expect(200))[0];
    assert_eq!(record["action"], "secret.read");
    assert_eq!(record["outcome"], "done");
}

/// The time on a CPU that a process's threads have had so far. Finer than the ticks of `stat`.
fn cpu(node: &Node) -> Duration {
    let threads = fs::read_dir(format!("/proc/{}/task", node.pid())).unwrap();
    let spent = threads.map(|thread| {
        let stat = fs::read_to_string(thread.unwrap().path().join("schedstat"));
        // A thread may have ended meanwhile.
        let stat = stat.unwrap_or_default();
        stat.split(' ').next().unwrap().parse::<u64>().unwrap_or(0)
    });
    Duration::from_nanos(spent.sum())
}

fn threads_and_memory(node: &Node) -> String {
    let status = fs::read_to_string(format!("/proc/{}/status", node.pid())).unwrap();
    let wanted = |line: &&str| line.starts_with("VmRSS") || line.starts_with("Threads");
    let found: Vec<String> = status
        .lines()
        .filter(wanted)
        .map(|line| line.split_whitespace().collect::<Vec<_>>().join(" "))
        .collect();
    found.join(", ")
}

const WAITERS: usize = 2_000;

/// Waits until so many requests wait at a node.
async fn all_wait(node: &Node, count: usize) {
    let until = Instant::now() + PATIENCE;
    while metric(&node.api(), "waits").await != Some(count as u64) {
        assert!(Instant::now() < until);
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn thousands_wait_for_nothing() {
    let _alone = alone().await;
    let cluster = Cluster::start(3).await;
    for name in ["w/c", "w/d"] {
        create(&cluster, name).await;
        settled(&cluster, name, 1).await;
    }
    let leader = cluster.leader().await;
    let node = &cluster.nodes[(leader + 1) % 3];
    let idle = async |what: &str| {
        let before = cpu(node);
        tokio::time::sleep(Duration::from_secs(2)).await;
        let used = cpu(node).saturating_sub(before);
        println!(
            "{what}: {used:?} of CPU in 2 s; {}",
            threads_and_memory(node)
        );
        used
    };
    idle("nobody waits").await;
    // Each on a connection of its own; half of them for each secret.
    let raw = Raw::node(node);
    let waits: Vec<JoinHandle<(String, Answer, Instant)>> = (0..WAITERS)
        .map(|n| {
            let (raw, name) = (raw.clone(), ["w/c", "w/d"][n % 2].to_owned());
            tokio::spawn(async move {
                let target = format!("/v1/secrets/{name}?wait=60s&after_version=1");
                let answer = raw.get(&target).await;
                (name, answer, Instant::now())
            })
        })
        .collect();
    all_wait(node, WAITERS).await;
    let used = idle("2,000 wait").await;
    assert!(waits.iter().all(|wait| !wait.is_finished()));
    assert!(used < Duration::from_millis(500), "{used:?}");
    // A change wakes those who wait for it, and no others.
    let updated = Instant::now();
    update(&cluster, leader, "w/c", "two").await;
    let (told, rest): (Vec<_>, Vec<_>) = (0..).zip(waits).partition(|(n, _)| n % 2 == 0);
    let mut slowest = Duration::ZERO;
    for (_, wait) in told {
        let (name, answer, at) = wait.await.unwrap();
        assert_eq!(answer.expect(200).json["value"], "two", "{name}");
        slowest = slowest.max(at - updated);
    }
    println!("1,000 told within {slowest:?} of sending the update");
    assert!(slowest < Duration::from_secs(10), "{slowest:?}");
    assert!(rest.iter().all(|(_, wait)| !wait.is_finished()));
    let used = idle("1,000 wait").await;
    assert!(used < Duration::from_millis(500), "{used:?}");
    // Who goes away is forgotten.
    let (gone, rest) = rest.split_at(rest.len() / 2);
    gone.iter().for_each(|(_, wait)| wait.abort());
    update(&cluster, leader, "w/d", "two").await;
    assert_eq!(rest.len(), 500);
    let until = Instant::now() + Duration::from_secs(10);
    while !rest.iter().all(|(_, wait)| wait.is_finished()) {
        assert!(Instant::now() < until);
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    idle("nobody waits any more").await;
    // The connections are free again, too.
    settled(&cluster, "w/d", 2).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn waits_do_not_hold_up_a_stop() {
    let _alone = alone().await;
    let mut cluster = Cluster::start(3).await;
    create(&cluster, "w/e").await;
    settled(&cluster, "w/e", 1).await;
    let raw = Raw::node(&cluster.nodes[0]);
    let target = "/v1/secrets/w/e?wait=60s&after_version=1";
    let waits: Vec<_> = (0..50).map(|_| tokio::spawn(raw.get(target))).collect();
    all_wait(&cluster.nodes[0], waits.len()).await;
    let began = Instant::now();
    assert!(cluster.nodes[0].terminate().success());
    let took = began.elapsed();
    println!("stopped in {took:?} while 50 waited");
    assert!(took < Duration::from_secs(20), "{took:?}");
    for wait in waits {
        wait.await.unwrap().expect(304);
    }
}
