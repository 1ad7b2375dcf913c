//! A lost quorum: a node that is left becomes a cluster, and what comes back of the others stays out.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::print_stdout
)]

#[path = "recover/refusals.rs"]
mod refusals;

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
    time::{Duration, Instant},
};

use rustix::process::Signal;
use serde_json::json;
use strongroom_tests::{
    alone,
    api::Api,
    cluster::Cluster,
    node::{Node, PATIENCE, binary},
};

/// How a command ended.
struct End {
    code: i32,
    out: String,
    err: String,
}

impl End {
    /// What stands behind a word that it printed.
    fn of(&self, word: &str) -> Vec<&str> {
        let lines = self.out.lines();
        lines
            .filter_map(|line| Some(line.strip_prefix(word)?.trim()))
            .collect()
    }
}

fn run(arguments: &[&str]) -> End {
    let mut command = Command::new(binary());
    let output = command
        .args(arguments)
        .env_remove("VAULT_AUDIT_DIR")
        .output();
    let output = output.expect("the binary starts");
    End {
        code: output.status.code().unwrap_or(-1),
        out: String::from_utf8(output.stdout).unwrap(),
        err: String::from_utf8(output.stderr).unwrap(),
    }
}

fn recover(data_dir: &Path, flags: &[&str]) -> End {
    let dir = data_dir.to_str().unwrap();
    run(&[&["recover", "--data-dir", dir], flags].concat())
}

async fn create(admin: &Api, names: &str, count: usize) {
    for n in 0..count {
        let body = json!({"name": format!("{names}/{n}"), "value": format!("value of {n}")});
        admin.post("/v1/secrets", body).await.expect(201);
    }
}

