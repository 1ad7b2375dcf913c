//! Disks that are read-only or full, and files that are damaged: the node says so, acknowledges nothing
//! that it did not store, and comes back whole.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::print_stdout
)]

#[path = "disk_heal/damaged.rs"]
mod damaged;
#[path = "disk_heal/refusing.rs"]
mod refusing;

use std::{
    fs,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use serde_json::{Value, json};
use strongroom_tests::{
    alone,
    api::Api,
    cluster::Cluster,
    node::{Node, PATIENCE, binary},
};

async fn until(what: &str, mut fits: impl AsyncFnMut() -> bool) {
    let began = Instant::now();
    while !fits().await {
        assert!(
            began.elapsed() < PATIENCE,
            "{what}: not within {PATIENCE:?}"
        );
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

async fn create(admin: &Api, names: &str, count: usize) {
    for n in 0..count {
        let body = json!({"name": format!("{names}/{n}"), "value": format!("value of {n}")});
        admin.post("/v1/secrets", body).await.expect(201);
    }
}

/// Files in a directory whose names end so.
fn ending(dir: &Path, end: &str) -> Vec<PathBuf> {
    let files = fs::read_dir(dir).into_iter().flatten().flatten();
    let mut files: Vec<_> = files
        .map(|file| file.path())
        .filter(|path| path.to_string_lossy().ends_with(end))
        .collect();
    files.sort();
    files
}

fn set_aside(node: &Node) -> Vec<PathBuf> {
    let files = fs::read_dir(&node.data_dir).unwrap().flatten();
    files
        .filter(|file| file.file_name().to_string_lossy().starts_with("damaged-"))
        .map(|file| file.path())
        .collect()
}

fn identity(node: &Node) -> Value {
    serde_json::from_slice(&fs::read(node.data_dir.join("node.json")).unwrap()).unwrap()
}

/// Changes bytes in the middle of what a file holds.
fn spoil(file: &Path) -> Vec<u8> {
    let whole = fs::read(file).unwrap();
    let mut spoilt = whole.clone();
    let end = whole.iter().rposition(|byte| *byte != 0).unwrap();
    let middle = end / 2;
    for byte in &mut spoilt[middle..(middle + 4096).min(end)] {
        *byte ^= 0x5a;
    }
    fs::write(file, spoilt).unwrap();
    whole
}

/// Changes bytes in the middle of what sled holds, and all of the journal: what sled has lost at its end, the journal
/// would give back. Returns the directory's files as they were.
fn spoil_log(node: &Node) -> Vec<(PathBuf, Vec<u8>)> {
    let log = node.data_dir.join("log");
    let files = fs::read_dir(&log)
        .unwrap()
        .map(|entry| entry.unwrap().path());
    let files = files.filter(|path| path.is_file());
    let whole = files.map(|path| (path.clone(), fs::read(path).unwrap()));
    let whole: Vec<_> = whole.collect();
    spoil(&log.join("db"));
    for path in ["journal.0", "journal.1"].map(|name| log.join(name)) {
        let bytes = fs::read(&path).unwrap();
        let spoilt: Vec<u8> = bytes.iter().map(|byte| byte ^ 0x5a).collect();
        fs::write(&path, spoilt).unwrap();
    }
    whole
}

/// Puts the files back, and nothing else: sled has a summary of what it finds in a file of its own.
fn mend(whole: &[(PathBuf, Vec<u8>)]) {
    let log = whole[0].0.parent().unwrap();
    for entry in fs::read_dir(log).unwrap() {
        let path = entry.unwrap().path();
        if path.is_file() {
            fs::remove_file(path).unwrap();
        }
    }
    for (path, bytes) in whole {
        fs::write(path, bytes).unwrap();
    }
}
