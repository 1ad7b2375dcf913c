//! Secrets: by value, by file, and never shown.

use std::fs;

use sha2::{Digest, Sha256};

use super::{
    super::{table::TABLE, *},
    environment, fine, problems, shown,
};

const TOKEN: &str = "srt_canary-canary-canary-canary";
/// With a key to unwrap a cluster key by.
fn with_key<'a>(key: &'a str, value: &'a str) -> Vec<(&'a str, &'a str)> {
    let master_key = ("VAULT_LOCAL_MASTER_KEY", KEY);
    let given = key.strip_suffix("_FILE").unwrap_or(key) == master_key.0;
    let master_key = (!given).then_some(master_key);
    [(key, value)].into_iter().chain(master_key).collect()
}

const KEY: &str = "Y2FuYXJ5LWNhbmFyeS1jYW5hcnktY2FuYXJ5LTAwMDA=";

/// Wrapped under a master key of 32 zero bytes.
const CLUSTER_KEY: &str =
    include_str!("../../../../seal/src/cluster_key/golden-v1.txt").trim_ascii();

/// A value of each sensitive key that is accepted.
fn good(key: &str) -> &'static str {
    match key {
        "VAULT_BOOTSTRAP_TOKEN" => TOKEN,
        "VAULT_LOCAL_MASTER_KEY" => KEY,
        "VAULT_CLUSTER_KEY" => CLUSTER_KEY,
        _ => panic!("{key} is sensitive and has no test"),
    }
}

fn sensitive() -> impl Iterator<Item = &'static table::Row> {
    TABLE.iter().filter(|row| row.sensitive)
}

#[test]
fn a_secret_is_shown_nowhere() {
    for row in sensitive() {
        let value = good(row.key);
        let loaded = fine(&with_key(row.key, value));
        assert_eq!(shown(&loaded, row.key), "(set)");
        let text = format!("{loaded:?}{}", loaded.settings.render());
        assert!(!text.contains(value));
        // Spoiled in every way that is a problem, it is not repeated either.
        for spoiled in [
            format!("{value} \u{1}"),
            format!("sha256:{value}"),
            value.repeat(40),
        ] {
            let found = problems(&[(row.key, &spoiled)]);
            assert!(
                found.iter().all(|problem| problem.key == row.key),
                "{found:?}"
            );
            assert!(!format!("{found:?}").contains(value));
        }
        // Nor is it when it was put where its file's name belongs.
        let found = problems(&[(&row.file_key(), value)]);
        assert_eq!(found[0].key, row.key);
        assert!(!format!("{found:?}").contains(value));
    }
}

#[test]
fn a_secret_may_come_from_a_file() {
    let dir = tempfile::tempdir().unwrap();
    for row in sensitive() {
        let path = dir.path().join(row.key);
        let name = path.to_str().unwrap();
        let file_key = row.file_key();
        let value = good(row.key);
        for content in [
            value.to_owned(),
            format!("{value}\n"),
            format!("{value}\r\n"),
        ] {
            fs::write(&path, content).unwrap();
            let loaded = fine(&with_key(&file_key, name));
            assert_eq!(shown(&loaded, row.key), "(set)");
        }
        let twice = problems(&[(&file_key, name), (row.key, value)]);
        assert_eq!((twice.len(), twice[0].key.as_str()), (1, row.key));
        // An empty name is none, and a readable file is not needed then.
        let mut given = with_key(row.key, value);
        given.push((&file_key, ""));
        assert_eq!(shown(&fine(&given), row.key), "(set)");
        for bad in ["", "\n", &value.repeat(10_000), "x"] {
            fs::write(&path, bad).unwrap();
            assert_eq!(
                problems(&[(&file_key, name)])[0].key,
                row.key,
                "{} bytes",
                bad.len()
            );
        }
        fs::write(&path, [0xff, 0xfe]).unwrap();
        assert_eq!(problems(&[(&file_key, name)])[0].key, row.key);
        for unreadable in ["/nonexistent/file", dir.path().to_str().unwrap()] {
            assert_eq!(problems(&[(&file_key, unreadable)])[0].key, row.key);
        }
    }
}

#[test]
fn only_a_fingerprint_is_kept_of_the_bootstrap_token() {
    let expected = BootstrapToken(strongroom_core::TokenFingerprint(
        Sha256::digest(TOKEN).into(),
    ));
    let hex: String = expected
        .0
        .0
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect();
    for given in [
        TOKEN.to_owned(),
        format!("sha256:{hex}"),
        format!("sha256:{}", hex.to_uppercase()),
    ] {
        let loaded = load(environment(&[("VAULT_BOOTSTRAP_TOKEN", &given)])).unwrap();
        assert!(loaded.settings.bootstrap_token == Some(expected.clone()));
    }
    assert_eq!(format!("{expected:?}"), "BootstrapToken(set)");
}

#[test]
fn several_master_keys_are_taken_together() {
    let two = format!("{KEY}, MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=");
    let loaded = fine(&[("VAULT_LOCAL_MASTER_KEY", &two)]);
    let Kms::Local {
        master_keys: Some(keys),
    } = loaded.settings.kms.kms
    else {
        panic!()
    };
    assert_eq!(*keys, two);
    for (wrong, why) in [
        ("c2hvcnQ=", "master key 2 has 5 bytes"),
        (KEY, "repeats master key 1"),
    ] {
        let found = problems(&[("VAULT_LOCAL_MASTER_KEY", &format!("{KEY},{wrong}"))]);
        assert!(found[0].message.contains(why), "{found:?}");
    }
}
