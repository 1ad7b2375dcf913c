//! Starts that cannot be: the reason, and the exit code.

use super::*;

#[test]
fn unusable_settings_end_with_2_and_name_what_to_mend() {
    let dir = tempfile::tempdir().unwrap();
    // 16 bytes, no base64, and one good and one bad.
    for key in [
        "AAAAAAAAAAAAAAAAAAAAAA==",
        "hunter2-hunter2",
        "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=,AAAA",
    ] {
        let end = server(dir.path(), &[("VAULT_LOCAL_MASTER_KEY", key)]);
        assert_eq!(end.code, 2, "{}", end.err);
        assert!(end.err.contains("VAULT_LOCAL_MASTER_KEY"), "{}", end.err);
        assert!(
            !end.err.contains(key) && !end.err.contains("hunter2"),
            "{}",
            end.err
        );
    }
    for (value, named) in [
        ("10.0.0.0/8,10.0.0/24,::1", "\"10.0.0/24\""),
        ("10.0.0.1-10.0.0.9", "\"10.0.0.1-10.0.0.9\""),
        ("localhost", "\"localhost\""),
        ("10.0.0.0/8,", "entry 2"),
        ("10.0.0.0/33", "\"10.0.0.0/33\""),
        ("10.0.0.1 10.0.0.2", "\"10.0.0.1 10.0.0.2\""),
    ] {
        let end = server(dir.path(), &[("VAULT_ALLOWED_IPS", value)]);
        assert_eq!(end.code, 2, "{}", end.err);
        assert!(end.err.contains("VAULT_ALLOWED_IPS"), "{}", end.err);
        assert!(end.err.contains(named), "{}", end.err);
    }
    for (key, value) in [
        ("VAULT_BOOTSTRAP_TOKEN", "hunter2-too-short"),
        ("VAULT_BOOTSTRAP_TOKEN", "sha256:hunter2"),
        ("VAULT_TRUST_PROXY", "true"),
        ("VAULT_TRUST_PROXY", "yes"),
        ("VAULT_PEERS", "1=127.0.0.1"),
        ("VAULT_PEERS", "2=127.0.0.1:7000"),
        ("VAULT_API_ADDR", "localhost"),
        ("VAULT_DEK_CACHE_TTL_SECS", "-1"),
        ("VAULT_AUDIT_SYNC", "never"),
        ("VAULT_READ_CONSISTENCY", "eventual"),
        ("VAULT_LOG", "nonsense=level"),
        ("VAULT_BOOTSTRAP_TOKEN_FILE", "/does/not/exist"),
        ("VAULT_ALLOWED_HOSTS", "http://vault.example"),
    ] {
        let end = server(dir.path(), &[(key, value)]);
        assert_eq!(end.code, 2, "{key}={value}: {}", end.err);
        assert!(!end.err.contains("hunter2"), "{}", end.err);
        assert!(end.last().contains("mend"), "{}", end.err);
    }
    // Nothing was made on disk by any of these.
    assert!(!dir.path().join("data").exists());
    for arguments in [&["serve"][..], &["server", "--nonsense"], &[], &["audit"]] {
        assert_eq!(run(arguments, &[]).code, 2, "{arguments:?}");
    }
}

