//! Rotation of values: on schedule, on request, through crashes and downtime.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::print_stdout
)]

#[path = "rotation/crash.rs"]
mod crash;
#[path = "rotation/schedule.rs"]
mod schedule;
#[path = "rotation/steps.rs"]
mod steps;
#[path = "rotation/values.rs"]
mod values;

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
    shim::WrongClock,
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
