//! What a node holds, read at that node alone.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use serde_json::{Value, json};

use crate::{
    api::{Answer, Api},
    cluster::Cluster,
    node::PATIENCE,
};

/// Names in a batch read: the largest values that tests write have 400 KB, and a batch 16 MiB.
const BATCH: usize = 32;

impl Cluster {
    /// Waits until all running nodes have applied the same index, which a cluster at rest does.
    pub async fn wait_level(&self) -> u64 {
        let deadline = Instant::now() + PATIENCE * 2;
        let mut last = Vec::new();
        while Instant::now() < deadline {
            last.clear();
            for node in self.nodes.iter().filter(|node| node.is_running()) {
                last.push(metric(&node.api(), "applied_index").await);
            }
            if let Some(Some(first)) = last.first().copied()
                && last.iter().all(|index| *index == Some(first))
            {
                return first;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        panic!("the nodes do not level: {last:?}");
    }

    /// Every secret whose name begins with `prefix`, with its version and value, as the node at this
    /// place has it: its list, and local reads of every value.
    pub async fn held_by(&self, node: usize, prefix: &str) -> BTreeMap<String, Held> {
        let admin = self.admin(node);
        let names = list(&admin, prefix).await;
        let mut held = BTreeMap::new();
        for some in names.chunks(BATCH) {
            let (path, body) = (
                "/v1/batch/secrets?consistency=local",
                json!({"names": some}),
            );
            let read = with_kms(async || admin.post(path, body.clone()).await).await;
            for secret in read.json["secrets"].as_array().expect("secrets") {
                let name = secret["name"].as_str().expect("a name").to_owned();
                let value = Held {
                    version: secret["version"].as_u64().expect("a version"),
                    value: secret["value"].clone(),
                };
                held.insert(name, value);
            }
        }
        assert_eq!(held.len(), names.len(), "node {node} lists what it lacks");
        held
    }

    /// Asserts that all running nodes hold the same below `prefix`, and returns it.
    pub async fn assert_equal(&self, prefix: &str) -> BTreeMap<String, Held> {
        self.wait_level().await;
        let mut first: Option<BTreeMap<String, Held>> = None;
        for (place, _) in self
            .nodes
            .iter()
            .enumerate()
            .filter(|(_, n)| n.is_running())
        {
            let held = self.held_by(place, prefix).await;
            match &first {
                None => first = Some(held),
                Some(first) => assert_same(first, &held, place),
            }
        }
        first.expect("a running node")
    }

    /// Bytes below a node's data directory, its audit trail aside, as the file system has them.
    pub fn disk_bytes(&self, node: usize) -> DiskBytes {
        let dir = &self.nodes[node].data_dir;
        DiskBytes {
            log: bytes_below(&dir.join("log")),
            snapshots: bytes_below(&dir.join("snapshots")),
        }
    }
}

/// What is answered, which must be 200, once KMS can be asked: for seconds after it was away it is left
/// alone, and calls that it never answered may open the breaker yet.
pub async fn with_kms(ask: impl AsyncFn() -> Answer) -> Answer {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let answer = ask().await;
        if answer.code() != "kms_unavailable" || Instant::now() > deadline {
            return answer.expect(200);
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

/// A secret at a node.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Held {
    /// Its current version.
    pub version: u64,
    /// And its value.
    pub value: Value,
}

/// Bytes on disk.
#[derive(Clone, Copy, Debug)]
pub struct DiskBytes {
    /// Of vote and log.
    pub log: u64,
    /// Of snapshots.
    pub snapshots: u64,
}

fn assert_same(one: &BTreeMap<String, Held>, other: &BTreeMap<String, Held>, place: usize) {
    let short = |held: Option<&Held>| {
        held.map(|held| {
            let value: String = held.value.to_string().chars().take(40).collect();
            (held.version, value)
        })
    };
    let names = one
        .keys()
        .chain(other.keys().filter(|name| !one.contains_key(*name)));
    let differing: Vec<_> = names
        .filter(|name| one.get(*name) != other.get(*name))
        .map(|name| (name, short(one.get(name)), short(other.get(name))))
        .take(10)
        .collect();
    assert!(
        differing.is_empty(),
        "node at {place} differs: {differing:?}"
    );
}

/// The names that a node lists below `prefix`.
pub async fn list(admin: &Api, prefix: &str) -> Vec<String> {
    let mut names: Vec<String> = Vec::new();
    let mut after = String::new();
    loop {
        let path = format!("/v1/secrets?prefix={prefix}&after={after}&limit=1000");
        let page = admin.get(&path).await.expect(200);
        for secret in page.json["secrets"].as_array().expect("secrets") {
            names.push(secret["name"].as_str().expect("a name").to_owned());
        }
        match page.json["next_after"].as_str() {
            Some(next) => next.clone_into(&mut after),
            None => return names,
        }
    }
}

/// A number from a node's `/metrics`.
pub async fn metric(api: &Api, name: &str) -> Option<u64> {
    let page = api.try_get("/metrics").await.ok()?;
    let prefix = format!("strongroom_{name} ");
    page.text
        .lines()
        .find_map(|line| line.strip_prefix(&prefix)?.trim().parse().ok())
}

fn bytes_below(dir: &std::path::Path) -> u64 {
    use std::os::unix::fs::MetadataExt;
    let Ok(entries) = std::fs::read_dir(dir) else {
        return 0;
    };
    entries
        .filter_map(Result::ok)
        .map(|entry| match entry.metadata() {
            Ok(metadata) if metadata.is_dir() => bytes_below(&entry.path()),
            Ok(metadata) => metadata.blocks() * 512,
            Err(_) => 0,
        })
        .sum()
}
