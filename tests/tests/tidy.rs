//! The rules of the tree itself: which crate may know which, where `unsafe` and sled may stand, how
//! long a file may be; and, in `documents`, that documents say what is there.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic
)]

#[path = "tidy/documents.rs"]
mod documents;

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use serde_json::Value;

/// What each crate may depend on among ours; whatever is not listed is refused.
const ARROWS: [(&str, &[&str]); 7] = [
    ("strongroom-core", &[]),
    ("strongroom-seal", &["strongroom-core"]),
    ("strongroom-raft", &["strongroom-core"]),
    (
        "strongroom-service",
        &["strongroom-core", "strongroom-seal"],
    ),
    (
        "strongroom-server",
        &[
            "strongroom-core",
            "strongroom-raft",
            "strongroom-seal",
            "strongroom-service",
        ],
    ),
    ("strongroom-client", &["strongroom-core"]),
    ("strongroom", &["strongroom-client", "strongroom-server"]),
];
/// The packages that hold the black-box tests and the benchmarks: they may look at everything, and
/// nothing that is shipped depends on them.
const LOOK_AT_ALL: [&str; 2] = ["strongroom-tests", "strongroom-bench"];

/// Packages from outside that one crate alone may know.
const OWNED: [(&str, &str); 11] = [
    ("sled", "strongroom-raft"),
    ("openraft", "strongroom-raft"),
    ("aws-config", "strongroom-server"),
    ("aws-sdk-kms", "strongroom-server"),
    ("axum", "strongroom-server"),
    ("tokio-postgres", "strongroom-server"),
    ("rcgen", "strongroom-server"),
    ("object_store", "strongroom-server"),
    ("opentelemetry", "strongroom-server"),
    ("chacha20poly1305", "strongroom-seal"),
    ("hkdf", "strongroom-seal"),
];

/// The one file that names sled.
const NAMES_SLED: [&str; 1] = ["crates/raft/src/durable.rs"];
/// The files that may hold `unsafe`; docs/ARCHITECTURE.md lists them.
const UNSAFE: [&str; 1] = ["crates/cli/src/alloc.rs"];

const MOST_LINES: usize = 400;
/// Files that are too long, and how long they may be. This list only shrinks.
const TOO_LONG: [(&str, usize); 0] = [];

const ARCHITECTURE: &str = "docs/ARCHITECTURE.md";

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .unwrap()
        .to_owned()
}

fn read(path: &str) -> String {
    fs::read_to_string(root().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// Files below `folder` with this extension, by path from the root. Build output is passed over.
fn files(folder: &str, extension: &str) -> BTreeMap<String, String> {
    let mut found = BTreeMap::new();
    let mut folders = vec![root().join(folder)];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|found| found == extension) {
                let name = path.strip_prefix(root()).unwrap();
                let text = fs::read_to_string(&path).unwrap();
                found.insert(name.to_str().unwrap().to_owned(), text);
            }
        }
    }
    found
}

/// All of our Rust.
fn sources() -> BTreeMap<String, String> {
    let mut sources = files("crates", "rs");
    sources.extend(files("tests", "rs"));
    sources.extend(files("bench", "rs"));
    sources
}

/// A line without its comment. `://` in a string begins none.
fn code(line: &str) -> &str {
    let comment = line
        .match_indices("//")
        .find(|(at, _)| !line.get(..*at).unwrap_or_default().ends_with(':'));
    comment.map_or(line, |(at, _)| line.get(..at).unwrap_or_default())
}