/// Waits until the node says that it is out, and checks that it neither gives nor takes anything.
async fn assert_is_out(node: &Node, admin: &Api) {
    let deadline = Instant::now() + PATIENCE;
    while admin.get("/readyz").await.code() != "removed" {
        assert!(Instant::now() < deadline, "{}", node.log_text());
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let read = admin.get("/v1/secrets/kept/1").await;
    assert_eq!(read.status, 503, "{}", read.text);
    let read = admin
        .get("/v1/secrets/kept/1?consistency=linearizable")
        .await;
    assert_eq!(read.status, 503, "{}", read.text);
    let body = json!({"name": "from/the/past", "value": "v"});
    let written = admin.post("/v1/secrets", body).await;
    assert_eq!(written.status, 503, "{}", written.text);
    let log = node.log_text();
    assert!(log.contains("recovered without this node"), "{log}");
}

fn is_whole(file: Result<&fs::DirEntry, &std::io::Error>) -> bool {
    file.is_ok_and(|file| file.path().extension().is_some_and(|end| end == "snapshot"))
}

/// Three nodes with data, all of them killed, and the directories of two moved away.
async fn two_of_three_are_lost() -> (Cluster, [PathBuf; 2]) {
    let small = [("VAULT_SNAPSHOT_LOG_ENTRIES", "25")];
    let mut cluster = Cluster::start_with(3, &small).await;
    create(&cluster.admin(0), "kept", 40).await;
    let role = json!({"name": "app", "permissions": [{"action": "*", "path": "app/*"}]});
    cluster.admin(1).post("/v1/roles", role).await.expect(201);
    let snapshots = cluster.nodes[0].data_dir.join("snapshots");
    let deadline = Instant::now() + PATIENCE;
    while !fs::read_dir(&snapshots).is_ok_and(|mut files| files.any(|file| is_whole(file.as_ref())))
    {
        assert!(Instant::now() < deadline, "no snapshot");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    create(&cluster.admin(2), "after", 3).await;
    cluster.wait_level().await;
    cluster.nodes.iter_mut().for_each(Node::kill);
    let lost = [1, 2].map(|place| {
        let dir = &cluster.nodes[place].data_dir;
        let lost = dir.with_extension("lost");
        fs::rename(dir, &lost).unwrap();
        lost
    });
    (cluster, lost)
}

fn put_back(cluster: &Cluster, place: usize, lost: &Path) {
    let dir = &cluster.nodes[place].data_dir;
    if dir.exists() {
        fs::rename(dir, dir.with_extension("aside")).unwrap();
    }
    fs::rename(lost, dir).unwrap();
}

async fn assert_holds_everything(admin: &Api) {
    for n in 0..40 {
        let path = format!("/v1/secrets/kept/{n}?consistency=linearizable");
        let read = admin.get(&path).await.expect(200);
        assert_eq!(read.json["value"], format!("value of {n}"));
    }
    admin.get("/v1/roles/app").await.expect(200);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_third_goes_on_with_everything_and_the_others_join_empty() {
    let _turn = alone().await;
    let (mut cluster, lost) = two_of_three_are_lost().await;
    let data = cluster.nodes[0].data_dir.clone();
    let before = fs::read(data.join("node.json")).unwrap();
    let look = recover(&data, &["--dry-run"]);
    assert_eq!(look.code, 0, "{}", look.err);
    assert_eq!(look.of("epoch:"), ["0"]);
    assert_eq!(look.of("member:").len(), 3, "{}", look.out);
    let asked = recover(&data, &[]);
    assert_eq!(asked.code, 2, "{}", asked.out);
    assert!(
        asked
            .err
            .trim_end()
            .lines()
            .last()
            .unwrap()
            .contains("--yes")
    );
    assert_eq!(fs::read(data.join("node.json")).unwrap(), before);
    // The log was cut behind a snapshot, and goes on after it.
    let number = |end: &End, word: &str| end.of(word)[0].rsplit(' ').next().unwrap().parse::<u64>();
    let last = number(&look, "last entry:").unwrap();
    assert!(
        number(&look, "in snapshot:").unwrap() < last,
        "{}",
        look.out
    );

    let done = recover(&data, &["--yes"]);
    assert_eq!(done.code, 0, "{}{}", done.out, done.err);
    assert!(
        done.out
            .trim_end()
            .lines()
            .last()
            .unwrap()
            .contains("start this node")
    );
    assert!(Path::new(done.of("kept:")[0]).join("log").exists());
    let again = recover(&data, &["--yes"]);
    assert_eq!(again.code, 0, "{}", again.err);
    assert_eq!(again.of("epoch:"), ["1"]);
    assert!(again.out.contains("nothing was changed"), "{}", again.out);

    cluster.nodes[0].start();
    cluster.nodes[0].wait_ready().await;
    assert_holds_everything(&cluster.admin(0)).await;
    create(&cluster.admin(0), "alone", 5).await;
    for place in [1, 2] {
        cluster.nodes[place].start();
    }
    cluster.wait_ready().await;
    for place in 0..3 {
        assert_holds_everything(&cluster.admin(place)).await;
        create(&cluster.admin(place), &format!("by-{place}"), 5).await;
    }
    let held = cluster.assert_equal("").await;
    assert_eq!(held.len(), 43 + 5 + 15);
    cluster.bears(1, 1).await;

    // What was lost turns up in the place of a node that has joined, and the other way round.
    for (place, lost) in [(1, &lost[0]), (2, &lost[1])] {
        cluster.nodes[place].kill();
        put_back(&cluster, place, lost);
        let votes = fs::read(cluster.nodes[place].data_dir.join("node.json")).unwrap();
        cluster.nodes[place].start();
        assert_eq!(cluster.nodes[place].wait().code(), Some(3));
        let log = cluster.nodes[place].log_text();
        assert!(log.contains("recovered without this node"), "{log}");
        let dir = cluster.nodes[place].data_dir.clone();
        assert_eq!(fs::read(dir.join("node.json")).unwrap(), votes);
        fs::remove_dir_all(&dir).unwrap();
        fs::rename(dir.with_extension("aside"), &dir).unwrap();
        cluster.nodes[place].start();
        cluster.nodes[place].wait_ready().await;
    }
    assert_eq!(cluster.assert_equal("").await, held);
    cluster.nodes.iter_mut().for_each(|node| {
        node.terminate();
    });
    let audit = data.join("audit");
    let verified = run(&["audit", "verify", audit.to_str().unwrap()]);
    assert_eq!(verified.code, 0, "{}", verified.err);
    let trail: String = fs::read_dir(&audit)
        .unwrap()
        .filter_map(|file| fs::read_to_string(file.unwrap().path()).ok())
        .collect();
    let records: Vec<_> = trail
        .lines()
        .filter(|line| line.contains("\"cluster.recover\""))
        .collect();
    assert_eq!(records.len(), 2, "{records:?}");
    assert!(records[0].contains("attempted") && records[1].contains("\"done\""));
}

/// Nobody can keep two nodes of the past from being a quorum of the past while they see nobody else.
/// When they do, they end.
#[tokio::test(flavor = "multi_thread")]
async fn a_quorum_of_the_past_mixes_with_nobody() {
    let _turn = alone().await;
    let (mut cluster, lost) = two_of_three_are_lost().await;
    let done = recover(&cluster.nodes[0].data_dir, &["--yes"]);
    assert_eq!(done.code, 0, "{}{}", done.out, done.err);
    for place in [1, 2] {
        put_back(&cluster, place, &lost[place - 1]);
        cluster.nodes[place].start();
    }
    // They are a quorum of three, and take what they are given.
    cluster.wait_ready().await;
    create(&cluster.admin(1), "of-the-past", 30).await;

    cluster.nodes[0].start();
    cluster.nodes[0].wait_ready().await;
    let admin = cluster.admin(0);
    create(&admin, "of-today", 3).await;
    for place in [1, 2] {
        assert_is_out(&cluster.nodes[place], &cluster.admin(place)).await;
    }
    // For a while longer: nobody is let in, and nobody is drawn over.
    tokio::time::sleep(Duration::from_secs(6)).await;
    let view = admin.get("/v1/admin/cluster").await.expect(200);
    assert_eq!(
        view.json["nodes"].as_array().unwrap().len(),
        1,
        "{}",
        view.text
    );
    assert_eq!(view.json["leader"], "1");
    assert_holds_everything(&admin).await;
    admin.get("/v1/secrets/of-the-past/0").await.expect(404);
    for place in [1, 2] {
        assert_is_out(&cluster.nodes[place], &cluster.admin(place)).await;
        cluster.nodes[place].signal(Signal::TERM);
        assert_eq!(cluster.nodes[place].wait().code(), Some(0));
        // The next start says so at once, and ends.
        cluster.nodes[place].start();
        assert_eq!(cluster.nodes[place].wait().code(), Some(3));
        let dir = cluster.nodes[place].data_dir.clone();
        fs::rename(&dir, dir.with_extension("over")).unwrap();
    }
    for place in [1, 2] {
        cluster.nodes[place].start();
    }
    cluster.wait_ready().await;
    create(&cluster.admin(2), "of-all", 3).await;
    let held = cluster.assert_equal("").await;
    assert_eq!(held.len(), 43 + 3 + 3);
}
