//! What an earlier release has written is read, gone on with, and read again.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic
)]

use std::{fs, path::Path, process::Command};

use serde_json::{Value, json};
use strongroom_tests::{alone, api::Api, cluster::Cluster, node::binary};

/// Unpacks the data directory that a release has left. See the README beside it.
fn unpack(release: &str, into: &Path) {
    let archive = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("fixtures/{release}"));
    fs::create_dir_all(into).unwrap();
    let unpacked = Command::new("tar")
        .arg("-xzf")
        .arg(archive.join("data.tar.gz"))
        .args(["--strip-components=1", "--no-same-owner", "-C"])
        .arg(into)
        .status();
    assert!(unpacked.expect("tar").success());
}

fn names(list: &Value, of: &str) -> Vec<String> {
    let all = list[of].as_array().unwrap().iter();
    all.map(|one| one["name"].as_str().unwrap().to_owned())
        .collect()
}

async fn assert_holds_what_was_written(admin: &Api) {
    for n in 2..=12 {
        let read = admin.get(&format!("/v1/secrets/kept/{n}")).await;
        assert_eq!(read.expect(200).json["value"], format!("value of {n}"));
    }
    for version in 2..=4 {
        let path = format!("/v1/secrets/kept/1?version={version}");
        let read = admin.get(&path).await.expect(200);
        assert_eq!(read.json["value"], format!("version {version}"));
    }
    let first = admin.get("/v1/secrets/kept/1?version=1").await.expect(200);
    assert_eq!(first.json["value"], "value of 1");
    let pair = admin.get("/v1/secrets/db/app").await.expect(200);
    let login = json!({"username": "app", "password": "of the database"});
    assert_eq!(pair.json["data"], login);
    let auto = admin.get("/v1/secrets/auto").await.expect(200);
    assert_eq!(
        (&auto.json["kind"], &auto.json["value"]),
        (&json!("automatic"), &json!("first"))
    );
    admin.get("/v1/secrets/gone").await.expect(404);
    // Behind the snapshot, in the log.
    let tail = admin.get("/v1/secrets/tail").await.expect(200);
    assert_eq!(tail.json["value"], "and once more");
    let role = admin.get("/v1/roles/app").await.expect(200);
    assert_eq!(role.json["permissions"][0]["path"], "db/*");
    let tokens = admin.get("/v1/tokens").await.expect(200);
    let mut tokens = names(&tokens.json, "tokens");
    tokens.retain(|name| !name.starts_with("token-"));
    assert_eq!(tokens, ["app-1", "bootstrap-admin", "other-admin"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn data_of_the_first_release_is_read_and_gone_on_with() {
    let _turn = alone().await;
    let mut cluster = Cluster::prepare(1, &[]);
    let data = cluster.nodes[0].data_dir.clone();
    unpack("first-release", &data);
    assert_eq!(fs::read_dir(data.join("snapshots")).unwrap().count(), 1);
    for start in 0..3 {
        cluster.nodes[0].start();
        cluster.wait_ready().await;
        let admin = cluster.admin(0);
        assert_holds_what_was_written(&admin).await;
        for before in 0..start {
            let read = admin.get(&format!("/v1/secrets/new/{before}")).await;
            assert_eq!(read.expect(200).json["value"], format!("{before}"));
        }
        let body = json!({"name": format!("new/{start}"), "value": format!("{start}")});
        admin.post("/v1/secrets", body).await.expect(201);
        let body = json!({"name": format!("token-{start}"), "role": "app"});
        let made = admin.post("/v1/tokens", body).await.expect(201);
        let app = cluster.nodes[0]
            .api()
            .with_token(made.json["token"].as_str().unwrap());
        let login = json!({"username": "app", "password": "of the database"});
        app.put("/v1/secrets/db/app", json!({"data": login}))
            .await
            .expect(200);
        let token = format!("/v1/tokens/token-{start}");
        admin.delete(&token).await.expect(204);
        // One start after a crash, two after a stop.
        if start == 0 {
            cluster.nodes[0].kill();
        } else {
            assert_eq!(cluster.nodes[0].terminate().code(), Some(0));
        }
    }
    let verified = Command::new(binary())
        .args(["audit", "verify"])
        .arg(data.join("audit"))
        .output();
    assert!(verified.unwrap().status.success());
}
