//! A request that is tried again is not done again: by its client, and by the cluster when a leader dies
//! with it.
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
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use serde_json::{Value, json};
use strongroom_tests::{
    alone,
    api::{Answer, Api},
    cluster::Cluster,
    node::Node,
};

async fn keyed(api: &Api, method: &str, path: &str, key: &str, body: Value) -> Answer {
    let header = [("idempotency-key", key)];
    let body = (!body.is_null()).then(|| body.to_string());
    let sent = api.try_send(method, path, &header, body);
    sent.await.expect("an answer")
}

/// Whatever node it is tried at, and whatever has happened since.
#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_tries_again_is_told_what_it_did() {
    let cluster = Cluster::start(3).await;
    let admin = |n: usize| cluster.admin(n % 3);
    let body = json!({"name": "retry/a", "value": "one"});
    let made = keyed(&admin(0), "POST", "/v1/secrets", "k1", body.clone()).await;
    let made = made.expect(201);
    let path = "/v1/secrets/retry/a";
    for n in 0..3 {
        let again = keyed(&admin(n), "POST", "/v1/secrets", "k1", body.clone()).await;
        assert_eq!(again.expect(201).json, made.json);
        // Another key, or none, is another request.
        let other = keyed(&admin(n), "POST", "/v1/secrets", "k2", body.clone()).await;
        assert_eq!(other.expect(409).code(), "already_exists");
        admin(n).post("/v1/secrets", body.clone()).await.expect(409);
    }
    let put = json!({"value": "two"});
    let first = keyed(&admin(1), "PUT", path, "k1", put.clone())
        .await
        .expect(200);
    assert_eq!(first.json["version"], 2);
    // Somebody else goes on from there.
    admin(2)
        .put(path, json!({"value": "three"}))
        .await
        .expect(200);
    for n in 0..3 {
        let again = keyed(&admin(n), "PUT", path, "k1", put.clone())
            .await
            .expect(200);
        assert_eq!(again.json, first.json);
        let read = admin(n)
            .get(&format!("{path}?consistency=linearizable"))
            .await;
        assert_eq!(read.expect(200).json["value"], "three");
    }
    for n in 0..3 {
        keyed(&admin(n), "DELETE", path, "k3", Value::Null)
            .await
            .expect(204);
    }
    let gone = keyed(&admin(0), "DELETE", path, "k4", Value::Null).await;
    assert_eq!(gone.expect(404).code(), "not_found");
    // Made anew by somebody else: the deletion that was done stays done.
    admin(1).post("/v1/secrets", body).await.expect(201);
    keyed(&admin(2), "DELETE", path, "k3", Value::Null)
        .await
        .expect(204);
    admin(0)
        .get(&format!("{path}?consistency=linearizable"))
        .await
        .expect(200);

    // Nobody else's key means the same.
    let role = json!({"name": "maker", "permissions": [{"action": "create", "path": "*"}]});
    keyed(&admin(0), "POST", "/v1/roles", "k1", role.clone())
        .await
        .expect(201);
    keyed(&admin(1), "POST", "/v1/roles", "k1", role)
        .await
        .expect(201);
    let token = json!({"name": "m", "role": "maker"});
    let token = admin(0).post("/v1/tokens", token).await.expect(201);
    let other = cluster.nodes[0]
        .api()
        .with_token(token.json["token"].as_str().unwrap());
    let body = json!({"name": "retry/a", "value": "one"});
    keyed(&other, "POST", "/v1/secrets", "k1", body)
        .await
        .expect(409);

    // What is made up for the answer is not kept.
    let token = json!({"name": "n", "role": "maker"});
    keyed(&admin(0), "POST", "/v1/tokens", "k", token)
        .await
        .expect(400);
    let body = json!({"name": "retry/b", "kind": "automatic", "rotation_interval_secs": 3600});
    keyed(&admin(0), "POST", "/v1/secrets", "k", body.clone())
        .await
        .expect(400);
    admin(0).post("/v1/secrets", body).await.expect(201);
    keyed(
        &admin(0),
        "POST",
        "/v1/secrets/retry/b/rotate",
        "k",
        Value::Null,
    )
    .await
    .expect(400);
    let body = json!({"name": "retry/c", "value": "v"});
    for bad in ["", "a b", &"x".repeat(257)] {
        keyed(&admin(0), "POST", "/v1/secrets", bad, body.clone())
            .await
            .expect(400);
    }
    // After a restart of all, from snapshots and logs, it is still known.
    drop(other);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_requests_did_is_known_after_a_restart_from_snapshots() {
    let env = [("VAULT_SNAPSHOT_LOG_ENTRIES", "10")];
    let mut cluster = Cluster::start_with(3, &env).await;
    for n in 0..40 {
        let body = json!({"name": format!("kept/{n}"), "value": "v"});
        let key = n.to_string();
        keyed(&cluster.admin(n % 3), "POST", "/v1/secrets", &key, body)
            .await
            .expect(201);
    }
    cluster.nodes.iter_mut().for_each(Node::kill);
    cluster.nodes.iter_mut().for_each(Node::start);
    cluster.wait_ready().await;
    for n in 0..40 {
        let body = json!({"name": format!("kept/{n}"), "value": "v"});
        let key = n.to_string();
        let again = keyed(
            &cluster.admin((n + 1) % 3),
            "POST",
            "/v1/secrets",
            &key,
            body,
        )
        .await;
        assert_eq!(again.expect(201).json["version"], 1);
    }
}