#[test]
fn check_config_shows_settings_without_secrets_and_every_problem_at_once() {
    let dir = tempfile::tempdir().unwrap();
    let token = dir.path().join("token");
    fs::write(&token, "hunter2-hunter2-hunter2-hunter2\n").unwrap();
    let key = "aHVudGVyMmh1bnRlcjJodW50ZXIyaHVudGVyMmh1bnQ=";
    let good = [
        ("NODE_ID", "b"),
        ("VAULT_PEERS", "a=127.0.0.1:7001,b=127.0.0.1:7002"),
        ("VAULT_KMS_MODE", "local"),
        ("VAULT_LOCAL_MASTER_KEY", key),
        ("VAULT_BOOTSTRAP_TOKEN_FILE", token.to_str().unwrap()),
        ("VAULT_ALLOWED_IPS", "10.1.2.3/8,::ffff:192.0.2.1"),
        ("VAULT_DATA_DIR", "/nonexistent/strongroom"),
    ];
    let end = run(&["server", "--check-config"], &good);
    assert_eq!((end.code, end.err.as_str()), (0, ""), "{}", end.out);
    for line in [
        "NODE_ID=b",
        "VAULT_ALLOWED_IPS=10.1.2.3/8,::ffff:192.0.2.1",
        "VAULT_RAFT_ADDR=127.0.0.1:7002",
        "VAULT_AUDIT_DIR=/nonexistent/strongroom/audit",
        "VAULT_LOCAL_MASTER_KEY=(set)",
        "VAULT_BOOTSTRAP_TOKEN=(set)",
        "VAULT_AUDIT_SYNC=100ms",
    ] {
        assert!(end.out.lines().any(|l| l == line), "{line}: {}", end.out);
    }
    assert!(!end.out.contains("hunter2") && !end.out.contains("aHVudGVy"));
    assert!(!Path::new("/nonexistent/strongroom").exists());

    let bad = [
        ("VAULT_KMS_MODE", "local"),
        ("VAULT_LOCAL_MASTER_KEY", "hunter2"),
        ("VAULT_ALLOWED_IPS", "10.0.0.0/99"),
        ("VAULT_ALOWED_IPS", "10.0.0.0/8"),
        ("VAULT_TRUST_PROXY", "perhaps"),
        ("VAULT_BOOTSTRAP_TOKEN", "hunter2"),
        ("VAULT_API_PORT", "70000"),
    ];
    let end = run(&["server", "--check-config"], &bad);
    assert_eq!(end.code, 2);
    for words in [
        "VAULT_LOCAL_MASTER_KEY",
        "VAULT_ALLOWED_IPS",
        "VAULT_TRUST_PROXY",
        "VAULT_BOOTSTRAP_TOKEN",
        "VAULT_API_PORT",
        "VAULT_ALOWED_IPS is not a setting; did you mean VAULT_ALLOWED_IPS?",
    ] {
        assert!(end.err.contains(words), "{words}: {}", end.err);
    }
    assert!(!end.err.contains("hunter2"), "{}", end.err);
    assert!(end.last().contains('6'), "{}", end.last());
    // An unknown key alone is a problem here, and a warning at start.
    let end = run(
        &["server", "--check-config"],
        &[("VAULT_KMS_MODE", "local"), ("VAULT_LOGS", "x")],
    );
    assert_eq!(end.code, 2, "{}", end.out);
    assert!(end.err.contains("did you mean VAULT_LOG?"), "{}", end.err);
    let end = run(
        &["server", "--check-config"],
        &[
            ("VAULT_KMS_MODE", "local"),
            ("VAULT_ADDR", "http://x"),
            ("VAULT_TOKEN", "hunter2"),
        ],
    );
    assert_eq!(
        end.code, 0,
        "a client's variables are no mistake: {}",
        end.err
    );
    assert!(!end.out.contains("hunter2"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_that_is_not_ours_ends_with_3() {
    let mut cluster = one_node();
    let node = &mut cluster.nodes[0];
    node.start();
    node.wait_ready().await;
    // A second process on the same directory, while the first one runs and goes on running.
    let address = format!("127.0.0.1:{}", free_port());
    let with = |node: &Node, more: &[(&str, &str)]| {
        let mut env = node.env.clone();
        env.insert("VAULT_API_ADDR".into(), address.clone());
        for (key, value) in more {
            env.insert((*key).into(), (*value).into());
        }
        let env: Vec<_> = env.iter().map(|(k, v)| (k.as_str(), v.as_str())).collect();
        run(&["server"], &env)
    };
    let second = with(node, &[]);
    assert_eq!(second.code, 3, "{}", second.err);
    assert!(
        second.last().contains("in use by another process"),
        "{}",
        second.err
    );
    node.api().get("/readyz").await.expect(200);
    assert!(node.terminate().success());
    let before = fs::read(node.data_dir.join("node.json")).unwrap();

    let other = with(node, &[("NODE_ID", "2")]);
    assert_eq!(other.code, 3, "{}", other.err);
    assert!(other.last().contains("belongs to node"), "{}", other.err);
    let mut newer: Value = serde_json::from_slice(&before).unwrap();
    newer["format"] = json!(99);
    fs::write(node.data_dir.join("node.json"), newer.to_string()).unwrap();
    let newer = with(node, &[]);
    assert_eq!(newer.code, 3, "{}", newer.err);
    assert!(newer.last().contains("format 99"), "{}", newer.err);
    fs::write(node.data_dir.join("node.json"), "{").unwrap();
    let damaged = with(node, &[]);
    assert_eq!(damaged.code, 3, "{}", damaged.err);
    assert!(damaged.last().contains("damaged"), "{}", damaged.err);
    // A file where the directory should be.
    let file = cluster.dir.path().join("a-file");
    fs::write(&file, "").unwrap();
    let node = &mut cluster.nodes[0];
    let refused = with(node, &[("VAULT_DATA_DIR", file.to_str().unwrap())]);
    assert_eq!(refused.code, 3, "{}", refused.err);
    // As it was, it opens again: nothing of this changed anything.
    fs::write(node.data_dir.join("node.json"), before).unwrap();
    node.start();
    node.wait_ready().await;
    assert!(node.terminate().success());
}

#[test]
fn a_taken_port_ends_with_1_and_says_which() {
    let dir = tempfile::tempdir().unwrap();
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let end = server(dir.path(), &[("VAULT_API_ADDR", &address)]);
    assert_eq!(end.code, 1, "{}", end.err);
    for words in [address.as_str(), "VAULT_API_ADDR", "in use"] {
        assert!(end.last().contains(words), "{words}: {}", end.err);
    }
    let peers = format!("1={address}");
    let end = server(dir.path(), &[("VAULT_PEERS", &peers)]);
    assert_eq!(end.code, 1, "{}", end.err);
    for words in [address.as_str(), "VAULT_RAFT_ADDR"] {
        assert!(end.last().contains(words), "{words}: {}", end.err);
    }
}

/// With a random key, what is stored is gone with the process.
#[tokio::test(flavor = "multi_thread")]
async fn a_random_key_neither_meets_data_of_another_nor_serves_a_cluster() {
    let mut cluster = one_node();
    let node = &mut cluster.nodes[0];
    let key = node.env.remove("VAULT_LOCAL_MASTER_KEY").unwrap();
    node.start();
    node.wait_ready().await;
    assert!(node.log_text().contains("EVERY SECRET IS LOST"));
    assert!(node.terminate().success());
    node.start();
    assert_eq!(node.wait().code(), Some(2));
    let log = node.log_text();
    let last = log.trim_end().lines().last().unwrap();
    assert!(last.contains("VAULT_LOCAL_MASTER_KEY is not set"), "{last}");
    node.env.insert("VAULT_LOCAL_MASTER_KEY".into(), key);
    node.start();
    node.wait_ready().await;

    let dir = tempfile::tempdir().unwrap();
    let peers = "1=127.0.0.1:7001,2=127.0.0.1:7002";
    let several = [("VAULT_PEERS", peers), ("VAULT_LOCAL_MASTER_KEY", "")];
    let end = server(dir.path(), &several);
    assert_eq!(end.code, 2, "{}", end.err);
    assert!(end.err.contains("needed with several nodes"), "{}", end.err);
}

#[test]
fn a_kms_that_does_not_answer_ends_within_ten_seconds() {
    // Nobody there; somebody there who never says anything.
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let closed = format!("http://127.0.0.1:{}", free_port());
    let hangs = format!("http://{}", silent.local_addr().unwrap());
    std::thread::scope(|scope| {
        for endpoint in [&closed, &hangs] {
            for retries in ["0", "5"] {
                scope.spawn(move || ends_for_want_of_kms(endpoint, retries));
            }
        }
    });
}

fn ends_for_want_of_kms(endpoint: &str, retries: &str) {
    let dir = tempfile::tempdir().unwrap();
    let env = [
        ("VAULT_KMS_MODE", "aws"),
        ("VAULT_LOCAL_MASTER_KEY", ""),
        ("VAULT_KMS_KEY_ID", "alias/strongroom"),
        ("VAULT_KMS_MAX_RETRIES", retries),
        ("AWS_ENDPOINT_URL_KMS", endpoint),
        ("AWS_REGION", "eu-central-1"),
        ("AWS_ACCESS_KEY_ID", "AKIDHUNTER2"),
        ("AWS_SECRET_ACCESS_KEY", "hunter2-hunter2"),
        ("AWS_EC2_METADATA_DISABLED", "true"),
    ];
    let end = server(dir.path(), &env);
    assert_eq!(end.code, 1, "{endpoint}: {}", end.err);
    assert!(end.took < Duration::from_secs(10), "{:?}", end.took);
    for words in ["KMS", "alias/strongroom", "eu-central-1"] {
        assert!(end.last().contains(words), "{words}: {}", end.err);
    }
    assert!(!end.err.contains("hunter2"), "{}", end.err);
}
