//! Leadership that is passed on, by command and by a node that is told to stop; and what clients see of
//! a restart of all nodes, one by one.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::print_stdout
)]

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use serde_json::{Value, json};
use strongroom_tests::{
    alone,
    api::{Answer, Api},
    cluster::Cluster,
    node::PATIENCE,
};

const CLIENTS: usize = 32;

/// How often a balancer asks whether a node is ready.
const ASKED_EVERY: Duration = Duration::from_millis(200);

/// Which nodes are ready, as a balancer knows it.
struct Balancer(Vec<AtomicBool>);

impl Balancer {
    fn start(nodes: &[Api]) -> Arc<Self> {
        let ready = nodes.iter().map(|_| AtomicBool::new(true)).collect();
        let balancer = Arc::new(Self(ready));
        for (place, node) in nodes.iter().cloned().enumerate() {
            let known = Arc::downgrade(&balancer);
            tokio::spawn(async move {
                while let Some(known) = known.upgrade() {
                    let asked = node.try_get("/readyz").await;
                    let ready = asked.is_ok_and(|answer| answer.status == 200);
                    known.0[place].store(ready, Ordering::Relaxed);
                    drop(known);
                    tokio::time::sleep(ASKED_EVERY).await;
                }
            });
        }
        balancer
    }

    /// The next node after `at` that is ready; the next one if none is.
    fn next(&self, at: usize) -> usize {
        let count = self.0.len();
        let ready = |place: &usize| self.0[*place].load(Ordering::Relaxed);
        let found = (1..=count).map(|step| (at + step) % count).find(ready);
        found.unwrap_or((at + 1) % count)
    }
}

/// A client behind a balancer: it is sent to nodes that were ready a moment ago, to the next where no
/// connection is made, and every other trouble is an error.
struct Client {
    nodes: Vec<Api>,
    balancer: Arc<Balancer>,
    at: usize,
    moved: Arc<AtomicU64>,
    slowest: Duration,
}

impl Client {
    async fn send(&mut self, method: &str, path: &str, body: Option<Value>) -> Answer {
        let body = body.map(|body| body.to_string());
        let began = Instant::now();
        self.at = self.balancer.next(self.at);
        for _ in 0..1_000 {
            let sent = self.nodes[self.at].try_send(method, path, &[], body.clone());
            match sent.await {
                Ok(answer) => {
                    self.slowest = self.slowest.max(began.elapsed());
                    return answer;
                }
                Err(error) if error.is_connect() => {
                    self.at = self.balancer.next(self.at);
                    self.moved.fetch_add(1, Ordering::Relaxed);
                }
                Err(error) => panic!("{method} {path}: {error:?}"),
            }
        }
        panic!("{method} {path}: no node takes a connection");
    }

