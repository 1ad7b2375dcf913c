//! Rules over several settings.

use super::{super::*, fine, problems, shown};

const PEERS: (&str, &str) = (
    "VAULT_PEERS",
    "1=127.0.0.1:8301, 2=127.0.0.1:8302,three=[::1]:8303",
);

fn keys(problems: &[Problem]) -> Vec<&str> {
    problems
        .iter()
        .map(|problem| problem.key.as_str())
        .collect()
}

/// 32 zero bytes. It guards nothing.
const KEY: (&str, &str) = (
    "VAULT_LOCAL_MASTER_KEY",
    "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=",
);

#[test]
fn several_nodes_need_one_master_key() {
    assert_eq!(keys(&problems(&[PEERS])), ["VAULT_LOCAL_MASTER_KEY"]);
    fine(&[PEERS, KEY]);
    fine(&[("VAULT_PEERS", "1=127.0.0.1:8301")]);
}

#[test]
fn a_nodes_own_entry_is_its_listener() {
    let loaded = fine(&[PEERS, KEY, ("NODE_ID", "three")]);
    assert_eq!(loaded.settings.peers.len(), 3);
    assert_eq!(
        loaded.settings.raft.as_ref().unwrap().to_string(),
        "[::1]:8303"
    );
    assert_eq!(shown(&loaded, "VAULT_RAFT_ADDR"), "[::1]:8303");
    let other = fine(&[PEERS, KEY, ("VAULT_RAFT_ADDR", "127.0.0.9:1")]);
    assert_eq!(other.settings.raft.unwrap().to_string(), "127.0.0.9:1");
}

#[test]
fn the_node_must_be_among_its_peers() {
    assert_eq!(
        keys(&problems(&[PEERS, KEY, ("NODE_ID", "4")])),
        ["NODE_ID"]
    );
    assert_eq!(
        keys(&problems(&[
            PEERS,
            KEY,
            ("NODE_ID", "4"),
            ("VAULT_RAFT_ADDR", "[::]:1")
        ])),
        ["NODE_ID", "VAULT_RAFT_ADDR"]
    );
}

#[test]
fn a_plain_raft_port_stays_on_loopback_or_inside_wireguard() {
    let wireguard = ("VAULT_RAFT_PLAINTEXT", "wireguard");
    let public = [
        "10.0.0.1:1",
        "0.0.0.0:1",
        "[::]:1",
        "[fd00::1]:1",
        "[::ffff:10.0.0.1]:1",
    ];
    for address in public {
        let given = [PEERS, KEY, ("VAULT_RAFT_ADDR", address)];
        assert_eq!(keys(&problems(&given)), ["VAULT_RAFT_ADDR"], "{address}");
    }
    assert_eq!(
        keys(&problems(&[("VAULT_PEERS", "1=10.0.0.1:1")])),
        ["VAULT_RAFT_ADDR"]
    );
    for address in ["0.0.0.0:1", "[::]:1", "[::ffff:0.0.0.0]:1", "224.0.0.1:1"] {
        let given = [PEERS, KEY, wireguard, ("VAULT_RAFT_ADDR", address)];
        assert_eq!(keys(&problems(&given)), ["VAULT_RAFT_ADDR"], "{address}");
    }
    for address in ["10.0.0.1:1", "[fd00::1]:1", "127.0.0.1:1"] {
        assert!(
            fine(&[PEERS, KEY, wireguard, ("VAULT_RAFT_ADDR", address)])
                .settings
                .raft
                .is_some()
        );
    }
    for address in [
        "127.0.0.1:1",
        "[::1]:1",
        "[::ffff:127.0.0.1]:1",
        "localhost:1",
    ] {
        assert!(
            fine(&[PEERS, KEY, ("VAULT_RAFT_ADDR", address)])
                .settings
                .raft
                .is_some()
        );
    }
    // Without peers nobody listens, so there is nothing to refuse; but it is worth a word.
    let alone = fine(&[("VAULT_RAFT_ADDR", "0.0.0.0:1")]);
    assert!(alone.settings.raft.is_none());
    assert_eq!(keys(&alone.warnings), ["VAULT_RAFT_ADDR"]);
}

/// A wrapped cluster key.
const CLUSTER_KEY: (&str, &str) = (
    "VAULT_CLUSTER_KEY",
    include_str!("../../../../seal/src/cluster_key/golden-v1.txt").trim_ascii(),
);

#[test]
fn with_a_cluster_key_the_raft_port_may_be_anywhere_and_is_never_plain() {
    for address in [
        "10.0.0.1:1",
        "0.0.0.0:1",
        "[::]:1",
        "127.0.0.1:1",
        "example.com:1",
    ] {
        let given = [PEERS, KEY, CLUSTER_KEY, ("VAULT_RAFT_ADDR", address)];
        let settings = fine(&given).settings;
        assert!(settings.raft.is_some() && settings.cluster_key.is_some());
    }
    let both = [
        PEERS,
        KEY,
        CLUSTER_KEY,
        ("VAULT_RAFT_PLAINTEXT", "wireguard"),
    ];
    assert_eq!(keys(&problems(&both)), ["VAULT_RAFT_PLAINTEXT"]);
    // A bad one is no reason to speak in the clear, nor to complain twice.
    let bad = [
        PEERS,
        KEY,
        ("VAULT_CLUSTER_KEY", "srck1_x"),
        ("VAULT_RAFT_ADDR", "10.0.0.1:1"),
    ];
    assert_eq!(keys(&problems(&bad)), ["VAULT_CLUSTER_KEY"]);
    assert_eq!(keys(&problems(&[CLUSTER_KEY])), ["VAULT_LOCAL_MASTER_KEY"]);
    assert_eq!(
        keys(&fine(&[CLUSTER_KEY, KEY]).warnings),
        ["VAULT_CLUSTER_KEY"]
    );
    // What refuses a plain port names both ways out.
    let refused = problems(&[PEERS, KEY, ("VAULT_RAFT_ADDR", "10.0.0.1:1")]);
    for way in ["VAULT_CLUSTER_KEY", "VAULT_RAFT_PLAINTEXT=wireguard"] {
        assert!(refused[0].message.contains(way), "{refused:?}");
    }
}

