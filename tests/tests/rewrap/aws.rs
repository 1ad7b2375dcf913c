//! KMS, as moto emulates it.

use super::*;

/// Rewraps that the nodes count, those that run now.
async fn counted(cluster: &Cluster) -> f64 {
    let mut sum = 0.0;
    for node in cluster.nodes.iter().filter(|node| node.is_running()) {
        let line = "strongroom_kms_calls_total{operation=\"rewrap\",outcome=\"ok\"}";
        let page = node.api().get("/metrics").await.expect(200).text;
        if page.contains(line) {
            sum += metric(&node.api(), line).await;
        }
    }
    sum
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rotation_moves_every_version_once() {
    let _alone = alone().await;
    let mut it = kms_cluster("0").await;
    let key = key_of(&it).await;
    // What is there when it is switched on is the baseline.
    let baseline = wait_status(&it.cluster.admin(0), "adopted", adopted).await;
    assert_eq!(baseline["enabled"], true);
    assert_eq!(baseline["pass_id"], Value::Null);
    assert_eq!(baseline["watermark"]["rotation_at"], Value::Null);
    assert_eq!(baseline["method"], "list_key_rotations");
    let values = Values::write(&it.cluster, "k", 500, |n| 1 + usize::from(n % 10 == 0)).await;
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert_eq!(it.gate.calls("ReEncrypt"), 0);

    let began = Instant::now();
    it.call("RotateKeyOnDemand", &json!({"KeyId": key}));
    let done = wait_status(&it.cluster.admin(1), "ended", ended).await;
    let took = began.elapsed();
    let versions = values.versions();
    println!(
        "{versions} versions in {took:?}, {:.0} a second, the wait for the worker included",
        versions as f64 / took.as_secs_f64()
    );
    assert_eq!(done["pending"], 0);
    assert_eq!(done["failed"], 0);
    assert_eq!(done["rewrapped"], versions);
    assert!(done["watermark"]["rotation_at"].is_string(), "{done}");
    assert_eq!(done["watermark"], done["target"]);
    // The SDK may have asked some times more by itself.
    let asked = it.gate.calls("ReEncrypt");
    let at_most = versions + versions / 10;
    assert!((versions..=at_most).contains(&(asked as u64)), "{asked}");
    assert_eq!(counted(&it.cluster).await, versions as f64);
    // One rotation, one pass.
    tokio::time::sleep(Duration::from_secs(3)).await;
    assert_eq!(status(&it.cluster.admin(2)).await["pass_id"], 1);
    // Restarted, so that no data key is cached.
    restart_all(&mut it.cluster, "VAULT_DEK_CACHE_TTL_SECS", "0").await;
    values.check(&it.cluster).await;
    assert_eq!(it.gate.calls("ReEncrypt"), asked);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_old_rotation_is_the_baseline() {
    let _alone = alone().await;
    let env = [("VAULT_KMS_REWRAP_POLL_SECS", "1")];
    let mut it = KmsCluster::start(3, &env).await;
    let key = key_of(&it).await;
    let values = Values::write(&it.cluster, "o", 20, |_| 1).await;
    it.call("RotateKeyOnDemand", &json!({"KeyId": key}));
    restart_all(&mut it.cluster, "VAULT_KMS_REWRAP_ENABLED", "true").await;
    let baseline = wait_status(&it.cluster.admin(0), "adopted", adopted).await;
    assert!(baseline["watermark"]["rotation_at"].is_string());
    tokio::time::sleep(Duration::from_secs(3)).await;
    assert_eq!(it.gate.calls("ReEncrypt"), 0);
    // A pass that is asked for sweeps all the same.
    let pending = begin(&it.cluster.admin(1)).await.json["pending"].as_u64();
    assert!(pending.is_some_and(|pending| pending <= 20));
    let done = wait_status(&it.cluster.admin(0), "ended", ended).await;
    assert_eq!(done["rewrapped"], 20);
    values.check(&it.cluster).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_outage_of_kms_delays_a_pass_and_fails_no_version() {
    let _alone = alone().await;
    let mut it = kms_cluster("50").await;
    let key = key_of(&it).await;
    wait_status(&it.cluster.admin(0), "adopted", adopted).await;
    let values = Values::write(&it.cluster, "u", 200, |_| 1).await;
    it.call("RotateKeyOnDemand", &json!({"KeyId": key}));
    for (moved, trouble) in [
        (50, Mode::Cut),
        (120, Mode::Error(400, "ThrottlingException")),
    ] {
        let enough = |status: &Value| status["rewrapped"].as_u64().unwrap() >= moved;
        wait_status(&it.cluster.admin(0), "under way", enough).await;
        it.gate.set(trouble);
        let troubled = |status: &Value| status["last_error"].is_string();
        let found = wait_status(&it.cluster.admin(0), "in trouble", troubled).await;
        assert_eq!(found["running"], true);
        assert_eq!(
            (&found["failed"], &found["failures"]),
            (&json!(0), &json!({}))
        );
        // What runs already is answered with all the same.
        let asked = begin(&it.cluster.admin(1)).await.json;
        assert_eq!(asked["pass_id"], 1);
        let counted = metric(&it.cluster.admin(0), PENDING).await;
        assert!((1.0..=200.0).contains(&counted), "{counted}");
        assert!(asked["pending"].as_u64() <= found["pending"].as_u64());
        tokio::time::sleep(Duration::from_secs(3)).await;
        it.gate.set(Mode::Pass);
    }
    let done = wait_status(&it.cluster.admin(0), "ended", ended).await;
    assert_eq!(
        (&done["rewrapped"], &done["failed"]),
        (&json!(200), &json!(0))
    );
    assert_eq!(done["last_error"], Value::Null);
    // It is counted every few seconds.
    let until = Instant::now() + PATIENCE;
    while metric(&it.cluster.admin(0), PENDING).await > 0.0 {
        assert!(Instant::now() < until, "{PENDING} is never 0");
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    restart_all(&mut it.cluster, "VAULT_DEK_CACHE_TTL_SECS", "0").await;
    values.check(&it.cluster).await;
}

/// How fast it goes when KMS costs nothing.
#[tokio::test(flavor = "multi_thread")]
async fn a_pass_without_a_pace_takes_moments() {
    let _alone = alone().await;
    let (old, new) = (MASTER_KEY, another_key());
    let unpaced = [("VAULT_KMS_REWRAP_MAX_PER_SEC", "0")];
    let mut cluster = Cluster::start_with(3, &unpaced).await;
    let values = Values::write(&cluster, "f", 1_000, |n| 1 + n % 2).await;
    restart_all(
        &mut cluster,
        "VAULT_LOCAL_MASTER_KEY",
        &format!("{new},{old}"),
    )
    .await;
    let began = Instant::now();
    begin(&cluster.admin(0)).await;
    let done = wait_status(&cluster.admin(0), "ended", ended).await;
    let took = began.elapsed();
    assert_eq!(done["rewrapped"], values.versions());
    println!(
        "{} versions in {took:?}, {:.0} a second",
        values.versions(),
        values.versions() as f64 / took.as_secs_f64()
    );
    values.check(&cluster).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cluster_leaves_a_kms_key() {
    let _alone = alone().await;
    let mut it = KmsCluster::start(3, &[("VAULT_KMS_REWRAP_MAX_PER_SEC", "0")]).await;
    let old = key_of(&it).await;
    let values = Values::write(&it.cluster, "m", 100, |n| 1 + n % 2).await;
    let created = it.call("CreateKey", &json!({}));
    let new = created["KeyMetadata"]["Arn"].as_str().unwrap().to_owned();
    restart_all(&mut it.cluster, "VAULT_KMS_KEY_ID", &new).await;
    // Nothing moves by itself.
    let before = status(&it.cluster.admin(0)).await;
    assert_eq!(keys_of(&before), BTreeSet::from([old.clone()]));
    assert_eq!(begin(&it.cluster.admin(0)).await.json["pass_id"], 1);
    let done = wait_status(&it.cluster.admin(0), "ended", ended).await;
    assert_eq!(done["pending"], 0);
    assert_eq!(done["rewrapped"], values.versions());
    assert_eq!(keys_of(&done), BTreeSet::from([new.clone()]));
    assert_eq!(done["watermark"]["key"], new);
    // The old key's time is over. moto lets disabled keys work, so the gate refuses it as well.
    let (_, id) = old.rsplit_once('/').unwrap();
    it.call("DisableKey", &json!({"KeyId": id}));
    it.gate.refuse(&old, "DisabledException");
    restart_all(&mut it.cluster, "VAULT_DEK_CACHE_TTL_SECS", "0").await;
    values.check(&it.cluster).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bad_version_is_named_and_stops_nothing() {
    let _alone = alone().await;
    let env = [("VAULT_KMS_REWRAP_MAX_PER_SEC", "0")];
    let it = KmsCluster::start(3, &env).await;
    let values = Values::write(&it.cluster, "v", 50, |_| 1).await;
    let bad = "secret/v/17";
    it.gate
        .refuse(&format!("\"{bad}\""), "InvalidCiphertextException");
    let pending = begin(&it.cluster.admin(0)).await.json["pending"].as_u64();
    assert!(pending.is_some_and(|pending| pending <= 50));
    let done = wait_status(&it.cluster.admin(1), "ended", ended).await;
    assert_eq!(done["rewrapped"], 49);
    assert_eq!(done["failed"], 1);
    assert_eq!(done["pending"], 1);
    assert_eq!(done["watermark"], Value::Null, "it would claim too much");
    let failures = done["failures"].as_object().unwrap();
    assert_eq!(failures.keys().collect::<Vec<_>>(), ["secret/v/17:1"]);
    let why = failures["secret/v/17:1"].as_str().unwrap();
    assert!(why.contains("InvalidCiphertextException"), "{why}");
    let last = done["last_error"].as_str().unwrap_or_default();
    assert!(last.contains("InvalidCiphertextException"), "{done}");
    let leader = it.cluster.leader().await;
    let named: Vec<Value> = audit_records(&it.cluster.nodes[leader])
        .into_iter()
        .filter(|record| record["action"] == "kms.rewrap_version")
        .collect();
    assert_eq!(named.len(), 1);
    assert_eq!(named[0]["target"], "secret/v/17:1");
    assert_eq!(named[0]["outcome"], "failed");
    assert_eq!(named[0]["actor"], "worker/rewrap");

    // Tried again, it alone is; and named still, when nobody remembers why.
    let calls = it.gate.calls("ReEncrypt");
    let again = begin(&it.cluster.admin(2)).await.json;
    assert_eq!(again, json!({"pass_id": 1, "pending": 1}));
    wait_status(&it.cluster.admin(2), "ended", ended).await;
    // The adapter tries both spellings of the context.
    assert_eq!(it.gate.calls("ReEncrypt") - calls, 2);
    let mut it = it;
    restart_all(&mut it.cluster, "VAULT_LOG", "info").await;
    let after = status(&it.cluster.admin(0)).await;
    assert_eq!(
        (&after["failed"], &after["pending"]),
        (&json!(1), &json!(1))
    );
    assert!(after["failures"]["secret/v/17:1"].is_string(), "{after}");

    it.gate.treat_all_alike();
    let calls = it.gate.calls("ReEncrypt");
    assert_eq!(begin(&it.cluster.admin(0)).await.json["pass_id"], 1);
    let whole = |status: &Value| ended(status) && status["failed"] == 0;
    let done = wait_status(&it.cluster.admin(0), "ended without a failure", whole).await;
    assert_eq!(it.gate.calls("ReEncrypt") - calls, 1);
    assert_eq!(done["pending"], 0);
    assert_eq!(done["failures"], json!({}));
    assert_eq!(done["last_error"], Value::Null);
    assert!(!done["watermark"].is_null());
    values.check(&it.cluster).await;
}
