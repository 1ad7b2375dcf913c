//! Nodes that stop, one by one, while clients speak TLS to them.

use strongroom_tests::{alone, api::Answer};

use super::*;

const CLIENTS: usize = 16;

/// Speaks to one node for as long as that answers on the connection, then to the next.
struct Roaming {
    client: Client,
    nodes: Vec<std::net::SocketAddr>,
    at: usize,
    talk: Option<Talk>,
    moved: u64,
}

impl Roaming {
    async fn ask(&mut self, method: &str, path: &str, body: &str) -> Answer {
        for _ in 0..1_000 {
            let mut talk = match self.talk.take() {
                Some(talk) => talk,
                None => match self.client.connect_to(self.nodes[self.at]).await {
                    Ok(talk) => talk,
                    // Nobody has heard anything of it.
                    Err(_) => {
                        self.at = (self.at + 1) % self.nodes.len();
                        continue;
                    }
                },
            };
            let answer = talk.ask(method, path, Some(TOKEN), body).await;
            let answer = answer.unwrap_or_else(|error| panic!("{method} {path}: {error:?}"));
            match answer.headers.contains_key("connection") {
                false => self.talk = Some(talk),
                true => {
                    self.moved += 1;
                    self.at = (self.at + 1) % self.nodes.len();
                }
            }
            return answer;
        }
        panic!("{method} {path}: no node takes a connection");
    }

    async fn run(mut self, place: usize, stop: Arc<AtomicBool>) -> (u64, u64) {
        let (path, mut version) = (format!("/v1/secrets/drain/{place}"), 1);
        let body = json!({"name": format!("drain/{place}"), "value": "0"}).to_string();
        self.ask("POST", "/v1/secrets", &body).await.expect(201);
        while !stop.load(Ordering::Relaxed) {
            let body = json!({"value": version.to_string(), "cas": version}).to_string();
            self.ask("PUT", &path, &body).await.expect(200);
            version += 1;
            let now = format!("{path}?consistency=linearizable");
            let read = self.ask("GET", &now, "").await.expect(200);
            assert_eq!(read.json["version"], version);
        }
        (2 * version - 1, self.moved)
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restart_of_all_nodes_one_by_one_gives_no_client_an_error() {
    let _turn = alone().await;
    let ca = Ca::new("test");
    let mut cluster = Cluster::prepare(3, &[]);
    let files = Files::below(cluster.dir.path());
    files.put(&ca.good());
    for node in &mut cluster.nodes {
        files.used_by(node);
        node.start();
    }
    let client = Client::of(&ca);
    for node in &cluster.nodes {
        client.wait_ready(node).await;
    }
    let stop = Arc::<AtomicBool>::default();
    let clients: Vec<_> = (0..CLIENTS)
        .map(|place| {
            let roaming = Roaming {
                client: client.clone(),
                nodes: cluster.nodes.iter().map(address).collect(),
                at: place % 3,
                talk: None,
                moved: 0,
            };
            tokio::spawn(roaming.run(place, Arc::clone(&stop)))
        })
        .collect();
    tokio::time::sleep(Duration::from_secs(1)).await;
    for node in &mut cluster.nodes {
        assert!(node.terminate().success(), "{}", node.log_text());
        node.start();
        client.wait_ready(node).await;
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
    stop.store(true, Ordering::Relaxed);
    let (mut requests, mut moved) = (0, 0);
    for client in clients {
        let (done, went) = client.await.expect("a client without errors");
        requests += done;
        moved += went;
    }
    println!("{CLIENTS} clients in TLS: {requests} requests, {moved} went elsewhere, 0 errors");
    assert!(moved >= 3);
}
