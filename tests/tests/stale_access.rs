//! Writes that the leader allows on what it has applied (decision 0030): a leader of the past, and access that
//! changes meanwhile.
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

use rustix::process::Signal;
use serde_json::json;
use strongroom_tests::{
    alone,
    cluster::Cluster,
    raw::{Raw, audit_records},
};

/// At most so often, until it has believed to lead still: mostly it hears of the other first.
const ROUNDS: usize = 8;
const WRITERS: usize = 16;

async fn another_leader(cluster: &Cluster, asked: usize, before: &str) {
    let began = Instant::now();
    loop {
        let view = cluster.admin(asked).get("/v1/admin/cluster").await;
        match view.json["leader"].as_str() {
            Some(leader) if leader != before => return,
            _ => tokio::time::sleep(Duration::from_millis(20)).await,
        }
        assert!(began.elapsed() < Duration::from_secs(20), "{}", view.text);
    }
}

/// Invariant 14. The leader stands still, another takes over, the token is revoked there; then the first goes
/// on, with writes of that token before it that it has permission for by all it knows.
#[tokio::test(flavor = "multi_thread")]
async fn a_leader_of_the_past_writes_nothing_for_a_token_that_was_revoked() {
    let _turn = alone().await;
    let cluster = Cluster::start(3).await;
    let role = json!({"name": "app", "permissions": [{"action": "*", "path": "*"}]});
    cluster.admin(0).post("/v1/roles", role).await.expect(201);
    let mut believed = 0;
    let mut round = 0;
    while believed == 0 && round < ROUNDS {
        round += 1;
        let led = cluster.leader().await;
        let other = (led + 1) % 3;
        let secret = format!("/v1/secrets/a{round}");
        let made = json!({"name": format!("a{round}"), "value": "mine"});
        let (name, admin) = (format!("app-{round}"), cluster.admin(led));
        admin.post("/v1/secrets", made).await.expect(201);
        let token = json!({"name": name, "role": "app"});
        let token = admin.post("/v1/tokens", token).await.expect(201).json;
        let raw = Raw::node(&cluster.nodes[led]).token(token["token"].as_str().unwrap());
        raw.put(&secret, &json!({"value": "mine"}))
            .await
            .expect(200);

        cluster.nodes[led].signal(Signal::STOP);
        another_leader(&cluster, other, &cluster.nodes[led].id).await;
        let revoke = format!("/v1/tokens/{name}");
        cluster.admin(other).delete(&revoke).await.expect(204);
        let theirs = json!({"value": "theirs"});
        let writers: Vec<_> = (0..WRITERS)
            .map(|n| {
                // Each from an address of its own: wrong tokens lock out.
                let from = raw.from(&format!("127.0.{round}.{}", 1 + n));
                tokio::spawn(from.put(&secret, &theirs))
            })
            .collect();
        // Their requests lie in the sockets.
        tokio::time::sleep(Duration::from_millis(300)).await;
        cluster.nodes[led].signal(Signal::CONT);
        for writer in writers {
            let answer = writer.await.unwrap();
            assert!(matches!(answer.status, 401 | 503), "{}", answer.text);
        }
        cluster.wait_ready().await;
        for place in 0..3 {
            let path = format!("{secret}?consistency=linearizable");
            let read = cluster.nodes[place].api().get(&path).await.expect(200);
            assert_eq!(
                (&read.json["value"], &read.json["version"]),
                (&json!("mine"), &json!(2))
            );
        }
        let attempted = audit_records(&cluster.nodes[led])
            .into_iter()
            .filter(|record| record["actor"] == name && record["outcome"] == "attempted");
        // One of them is the write before.
        believed += attempted.count() - 1;
    }
    println!(
        "{believed} writes in {round} rounds were allowed by what the leader of the past knew"
    );
    cluster.assert_equal("").await;
}

/// What a write was allowed on changes all the time: it is decided anew, and no write is lost or done twice.
/// And a token's writes end with the answer that revokes it.
#[tokio::test(flavor = "multi_thread")]
async fn writes_go_on_while_tokens_come_and_go() {
    const TOKENS: usize = 30;
    let _turn = alone().await;
    let cluster = Cluster::start_with(3, &[("VAULT_AUTH_MAX_FAILURES", "0")]).await;
    let admin = cluster.admin(cluster.leader().await);
    let role = json!({"name": "app", "permissions": [{"action": "*", "path": "*"}]});
    admin.post("/v1/roles", role).await.expect(201);
    let done = Arc::new(AtomicBool::new(false));
    let mut writers = Vec::new();
    for n in 0..4 {
        let made = json!({"name": format!("a{n}"), "value": "first"});
        admin.post("/v1/secrets", made).await.expect(201);
        let (admin, done) = (admin.clone(), Arc::clone(&done));
        writers.push(tokio::spawn(async move {
            let (path, mut written) = (format!("/v1/secrets/a{n}"), 1);
            while !done.load(Ordering::Acquire) {
                let put = admin.put(&path, json!({"value": "next"})).await.expect(200);
                written += 1;
                assert_eq!(put.json["version"], written);
            }
            written
        }));
    }
    for n in 0..TOKENS {
        let token = json!({"name": format!("t{n}"), "role": "app"});
        let made = admin.post("/v1/tokens", token).await.expect(201).json;
        let theirs = admin.with_token(made["token"].as_str().unwrap());
        let revoked = Arc::new(AtomicBool::new(false));
        let (seen, secret) = (Arc::clone(&revoked), format!("b{n}"));
        let made = json!({"name": secret, "value": "first"});
        admin.post("/v1/secrets", made).await.expect(201);
        let writer = tokio::spawn(async move {
            loop {
                let over = seen.load(Ordering::Acquire);
                let path = format!("/v1/secrets/{secret}");
                let put = theirs.put(&path, json!({"value": "next"})).await;
                match put.status {
                    200 => assert!(!over, "a revoked token wrote"),
                    401 => return,
                    _ => panic!("{}", put.text),
                }
            }
        });
        tokio::time::sleep(Duration::from_millis(20)).await;
        let revoke = admin.delete(&format!("/v1/tokens/t{n}")).await;
        revoke.expect(204);
        revoked.store(true, Ordering::Release);
        writer.await.unwrap();
    }
    done.store(true, Ordering::Release);
    let mut written = 0;
    for writer in writers {
        written += writer.await.unwrap();
    }
    println!("{written} writes while {TOKENS} tokens came and went");
    cluster.assert_equal("").await;
}
