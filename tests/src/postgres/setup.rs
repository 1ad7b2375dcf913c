//! A cluster whose target is a PostgreSQL server behind a gate, and a role that signs in there.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::{Postgres, gate::Gate};
use crate::{
    api::{Answer, Api},
    cluster::Cluster,
    node::{Node, PATIENCE},
};

/// The secret with the target.
pub const NAME: &str = "db/orders";
/// Its path.
pub const PATH: &str = "/v1/secrets/db/orders";
/// The role at the target.
pub const USER: &str = "orders_app";
/// The role's password at first. Guards nothing outside of a test.
pub const FIRST: &str = "first-password-of-a-test";

/// All of it. Dropped in this order.
pub struct Setup {
    /// The nodes.
    pub cluster: Cluster,
    /// The way to the server.
    pub gate: Gate,
    /// The server.
    pub postgres: Postgres,
}

impl Setup {
    /// `count` nodes, ready, with the target `orders` and these settings beside it; no secret yet.
    pub async fn start(count: usize, env: &[(&str, &str)]) -> Self {
        let mut setup = Self::prepare(count, env).await;
        setup.cluster.nodes.iter_mut().for_each(Node::start);
        setup.cluster.wait_ready().await;
        setup
    }

    /// The same, with the nodes not started yet.
    pub async fn prepare(count: usize, env: &[(&str, &str)]) -> Self {
        let postgres = Postgres::start(&[]);
        make_role(&postgres).await;
        let gate = Gate::to(postgres.port).await;
        let targets = target(gate.port);
        let mut all = vec![
            ("VAULT_TARGETS", targets.as_str()),
            ("VAULT_ROTATION_POLL_SECS", "1"),
        ];
        all.extend_from_slice(env);
        let cluster = Cluster::prepare(count, &all);
        Self {
            cluster,
            gate,
            postgres,
        }
    }

    /// Makes the secret, with the password that works, and returns when every node knows it: what
    /// one has answered, another may hear of a moment later.
    pub async fn create(&self, more: Value) {
        let made = self.try_create(FIRST, more).await;
        made.expect(201);
        for node in &self.cluster.nodes {
            let path = format!("{PATH}?consistency=linearizable");
            node.api().get(&path).await.expect(200);
        }
    }

    /// Tries to make the secret, with this password.
    pub async fn try_create(&self, password: &str, more: Value) -> Answer {
        let mut body = json!({
            "name": NAME, "kind": "automatic", "rotation_interval_secs": 86_400,
            "target": "orders",
            "data": {"username": USER, "password": password, "host": "db.example"},
        });
        for (key, value) in more.as_object().expect("an object") {
            body[key] = value.clone();
        }
        self.cluster.admin(0).post("/v1/secrets", body).await
    }

    /// The version and the password that a node gives out.
    pub async fn read(&self, node: usize) -> (u64, String) {
        let read = self.cluster.nodes[node].api().get(PATH).await.expect(200);
        login(&read.json)
    }

    fn logs(&self) -> String {
        let nodes = self.cluster.nodes.iter();
        nodes
            .map(|node| format!("node {}:\n{}\n", node.id, node.log_text()))
            .collect()
    }

    /// Waits until a node gives out this version, and returns its password.
    pub async fn wait_version(&self, node: usize, version: u64) -> String {
        let api = self.cluster.nodes[node].api();
        let until = Instant::now() + PATIENCE;
        loop {
            let answer = api
                .try_get(&format!("{PATH}?wait=10s&after_version={}", version - 1))
                .await;
            match answer {
                Ok(answer) if answer.status == 200 => {
                    let (found, password) = login(&answer.json);
                    assert_eq!(found, version);
                    return password;
                }
                other => assert!(
                    Instant::now() < until,
                    "version {version}: {other:?}\n{}",
                    self.logs()
                ),
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }
}

/// `VAULT_TARGETS` with one target, at a port of 127.0.0.1.
pub fn target(port: u16) -> String {
    format!("orders=postgresql://127.0.0.1:{port}/postgres?secrets=db/*&sslmode=disable")
}

/// Makes the role that the secret is of.
pub async fn make_role(postgres: &Postgres) {
    let statement = format!("CREATE ROLE {USER} LOGIN PASSWORD '{FIRST}'");
    postgres.execute(&statement).await;
}

/// The version and the password in an answer.
pub fn login(answer: &Value) -> (u64, String) {
    assert_eq!(answer["data"]["username"], USER, "other fields carry over");
    assert_eq!(answer["data"]["host"], "db.example");
    let version = answer["version"].as_u64().expect("a version");
    let password = answer["data"]["password"].as_str().expect("a password");
    (version, password.to_owned())
}

/// Asks for a rotation, whatever comes of it.
pub async fn rotate(api: &Api) -> Option<Answer> {
    api.try_send("POST", &format!("{PATH}/rotate"), &[], None)
        .await
        .ok()
}
