//! Rotation of values: on schedule, on request, through crashes and downtime.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic
)]

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use serde_json::{Value, json};
use strongroom_tests::{
    alone,
    api::{Answer, Api},
    cluster::{Cluster, TOKEN},
    node::{Node, PATIENCE},
    raw::{Raw, audit_records},
};

/// Notices what is due within a moment, and destroys what is to go as fast.
const POLL: (&str, &str) = ("VAULT_ROTATION_POLL_SECS", "1");

async fn create(api: &Api, name: &str, more: Value) -> Answer {
    let mut body = json!({"name": name, "kind": "automatic"});
    for (key, value) in more.as_object().unwrap() {
        body[key] = value.clone();
    }
    api.post("/v1/secrets", body).await
}

fn at(name: &str) -> String {
    format!("/v1/secrets/{name}")
}

/// The row of a secret in the list.
async fn row(api: &Api, name: &str) -> Value {
    let list = api.get(&format!("/v1/secrets?prefix={name}")).await;
    let rows = list.expect(200).json["secrets"].take();
    let found = rows
        .as_array()
        .unwrap()
        .iter()
        .find(|row| row["name"] == name);
    found
        .unwrap_or_else(|| panic!("{name} is not listed"))
        .clone()
}

/// Waits for a version at this node.
async fn wait_version(api: &Api, name: &str, version: u64) -> Answer {
    let until = Instant::now() + PATIENCE;
    loop {
        let wait = format!("{}?wait=10s&after_version={}", at(name), version - 1);
        match api.try_get(&wait).await {
            Ok(answer) if answer.status == 200 => return answer,
            other => assert!(Instant::now() < until, "{name} {version}: {other:?}"),
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

/// Seconds within the day of an RFC 3339 time.
fn seconds(time: &Value) -> f64 {
    let text = time.as_str().unwrap_or_else(|| panic!("{time} is no time"));
    let number = |from: usize, to: usize| text[from..to].parse::<f64>().unwrap();
    let end = text.len() - 1;
    number(11, 13) * 3_600.0 + number(14, 16) * 60.0 + number(17, end)
}

/// From one time to another, at most a day apart.
fn between(from: &Value, to: &Value) -> f64 {
    (seconds(to) - seconds(from)).rem_euclid(86_400.0)
}

/// When each version was written, from the oldest that can be read to the current one.
async fn history(api: &Api, name: &str) -> Vec<Value> {
    let current = api.get(&at(name)).await.expect(200).json["version"].as_u64();
    let mut times = Vec::new();
    for version in 1..=current.unwrap() {
        let read = api.get(&format!("{}?version={version}", at(name))).await;
        times.push(read.expect(200).json["created_at"].clone());
    }
    times
}

fn intervals(times: &[Value]) -> Vec<f64> {
    let pairs = times.windows(2);
    pairs.map(|pair| between(&pair[0], &pair[1])).collect()
}

fn long_or(secs: u64) -> Duration {
    let long = std::env::var("STRONGROOM_ROTATION_SECS").ok();
    Duration::from_secs(long.map_or(secs, |text| text.parse().unwrap()))
}

#[derive(Default)]
struct Seen {
    reads: u64,
    /// How long it took from the read to a verification that refused.
    refused: Vec<Duration>,
    slowest: Duration,
    values: BTreeMap<u64, String>,
    times: BTreeMap<u64, Value>,
}

/// Reads, and has the value verified at the same node, around and around.
async fn reader(api: Api, name: String, stop: Arc<AtomicBool>) -> Seen {
    let mut seen = Seen::default();
    while !stop.load(Ordering::Relaxed) {
        let began = Instant::now();
        let read = api.get(&at(&name)).await.expect(200).json;
        let value = read["value"].as_str().unwrap();
        let verify = format!("{}/verify", at(&name));
        let verified = api.post(&verify, json!({"value": value})).await;
        let (verified, took) = (verified.expect(200).json, began.elapsed());
        seen.reads += 1;
        seen.slowest = seen.slowest.max(took);
        if verified["valid"] != true {
            seen.refused.push(took);
        } else {
            assert_eq!(verified["version"], read["version"]);
        }
        let version = read["version"].as_u64().unwrap();
        let known = seen.values.entry(version).or_insert(value.to_owned());
        assert_eq!(known, value, "version {version} has one value");
        seen.times.insert(version, read["created_at"].clone());
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    seen
}

#[tokio::test(flavor = "multi_thread")]
async fn no_reader_gets_a_value_that_verify_refuses() {
    let _alone = alone().await;
    let cluster = Cluster::start_with(3, &[POLL]).await;
    let settings = json!({"rotation_interval_secs": 2, "grace_period_secs": 1});
    create(&cluster.admin(0), "r/a", settings).await.expect(201);
    for node in &cluster.nodes {
        wait_version(&node.api(), "r/a", 1).await;
    }
    let (stop, run) = (Arc::new(AtomicBool::new(false)), long_or(20));
    let readers: Vec<_> = (0..9)
        .map(|n| {
            let api = cluster.nodes[n % 3].api();
            tokio::spawn(reader(api, "r/a".to_owned(), Arc::clone(&stop)))
        })
        .collect();
    tokio::time::sleep(run).await;
    stop.store(true, Ordering::Relaxed);
    let mut all = Seen::default();
    for task in readers {
        let seen = task.await.unwrap();
        all.reads += seen.reads;
        all.refused.extend(seen.refused);
        all.slowest = all.slowest.max(seen.slowest);
        all.times.extend(seen.times);
        for (version, value) in seen.values {
            let known = all.values.entry(version).or_insert(value.clone());
            assert_eq!(*known, value, "one value at all nodes");
        }
    }
    println!(
        "{} reads of {} versions in {run:?}, {} refused; the slowest read with its check took {:?}",
        all.reads,
        all.times.len(),
        all.refused.len(),
        all.slowest
    );
    // Who takes longer than the grace may be refused, and rightly so.
    all.refused
        .retain(|took| *took < Duration::from_millis(700));
    assert!(all.refused.is_empty(), "{:?}", all.refused);
    let times: Vec<Value> = all.times.into_values().collect();
    let intervals = intervals(&times);
    let expected = run.as_secs() / 2;
    println!("intervals: {intervals:.2?}");
    assert!(times.len() as u64 >= expected * 8 / 10, "{}", times.len());
    assert!(intervals.iter().all(|secs| (2.0..4.0).contains(secs)));
    let distinct: BTreeSet<&String> = all.values.values().collect();
    assert_eq!(distinct.len(), all.values.len());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rotation_on_request_shows_the_value_to_who_may_read() {
    let _alone = alone().await;
    let cluster = Cluster::start_with(3, &[("VAULT_ALLOWED_IPS", "127.0.0.1")]).await;
    let admin = cluster.admin(0);
    let hour = json!({"rotation_interval_secs": 3_600});
    create(&admin, "r/b", hour).await.expect(201);
    let before = row(&admin, "r/b").await;
    tokio::time::sleep(Duration::from_millis(1_100)).await;
    // At each node, with and without a body.
    let mut values = BTreeSet::new();
    for node in 0..3 {
        let raw = Raw::node(&cluster.nodes[node]).token(TOKEN);
        for body in [None, Some("{}")] {
            let path = format!("{}/rotate", at("r/b"));
            let rotated = match body {
                None => raw.plain("POST", &path).await,
                Some(body) => raw.text("POST", &path, body).await,
            };
            let rotated = rotated.expect(200).json;
            values.insert(rotated["value"].as_str().unwrap().to_owned());
            assert_eq!(rotated["version"], 1 + values.len());
            assert_eq!(rotated["kind"], "automatic");
            assert_eq!(rotated["name"], "r/b");
            assert!(rotated["created_at"].is_string());
            let now = format!("{}?consistency=linearizable", at("r/b"));
            assert_eq!(admin.get(&now).await.expect(200).json, rotated);
        }
    }
    assert_eq!(values.len(), 6);
    let after = row(&admin, "r/b").await;
    // The next one counts from the last.
    let moved = between(&before["next_rotation_at"], &after["next_rotation_at"]);
    assert!((1.0..60.0).contains(&moved), "{before} {after}");
    // An address that may not read rotates, and sees no value.
    let outside = Raw::node(&cluster.nodes[1]).from("127.0.0.2").token(TOKEN);
    let path = format!("{}/rotate", at("r/b"));
    let omitted = outside.post(&path, &json!({})).await.expect(200).json;
    assert_eq!(omitted["value_omitted"], true);
    assert!(omitted["value"].is_null() && omitted["data"].is_null());
    assert_eq!(omitted["version"], 8);
    // Nobody else rotates.
    let role = |name: &str, action: &str, path: &str| json!({"name": name, "permissions": [{"action": action, "path": path}]});
    for (name, action, path, status) in [
        ("updates", "update", "r/*", 403),
        ("elsewhere", "rotate", "x/*", 403),
        ("rotates", "rotate", "r/*", 200),
    ] {
        admin
            .post("/v1/roles", role(name, action, path))
            .await
            .expect(201);
        let token = json!({"name": name, "role": name});
        let token = admin.post("/v1/tokens", token).await.expect(201).json;
        let api = cluster.nodes[2].api();
        let api = api.with_token(token["token"].as_str().unwrap());
        let answer = api.post(&format!("{}/rotate", at("r/b")), json!({})).await;
        assert_eq!(answer.status, status, "{name}: {}", answer.text);
        // The right to rotate is no other right.
        let put = api.put(&at("r/b"), json!({"value": "x"})).await;
        assert_eq!(put.status, if action == "update" { 200 } else { 403 });
    }
    // What does not rotate.
    let manual = json!({"name": "r/manual", "value": "v"});
    admin.post("/v1/secrets", manual).await.expect(201);
    let refused = admin.post("/v1/secrets/r/manual/rotate", json!({})).await;
    assert_eq!(refused.expect(400).code(), "invalid_request");
    let read = admin.get("/v1/secrets/r/manual").await.expect(200);
    assert_eq!(read.json["version"], 1);
    let none = admin.post("/v1/secrets/r/none/rotate", json!({})).await;
    none.expect(404);
    let odd = admin
        .post(&path, json!({"value": "mine"}))
        .await
        .expect(400);
    assert!(odd.text.contains("value"), "{}", odd.text);
    // In the audit trail: the attempt, and how it ended.
    let rotations: Vec<Value> = audit_records(&cluster.nodes[1])
        .into_iter()
        .filter(|record| record["client_ip"] == "127.0.0.2")
        .collect();
    let words: Vec<_> = rotations.iter().map(|record| &record["outcome"]).collect();
    assert_eq!(words, ["attempted", "done"], "{rotations:?}");
    assert_eq!(rotations[0]["target"], "secret/r/b");
}

#[tokio::test(flavor = "multi_thread")]
async fn generators_change_one_field() {
    let _alone = alone().await;
    let cluster = Cluster::start(1).await;
    let admin = cluster.admin(0);
    let settings = json!({
        "rotation_interval_secs": 3_600,
        "data": {"username": "app", "port": 5432, "nested": {"a": [1, null]}},
        "generator": {"field": "password", "length": 20, "charset": "äß€x"},
    });
    let made = create(&admin, "g/a", settings).await.expect(201).json;
    let rotated = admin.post("/v1/secrets/g/a/rotate", json!({})).await;
    let rotated = rotated.expect(200).json;
    let mut passwords = BTreeSet::new();
    for answer in [&made, &rotated] {
        let data = &answer["data"];
        assert_eq!(data["username"], "app");
        assert_eq!(data["port"], 5432);
        assert_eq!(data["nested"], json!({"a": [1, null]}));
        assert_eq!(data.as_object().unwrap().len(), 4);
        let password = data["password"].as_str().unwrap();
        assert_eq!(password.chars().count(), 20);
        assert!(password.chars().all(|c| "äß€x".contains(c)), "{password}");
        passwords.insert(password.to_owned());
    }
    assert_eq!(passwords.len(), 2);
    // What people write carries over from then on, and a changed generator counts from the next.
    let data = json!({"username": "other", "password": "by hand"});
    let change = json!({"data": data, "generator": {"length": 5, "charset": "01"}});
    admin.put("/v1/secrets/g/a", change).await.expect(200);
    let read = admin.get("/v1/secrets/g/a").await.expect(200).json;
    assert_eq!(read["data"], data);
    let rotated = admin.post("/v1/secrets/g/a/rotate", json!({})).await;
    let data = rotated.expect(200).json["data"].take();
    assert_eq!(data["username"], "other");
    assert_eq!(data.as_object().unwrap().len(), 2);
    let password = data["password"].as_str().unwrap();
    assert_eq!(password.len(), 5);
    assert!(password.chars().all(|c| "01".contains(c)), "{password}");
    // It is the generated field that is verified.
    let verify = admin.post("/v1/secrets/g/a/verify", json!({"value": password}));
    assert_eq!(
        verify.await.expect(200).json,
        json!({"valid": true, "version": 4})
    );
    // By default: 32 letters and digits in `value`.
    let plain = json!({"rotation_interval_secs": 3_600});
    let made = create(&admin, "g/b", plain).await.expect(201).json;
    let value = made["value"].as_str().unwrap();
    assert_eq!(value.len(), 32);
    assert!(value.chars().all(|c| c.is_ascii_alphanumeric()), "{value}");
    // A field moved: the old one stays as it was.
    let change = json!({"generator": {"field": "other"}});
    admin.put("/v1/secrets/g/b", change).await.expect(200);
    let rotated = admin.post("/v1/secrets/g/b/rotate", json!({})).await;
    let data = rotated.expect(200).json["data"].take();
    assert_eq!(data["value"], value);
    assert_eq!(data["other"].as_str().unwrap().len(), 32);
    for bad in [
        json!({"length": 0}),
        json!({"length": 4_097}),
        json!({"charset": ""}),
        json!({"field": ""}),
        json!({"size": 1}),
    ] {
        let settings = json!({"rotation_interval_secs": 3_600, "generator": bad});
        let refused = create(&admin, "g/bad", settings).await;
        assert_eq!(refused.expect(400).code(), "invalid_request");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn superseded_material_goes_when_its_grace_ends() {
    let _alone = alone().await;
    let cluster = Cluster::start_with(3, &[POLL]).await;
    let admin = cluster.admin(0);
    let graceful = json!({"rotation_interval_secs": 3_600, "grace_period_secs": 3});
    let mut kept = graceful.clone();
    kept["keep_superseded"] = json!(true);
    let immediate = json!({"rotation_interval_secs": 3_600});
    let mut first = BTreeMap::new();
    for (name, settings) in [("s/gone", graceful), ("s/kept", kept), ("s/now", immediate)] {
        let made = create(&admin, name, settings).await.expect(201).json;
        first.insert(name, made["value"].as_str().unwrap().to_owned());
    }
    let rotated = Instant::now();
    for name in first.keys() {
        let answer = admin.post(&format!("{}/rotate", at(name)), json!({})).await;
        answer.expect(200);
        for node in &cluster.nodes {
            wait_version(&node.api(), name, 2).await;
        }
    }
    let valid = async |node: usize, name: &str| {
        let api = cluster.nodes[node].api();
        let body = json!({"value": first[name]});
        let answer = api.post(&format!("{}/verify", at(name)), body).await;
        answer.expect(200).json["valid"] == true
    };
    for node in 0..3 {
        assert!(valid(node, "s/gone").await && valid(node, "s/kept").await);
        assert!(!valid(node, "s/now").await, "there is no grace");
        let api = cluster.nodes[node].api();
        let read = api.get("/v1/secrets/s/gone?version=1").await;
        assert_eq!(read.expect(200).json["value"], first["s/gone"]);
    }
    assert!(
        rotated.elapsed() < Duration::from_secs(3),
        "too slow to tell"
    );
    tokio::time::sleep(Duration::from_millis(5_500)).await;
    for node in 0..3 {
        for name in first.keys() {
            assert!(!valid(node, name).await, "{name}");
            let read = cluster.nodes[node].api();
            let read = read.get(&format!("{}?version=1", at(name))).await;
            match *name {
                "s/kept" => assert_eq!(read.expect(200).json["value"], first["s/kept"]),
                _ => assert_eq!(read.expect(404).code(), "not_found"),
            }
            let current = cluster.nodes[node].api().get(&at(name)).await;
            assert_eq!(current.expect(200).json["version"], 2);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_schedule_survives_a_leader() {
    let _alone = alone().await;
    let mut cluster = Cluster::start_with(3, &[POLL]).await;
    let settings =
        json!({"rotation_interval_secs": 3, "keep_superseded": true, "max_versions": 100});
    create(&cluster.admin(0), "l/a", settings).await.expect(201);
    for round in 0..3 {
        let leader = cluster.leader().await;
        let there = cluster.admin((leader + 1) % 3);
        let now = there.get("/v1/secrets/l/a").await.expect(200).json["version"].as_u64();
        let next = wait_version(&there, "l/a", now.unwrap() + 1).await.json;
        // Just before the next one is due.
        tokio::time::sleep(Duration::from_millis(2_700)).await;
        cluster.nodes[leader].kill();
        let version = next["version"].as_u64().unwrap() + 1;
        let rotated = wait_version(&there, "l/a", version).await.json;
        let took = between(&next["created_at"], &rotated["created_at"]);
        println!("round {round}: rotated {took:.2} s after the last, without its leader");
        assert!((3.0..8.0).contains(&took), "{took}");
        cluster.nodes[leader].start();
        cluster.nodes[leader].wait_ready().await;
    }
    let times = history(&cluster.admin(0), "l/a").await;
    assert!(
        intervals(&times).iter().all(|secs| *secs >= 3.0),
        "{times:?}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn after_downtime_there_is_one_rotation_and_no_burst() {
    let _alone = alone().await;
    let mut cluster = Cluster::start_with(3, &[POLL]).await;
    let settings =
        json!({"rotation_interval_secs": 2, "keep_superseded": true, "max_versions": 100});
    for name in ["d/a", "d/b"] {
        create(&cluster.admin(0), name, settings.clone())
            .await
            .expect(201);
    }
    wait_version(&cluster.admin(0), "d/a", 2).await;
    cluster.nodes.iter_mut().for_each(Node::kill);
    tokio::time::sleep(Duration::from_secs(9)).await;
    cluster.nodes.iter_mut().for_each(Node::start);
    cluster.wait_ready().await;
    tokio::time::sleep(Duration::from_secs(5)).await;
    for name in ["d/a", "d/b"] {
        let times = history(&cluster.admin(1), name).await;
        let intervals = intervals(&times);
        println!("{name}: {intervals:.2?}");
        let (long, rest): (Vec<f64>, Vec<f64>) = intervals.iter().partition(|secs| **secs > 8.0);
        assert_eq!(long.len(), 1, "{intervals:?}");
        assert!(
            rest.iter().all(|secs| (2.0..4.5).contains(secs)),
            "{intervals:?}"
        );
        let last = *intervals.last().unwrap();
        assert!(last < 4.5, "it goes on: {intervals:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn many_rotate_on_time() {
    let _alone = alone().await;
    let cluster = Cluster::start_with(3, &[POLL]).await;
    let settings =
        json!({"rotation_interval_secs": 3, "keep_superseded": true, "max_versions": 1_000});
    let names: Vec<String> = (0..300).map(|n| format!("m/{n}")).collect();
    for some in names.chunks(20) {
        let admin = cluster.admin(0);
        let made: Vec<_> = some
            .iter()
            .map(|name| {
                let (admin, name, settings) = (admin.clone(), name.clone(), settings.clone());
                tokio::spawn(async move { create(&admin, &name, settings).await.expect(201) })
            })
            .collect();
        for made in made {
            made.await.unwrap();
        }
    }
    tokio::time::sleep(Duration::from_secs(12)).await;
    let mut late = Vec::new();
    for name in &names {
        let times = history(&cluster.admin(1), name).await;
        assert!(times.len() >= 4, "{name}: {times:?}");
        late.extend(intervals(&times).iter().map(|secs| secs - 3.0));
    }
    late.sort_by(f64::total_cmp);
    let at = |share: f64| late[((late.len() - 1) as f64 * share) as usize];
    println!(
        "{} rotations of 300 secrets: late by {:.2} s at p50, {:.2} s at p99, {:.2} s at most",
        late.len(),
        at(0.5),
        at(0.99),
        at(1.0)
    );
    assert!(at(0.0) >= 0.0, "{}", at(0.0));
    assert!(at(1.0) < 2.0, "{}", at(1.0));
}

/// Who rotates by hand when a rotation is due anyway gets one, and not two.
#[tokio::test(flavor = "multi_thread")]
async fn the_worker_leaves_alone_what_somebody_else_has_rotated() {
    let _alone = alone().await;
    let cluster = Cluster::start_with(3, &[POLL]).await;
    let settings =
        json!({"rotation_interval_secs": 1, "keep_superseded": true, "max_versions": 1_000});
    let names: Vec<String> = (0..40).map(|n| format!("t/{n}")).collect();
    for name in &names {
        create(&cluster.admin(0), name, settings.clone())
            .await
            .expect(201);
    }
    let tasks: Vec<_> = (0..)
        .zip(&names)
        .map(|(n, name)| {
            let (api, name) = (cluster.admin(n % 3), name.clone());
            tokio::spawn(async move {
                let (mut mine, until) = (BTreeSet::new(), Instant::now() + Duration::from_secs(12));
                while Instant::now() < until {
                    let path = format!("{}/rotate", at(&name));
                    let rotated = api.post(&path, json!({})).await.expect(200).json;
                    mine.insert(rotated["version"].as_u64().unwrap());
                    // From a little before until a little after it is due.
                    let (n, round) = (n as u64, mine.len() as u64);
                    let pause = 960 + (n * 7 + round * 13) % 60;
                    tokio::time::sleep(Duration::from_millis(pause)).await;
                }
                mine
            })
        })
        .collect();
    let mut all = Vec::new();
    for task in tasks {
        all.push(task.await.unwrap());
    }
    let (mut by_worker, mut early) = (0, Vec::new());
    for (name, mine) in names.iter().zip(all) {
        let times = history(&cluster.admin(0), name).await;
        for (version, secs) in (2..).zip(intervals(&times)) {
            if !mine.contains(&version) {
                by_worker += 1;
                if secs < 1.0 {
                    early.push((name, version, secs));
                }
            }
        }
    }
    println!(
        "{by_worker} by the worker, {} of them before their time",
        early.len()
    );
    assert!(by_worker > 20);
    assert!(early.is_empty(), "{early:?}");
}

/// Rotates these secrets without end, wherever it can; what was acknowledged, by name and version.
async fn rotator(
    apis: Vec<Api>,
    names: Vec<String>,
    stop: Arc<AtomicBool>,
) -> BTreeMap<(String, u64), String> {
    let mut acknowledged = BTreeMap::new();
    let mut n = 0;
    while !stop.load(Ordering::Relaxed) {
        n += 1;
        let (api, name) = (&apis[n % apis.len()], &names[n % names.len()]);
        let (path, body) = (format!("{}/rotate", at(name)), Some("{}".to_owned()));
        match api.try_send("POST", &path, &[], body).await {
            Ok(answer) if answer.status == 200 => {
                let version = answer.json["version"].as_u64().unwrap();
                let value = answer.json["value"].as_str().unwrap().to_owned();
                let earlier = acknowledged.insert((name.clone(), version), value);
                assert_eq!(earlier, None, "{name} {version} was given out twice");
            }
            Ok(answer) => assert_eq!(answer.status, 503, "{}", answer.text),
            Err(_) => tokio::time::sleep(Duration::from_millis(20)).await,
        }
    }
    acknowledged
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rotation_is_never_half_done() {
    let _alone = alone().await;
    let kills = std::env::var("STRONGROOM_ROTATION_KILLS").ok();
    let kills: u32 = kills.map_or(6, |text| text.parse().unwrap());
    let mut cluster = Cluster::start_with(3, &[POLL]).await;
    let settings =
        json!({"rotation_interval_secs": 1, "keep_superseded": true, "max_versions": 1_000});
    let names: Vec<String> = (0..12).map(|n| format!("h/{n}")).collect();
    for name in &names {
        create(&cluster.admin(0), name, settings.clone())
            .await
            .expect(201);
    }
    let stop = Arc::new(AtomicBool::new(false));
    let apis: Vec<Api> = (0..3).map(|node| cluster.admin(node)).collect();
    // Two for each half of the secrets: they meet each other, and the worker.
    let rotators: Vec<_> = (0..4)
        .map(|n: usize| {
            let half = names.iter().skip(n % 2).step_by(2).cloned().collect();
            tokio::spawn(rotator(apis.clone(), half, Arc::clone(&stop)))
        })
        .collect();
    let mut random = [0; 4];
    for _ in 0..kills {
        getrandom::fill(&mut random).unwrap();
        let pause = 300 + u64::from(u32::from_le_bytes(random) % 1_500);
        tokio::time::sleep(Duration::from_millis(pause)).await;
        let leader = cluster.leader().await;
        cluster.nodes[leader].kill();
        cluster.leader().await;
        cluster.nodes[leader].start();
        cluster.nodes[leader].wait_ready().await;
    }
    stop.store(true, Ordering::Relaxed);
    let mut acknowledged = BTreeMap::new();
    for task in rotators {
        acknowledged.extend(task.await.unwrap());
    }
    // No longer due while it is looked at.
    for name in &names {
        let change = json!({"rotation_interval_secs": 3_600});
        cluster.admin(0).put(&at(name), change).await.expect(200);
    }
    let mut versions = 0;
    for name in &names {
        let listed = row(&cluster.admin(1), name).await["version"]
            .as_u64()
            .unwrap();
        versions += listed;
        let mut values = BTreeSet::new();
        for version in 1..=listed {
            let api = cluster.nodes[version as usize % 3].api();
            let path = format!("{}?version={version}&consistency=linearizable", at(name));
            let read = api.get(&path).await.expect(200).json;
            let value = read["value"].as_str().unwrap().to_owned();
            if let Some(told) = acknowledged.get(&(name.clone(), version)) {
                assert_eq!(*told, value, "{name} {version}");
            }
            values.insert(value);
        }
        assert_eq!(values.len() as u64, listed, "{name}: a value repeats");
        for (node, api) in apis.iter().enumerate() {
            let path = format!("{}?consistency=linearizable", at(name));
            let current = api.get(&path).await.expect(200).json;
            assert_eq!(current["version"], listed, "at node {node}");
            let verify = json!({"value": current["value"]});
            let verify = api.post(&format!("{}/verify", at(name)), verify).await;
            assert_eq!(
                verify.expect(200).json,
                json!({"valid": true, "version": listed})
            );
            let next = format!("{}?version={}", at(name), listed + 1);
            api.get(&next).await.expect(404);
        }
    }
    let lost = acknowledged
        .keys()
        .filter(|(name, _)| !names.contains(name));
    assert_eq!(lost.count(), 0);
    println!(
        "{versions} versions, {} by request, {kills} leaders killed",
        acknowledged.len()
    );
    assert!(acknowledged.len() > 20);
}
