//! Reads that must have seen an index, at any node, also at one that is behind.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::print_stdout
)]

use std::time::Duration;

use serde_json::json;
use strongroom_tests::{
    api::{Answer, Api},
    cluster::Cluster,
    node::Node,
    shim::FailingDisk,
};

const INDEX: &str = "x-strongroom-index";

fn index(answer: &Answer) -> String {
    let index = answer.headers.get(INDEX).expect("an index");
    index.to_str().unwrap().to_owned()
}

async fn get(api: &Api, path: &str, index: &str) -> Answer {
    let header = [(INDEX, index)];
    let sent = api.try_send("GET", path, &header, None);
    sent.await.expect("an answer")
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_wrote_reads_it_at_every_node_by_index() {
    let cluster = Cluster::start(3).await;
    let mut behind = 0;
    for n in 0..40 {
        let (writer, name) = (cluster.admin(n % 3), format!("mine/{n}"));
        let path = format!("/v1/secrets/{name}");
        let body = json!({"name": name, "value": "one"});
        let made = writer.post("/v1/secrets", body).await.expect(201);
        for reader in &cluster.nodes {
            let plain = reader.api().get(&path).await;
            behind += u32::from(plain.status == 404);
            let read = get(&reader.api(), &path, &index(&made)).await.expect(200);
            // What was read is seen by who reads on elsewhere, too.
            assert!(index(&read).parse::<u64>().unwrap() >= index(&made).parse::<u64>().unwrap());
        }
        let put = writer.put(&path, json!({"value": "two"})).await.expect(200);
        for reader in &cluster.nodes {
            let read = get(&reader.api(), &path, &index(&put)).await.expect(200);
            assert_eq!(read.json["value"], "two");
            let body = json!({"value": "two"}).to_string();
            let verify = format!("{path}/verify");
            let header = [(INDEX, index(&put))];
            let header = header.each_ref().map(|(k, v)| (*k, v.as_str()));
            let verified = reader
                .api()
                .try_send("POST", &verify, &header, Some(body))
                .await;
            assert_eq!(verified.unwrap().expect(200).json["valid"], true);
        }
        let gone = writer.delete(&path).await.expect(204);
        for reader in &cluster.nodes {
            get(&reader.api(), &path, &index(&gone)).await.expect(404);
        }
    }
    println!(
        "of 120 plain reads right after the 201, {behind} did not see it; of those by index, none"
    );
}

/// A follower whose disk takes seconds for every sync answers with what it has not applied yet.
#[tokio::test(flavor = "multi_thread")]
async fn a_follower_that_is_behind_has_the_leader_answer() {
    let mut cluster = Cluster::prepare(3, &[]);
    let scratch = cluster.dir.path().to_owned();
    let disks: Vec<FailingDisk> = cluster
        .nodes
        .iter_mut()
        .map(|node| {
            let dir = node.data_dir.join("log");
            FailingDisk::install(node, &scratch, &dir)
        })
        .collect();
    cluster.nodes.iter_mut().for_each(Node::start);
    cluster.wait_ready().await;
    let led = cluster.leader().await;
    let slow = (led + 1) % 3;
    let body = json!({"name": "far/a", "value": "0"});
    cluster
        .admin(led)
        .post("/v1/secrets", body)
        .await
        .expect(201);
    disks[slow].slow_down(Duration::from_secs(2));
    let reader = cluster.nodes[slow].api();
    let mut before_applied = 0;
    for n in 1..=4 {
        let body = json!({"value": n.to_string()});
        let put = cluster.admin(led).put("/v1/secrets/far/a", body).await;
        let index = index(&put.expect(200));
        let read = get(&reader, "/v1/secrets/far/a", &index).await.expect(200);
        assert_eq!(read.json["value"], n.to_string());
        let names: Vec<String> = (0..255).map(|n| format!("far/none{n}")).collect();
        let names: Vec<&str> = ["far/a"]
            .into_iter()
            .chain(names.iter().map(String::as_str))
            .collect();
        let batch = json!({"names": names}).to_string();
        let header = [(INDEX, index.as_str())];
        let batch = reader
            .try_send("POST", "/v1/batch/secrets", &header, Some(batch))
            .await;
        let batch = batch.unwrap().expect(200);
        assert_eq!(batch.json["secrets"][0]["value"], n.to_string());
        let applied = reader.get("/metrics").await.text;
        let applied = applied
            .lines()
            .find_map(|line| line.strip_prefix("strongroom_applied_index "))
            .and_then(|value| value.parse::<u64>().ok())
            .expect("a metric");
        before_applied += u32::from(applied < index.parse::<u64>().unwrap());
    }
    println!("{before_applied} of 4 were read before the follower had applied them");
    assert!(before_applied > 0, "the follower was never behind");
    disks[slow].heal();
}

#[tokio::test(flavor = "multi_thread")]
async fn an_index_that_is_none_or_was_never_given_out_is_refused() {
    let mut cluster = Cluster::start_with(3, &[("VAULT_REQUEST_TIMEOUT_SECS", "4")]).await;
    let led = cluster.leader().await;
    let body = json!({"name": "far/a", "value": "0"});
    cluster
        .admin(led)
        .post("/v1/secrets", body)
        .await
        .expect(201);
    for node in &cluster.nodes {
        for bad in ["", "x", "-1", "1.5", "18446744073709551616"] {
            let refused = get(&node.api(), "/v1/secrets/far/a", bad).await.expect(400);
            assert_eq!(refused.code(), "invalid_request");
        }
        let far = u64::MAX.to_string();
        let beyond = get(&node.api(), "/v1/secrets/far/a", &far)
            .await
            .expect(412);
        assert_eq!(beyond.code(), "index_not_reached");
        // A linearizable read sees everything there is.
        let path = "/v1/secrets/far/a?consistency=linearizable";
        get(&node.api(), path, &far).await.expect(200);
    }
    let left = (led + 1) % 3;
    for place in (0..3).filter(|place| *place != left) {
        cluster.nodes[place].kill();
    }
    let alone = get(&cluster.nodes[left].api(), "/v1/secrets/far/a", "1000000").await;
    assert_eq!(alone.expect(503).code(), "no_leader");
    get(&cluster.nodes[left].api(), "/v1/secrets/far/a", "1")
        .await
        .expect(200);
}