    /// Makes a secret, changes it, and reads what it has written, over and over.
    async fn run(mut self, place: usize, stop: Arc<AtomicBool>) -> (u64, Duration) {
        let path = format!("/v1/secrets/rolling/{place}");
        let body = json!({"name": format!("rolling/{place}"), "value": "0"});
        self.send("POST", "/v1/secrets", Some(body))
            .await
            .expect(201);
        let mut done = 1;
        while !stop.load(Ordering::Relaxed) {
            let body = json!({"value": done.to_string(), "cas": done});
            self.send("PUT", &path, Some(body)).await.expect(200);
            done += 1;
            let now = format!("{path}?consistency=linearizable");
            let read = self.send("GET", &now, None).await.expect(200);
            assert_eq!(read.json["version"], done);
        }
        (2 * done - 1, self.slowest)
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restart_of_all_nodes_one_by_one_gives_no_client_an_error() {
    let _turn = alone().await;
    let mut cluster = Cluster::start(3).await;
    let (stop, moved) = (Arc::<AtomicBool>::default(), Arc::<AtomicU64>::default());
    let nodes: Vec<Api> = (0..3).map(|place| cluster.admin(place)).collect();
    let balancer = Balancer::start(&nodes);
    let clients: Vec<_> = (0..CLIENTS)
        .map(|place| {
            let client = Client {
                nodes: nodes.clone(),
                balancer: Arc::clone(&balancer),
                at: place % 3,
                moved: Arc::clone(&moved),
                slowest: Duration::ZERO,
            };
            tokio::spawn(client.run(place, Arc::clone(&stop)))
        })
        .collect();
    // The leader first, so that it is relieved at least twice.
    let led = cluster.leader().await;
    let began = Instant::now();
    for place in [led, (led + 1) % 3, (led + 2) % 3] {
        let node = &mut cluster.nodes[place];
        assert_eq!(node.terminate().code(), Some(0), "{}", node.log_text());
        node.start();
        node.wait_ready().await;
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
    let took = began.elapsed();
    stop.store(true, Ordering::Relaxed);
    let (mut requests, mut slowest) = (0, Duration::ZERO);
    for client in clients {
        let (done, slow) = client.await.expect("a client without errors");
        requests += done;
        slowest = slowest.max(slow);
    }
    println!(
        "rolling restart in {took:?}: {CLIENTS} clients, {requests} requests, 0 errors, {} went to \
         another node, the slowest took {slowest:?}",
        moved.load(Ordering::Relaxed)
    );
    let passed_on: usize = cluster
        .nodes
        .iter()
        .map(|node| node.log_text().matches("passed leadership on").count())
        .sum();
    assert!(passed_on >= 1, "nobody passed leadership on");
}

#[tokio::test(flavor = "multi_thread")]
async fn leadership_is_passed_on_by_command() {
    let cluster = Cluster::start(3).await;
    let led = cluster.leader().await;
    let to = (led + 1) % 3;
    let path = "/v1/admin/cluster/handover";
    let name = cluster.nodes[to].id.clone();
    // Asked at a node that does not lead, and once more where nothing is left to do.
    for asked in [(led + 2) % 3, to] {
        let body = json!({"to": name});
        let passed = cluster.hand_over(asked, body).await.expect(200);
        assert_eq!(passed.json, json!({"leader": name}));
        assert_eq!(cluster.leader().await, to);
    }
    let passed = cluster.hand_over(led, json!({})).await.expect(200);
    assert_ne!(passed.json["leader"], Value::from(name));
    for (body, status) in [
        (json!({"to": "9"}), 404),
        (json!({"to": "no such name"}), 400),
        (json!({"to": 1}), 400),
        (json!({"address": "127.0.0.1:1"}), 400),
    ] {
        cluster.admin(0).post(path, body).await.expect(status);
    }
    let audit = cluster
        .admin((led + 2) % 3)
        .get("/v1/audit")
        .await
        .expect(200);
    let records = audit.json["records"].as_array().unwrap().clone();
    let of_it: Vec<_> = records
        .iter()
        .filter(|record| record["action"] == "cluster.handover")
        .map(|record| (record["target"].clone(), record["outcome"].clone()))
        .collect();
    let target = Value::from(cluster.nodes[to].id.clone());
    assert!(
        of_it.contains(&(target.clone(), "attempted".into())),
        "{of_it:?}"
    );
    assert!(of_it.contains(&(target, "done".into())), "{of_it:?}");
}

/// What a balancer sees of a node that was told to stop.
#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_stops_says_so_and_still_answers() {
    let mut cluster = Cluster::start_with(3, &[("VAULT_DRAIN_SECS", "4")]).await;
    let led = cluster.leader().await;
    let admin = cluster.admin(led);
    let body = json!({"name": "drain/a", "value": "v"});
    admin.post("/v1/secrets", body).await.expect(201);
    cluster.nodes[led].signal(rustix::process::Signal::TERM);
    let began = Instant::now();
    loop {
        let answer = admin.get("/readyz").await;
        if answer.status == 503 && answer.code() == "stopping" {
            assert_eq!(answer.headers["connection"], "close");
            break;
        }
        assert!(began.elapsed() < PATIENCE, "{}", answer.text);
    }
    let body = json!({"name": "drain/b", "value": "v"});
    let written = admin.post("/v1/secrets", body).await.expect(201);
    assert_eq!(written.headers["connection"], "close");
    let read = Api::new(&format!("http://127.0.0.1:{}", cluster.nodes[led].api_port));
    read.get("/v1/secrets/drain/b?consistency=linearizable")
        .await
        .expect(200);
    assert_eq!(cluster.nodes[led].wait().code(), Some(0));
    assert!(
        cluster.nodes[led]
            .log_text()
            .contains("passed leadership on")
    );
}