#[test]
fn a_command_about_keys_needs_the_settings_of_kms_alone() {
    let given = [
        ("VAULT_KMS_MODE", "local"),
        KEY,
        CLUSTER_KEY,
        ("VAULT_PEERS", "1=10.0.0.1:1"),
        ("NODE_ID", "not among them"),
    ];
    let given = given.map(|(key, value)| (key.to_owned(), value.to_owned()));
    assert!(load(given.clone().into()).is_err());
    let settings = load_for_kms(given.into()).unwrap().settings;
    assert!(settings.peers.is_empty() && settings.cluster_key.is_some());
}

#[tokio::test]
async fn a_name_is_judged_by_its_addresses() {
    let raft = fine(&[PEERS, KEY, ("VAULT_RAFT_ADDR", "localhost:8300")])
        .settings
        .raft
        .unwrap();
    let address = raft.resolve().await.unwrap();
    assert!(address.ip().is_loopback() && address.port() == 8300);
    assert!(raft.check("10.0.0.1".parse().unwrap()).is_err());
}

#[test]
fn the_port_alone_replaces_the_listeners_port() {
    let loaded = fine(&[("VAULT_API_ADDR", "[::1]:8200"), ("VAULT_API_PORT", "9000")]);
    assert_eq!(loaded.settings.api.addr.unwrap().to_string(), "[::1]:9000");
    assert_eq!(shown(&loaded, "VAULT_API_ADDR"), "[::1]:9000");
    assert_eq!(shown(&fine(&[]), "VAULT_API_PORT"), "8200");
}

#[test]
fn trusting_a_proxy_needs_to_know_it() {
    let trust = ("VAULT_TRUST_PROXY", "true");
    assert_eq!(keys(&problems(&[trust])), ["VAULT_TRUSTED_PROXIES"]);
    assert_eq!(
        keys(&problems(&[trust, ("VAULT_TRUSTED_PROXIES", " ")])),
        ["VAULT_TRUSTED_PROXIES"]
    );
    // A bad list is one problem, not two.
    assert_eq!(
        keys(&problems(&[trust, ("VAULT_TRUSTED_PROXIES", "x")])),
        ["VAULT_TRUSTED_PROXIES"]
    );
    let unused = fine(&[("VAULT_TRUSTED_PROXIES", "10.0.0.1")]);
    assert!(unused.settings.trusted_proxies.is_none());
    assert_eq!(keys(&unused.warnings), ["VAULT_TRUSTED_PROXIES"]);
}

#[test]
fn every_bad_address_is_named_by_its_place() {
    let found = problems(&[("VAULT_ALLOWED_IPS", "10.0.0.0/8,10.0.0.300,::1,2001::/200")]);
    let messages: Vec<_> = found
        .iter()
        .map(|problem| problem.message.as_str())
        .collect();
    assert_eq!(messages.len(), 2);
    assert!(messages[0].contains("entry 2") && messages[0].contains("10.0.0.300"));
    assert!(messages[1].contains("entry 4"));
}

#[test]
fn aws_needs_a_key() {
    let aws = ("VAULT_KMS_MODE", "aws");
    assert_eq!(keys(&problems(&[aws])), ["VAULT_KMS_KEY_ID"]);
    assert_eq!(
        keys(&load(std::collections::BTreeMap::new()).unwrap_err()),
        ["VAULT_KMS_KEY_ID"]
    );
    let loaded = fine(&[aws, ("VAULT_KMS_KEY_ID", "alias/strongroom")]);
    assert!(matches!(loaded.settings.kms.kms, Kms::Aws { key_id } if key_id == "alias/strongroom"));
    // A key of the other mode does nothing, and somebody believes it does.
    let unused = fine(&[("VAULT_KMS_KEY_ID", "alias/strongroom")]);
    assert_eq!(keys(&unused.warnings), ["VAULT_KMS_KEY_ID"]);
}

#[test]
fn what_needs_a_data_key_cache_says_so() {
    let wanted = [
        ("VAULT_DEK_CACHE_PREWARM", "true"),
        ("VAULT_DEK_CACHE_PREWARM_PER_SEC", "7"),
        ("VAULT_DEK_CACHE_STALE_SECS", "60"),
    ];
    let loaded = fine(&wanted);
    assert_eq!(loaded.settings.kms.prewarm.unwrap().get(), 7);
    assert_eq!(keys(&loaded.warnings), Vec::<&str>::new());
    for off in ["VAULT_DEK_CACHE_TTL_SECS", "VAULT_DEK_CACHE_ENTRIES"] {
        let loaded = fine(&[&wanted[..], &[(off, "0")]].concat());
        assert_eq!(loaded.settings.kms.prewarm, None);
        assert_eq!(
            keys(&loaded.warnings),
            ["VAULT_DEK_CACHE_PREWARM", "VAULT_DEK_CACHE_STALE_SECS"]
        );
    }
}
