//! A cluster of real processes on loopback, with one configuration for all nodes.

use std::time::{Duration, Instant};

use serde_json::Value;
use tempfile::TempDir;

use crate::{
    api::{Answer, Api},
    node::{Node, PATIENCE, free_port},
};

/// The bootstrap token of every test cluster. It guards nothing outside of a test.
pub const TOKEN: &str = "test-bootstrap-token-000000";
/// The local master key of every test cluster: 32 zero bytes.
pub const MASTER_KEY: &str = "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=";

/// Nodes and their files. Dropping it kills the processes and removes the files.
pub struct Cluster {
    /// The nodes, named "1", "2", …
    pub nodes: Vec<Node>,
    /// Where their files are. Dropped after the nodes.
    pub dir: TempDir,
}

impl Cluster {
    /// `count` nodes with these settings beside the usual ones, not started yet.
    pub fn prepare(count: usize, env: &[(&str, &str)]) -> Self {
        let dir = tempfile::Builder::new()
            .prefix("strongroom-test-")
            .tempdir()
            .expect("a directory");
        let peers: Vec<String> = (1..=count)
            .map(|id| format!("{id}=127.0.0.1:{}", free_port()))
            .collect();
        let peers = if count > 1 {
            peers.join(",")
        } else {
            String::new()
        };
        let mut all = vec![
            ("VAULT_PEERS", peers.as_str()),
            ("VAULT_KMS_MODE", "local"),
            ("VAULT_LOCAL_MASTER_KEY", MASTER_KEY),
            ("VAULT_BOOTSTRAP_TOKEN", TOKEN),
            ("VAULT_ALLOWED_IPS", "127.0.0.1/32"),
        ];
        all.extend_from_slice(env);
        let nodes = (1..=count)
            .map(|id| Node::new(&id.to_string(), dir.path(), &all))
            .collect();
        Self { nodes, dir }
    }

    /// `count` nodes, started and ready.
    pub async fn start(count: usize) -> Self {
        Self::start_with(count, &[]).await
    }

    /// `count` nodes with these settings beside the usual ones, started and ready.
    pub async fn start_with(count: usize, env: &[(&str, &str)]) -> Self {
        let mut cluster = Self::prepare(count, env);
        cluster.nodes.iter_mut().for_each(Node::start);
        cluster.wait_ready().await;
        cluster
    }

    /// Waits until every running node is ready.
    pub async fn wait_ready(&self) {
        for node in self.nodes.iter().filter(|node| node.is_running()) {
            node.wait_ready().await;
        }
    }

    /// An admin's client of a node, by place in `nodes`.
    pub fn admin(&self, node: usize) -> Api {
        self.nodes[node].api().with_token(TOKEN)
    }

    /// Waits until a running node names a leader that runs, and returns its place in `nodes`.
    pub async fn leader(&self) -> usize {
        let deadline = Instant::now() + PATIENCE;
        while Instant::now() < deadline {
            for (place, _) in self
                .nodes
                .iter()
                .enumerate()
                .filter(|(_, n)| n.is_running())
            {
                let answer = self.admin(place).try_get("/v1/admin/cluster").await;
                let Ok(answer) = answer else { continue };
                let leader = answer.json["leader"].as_str().map(str::to_owned);
                let found = self
                    .nodes
                    .iter()
                    .position(|n| Some(&n.id) == leader.as_ref());
                if answer.status == 200
                    && let Some(found) = found.filter(|found| self.nodes[*found].is_running())
                {
                    return found;
                }
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        panic!(
            "no leader within {PATIENCE:?}: {}",
            self.nodes[0].log_text()
        );
    }

    /// A node's view of the cluster, once all members are within reach of it and it bears so many
    /// failures: a member that is asked may take a moment too long to answer.
    pub async fn bears(&self, node: usize, failures: u64) -> Value {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let view = self.admin(node).get("/v1/admin/cluster").await;
            let view = view.expect(200).json;
            let members = view["nodes"].as_array();
            let all = members.is_some_and(|all| all.iter().all(|one| one["reachable"] == true));
            if all && view["failure_tolerance"] == failures {
                return view;
            }
            assert!(Instant::now() < deadline, "{view}");
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }

    /// Asks a node to have leadership passed on, until somebody is level enough to take it: on a busy
    /// machine a follower may be behind for a moment.
    pub async fn hand_over(&self, asked: usize, body: Value) -> Answer {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let path = "/v1/admin/cluster/handover";
            let answer = self.admin(asked).post(path, body.clone()).await;
            if answer.status != 503 || Instant::now() > deadline {
                return answer;
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }
}
