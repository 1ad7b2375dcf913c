//! Three nodes: what one acknowledges, all serve.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::print_stdout
)]

use std::time::{Duration, Instant};

use serde_json::json;
use strongroom_tests::{alone, api::Api, cluster::Cluster};

/// How far behind a local read may be on an idle cluster.
const LAG: Duration = Duration::from_secs(5);

/// Reads `path` at this node alone until `fits`.
async fn soon(api: &Api, path: &str, fits: impl Fn(&strongroom_tests::api::Answer) -> bool) {
    let began = Instant::now();
    loop {
        let answer = api.get(path).await;
        if fits(&answer) {
            return;
        }
        assert!(
            began.elapsed() < LAG,
            "{path}: {} {}",
            answer.status,
            answer.text
        );
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_write_acknowledged_anywhere_is_read_everywhere() {
    let _turn = alone().await;
    let cluster = Cluster::start(3).await;
    for writer in 0..3 {
        let admin = cluster.admin(writer);
        for n in 0..10 {
            let name = format!("from-{writer}/{n}");
            let path = format!("/v1/secrets/{name}");
            let now = format!("{path}?consistency=linearizable");
            let body = json!({"name": name, "value": format!("first {writer} {n}")});
            admin.post("/v1/secrets", body).await.expect(201);
            for reader in &cluster.nodes {
                let read = reader.api().get(&now).await.expect(200);
                assert_eq!(read.json["value"], format!("first {writer} {n}"));
            }
            let body = json!({"value": format!("second {writer} {n}"), "cas": 1});
            admin.put(&path, body).await.expect(200);
            for reader in &cluster.nodes {
                let read = reader.api().get(&now).await.expect(200);
                assert_eq!(read.json["value"], format!("second {writer} {n}"));
                assert_eq!(read.json["version"], 2);
                soon(&reader.api(), &path, |read| read.json["version"] == 2).await;
            }
            // The other nodes see the version as well, so check-and-set means the same everywhere.
            let other = cluster.admin((writer + 1) % 3);
            let stale = json!({"value": "stale", "cas": 1});
            let refused = other.put(&path, stale).await.expect(409);
            assert_eq!(refused.code(), "version_mismatch");
            other.delete(&path).await.expect(204);
            for reader in &cluster.nodes {
                reader.api().get(&now).await.expect(404);
                soon(&reader.api(), &path, |read| read.status == 404).await;
            }
        }
    }
    cluster.assert_equal("from-").await;
}

/// The setting alone: no request says anything of it.
#[tokio::test(flavor = "multi_thread")]
async fn reads_are_linearizable_where_the_setting_says_so() {
    let _turn = alone().await;
    let cluster = Cluster::start_with(3, &[("VAULT_READ_CONSISTENCY", "linearizable")]).await;
    for n in 0..60 {
        let (writer, name) = (cluster.admin(n % 3), format!("lin/{n}"));
        let path = format!("/v1/secrets/{name}");
        let body = json!({"name": name, "value": "one"});
        writer.post("/v1/secrets", body).await.expect(201);
        for reader in &cluster.nodes {
            reader.api().get(&path).await.expect(200);
        }
        writer.put(&path, json!({"value": "two"})).await.expect(200);
        for reader in &cluster.nodes {
            let read = reader.api().get(&path).await.expect(200);
            assert_eq!(read.json["value"], "two");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn roles_and_tokens_hold_everywhere_at_once() {
    let _turn = alone().await;
    let cluster = Cluster::start(3).await;
    for writer in 0..3 {
        let admin = cluster.admin(writer);
        let role = format!("app-{writer}");
        let permissions = json!([{"action": "create", "path": format!("app-{writer}/*")}]);
        let body = json!({"name": role, "description": "", "is_admin": false,
            "permissions": permissions});
        admin.post("/v1/roles", body).await.expect(201);
        let body = json!({"name": format!("ci-{writer}"), "role": role});
        let made = admin.post("/v1/tokens", body).await.expect(201);
        let token = made.json["token"].as_str().unwrap().to_owned();
        for (place, node) in cluster.nodes.iter().enumerate() {
            let holder = node.api().with_token(&token);
            let mine = json!({"name": format!("app-{writer}/{place}"), "value": "v"});
            holder.post("/v1/secrets", mine).await.expect(201);
            let foreign = json!({"name": format!("other-{writer}/{place}"), "value": "v"});
            let refused = holder.post("/v1/secrets", foreign).await.expect(403);
            assert_eq!(refused.code(), "permission_denied");
        }
        // What a role loses, and a token that is revoked, is gone at every node with the answer.
        let path = format!("/v1/roles/{role}/permissions");
        let other = cluster.admin((writer + 1) % 3);
        other
            .put(&path, json!({"permissions": []}))
            .await
            .expect(200);
        for node in &cluster.nodes {
            let holder = node.api().with_token(&token);
            let body = json!({"name": format!("app-{writer}/late"), "value": "v"});
            holder.post("/v1/secrets", body).await.expect(403);
        }
        let other = cluster.admin((writer + 2) % 3);
        let path = format!("/v1/tokens/ci-{writer}");
        other.delete(&path).await.expect(204);
        for node in &cluster.nodes {
            let holder = node.api().with_token(&token);
            let body = json!({"name": format!("app-{writer}/later"), "value": "v"});
            let refused = holder.post("/v1/secrets", body).await.expect(401);
            assert_eq!(refused.code(), "unauthenticated");
        }
        admin.delete(&format!("/v1/roles/{role}")).await.expect(204);
        let path = format!("/v1/roles/{role}");
        cluster.admin((writer + 1) % 3).get(&path).await.expect(404);
    }
}
