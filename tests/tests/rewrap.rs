//! Re-wrapping, with several local master keys and with KMS.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::print_stdout
)]

#[path = "rewrap/aws.rs"]
mod aws;
#[path = "rewrap/crash.rs"]
mod crash;
#[path = "rewrap/local.rs"]
mod local;
#[path = "rewrap/notice.rs"]
mod notice;

use std::{
    collections::BTreeSet,
    time::{Duration, Instant},
};

use base64::{Engine, engine::general_purpose::STANDARD};
use serde_json::{Value, json};
use strongroom_tests::{
    alone,
    api::{Answer, Api},
    cluster::{Cluster, MASTER_KEY},
    kms_cluster::{KmsCluster, metric},
    moto::gate::Mode,
    node::{Node, PATIENCE},
    raw::audit_records,
    values::Values,
};

const PASS: &str = "/v1/admin/kms/rewrap";
const PENDING: &str = "strongroom_rewrap_pending";
const STATUS: &str = "/v1/admin/kms/rewrap/status";

async fn status(api: &Api) -> Value {
    api.get(STATUS).await.expect(200).json
}

async fn begin(api: &Api) -> Answer {
    api.post(PASS, json!({})).await.expect(202)
}

/// Asks for the status until it is as wanted.
async fn wait_status(api: &Api, what: &str, wanted: impl Fn(&Value) -> bool) -> Value {
    let until = Instant::now() + PATIENCE;
    loop {
        let found = status(api).await;
        if wanted(&found) {
            return found;
        }
        assert!(Instant::now() < until, "never {what}: {found}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

fn ended(status: &Value) -> bool {
    status["running"] == false && !status["finished_at"].is_null()
}

/// Stops all nodes and starts them with this setting changed.
async fn restart_all(cluster: &mut Cluster, key: &str, value: &str) {
    for node in &mut cluster.nodes {
        node.kill();
        node.env.insert(key.to_owned(), value.to_owned());
    }
    cluster.nodes.iter_mut().for_each(Node::start);
    cluster.wait_ready().await;
}

fn follower_of(leader: usize) -> usize {
    (leader + 1) % 3
}

fn keys_of(status: &Value) -> BTreeSet<String> {
    let keys = status["versions_by_key"].as_object().unwrap();
    keys.keys().cloned().collect()
}

const FIELDS: [&str; 14] = [
    "enabled",
    "failed",
    "failures",
    "finished_at",
    "last_error",
    "method",
    "pass_id",
    "pending",
    "rewrapped",
    "running",
    "started_at",
    "target",
    "versions_by_key",
    "watermark",
];

fn another_key() -> String {
    STANDARD.encode([1; 32])
}

/// A cluster with the worker on, looking every second.
async fn kms_cluster(max_per_sec: &str) -> KmsCluster {
    let env = [
        ("VAULT_KMS_REWRAP_ENABLED", "true"),
        ("VAULT_KMS_REWRAP_POLL_SECS", "1"),
        ("VAULT_KMS_REWRAP_MAX_PER_SEC", max_per_sec),
    ];
    KmsCluster::start(3, &env).await
}

fn adopted(status: &Value) -> bool {
    !status["watermark"].is_null()
}

async fn key_of(it: &KmsCluster) -> String {
    it.kms(0).await["key"].as_str().unwrap().to_owned()
}
