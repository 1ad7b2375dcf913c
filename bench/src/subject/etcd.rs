//! etcd, three nodes, through its JSON gateway: the mark for replicated, synced writes.

use std::{
    process::Command,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde_json::{Value, json};
use strongroom_tests::node::free_port;

use super::{NAMES, Subject};
use crate::{
    load,
    server::{Server, SlowSyncs},
    wrk::Traffic,
};

/// A cluster, with its files in a temporary directory.
pub(crate) struct Etcd {
    pub(crate) nodes: Vec<Node>,
    client: reqwest::Client,
    _dir: tempfile::TempDir,
}

/// One of its nodes.
pub(crate) struct Node {
    port: u16,
    command: Vec<String>,
    server: Option<Server>,
}

impl Node {
    fn start(&mut self) -> Result<()> {
        let (program, rest) = self.command.split_first().context("no command")?;
        let mut server = Server::start(Command::new(program).args(rest))?;
        server.wait_for_port(self.port)?;
        self.server = Some(server);
        Ok(())
    }

    fn base(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }
}

impl Etcd {
    /// Started, with a leader. `slow`: each sync takes longer.
    pub(crate) async fn start(slow: Option<&SlowSyncs>) -> Result<Self> {
        let dir = tempfile::Builder::new()
            .prefix("strongroom-bench-")
            .tempdir()?;
        let ports: Vec<(u16, u16)> = (0..3).map(|_| (free_port(), free_port())).collect();
        let peers: Vec<String> = (1..)
            .zip(&ports)
            .map(|(n, (_, peer))| format!("e{n}=http://127.0.0.1:{peer}"))
            .collect();
        let mut etcd = Self {
            nodes: Vec::new(),
            client: reqwest::Client::new(),
            _dir: dir,
        };
        for (n, (port, peer)) in (1..).zip(&ports) {
            let (client, raft) = (
                format!("http://127.0.0.1:{port}"),
                format!("http://127.0.0.1:{peer}"),
            );
            let data = etcd._dir.path().join(format!("e{n}")).display().to_string();
            let mut command = slow.map(SlowSyncs::before).unwrap_or_default();
            command.extend(
                [
                    "etcd",
                    "--name",
                    &format!("e{n}"),
                    "--data-dir",
                    &data,
                    "--listen-client-urls",
                    &client,
                    "--advertise-client-urls",
                    &client,
                    "--listen-peer-urls",
                    &raft,
                    "--initial-advertise-peer-urls",
                    &raft,
                    "--initial-cluster",
                    &peers.join(","),
                    "--initial-cluster-state",
                    "new",
                    "--logger",
                    "zap",
                    "--log-level",
                    "error",
                ]
                .map(str::to_owned),
            );
            etcd.nodes.push(Node {
                port: *port,
                command,
                server: None,
            });
        }
        // A node listens once it has a quorum: all are started before one is waited for.
        for node in &mut etcd.nodes {
            let (program, rest) = node.command.split_first().context("no command")?;
            node.server = Some(Server::start(Command::new(program).args(rest))?);
        }
        for node in &mut etcd.nodes {
            let server = node.server.as_mut().context("no server")?;
            server.wait_for_port(node.port)?;
        }
        etcd.leader().await?;
        Ok(etcd)
    }

    /// The place of the leader among the nodes.
    pub(crate) async fn leader(&self) -> Result<usize> {
        let until = Instant::now() + Duration::from_secs(30);
        while Instant::now() < until {
            for (place, node) in self.nodes.iter().enumerate() {
                let nothing = json!({});
                let asked = self.post(node, "/v3/maintenance/status", &nothing);
                let Ok(status) = asked.await else { continue };
                let leader = status.get("leader").and_then(Value::as_str);
                let own = status.pointer("/header/member_id").and_then(Value::as_str);
                if leader.is_some() && leader == own {
                    return Ok(place);
                }
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        bail!("etcd has no leader")
    }

    async fn post(&self, node: &Node, path: &str, body: &Value) -> Result<Value> {
        let asked = self
            .client
            .post(format!("{}{path}", node.base()))
            .json(body);
        let answer = asked.timeout(Duration::from_secs(2)).send().await?;
        Ok(answer.error_for_status()?.json().await?)
    }

    /// Puts one value at a node.
    pub(crate) async fn put(&self, place: usize) -> Result<()> {
        let node = self.nodes.get(place).context("no such node")?;
        let body =
            json!({"key": STANDARD.encode("bench/0"), "value": STANDARD.encode(load::VALUE)});
        self.post(node, "/v3/kv/put", &body).await.map(|_| ())
    }

    /// `kill -9` of a node.
    pub(crate) fn kill(&mut self, place: usize) {
        if let Some(node) = self.nodes.get_mut(place) {
            node.server = None;
        }
    }

    /// Starts it again.
    pub(crate) fn restart(&mut self, place: usize) -> Result<()> {
        self.nodes.get_mut(place).context("no such node")?.start()
    }

    /// PUT of values of 32 bytes to as many keys at a node.
    pub(crate) fn update(&self, place: usize) -> Result<Subject> {
        let base = self.nodes.get(place).context("no such node")?.base();
        let host = base.trim_start_matches("http://");
        let bodies = (0..NAMES).map(|n| {
            let (key, value) = (
                STANDARD.encode(format!("bench/{n}")),
                STANDARD.encode(load::VALUE),
            );
            let body = format!("{{\"key\":\"{key}\",\"value\":\"{value}\"}}");
            format!("'Content-Length: {}\\r\\n\\r\\n{body}'", body.len())
        });
        let bodies: Vec<String> = bodies.collect();
        let script = format!(
            "local bodies = {{{}}}\nfunction request()\n  return 'POST /v3/kv/put HTTP/1.1\\r\\nHost: {host}\\r\\n' .. \
             bodies[math.random(1, #bodies)]\nend\n",
            bodies.join(",")
        );
        let pids = self.nodes.iter().filter_map(|node| node.server.as_ref());
        Ok(Subject {
            name: "etcd".to_owned(),
            traffic: Traffic { url: base, script },
            pids: pids.map(Server::pid).collect(),
        })
    }
}
