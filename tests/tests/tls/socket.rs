//! The Unix socket.

use std::{os::unix::fs::FileTypeExt, os::unix::net::UnixListener, path::Path, process::Command};

use serde_json::Value;
use strongroom_tests::{
    api::Answer,
    raw::{audited, parse},
};
use tokio::net::UnixStream;

use super::*;

/// Asks on a connection of its own.
async fn ask(path: &Path, method: &str, target: &str, more: &str) -> std::io::Result<Answer> {
    let mut stream = UnixStream::connect(path).await?;
    let (headers, body) = more.split_once("\n\n").unwrap_or((more, ""));
    let headers: String = headers.lines().map(|line| format!("{line}\r\n")).collect();
    let length = body.len();
    let request = format!(
        "{method} {target} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n{headers}Content-Length: \
         {length}\r\n\r\n{body}"
    );
    stream.write_all(request.as_bytes()).await?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await?;
    parse(&answer).ok_or_else(|| std::io::ErrorKind::InvalidData.into())
}

async fn ready(node: &Node, path: &Path) {
    let until = Instant::now() + PATIENCE;
    loop {
        let answer = ask(path, "GET", "/readyz", "").await;
        if answer.as_ref().is_ok_and(|answer| answer.status == 200) {
            return;
        }
        let log = node.log_text();
        assert!(Instant::now() < until, "{answer:?}: {log}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// One node with a socket, not started yet.
fn prepared(env: &[(&str, &str)]) -> (Cluster, std::path::PathBuf) {
    let mut cluster = Cluster::prepare(1, env);
    let path = cluster.dir.path().join("api.sock");
    let shown = path.display().to_string();
    cluster.nodes[0]
        .env
        .insert("VAULT_API_SOCKET".into(), shown);
    (cluster, path)
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_opens_it_counts_as_this_machine() {
    let strict = [
        ("VAULT_ALLOWED_HOSTS", "localhost"),
        ("VAULT_AUTH_LOCKOUT_SECS", "60"),
    ];
    let (mut cluster, path) = prepared(&strict);
    cluster.nodes[0].start();
    cluster.wait_ready().await;
    let node = &mut cluster.nodes[0];
    let found = fs::symlink_metadata(&path).unwrap();
    assert!(found.file_type().is_socket());
    assert_eq!(found.permissions().mode() & 0o777, 0o600);
    let bearer = format!("Authorization: Bearer {TOKEN}");
    let body = format!("{bearer}\n\n{}", json!({"name": "s", "value": "v"}));
    let written = ask(&path, "POST", "/v1/secrets", &body).await.unwrap();
    written.expect(201);
    let read = ask(&path, "GET", "/v1/secrets/s", "").await.unwrap();
    let read = read.expect(200);
    assert_eq!(read.json["value"], "v");
    let record = &audited(node, &read)[0];
    assert_eq!(record["client_ip"], "127.0.0.1");
    assert_eq!(record["peer_ip"], "127.0.0.1");
    // No web page has a browser come by here either.
    let page = "Origin: http://evil.example";
    let refused = ask(&path, "GET", "/v1/secrets/s", page).await.unwrap();
    refused.expect(403);
    // Guesses here and at the port are the same machine's.
    let wrong = "Authorization: Bearer srt_wrong-wrong-wrong-wrong";
    for _ in 0..5 {
        let guess = ask(&path, "GET", "/v1/tokens", wrong).await.unwrap();
        guess.expect(401);
    }
    let locked = ask(&path, "GET", "/v1/tokens", &bearer).await.unwrap();
    locked.expect(429);
    let port = Raw::node(node).token(TOKEN);
    port.get("/v1/tokens").await.expect(429);
    assert!(node.terminate().success());
    assert!(!path.exists(), "it is there still");
}

#[tokio::test(flavor = "multi_thread")]
async fn it_may_be_all_there_is_and_asks_for_the_allowlist_as_well() {
    let (mut cluster, path) = prepared(&[("VAULT_ALLOWED_IPS", "192.0.2.1")]);
    let node = &mut cluster.nodes[0];
    node.env.insert("VAULT_API_ADDR".into(), "none".into());
    node.start();
    ready(node, &path).await;
    assert!(TcpStream::connect(address(node)).await.is_err());
    let read = ask(&path, "GET", "/v1/secrets/s", "").await.unwrap();
    read.expect(403);
    // It may answer before it has said so.
    let until = Instant::now() + PATIENCE;
    while !node.log_text().contains(&path.display().to_string()) {
        assert!(Instant::now() < until, "{}", node.log_text());
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    // As its manual says.
    let output = Command::new("curl")
        .args(["-sS", "--unix-socket"])
        .arg(&path)
        .arg("http://localhost/readyz")
        .output()
        .unwrap();
    let said: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(said["ready"], true, "{said}");
    assert!(node.terminate().success());
    node.env.remove("VAULT_API_SOCKET");
    node.start();
    assert_eq!(node.wait().code(), Some(2));
    let log = node.log_text();
    assert!(log.contains("VAULT_API_ADDR can be none with"), "{log}");
}

#[tokio::test(flavor = "multi_thread")]
async fn one_that_is_stale_is_replaced_and_one_that_lives_is_not() {
    let (mut cluster, path) = prepared(&[]);
    let node = &mut cluster.nodes[0];
    node.start();
    node.wait_ready().await;
    node.kill();
    assert!(path.exists(), "nobody has removed it");
    node.start();
    node.wait_ready().await;
    ready(node, &path).await;
    // A second process, with data of its own.
    let (mut other, _) = prepared(&[]);
    let second = &mut other.nodes[0];
    let shown = path.display().to_string();
    second.env.insert("VAULT_API_SOCKET".into(), shown.clone());
    second.start();
    assert_eq!(second.wait().code(), Some(1));
    let log = second.log_text();
    let last = log.trim_end().lines().last().unwrap();
    for words in [shown.as_str(), "VAULT_API_SOCKET", "in use"] {
        assert!(last.contains(words), "{words}: {log}");
    }
    ready(node, &path).await;
    assert!(node.terminate().success());
    // What is no socket stays.
    fs::write(&path, "precious").unwrap();
    second.start();
    assert_eq!(second.wait().code(), Some(1));
    assert!(second.log_text().contains("no socket"));
    assert_eq!(fs::read_to_string(&path).unwrap(), "precious");
    fs::remove_file(&path).unwrap();
    // What another has put there since is not ours to remove.
    node.start();
    node.wait_ready().await;
    fs::remove_file(&path).unwrap();
    let _others = UnixListener::bind(&path).unwrap();
    assert!(node.terminate().success());
    assert!(path.exists(), "another's socket was removed");
}
