//! Master keys of the `local` mode.

use super::*;

#[tokio::test(flavor = "multi_thread")]
async fn a_cluster_leaves_a_local_master_key() {
    let _alone = alone().await;
    let (old, new) = (MASTER_KEY, another_key());
    let paced = [("VAULT_KMS_REWRAP_MAX_PER_SEC", "20")];
    let mut cluster = Cluster::start_with(3, &paced).await;
    let mut values = Values::write(&cluster, "a", 40, |n| 1 + n % 3).await;
    let before = status(&cluster.admin(0)).await;
    let fields: Vec<&String> = before.as_object().unwrap().keys().collect();
    assert_eq!(fields, FIELDS);
    assert_eq!(before["enabled"], false);
    assert_eq!(before["running"], false);
    assert_eq!(before["pending"], 0);
    assert_eq!(before["watermark"], Value::Null);
    assert_eq!(before["finished_at"], Value::Null);
    let old_key = keys_of(&before);
    assert_eq!(old_key.len(), 1);

    restart_all(
        &mut cluster,
        "VAULT_LOCAL_MASTER_KEY",
        &format!("{new},{old}"),
    )
    .await;
    let leader = cluster.leader().await;
    let follower = cluster.admin(follower_of(leader));
    let began = Instant::now();
    let first = begin(&follower).await.json;
    let versions = values.versions();
    assert_eq!(first["pass_id"], 1);
    let pending = first["pending"].as_u64().unwrap();
    // The worker may have begun.
    assert!((1..=versions).contains(&pending), "{first}");
    // Asked again, at another node: the same pass.
    let again = begin(&cluster.admin(leader)).await.json;
    assert_eq!(again["pass_id"], 1);
    let running = status(&follower).await;
    assert_eq!(running["running"], true, "{running}");
    assert_eq!(running["pass_id"], 1);
    assert_eq!(running["finished_at"], Value::Null);
    assert!(running["started_at"].is_string(), "{running}");
    let moved = running["rewrapped"].as_u64().unwrap();
    assert_eq!(moved + running["pending"].as_u64().unwrap(), versions);
    assert_eq!(running["watermark"], Value::Null);

    // Meanwhile: one gets a new version, one goes, one comes.
    let admin = cluster.admin(0);
    let changed = json!({"value": "changed"});
    admin.put("/v1/secrets/a/9", changed).await.expect(200);
    values.0.get_mut("a/9").unwrap().push("changed".to_owned());
    admin.delete("/v1/secrets/a/8").await.expect(204);
    let gone = values.0.remove("a/8").unwrap().len() as u64;
    let made = json!({"name": "a/new", "value": "new"});
    admin.post("/v1/secrets", made).await.expect(201);
    values.0.insert("a/new".to_owned(), vec!["new".to_owned()]);

    let done = wait_status(&follower, "ended", ended).await;
    let took = began.elapsed();
    let moved = done["rewrapped"].as_u64().unwrap();
    println!("{moved} versions in {took:?} at 20 a second");
    assert!((versions - gone..=versions).contains(&moved), "{done}");
    assert!(took > Duration::from_secs_f64((moved - 10) as f64 / 20.0 - 0.5));
    assert_eq!(done["pending"], 0);
    assert_eq!(done["failed"], 0);
    assert_eq!(done["failures"], json!({}));
    assert_eq!(done["last_error"], Value::Null, "{done}");
    assert_eq!(done["method"], "list_key_rotations");
    let new_key = keys_of(&done);
    assert_eq!(new_key.len(), 1);
    assert!(new_key.is_disjoint(&old_key));
    assert_eq!(done["watermark"]["key"], *new_key.first().unwrap());
    assert_eq!(done["target"], done["watermark"]);
    values.check(&cluster).await;

    // The old key is needed no more, and the new one is.
    restart_all(&mut cluster, "VAULT_LOCAL_MASTER_KEY", &new).await;
    values.check(&cluster).await;
    let after = status(&cluster.admin(1)).await;
    assert_eq!(after["watermark"], done["watermark"]);
    assert_eq!(after["rewrapped"], done["rewrapped"]);
    assert_eq!(after["finished_at"], done["finished_at"]);

    // A pass with nothing to do ends at once, and moves nothing.
    let second = begin(&cluster.admin(2)).await.json;
    assert_eq!(second["pass_id"], 2);
    assert_eq!(second["pending"], 0);
    let done = wait_status(&cluster.admin(2), "ended", ended).await;
    assert_eq!(done["pass_id"], 2);
    assert_eq!(done["rewrapped"], 0);

    restart_all(&mut cluster, "VAULT_LOCAL_MASTER_KEY", old).await;
    let read = cluster.admin(0).get("/v1/secrets/a/0").await;
    assert_eq!(read.expect(503).code(), "kms_denied");
}

/// In a rolling restart the nodes do not agree on the key for a while.
#[tokio::test(flavor = "multi_thread")]
async fn a_pass_waits_for_a_leader_that_has_its_key() {
    let _alone = alone().await;
    let (old, new) = (MASTER_KEY, another_key());
    let mut cluster = Cluster::start(3).await;
    let values = Values::write(&cluster, "b", 20, |_| 1).await;
    let leader = cluster.leader().await;
    let follower = follower_of(leader);
    let both = format!("{new},{old}");
    let changed = &mut cluster.nodes[follower];
    changed.kill();
    changed
        .env
        .insert("VAULT_LOCAL_MASTER_KEY".into(), both.clone());
    changed.start();
    changed.wait_ready().await;
    let pass = begin(&cluster.admin(follower)).await.json;
    assert_eq!(pass["pass_id"], 1);
    // Every node says what it waits for.
    for node in 0..3 {
        let waits = |status: &Value| {
            let said = status["last_error"].as_str();
            said.is_some_and(|said| said.contains("another KMS key"))
        };
        let found = wait_status(&cluster.admin(node), "waiting", waits).await;
        assert_eq!(
            (&found["running"], &found["failed"]),
            (&json!(true), &json!(0))
        );
    }
    restart_all(&mut cluster, "VAULT_LOCAL_MASTER_KEY", &both).await;
    let done = wait_status(&cluster.admin(0), "ended", ended).await;
    assert_eq!((&done["pass_id"], &done["failed"]), (&json!(1), &json!(0)));
    assert_eq!(done["last_error"], Value::Null);
    restart_all(&mut cluster, "VAULT_LOCAL_MASTER_KEY", &new).await;
    values.check(&cluster).await;
}