/// Writers without keys at the nodes that stay: those whose command was with the leader when it died are
/// answered as well, and none took effect twice.
#[tokio::test(flavor = "multi_thread")]
async fn a_leader_that_dies_leaves_no_writer_in_doubt() {
    let _turn = alone().await;
    let mut cluster = Cluster::start(3).await;
    for round in 0..std::env::var("ROUNDS").map_or(3, |n| n.parse().unwrap()) {
        let led = cluster.leader().await;
        let stop = Arc::<AtomicBool>::default();
        let stay = (0..3).filter(|place| *place != led);
        let writers: Vec<_> = stay
            .flat_map(|place| (0..8).map(move |writer| (place, writer)))
            .map(|(place, writer)| {
                let (api, stop) = (cluster.admin(place), Arc::clone(&stop));
                tokio::spawn(async move {
                    let name = format!("held/{round}-{place}-{writer}");
                    let path = format!("/v1/secrets/{name}");
                    let body = json!({"name": name, "value": "1"});
                    api.post("/v1/secrets", body).await.expect(201);
                    let (mut version, mut slowest) = (1_u64, Duration::ZERO);
                    while !stop.load(Ordering::Relaxed) {
                        let began = Instant::now();
                        let put = api.put(&path, json!({"value": version.to_string()})).await;
                        // A second effect would leave a gap.
                        assert_eq!(put.expect(200).json["version"], version + 1);
                        version += 1;
                        slowest = slowest.max(began.elapsed());
                    }
                    (version, slowest)
                })
            })
            .collect();
        tokio::time::sleep(Duration::from_millis(500)).await;
        let killed = Instant::now();
        cluster.nodes[led].kill();
        cluster.leader().await;
        let found = killed.elapsed();
        tokio::time::sleep(Duration::from_millis(500)).await;
        stop.store(true, Ordering::Relaxed);
        let (mut writes, mut slowest) = (0, Duration::ZERO);
        for writer in writers {
            let (version, slow) = writer.await.expect("a writer that was never in doubt");
            writes += version;
            slowest = slowest.max(slow);
        }
        println!(
            "round {round}: {writes} writes, all answered 2xx; another leader was named after {found:?}, the slowest write took {slowest:?}"
        );
        cluster.nodes[led].start();
        cluster.wait_ready().await;
    }
}
