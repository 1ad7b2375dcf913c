//! `strongroom doctor`, on machines in good and in bad order.

use std::collections::BTreeMap;

use serde_json::Value;
use strongroom_tests::{
    cluster::MASTER_KEY,
    moto::{Moto, REGION},
};

use super::*;

/// What was found, by check: verdict and words.
type Found = BTreeMap<String, (String, String)>;

fn examine(home: &Path, address: &str, env: &[(&str, &str)]) -> (i32, Found, String) {
    let desk = Desk {
        address: address.to_owned(),
        home,
        token: None,
    };
    let mut command = desk.command(&binary());
    for (key, _) in std::env::vars_os() {
        if key.to_string_lossy().starts_with("AWS_") {
            command.env_remove(key);
        }
    }
    let output = command
        .args(["doctor", "--json"])
        .envs(env.iter().copied())
        .output()
        .unwrap();
    let err = String::from_utf8(output.stderr).unwrap();
    let rows: Vec<Value> = serde_json::from_slice(&output.stdout).unwrap_or_default();
    let text = |row: &Value, key: &str| row[key].as_str().unwrap().to_owned();
    let found = rows.iter().map(|row| {
        (
            text(row, "check"),
            (text(row, "verdict"), text(row, "said")),
        )
    });
    (output.status.code().unwrap_or(-1), found.collect(), err)
}

#[tokio::test(flavor = "multi_thread")]
async fn where_all_is_well_it_says_so_beside_a_server_too() {
    let (cluster, address) = one().await;
    let (home, free) = (cluster.dir.path(), free_port());
    let api = format!("127.0.0.1:{free}");
    let data = home.join("not/made/yet").display().to_string();
    let mut env = vec![
        ("VAULT_KMS_MODE", "local"),
        ("VAULT_LOCAL_MASTER_KEY", MASTER_KEY),
        ("VAULT_API_ADDR", api.as_str()),
        ("VAULT_DATA_DIR", data.as_str()),
    ];
    let (code, found, err) = examine(home, &address, &env);
    assert_eq!(code, 0, "{found:?} {err}");
    for check in [
        "settings",
        "VAULT_DATA_DIR",
        "API port",
        "clock",
        "kms:GenerateDataKey",
        "kms:Decrypt",
        "kms:ReEncrypt",
        "kms:ListKeyRotations",
        "all of a start",
    ] {
        assert_eq!(found[check].0, "ok", "{check}: {found:?}");
    }
    // How fast this machine's disk is, is its own affair.
    assert!(found["disk sync"].1.contains("at the median of 20"));
    assert!(found["disk room"].1.contains("MiB free"));
    assert!(!home.join("not").exists(), "looking makes nothing");

    let taken = format!("127.0.0.1:{}", cluster.nodes[0].api_port);
    env[2].1 = &taken;
    let nobody = format!("http://127.0.0.1:{}", free_port());
    let (code, found, _) = examine(home, &nobody, &env);
    assert_eq!((code, found["API port"].0.as_str()), (0, "warning"));
    assert!(found["API port"].1.contains("in use"));
    assert_eq!(found["clock"].0, "skipped");
    // For people: a table.
    let desk = Desk {
        address,
        home,
        token: None,
    };
    let output = desk
        .command(&binary())
        .arg("doctor")
        .envs(env)
        .output()
        .unwrap();
    let out = String::from_utf8(output.stdout).unwrap();
    assert!(out.contains("\nok       kms:Decrypt"), "{out}");
    assert!(!out.contains(MASTER_KEY));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_will_not_work_is_wrong_and_says_what_to_do() {
    let home = tempfile::tempdir().unwrap();
    let file = home.path().join("file");
    fs::write(&file, "").unwrap();
    let moto = Moto::start();
    let key = moto.api().create_key();
    let (id, secret) = moto.api().user_who_may("kms:GenerateDataKey");
    let endpoint = moto.api().endpoint();
    let other = free_port();
    let peers = format!(
        "1=127.0.0.1:{},2=127.0.0.1:{other},3=no-such-host.invalid:8300",
        free_port()
    );
    let data = file.display().to_string();
    let env = [
        ("VAULT_KMS_KEY_ID", key.as_str()),
        ("VAULT_API_ADDR", "203.0.113.1:8200"),
        ("VAULT_DATA_DIR", data.as_str()),
        ("VAULT_PEERS", peers.as_str()),
        ("AWS_ENDPOINT_URL_KMS", endpoint.as_str()),
        ("AWS_REGION", REGION),
        ("AWS_ACCESS_KEY_ID", id.as_str()),
        ("AWS_SECRET_ACCESS_KEY", secret.as_str()),
        ("AWS_EC2_METADATA_DISABLED", "true"),
        ("AWS_CONFIG_FILE", "/dev/null"),
        ("AWS_SHARED_CREDENTIALS_FILE", "/dev/null"),
    ];
    let (code, found, err) = examine(home.path(), "http://127.0.0.1:1", &env);
    assert_eq!(code, 1, "{found:?} {err}");
    for (check, verdict, words) in [
        ("VAULT_DATA_DIR", "wrong", "is no directory"),
        ("API port", "wrong", "no address of this machine"),
        ("node 2", "warning", "start it"),
        ("node 3", "wrong", "VAULT_PEERS"),
        ("kms:GenerateDataKey", "ok", "works"),
        ("kms:Decrypt", "wrong", "needed for every read"),
        ("kms:ReEncrypt", "warning", "kms:ReEncryptFrom"),
        ("kms:ListKeyRotations", "warning", "rotated"),
        ("all of a start", "wrong", "does not work"),
    ] {
        let (found, said) = &found[check];
        assert_eq!(found, verdict, "{check}: {said}");
        assert!(said.contains(words), "{check}: {said}");
    }
    let said = format!("{found:?}");
    assert!(!said.contains(&secret), "credentials are not shown");
}

#[test]
fn without_settings_that_can_be_used_there_is_nothing_to_look_at() {
    let home = tempfile::tempdir().unwrap();
    let env = [("VAULT_KMS_MODE", "local"), ("VAULT_API_PORT", "x")];
    let (code, found, err) = examine(home.path(), "http://127.0.0.1:1", &env);
    assert_eq!((code, found.len()), (2, 0), "{err}");
    assert!(err.contains("VAULT_API_PORT"), "{err}");
}
