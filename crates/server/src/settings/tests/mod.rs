//! Settings as an operator meets them: a map goes in, settings or problems come out.

use std::{collections::BTreeMap, path::Path};

use super::{Loaded, Problem, check, load, table::TABLE};

mod edge;
mod redaction;
mod rules;
mod values;

/// An environment that is fine, and what `changes` make of it.
fn environment(changes: &[(&str, &str)]) -> BTreeMap<String, String> {
    let mut all = BTreeMap::from([("VAULT_KMS_MODE".to_owned(), "local".to_owned())]);
    for (key, value) in changes {
        all.insert((*key).to_owned(), (*value).to_owned());
    }
    all
}

fn fine(changes: &[(&str, &str)]) -> Loaded {
    load(environment(changes)).unwrap_or_else(|problems| panic!("{changes:?}: {problems:?}"))
}

fn problems(changes: &[(&str, &str)]) -> Vec<Problem> {
    load(environment(changes))
        .map(|loaded| panic!("{changes:?} gave {loaded:?}"))
        .unwrap_err()
}

fn shown(loaded: &Loaded, key: &str) -> String {
    let found = loaded
        .settings
        .effective()
        .iter()
        .find(|(known, _)| *known == key);
    found.unwrap().1.clone()
}

#[test]
fn the_reference_page_is_the_table() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/CONFIG.md");
    let page = super::reference();
    if std::env::var_os("UPDATE_DOCS").is_some() {
        std::fs::write(&path, &page).unwrap();
    }
    let written = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(
        written == page,
        "docs/CONFIG.md is out of date; UPDATE_DOCS=1 rewrites it"
    );
}

#[test]
fn keys_are_unique_and_effective_settings_show_each_once() {
    let keys: Vec<_> = TABLE.iter().map(|row| row.key).collect();
    let unique: std::collections::BTreeSet<_> = keys.iter().collect();
    assert_eq!(unique.len(), keys.len());
    let loaded = fine(&[]);
    let effective: Vec<_> = loaded
        .settings
        .effective()
        .iter()
        .map(|(key, _)| *key)
        .collect();
    assert_eq!(effective, keys);
}

#[test]
fn unknown_keys_are_warned_of_and_stop_a_check() {
    let typo = ("VAULT_ALOWED_IPS", "10.0.0.0/8");
    let loaded = fine(&[typo]);
    assert_eq!(loaded.warnings.len(), 1);
    assert_eq!(
        loaded.warnings[0].to_string(),
        "VAULT_ALOWED_IPS is not a setting; did you mean VAULT_ALLOWED_IPS?"
    );
    assert_eq!(check(environment(&[typo])).unwrap_err(), loaded.warnings);
    // They often explain another problem, and are then reported with it.
    let both = problems(&[("VAULT_KMS_MODE", "aws"), ("VAULT_KMS_KEYID", "alias/x")]);
    let keys: Vec<_> = both.iter().map(|problem| problem.key.as_str()).collect();
    assert_eq!(keys, ["VAULT_KMS_KEY_ID", "VAULT_KMS_KEYID"]);
    // What is not sensitive has no file form.
    assert_eq!(fine(&[("VAULT_DATA_DIR_FILE", "/x")]).warnings.len(), 1);
    let clients = [
        "VAULT_ADDR",
        "VAULT_TOKEN",
        "VAULT_CACERT",
        "VAULT_NAMESPACE",
        "PATH",
    ];
    let set: Vec<_> = clients.iter().map(|key| (*key, "x")).collect();
    assert!(check(environment(&set)).unwrap().warnings.is_empty());
}

#[test]
fn the_process_environment_must_be_utf_8_where_it_matters() {
    use std::{ffi::OsString, os::unix::ffi::OsStringExt};
    let broken = || OsString::from_vec(vec![b'/', 0xff]);
    let given = |key: &str| [(OsString::from(key), broken())].into_iter();
    assert_eq!(super::environment(given("PATH")).unwrap(), BTreeMap::new());
    assert_eq!(
        super::environment(given("VAULT_DATA_DIR")).unwrap_err()[0].key,
        "VAULT_DATA_DIR"
    );
    let kept = [("NODE_ID", "2"), ("HOME", "/")].map(|(key, value)| (key.into(), value.into()));
    let kept = super::environment(kept.into_iter()).unwrap();
    assert_eq!(
        kept,
        BTreeMap::from([("NODE_ID".to_owned(), "2".to_owned())])
    );
}
