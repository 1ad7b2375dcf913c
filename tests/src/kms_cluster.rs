//! A cluster whose KMS is moto behind a gate.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::{
    api::{Answer, Api},
    cluster::Cluster,
    moto::{Moto, child::environment, gate::Gate},
    node::PATIENCE,
};

/// A moto with a gate before it, and a cluster that reaches it through the gate.
pub struct KmsCluster {
    /// The way to moto.
    pub gate: Gate,
    /// The nodes.
    pub cluster: Cluster,
    _moto: Moto,
}

impl KmsCluster {
    /// Nodes with these settings beside the usual ones, started and ready.
    pub async fn start(nodes: usize, env: &[(&str, &str)]) -> Self {
        let moto = Moto::start();
        let key = moto.api().create_key();
        let gate = Gate::before(moto.api());
        let endpoint = gate.endpoint();
        let mut all = environment(&endpoint, &key);
        all.extend([
            ("AWS_EC2_METADATA_DISABLED", "true"),
            ("AWS_CONFIG_FILE", "/dev/null"),
            ("AWS_SHARED_CREDENTIALS_FILE", "/dev/null"),
            ("VAULT_KMS_MODE", "aws"),
            ("VAULT_KMS_KEY_ID", &key),
            ("VAULT_LOCAL_MASTER_KEY", ""),
        ]);
        all.extend_from_slice(env);
        let cluster = Cluster::start_with(nodes, &all).await;
        Self {
            gate,
            cluster,
            _moto: moto,
        }
    }

    /// Creates a secret at a node, whatever comes of it.
    pub async fn create(&self, node: usize, name: &str) -> Answer {
        let body = json!({"name": name, "value": format!("value of {name}")});
        self.cluster.admin(node).post("/v1/secrets", body).await
    }

    /// What a node says of KMS.
    pub async fn kms(&self, node: usize) -> Value {
        let answer = self.cluster.admin(node).get("/v1/admin/kms").await;
        answer.expect(200).json
    }

    /// Waits for the breaker of a node to be in a state.
    pub async fn wait_breaker(&self, node: usize, state: &str) {
        let until = Instant::now() + PATIENCE;
        while self.kms(node).await["breaker"] != state {
            assert!(Instant::now() < until, "the breaker is never {state}");
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }

    /// Stops a node and starts it again, its caches cold.
    pub async fn restart(&mut self, node: usize) {
        assert!(self.cluster.nodes[node].terminate().success());
        self.cluster.nodes[node].start();
        self.cluster.nodes[node].wait_ready().await;
    }

    /// Calls KMS itself, through the gate.
    pub fn call(&self, call: &str, body: &Value) -> Value {
        crate::moto::Api::at(&self.gate.endpoint()).kms(call, body)
    }

    /// The term.
    pub async fn term(&self) -> u64 {
        let view = self.cluster.admin(0).get("/v1/admin/cluster").await;
        view.expect(200).json["term"].as_u64().unwrap()
    }
}

/// One value on a node's metrics page.
pub async fn metric(api: &Api, line: &str) -> f64 {
    let page = api.get("/metrics").await.expect(200).text;
    let found = page.lines().find_map(|l| l.strip_prefix(line));
    let found = found.unwrap_or_else(|| panic!("no {line} in\n{page}"));
    found.trim().parse().unwrap()
}

/// Reads a secret.
pub async fn read(api: &Api, name: &str) -> Answer {
    api.get(&format!("/v1/secrets/{name}")).await
}
