//! Commands against servers in other places than on loopback without TLS and ready: in TLS, in threes, not
//! ready, and while something goes on.

use std::{
    io::{BufRead, BufReader, Read},
    process::Stdio,
    time::{Duration, Instant},
};

use rustix::process::{Pid, Signal, kill_process};
use strongroom_tests::cluster::MASTER_KEY;

use super::*;

const PATIENCE: Duration = Duration::from_secs(60);

fn until(what: &str, look: impl Fn() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !look() {
        assert!(Instant::now() < deadline, "{what}: not within {PATIENCE:?}");
        std::thread::sleep(Duration::from_millis(100));
    }
}

fn desk<'a>(cluster: &'a Cluster, node: usize, token: Option<&'a str>) -> Desk<'a> {
    Desk {
        address: format!("http://127.0.0.1:{}", cluster.nodes[node].api_port),
        home: cluster.dir.path(),
        token,
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_authority_in_a_file_is_trusted_and_no_other() {
    let mut cluster = Cluster::prepare(1, &[]);
    let home = cluster.dir.path().to_owned();
    let port = cluster.nodes[0].api_port;
    let at = Desk {
        address: format!("https://localhost:{port}"),
        home: &home,
        token: Some(TOKEN),
    };
    let (good, other) = (home.join("good"), home.join("other"));
    for folder in [&good, &other] {
        let made = at.with_input(&format!("tls dev-ca {}", folder.display()), "");
        assert_eq!(made.code, 0, "{}", made.err);
    }
    for (key, file) in [("CERT", "server.pem"), ("KEY", "server-key.pem")] {
        let file = good.join(file).display().to_string();
        cluster.nodes[0]
            .env
            .insert(format!("VAULT_TLS_{key}"), file);
    }
    cluster.nodes[0].start();
    let ca = format!("--ca {}/ca.pem", good.display());
    until("ready", || {
        at.with_input(&format!("status {ca}"), "").code == 0
    });
    at.says(&format!("secret put k {ca}"), "v", 0, "k: version 1\n");
    at.says(&format!("secret get k {ca}"), "", 0, "v");
    // The one of this machine, and another: neither has signed it.
    at.fails("secret get k", "", 3, "not reached");
    let wrong = format!("secret get k --ca {}/ca.pem", other.display());
    at.fails(&wrong, "", 3, "not reached");
    at.fails("secret get k --ca /nowhere.pem", "", 2, "/nowhere.pem");
    let plain = format!("secret get k --address http://localhost:{port}");
    at.fails(&plain, "", 3, "not reached");
}

#[tokio::test(flavor = "multi_thread")]
async fn leadership_is_passed_on_and_a_node_that_is_not_ready_says_so() {
    let mut cluster = Cluster::start(3).await;
    let led = cluster.leader().await;
    let to = cluster.nodes[(led + 1) % 3].id.clone();
    let end =
        desk(&cluster, led, Some(TOKEN)).with_input(&format!("cluster handover --to {to}"), "");
    assert_eq!(end.code, 0, "{}", end.err);
    assert!(end.out.contains(&to), "{}", end.out);
    until("another leads", || {
        let status = desk(&cluster, led, Some(TOKEN)).with_input("cluster status", "");
        let leads = format!("leader:    {to}");
        status.out.lines().any(|line| line.trim_end() == leads)
    });
    // Two of three are gone.
    for gone in [(led + 1) % 3, (led + 2) % 3] {
        cluster.nodes[gone].kill();
    }
    let left = desk(&cluster, led, None);
    until("not ready", || left.with_input("status", "").code == 3);
    let status = left.with_input("status", "");
    assert!(status.out.contains("no, no_leader"), "{}", status.out);
    assert_eq!(status.err.lines().count(), 1, "{}", status.err);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pass_goes_on_when_its_waiting_is_interrupted() {
    let mut cluster = Cluster::start_with(1, &[("VAULT_KMS_REWRAP_MAX_PER_SEC", "2")]).await;
    for n in 0..12 {
        let put = desk(&cluster, 0, Some(TOKEN)).with_input(&format!("secret put k{n}"), "v");
        assert_eq!(put.code, 0, "{}", put.err);
    }
    let another = "AQAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=";
    let keys = format!("{another},{MASTER_KEY}");
    let env = &mut cluster.nodes[0].env;
    env.insert("VAULT_LOCAL_MASTER_KEY".to_owned(), keys);
    cluster.nodes[0].terminate();
    cluster.nodes[0].start();
    cluster.wait_ready().await;
    let at = desk(&cluster, 0, Some(TOKEN));
    let mut command = at.command(&binary());
    let waiting = command
        .args(["kms", "rewrap"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    until("pending", || {
        let status = at.with_input("kms status --json", "").out;
        status.contains("\"running\":true")
    });
    let pid = Pid::from_raw(i32::try_from(waiting.id()).unwrap()).unwrap();
    kill_process(pid, Signal::INT).unwrap();
    let end = waiting.wait_with_output().unwrap();
    let said = String::from_utf8(end.stderr).unwrap();
    assert_eq!(end.status.code(), Some(130), "{said}");
    assert!(said.contains("goes on at the server"), "{said}");
    until("the pass has ended", || {
        let status = at.with_input("kms status --json", "").out;
        status.contains("\"running\":false") && status.contains("\"pending\":0")
    });
    at.says("secret get k3", "", 0, "v");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_trail_is_followed() {
    let (cluster, _) = one().await;
    let at = desk(&cluster, 0, Some(TOKEN));
    let mut following = at
        .command(&binary())
        .args(["audit", "tail", "--limit", "1", "--follow"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(following.stdout.take().unwrap()).lines();
    lines.next().unwrap().unwrap();
    at.says("secret put followed", "v", 0, "followed: version 1\n");
    // Its own looks are in the trail as well.
    let found = lines.by_ref().take(30).any(|line| {
        let line = line.unwrap();
        line.contains("secret.create") && line.contains("followed")
    });
    assert!(found);
    following.kill().unwrap();
    following.wait().unwrap();
    let mut said = String::new();
    following
        .stderr
        .take()
        .unwrap()
        .read_to_string(&mut said)
        .unwrap();
    assert_eq!(said, "");
}
