//! Cluster keys that cannot be used: the reason, and the exit code.

use strongroom_tests::{kms_cluster::KmsCluster, moto::child::environment};

use super::*;

/// Runs a node, which is expected to end by itself; its exit code and its last line.
fn ends(node: &mut Node) -> (Option<i32>, String) {
    node.start();
    let code = node.wait().code();
    let log = node.log_text();
    let last = log.trim_end().lines().last().unwrap_or_default();
    (code, last.to_owned())
}

#[test]
fn a_key_that_is_none_ends_with_2_and_one_that_does_not_open_with_1() {
    let key = new_key();
    let (cut, swapped) = (&key[..key.len() - 1], key.replace("srck1_A", "srck1_B"));
    for bad in ["hunter2", MASTER_KEY, "srck1_", "srck9_AAAA", cut, &swapped] {
        let mut cluster = Cluster::prepare(3, &[("VAULT_CLUSTER_KEY", bad)]);
        cluster.nodes[0].start();
        assert_eq!(cluster.nodes[0].wait().code(), Some(2), "{bad}");
        let log = cluster.nodes[0].log_text();
        assert!(
            log.contains("VAULT_CLUSTER_KEY is unusable: it is"),
            "{log}"
        );
        assert!(!log.contains(bad), "{log}");
        assert!(!cluster.nodes[0].data_dir.exists());
    }
    // Of another master key.
    let ones = "AQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQE=";
    let local = ("VAULT_KMS_MODE", "local");
    let other = cluster_key("new", &[local, ("VAULT_LOCAL_MASTER_KEY", ones)]).unwrap();
    let mut cluster = Cluster::prepare(3, &[("VAULT_CLUSTER_KEY", &other)]);
    let (code, last) = ends(&mut cluster.nodes[0]);
    assert_eq!(code, Some(1), "{last}");
    for words in ["does not unwrap VAULT_CLUSTER_KEY", "KMS (local", "denied"] {
        assert!(last.contains(words), "{words}: {last}");
    }
    // The command refuses what would be lost, and says what is missing.
    for (command, env, words) in [
        ("new", &[local][..], "VAULT_LOCAL_MASTER_KEY is not set"),
        ("new", &[], "VAULT_KMS_KEY_ID is needed"),
        (
            "rewrap",
            &[local, ("VAULT_LOCAL_MASTER_KEY", ones)],
            "VAULT_CLUSTER_KEY is not set",
        ),
    ] {
        let (code, text) = cluster_key(command, env).unwrap_err();
        assert_eq!(code, 2, "{text}");
        assert!(text.contains(words), "{text}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_kms_does_not_unwrap_for_does_not_start_and_says_why() {
    let _turn = alone().await;
    let mut it = KmsCluster::start(3, &[]).await;
    let endpoint = it.gate.endpoint();
    let kms_key = it.cluster.nodes[0].env["VAULT_KMS_KEY_ID"].clone();
    let mut env = environment(&endpoint, &kms_key);
    env.push(("VAULT_KMS_KEY_ID", &kms_key));
    let key = cluster_key("new", &env).unwrap();
    // From plain to a cluster key: all nodes are stopped first.
    for node in &mut it.cluster.nodes {
        assert!(node.terminate().success());
        node.env.insert("VAULT_CLUSTER_KEY".into(), key.clone());
    }
    it.cluster.nodes.iter_mut().for_each(Node::start);
    it.cluster.wait_ready().await;
    write(&it.cluster.admin(0), "with/a/key").await;

    let node = &mut it.cluster.nodes[2];
    assert!(node.terminate().success());
    // As by a policy that lets this node use the KMS key for secrets alone.
    it.gate
        .refuse("strongroom/cluster-key", "AccessDeniedException");
    let began = Instant::now();
    let (code, last) = ends(node);
    assert_eq!(code, Some(1), "{last}");
    assert!(began.elapsed() < Duration::from_secs(20));
    for words in [
        "KMS (aws",
        &kms_key,
        "does not unwrap VAULT_CLUSTER_KEY",
        "denied",
    ] {
        assert!(last.contains(words), "{words}: {last}");
    }
    write(&it.cluster.admin(0), "without/it").await;
    it.gate.treat_all_alike();
    node_is_back(&mut it.cluster).await;
}

async fn node_is_back(cluster: &mut Cluster) {
    cluster.nodes[2].start();
    cluster.nodes[2].wait_ready().await;
    for name in ["with/a/key", "without/it"] {
        read(&cluster.nodes[2], name).await;
    }
}