fn is_word(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

/// Whether `word` stands in `text` as a word of its own.
fn has_word(text: &str, word: &str) -> bool {
    text.match_indices(word).any(|(at, _)| {
        let before = text.get(..at).and_then(|text| text.chars().next_back());
        let after = text
            .get(at + word.len()..)
            .and_then(|text| text.chars().next());
        !before.is_some_and(is_word) && !after.is_some_and(is_word)
    })
}

fn none(what: &str, wrong: &[String]) {
    assert!(wrong.is_empty(), "{what}:\n  {}", wrong.join("\n  "));
}

/// The workspace's packages with the names of what they depend on, of every kind.
fn packages() -> BTreeMap<String, BTreeSet<String>> {
    let output = Command::new(env!("CARGO"))
        .args([
            "metadata",
            "--no-deps",
            "--offline",
            "--format-version",
            "1",
        ])
        .current_dir(root())
        .output()
        .expect("cargo runs");
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    let metadata: Value = serde_json::from_slice(&output.stdout).unwrap();
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let list = |value: &Value| value.as_array().unwrap().clone();
    list(&metadata["packages"])
        .iter()
        .map(|package| {
            let dependencies = list(&package["dependencies"]);
            let names = dependencies.iter().map(|found| text(&found["name"]));
            (text(&package["name"]), names.collect())
        })
        .collect()
}

#[test]
fn crates_know_only_what_the_design_lets_them_know() {
    let arrows = BTreeMap::from(ARROWS);
    let packages = packages();
    let mut wrong = Vec::new();
    for (package, dependencies) in &packages {
        let looks_at_all = LOOK_AT_ALL.contains(&package.as_str());
        for dependency in dependencies {
            let ours = packages.contains_key(dependency);
            let allowed = arrows.get(package.as_str()).copied().unwrap_or_default();
            if ours && !looks_at_all && !allowed.contains(&dependency.as_str()) {
                wrong.push(format!("{package} must not depend on {dependency}"));
            }
            for (owned, owner) in OWNED {
                if dependency == owned && package != owner && !looks_at_all {
                    wrong.push(format!("{owned} belongs to {owner}, not to {package}"));
                }
            }
        }
        if !looks_at_all && !arrows.contains_key(package.as_str()) {
            wrong.push(format!("{package} has no row in ARROWS"));
        }
    }
    none("crates", &wrong);
    for (owned, owner) in OWNED {
        let found = packages
            .get(owner)
            .is_some_and(|names| names.contains(owned));
        assert!(found, "{owner} no longer uses {owned}: take it off OWNED");
    }
}

#[test]
fn sled_and_unsafe_stand_only_in_the_files_named_for_them() {
    let mut wrong = Vec::new();
    let (mut with_sled, mut with_unsafe) = (BTreeSet::new(), BTreeSet::new());
    let sources = sources();
    // This file names both.
    for (path, text) in sources
        .iter()
        .filter(|(path, _)| !path.ends_with("/tidy.rs"))
    {
        for line in text.lines().map(code) {
            if line.contains("sled::") && has_word(line, "sled") || line.contains("use sled") {
                with_sled.insert(path.as_str());
            }
            if has_word(line, "unsafe") || line.contains("allow(unsafe_code)") {
                with_unsafe.insert(path.as_str());
            }
        }
    }
    for (what, found, allowed) in [
        ("sled", with_sled, BTreeSet::from(NAMES_SLED)),
        ("unsafe", with_unsafe, BTreeSet::from(UNSAFE)),
    ] {
        for path in found.symmetric_difference(&allowed) {
            wrong.push(format!("{what}: {path} and this test disagree"));
        }
    }
    let architecture = read(ARCHITECTURE);
    for path in UNSAFE.iter().chain(&NAMES_SLED) {
        if !architecture.contains(path) {
            wrong.push(format!("{ARCHITECTURE} does not name {path}"));
        }
    }
    none("named places", &wrong);
}

#[test]
fn files_are_short_and_finished() {
    let too_long = BTreeMap::from(TOO_LONG);
    // In two parts, so that this file does not find itself.
    let marks = [
        concat!("TO", "DO"),
        concat!("FIX", "ME"),
        concat!("XX", "X"),
        concat!("HA", "CK"),
        concat!("WI", "P"),
        concat!("to", "do!"),
        concat!("unimplement", "ed!"),
        concat!("db", "g!"),
    ];
    let mut wrong = Vec::new();
    let sources = sources();
    for (path, text) in &sources {
        let lines = text.lines().count();
        let most = too_long.get(path.as_str()).copied().unwrap_or(MOST_LINES);
        if lines > most {
            wrong.push(format!("{path} has {lines} lines; {most} are the most"));
        }
        for (number, line) in (1..).zip(text.lines()) {
            for mark in marks {
                let word = mark.trim_end_matches('!');
                let found = line.contains(mark) && has_word(line, word);
                if found {
                    wrong.push(format!("{path}:{number} holds the mark {mark}"));
                }
            }
        }
    }
    for (path, _) in TOO_LONG {
        let lines = sources.get(path).map_or(0, |text| text.lines().count());
        if lines <= MOST_LINES {
            wrong.push(format!("{path} has {lines} lines: take it off TOO_LONG"));
        }
    }
    none("files", &wrong);
}
