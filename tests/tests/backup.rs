//! Backups of a cluster, and what may come back from them.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::print_stdout
)]

use std::{
    collections::BTreeMap,
    process::Command,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use serde_json::{Value, json};
use strongroom_tests::{
    alone,
    api::Api,
    backup::{restore, take},
    cluster::{Cluster, MASTER_KEY},
    node::binary,
};

/// Secrets of the full restore.
const MANY: usize = 10_000;
const WRITERS: usize = 32;

async fn fill(cluster: &Cluster, count: usize) {
    let writers: Vec<_> = (0..WRITERS)
        .map(|writer| {
            let admin = cluster.admin(writer % cluster.nodes.len());
            tokio::spawn(async move {
                for n in (writer..count).step_by(WRITERS) {
                    let body = json!({"name": format!("full/{n}"), "value": format!("value {n}")});
                    admin.post("/v1/secrets", body).await.expect(201);
                }
            })
        })
        .collect();
    for writer in writers {
        writer.await.expect("a writer");
    }
}

/// Every value below a prefix, as this node reads it.
async fn values(api: &Api, prefix: &str) -> BTreeMap<String, Value> {
    let (mut names, mut after) = (Vec::new(), String::new());
    loop {
        let page = format!("/v1/secrets?prefix={prefix}&after={after}");
        let page = api.get(&page).await.expect(200).json;
        for row in page["secrets"].as_array().unwrap() {
            names.push(row["name"].as_str().unwrap().to_owned());
        }
        match page["next_after"].as_str() {
            Some(next) => after = next.to_owned(),
            None => break,
        }
    }
    let mut found = BTreeMap::new();
    for names in names.chunks(256) {
        let path = "/v1/batch/secrets?consistency=linearizable";
        let batch = api.post(path, json!({"names": names})).await.expect(200);
        for secret in batch.json["secrets"].as_array().unwrap() {
            let name = secret["name"].as_str().unwrap().to_owned();
            found.insert(name, secret.clone());
        }
    }
    found
}

/// Everything an admin sees but when tokens were used last.
async fn everything(api: &Api) -> Vec<Value> {
    let mut all = Vec::new();
    for path in ["/v1/secrets", "/v1/roles", "/v1/tokens"] {
        let mut list = api.get(path).await.expect(200).json;
        for row in list["tokens"].as_array_mut().into_iter().flatten() {
            row["last_used_at"] = Value::Null;
        }
        all.push(list);
    }
    all
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_restore_into_a_fresh_cluster_reads_identically() {
    let _turn = alone().await;
    let (backup, before) = {
        let cluster = Cluster::start(3).await;
        fill(&cluster, MANY).await;
        let role = json!({"name": "dev", "permissions": [{"action": "create", "path": "full/*"}]});
        cluster.admin(0).post("/v1/roles", role).await.expect(201);
        let token = json!({"name": "ci", "role": "dev"});
        let token = cluster.admin(1).post("/v1/tokens", token).await.expect(201);
        let began = Instant::now();
        // From any node, with everything acknowledged before.
        let backups = [0, 1, 2].map(|place| cluster.admin(place));
        let mut taken = Vec::new();
        for admin in &backups {
            taken.push(take(admin).await);
        }
        println!(
            "three backups of {} bytes in {:?}",
            taken[0].len(),
            began.elapsed()
        );
        let before = values(&cluster.admin(0), "full/").await;
        assert_eq!(before.len(), MANY);
        (taken.pop().unwrap(), (before, token.json["token"].clone()))
    };
    let (before, token) = before;
    let mut fresh = Cluster::start(3).await;
    let began = Instant::now();
    let restored = restore(&fresh.admin(1), "/v1/restore", backup)
        .await
        .expect(200);
    println!("restored in {:?}: {}", began.elapsed(), restored.json);
    assert_eq!(restored.json["secrets"], MANY);
    for place in 0..3 {
        assert_eq!(
            values(&fresh.admin(place), "full/").await,
            before,
            "node {place}"
        );
    }
    // What could be done then can be done again; and the one who restored is not locked out.
    let ci = fresh.nodes[2].api().with_token(token.as_str().unwrap());
    let body = json!({"name": "full/new", "value": "v"});
    ci.post("/v1/secrets", body).await.expect(201);
    fresh
        .admin(0)
        .delete("/v1/secrets/full/new")
        .await
        .expect(204);
    // From snapshots and logs as well.
    for node in &mut fresh.nodes {
        node.kill();
        node.start();
    }
    fresh.wait_ready().await;
    assert_eq!(values(&fresh.admin(2), "full/").await, before);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_whole_backup_of_this_cluster_is_refused_and_changes_nothing() {
    let cluster = Cluster::start(3).await;
    fill(&cluster, 40).await;
    let backup = take(&cluster.admin(0)).await;
    let other = Cluster::start(1).await;
    fill(&other, 3).await;
    let foreign = take(&other.admin(0)).await;
    let body = json!({"name": "full/later", "value": "v"});
    cluster.admin(1).post("/v1/secrets", body).await.expect(201);
    let before = everything(&cluster.admin(0)).await;

    let flipped = |at: usize| {
        let mut changed = backup.clone();
        changed[at] ^= 4;
        changed
    };
    let middle = backup.len() / 2;
    let mut bad = vec![
        (Vec::new(), 400),
        (b"{}".to_vec(), 400),
        (backup[..backup.len() - 1].to_vec(), 400),
        (backup[..middle].to_vec(), 400),
        ([&backup[..], b"x"].concat(), 400),
        ([&backup[..], &backup[..]].concat(), 400),
        (foreign.clone(), 409),
    ];
    bad.extend([0, 8, 9, middle, backup.len() - 1].map(|at| (flipped(at), 400)));
    for (n, (bytes, status)) in bad.into_iter().enumerate() {
        let refused = restore(&cluster.admin(n % 3), "/v1/restore", bytes).await;
        assert_eq!(refused.status, status, "{n}: {}", refused.text);
        assert_eq!(everything(&cluster.admin(0)).await, before, "{n}");
    }
    let odd = restore(&cluster.admin(0), "/v1/restore?force=yes", backup.clone()).await;
    odd.expect(400);

    // The same cluster's own: what came after it is gone, on every node.
    restore(&cluster.admin(2), "/v1/restore", backup)
        .await
        .expect(200);
    for place in 0..3 {
        let path = "/v1/secrets/full/later?consistency=linearizable";
        cluster.nodes[place].api().get(path).await.expect(404);
        cluster
            .admin(place)
            .get("/v1/secrets/full/7?consistency=linearizable")
            .await
            .expect(200);
    }
    // Another cluster's, when it is meant.
    let forced = restore(&cluster.admin(0), "/v1/restore?force=true", foreign).await;
    assert_eq!(forced.expect(200).json["secrets"], 3);
    let view = cluster.admin(0).get("/v1/admin/cluster").await.expect(200);
    assert_ne!(
        view.json["cluster_id"],
        other.admin(0).get("/v1/admin/cluster").await.json["cluster_id"]
    );
}

/// Readers and writers at work, and the leader dies: all nodes have the one or the other.
#[tokio::test(flavor = "multi_thread")]
async fn a_restore_is_whole_or_not_at_all_whenever_the_leader_dies() {
    let _turn = alone().await;
    let mut cluster = Cluster::start(3).await;
    fill(&cluster, 2_000).await;
    let backup = take(&cluster.admin(0)).await;
    let whole = values(&cluster.admin(0), "full/").await;
    let (mut done, mut not) = (0, 0);
    for round in 0..4_u64 {
        cluster
            .admin(0)
            .post(
                "/v1/secrets",
                json!({"name": format!("mark/{round}"), "value": "v"}),
            )
            .await
            .expect(201);
        let led = cluster.leader().await;
        let asked = cluster.admin((led + 1) % 3);
        let stop = Arc::<AtomicBool>::default();
        let writer = {
            let (api, stop) = (cluster.admin((led + 2) % 3), Arc::clone(&stop));
            tokio::spawn(async move {
                let mut n = 0;
                while !stop.load(Ordering::Relaxed) {
                    n += 1;
                    let body = json!({"name": format!("during/{round}-{n}"), "value": "v"});
                    // The token is good before and after. A write that was under way at the
                    // restore, and lost its leader, cannot know whether it was before or after.
                    let answer = api.post("/v1/secrets", body).await;
                    let fits = answer.status == 201 || answer.code() == "outcome_unknown";
                    assert!(fits, "{}", answer.text);
                }
            })
        };
        let bytes = backup.clone();
        let restoring = tokio::spawn(async move { restore(&asked, "/v1/restore", bytes).await });
        tokio::time::sleep(Duration::from_millis(30 + 60 * round)).await;
        cluster.nodes[led].kill();
        let answer = restoring.await.unwrap();
        stop.store(true, Ordering::Relaxed);
        writer.await.expect("a writer");
        cluster.nodes[led].start();
        cluster.wait_ready().await;
        let marks = values(&cluster.admin(0), "mark/").await;
        let happened = marks.is_empty();
        println!("round {round}: {} {}", answer.status, answer.text);
        match answer.status {
            200 => assert!(happened, "answered and not done"),
            _ if answer.code() == "outcome_unknown" => {}
            _ => assert!(!happened, "refused and done"),
        }
        for place in 0..3 {
            assert_eq!(values(&cluster.admin(place), "full/").await, whole);
            assert_eq!(values(&cluster.admin(place), "mark/").await, marks);
        }
        done += u32::from(happened);
        not += u32::from(!happened);
    }
    println!("{done} restores happened, {not} did not");
    cluster.assert_equal("").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_backup_is_verified_by_the_command() {
    let cluster = Cluster::start(1).await;
    fill(&cluster, 20).await;
    cluster
        .admin(0)
        .put("/v1/secrets/full/3", json!({"value": "again"}))
        .await
        .expect(200);
    let backup = take(&cluster.admin(0)).await;
    let file = cluster.dir.path().join("backup");
    let verify = |bytes: &[u8], key: Option<&str>| {
        std::fs::write(&file, bytes).unwrap();
        let mut command = Command::new(binary());
        command.env_clear().args(["backup", "verify"]).arg(&file);
        if let Some(key) = key {
            command
                .arg("--open")
                .env("VAULT_KMS_MODE", "local")
                .env("VAULT_LOCAL_MASTER_KEY", key);
        }
        let output = command.output().unwrap();
        let text = [output.stdout, output.stderr].concat();
        (output.status.code(), String::from_utf8(text).unwrap())
    };
    let (code, said) = verify(&backup, None);
    assert_eq!(code, Some(0), "{said}");
    assert!(said.contains("20 secrets with 21 versions"), "{said}");
    let (code, said) = verify(&backup, Some(MASTER_KEY));
    assert_eq!(code, Some(0), "{said}");
    assert!(said.contains("all 21 values open"), "{said}");
    let another = "AQAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=";
    let (code, said) = verify(&backup, Some(another));
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains("21 of 21 values do not open"), "{said}");
    assert!(!said.contains("value 3") && !said.contains("again"));
    let (code, said) = verify(&backup[..backup.len() - 5], None);
    assert_eq!(
        (code, said.contains("cut short")),
        (Some(1), true),
        "{said}"
    );
    let mut flipped = backup.clone();
    flipped[200] ^= 1;
    let (code, said) = verify(&flipped, None);
    assert_eq!(code, Some(1), "{said}");
}
