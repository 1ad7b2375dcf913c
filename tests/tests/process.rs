//! The process: exit codes, last words, hygiene, signals, and the commands beside `server`.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic
)]

use std::{
    fs,
    io::{BufRead, BufReader, Read},
    net::TcpListener,
    os::unix::fs::{MetadataExt, PermissionsExt},
    path::Path,
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use serde_json::{Value, json};
use strongroom_tests::{
    cluster::{Cluster, MASTER_KEY, TOKEN},
    node::{Node, binary, free_port},
    raw::Raw,
};
use tokio::io::AsyncWriteExt;

/// How a command ended.
struct End {
    code: i32,
    out: String,
    err: String,
    took: Duration,
}

impl End {
    /// The last line it wrote to standard error.
    fn last(&self) -> &str {
        self.err.trim_end().lines().last().unwrap_or_default()
    }
}

/// Runs the binary to its end, with these variables and no others of ours.
fn run(arguments: &[&str], env: &[(&str, &str)]) -> End {
    // What is wrongly accepted must not run for ever.
    let mut command = Command::new("timeout");
    command.arg("60").arg(binary());
    command.args(arguments).stdin(Stdio::null());
    for (key, _) in std::env::vars_os() {
        let key = key.to_string_lossy().into_owned();
        if key.starts_with("VAULT_") || key.starts_with("AWS_") || key == "NODE_ID" {
            command.env_remove(key);
        }
    }
    command.envs(env.iter().copied());
    let began = Instant::now();
    let output = command.output().expect("the binary starts");
    End {
        code: output.status.code().unwrap_or(-1),
        out: String::from_utf8(output.stdout).unwrap(),
        err: String::from_utf8(output.stderr).unwrap(),
        took: began.elapsed(),
    }
}

/// Runs `strongroom server`, which is expected to end by itself.
fn server(dir: &Path, env: &[(&str, &str)]) -> End {
    let address = format!("127.0.0.1:{}", free_port());
    let data = dir.join("data").display().to_string();
    let mut all = vec![
        ("VAULT_API_ADDR", address.as_str()),
        ("VAULT_DATA_DIR", data.as_str()),
        ("VAULT_KMS_MODE", "local"),
        ("VAULT_LOCAL_MASTER_KEY", MASTER_KEY),
    ];
    all.extend_from_slice(env);
    run(&["server"], &all)
}

fn one_node() -> Cluster {
    Cluster::prepare(1, &[])
}

#[test]
fn unusable_settings_end_with_2_and_name_what_to_mend() {
    let dir = tempfile::tempdir().unwrap();
    // 16 bytes, no base64, and one good and one bad.
    for key in [
        "AAAAAAAAAAAAAAAAAAAAAA==",
        "hunter2-hunter2",
        "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=,AAAA",
    ] {
        let end = server(dir.path(), &[("VAULT_LOCAL_MASTER_KEY", key)]);
        assert_eq!(end.code, 2, "{}", end.err);
        assert!(end.err.contains("VAULT_LOCAL_MASTER_KEY"), "{}", end.err);
        assert!(
            !end.err.contains(key) && !end.err.contains("hunter2"),
            "{}",
            end.err
        );
    }
    for (value, named) in [
        ("10.0.0.0/8,10.0.0/24,::1", "\"10.0.0/24\""),
        ("10.0.0.1-10.0.0.9", "\"10.0.0.1-10.0.0.9\""),
        ("localhost", "\"localhost\""),
        ("10.0.0.0/8,", "entry 2"),
        ("10.0.0.0/33", "\"10.0.0.0/33\""),
        ("10.0.0.1 10.0.0.2", "\"10.0.0.1 10.0.0.2\""),
    ] {
        let end = server(dir.path(), &[("VAULT_ALLOWED_IPS", value)]);
        assert_eq!(end.code, 2, "{}", end.err);
        assert!(end.err.contains("VAULT_ALLOWED_IPS"), "{}", end.err);
        assert!(end.err.contains(named), "{}", end.err);
    }
    for (key, value) in [
        ("VAULT_BOOTSTRAP_TOKEN", "hunter2-too-short"),
        ("VAULT_BOOTSTRAP_TOKEN", "sha256:hunter2"),
        ("VAULT_TRUST_PROXY", "true"),
        ("VAULT_TRUST_PROXY", "yes"),
        ("VAULT_PEERS", "1=127.0.0.1"),
        ("VAULT_PEERS", "2=127.0.0.1:7000"),
        ("VAULT_API_ADDR", "localhost"),
        ("VAULT_DEK_CACHE_TTL_SECS", "-1"),
        ("VAULT_AUDIT_SYNC", "never"),
        ("VAULT_READ_CONSISTENCY", "eventual"),
        ("VAULT_LOG", "nonsense=level"),
        ("VAULT_BOOTSTRAP_TOKEN_FILE", "/does/not/exist"),
    ] {
        let end = server(dir.path(), &[(key, value)]);
        assert_eq!(end.code, 2, "{key}={value}: {}", end.err);
        assert!(!end.err.contains("hunter2"), "{}", end.err);
        assert!(end.last().contains("mend"), "{}", end.err);
    }
    // Nothing was made on disk by any of these.
    assert!(!dir.path().join("data").exists());
    for arguments in [&["serve"][..], &["server", "--nonsense"], &[], &["audit"]] {
        assert_eq!(run(arguments, &[]).code, 2, "{arguments:?}");
    }
}

#[test]
fn check_config_shows_settings_without_secrets_and_every_problem_at_once() {
    let dir = tempfile::tempdir().unwrap();
    let token = dir.path().join("token");
    fs::write(&token, "hunter2-hunter2-hunter2-hunter2\n").unwrap();
    let key = "aHVudGVyMmh1bnRlcjJodW50ZXIyaHVudGVyMmh1bnQ=";
    let good = [
        ("NODE_ID", "b"),
        ("VAULT_PEERS", "a=127.0.0.1:7001,b=127.0.0.1:7002"),
        ("VAULT_KMS_MODE", "local"),
        ("VAULT_LOCAL_MASTER_KEY", key),
        ("VAULT_BOOTSTRAP_TOKEN_FILE", token.to_str().unwrap()),
        ("VAULT_ALLOWED_IPS", "10.1.2.3/8,::ffff:192.0.2.1"),
        ("VAULT_DATA_DIR", "/nonexistent/strongroom"),
    ];
    let end = run(&["server", "--check-config"], &good);
    assert_eq!((end.code, end.err.as_str()), (0, ""), "{}", end.out);
    for line in [
        "NODE_ID=b",
        "VAULT_ALLOWED_IPS=10.1.2.3/8,::ffff:192.0.2.1",
        "VAULT_RAFT_ADDR=127.0.0.1:7002",
        "VAULT_AUDIT_DIR=/nonexistent/strongroom/audit",
        "VAULT_LOCAL_MASTER_KEY=(set)",
        "VAULT_BOOTSTRAP_TOKEN=(set)",
        "VAULT_AUDIT_SYNC=100ms",
    ] {
        assert!(end.out.lines().any(|l| l == line), "{line}: {}", end.out);
    }
    assert!(!end.out.contains("hunter2") && !end.out.contains("aHVudGVy"));
    assert!(!Path::new("/nonexistent/strongroom").exists());

    let bad = [
        ("VAULT_KMS_MODE", "local"),
        ("VAULT_LOCAL_MASTER_KEY", "hunter2"),
        ("VAULT_ALLOWED_IPS", "10.0.0.0/99"),
        ("VAULT_ALOWED_IPS", "10.0.0.0/8"),
        ("VAULT_TRUST_PROXY", "perhaps"),
        ("VAULT_BOOTSTRAP_TOKEN", "hunter2"),
        ("VAULT_API_PORT", "70000"),
    ];
    let end = run(&["server", "--check-config"], &bad);
    assert_eq!(end.code, 2);
    for words in [
        "VAULT_LOCAL_MASTER_KEY",
        "VAULT_ALLOWED_IPS",
        "VAULT_TRUST_PROXY",
        "VAULT_BOOTSTRAP_TOKEN",
        "VAULT_API_PORT",
        "VAULT_ALOWED_IPS is not a setting; did you mean VAULT_ALLOWED_IPS?",
    ] {
        assert!(end.err.contains(words), "{words}: {}", end.err);
    }
    assert!(!end.err.contains("hunter2"), "{}", end.err);
    assert!(end.last().contains('6'), "{}", end.last());
    // An unknown key alone is a problem here, and a warning at start.
    let end = run(
        &["server", "--check-config"],
        &[("VAULT_KMS_MODE", "local"), ("VAULT_LOGS", "x")],
    );
    assert_eq!(end.code, 2, "{}", end.out);
    assert!(end.err.contains("did you mean VAULT_LOG?"), "{}", end.err);
    let end = run(
        &["server", "--check-config"],
        &[
            ("VAULT_KMS_MODE", "local"),
            ("VAULT_ADDR", "http://x"),
            ("VAULT_TOKEN", "hunter2"),
        ],
    );
    assert_eq!(
        end.code, 0,
        "a client's variables are no mistake: {}",
        end.err
    );
    assert!(!end.out.contains("hunter2"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_that_is_not_ours_ends_with_3() {
    let mut cluster = one_node();
    let node = &mut cluster.nodes[0];
    node.start();
    node.wait_ready().await;
    // A second process on the same directory, while the first one runs and goes on running.
    let address = format!("127.0.0.1:{}", free_port());
    let with = |node: &Node, more: &[(&str, &str)]| {
        let mut env = node.env.clone();
        env.insert("VAULT_API_ADDR".into(), address.clone());
        for (key, value) in more {
            env.insert((*key).into(), (*value).into());
        }
        let env: Vec<_> = env.iter().map(|(k, v)| (k.as_str(), v.as_str())).collect();
        run(&["server"], &env)
    };
    let second = with(node, &[]);
    assert_eq!(second.code, 3, "{}", second.err);
    assert!(
        second.last().contains("in use by another process"),
        "{}",
        second.err
    );
    node.api().get("/readyz").await.expect(200);
    assert!(node.terminate().success());
    let before = fs::read(node.data_dir.join("node.json")).unwrap();

    let other = with(node, &[("NODE_ID", "2")]);
    assert_eq!(other.code, 3, "{}", other.err);
    assert!(other.last().contains("belongs to node"), "{}", other.err);
    let mut newer: Value = serde_json::from_slice(&before).unwrap();
    newer["format"] = json!(99);
    fs::write(node.data_dir.join("node.json"), newer.to_string()).unwrap();
    let newer = with(node, &[]);
    assert_eq!(newer.code, 3, "{}", newer.err);
    assert!(newer.last().contains("format 99"), "{}", newer.err);
    fs::write(node.data_dir.join("node.json"), "{").unwrap();
    let damaged = with(node, &[]);
    assert_eq!(damaged.code, 3, "{}", damaged.err);
    assert!(damaged.last().contains("damaged"), "{}", damaged.err);
    // A file where the directory should be.
    let file = cluster.dir.path().join("a-file");
    fs::write(&file, "").unwrap();
    let node = &mut cluster.nodes[0];
    let refused = with(node, &[("VAULT_DATA_DIR", file.to_str().unwrap())]);
    assert_eq!(refused.code, 3, "{}", refused.err);
    // As it was, it opens again: nothing of this changed anything.
    fs::write(node.data_dir.join("node.json"), before).unwrap();
    node.start();
    node.wait_ready().await;
    assert!(node.terminate().success());
}

#[test]
fn a_taken_port_ends_with_1_and_says_which() {
    let dir = tempfile::tempdir().unwrap();
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let end = server(dir.path(), &[("VAULT_API_ADDR", &address)]);
    assert_eq!(end.code, 1, "{}", end.err);
    for words in [address.as_str(), "VAULT_API_ADDR", "in use"] {
        assert!(end.last().contains(words), "{words}: {}", end.err);
    }
    let peers = format!("1={address}");
    let end = server(dir.path(), &[("VAULT_PEERS", &peers)]);
    assert_eq!(end.code, 1, "{}", end.err);
    for words in [address.as_str(), "VAULT_RAFT_ADDR"] {
        assert!(end.last().contains(words), "{words}: {}", end.err);
    }
}

#[test]
fn a_kms_that_does_not_answer_ends_within_ten_seconds() {
    // Nobody there; somebody there who never says anything.
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let closed = format!("http://127.0.0.1:{}", free_port());
    let hangs = format!("http://{}", silent.local_addr().unwrap());
    std::thread::scope(|scope| {
        for endpoint in [&closed, &hangs] {
            for retries in ["0", "5"] {
                scope.spawn(move || ends_for_want_of_kms(endpoint, retries));
            }
        }
    });
}

fn ends_for_want_of_kms(endpoint: &str, retries: &str) {
    let dir = tempfile::tempdir().unwrap();
    let env = [
        ("VAULT_KMS_MODE", "aws"),
        ("VAULT_LOCAL_MASTER_KEY", ""),
        ("VAULT_KMS_KEY_ID", "alias/strongroom"),
        ("VAULT_KMS_MAX_RETRIES", retries),
        ("AWS_ENDPOINT_URL_KMS", endpoint),
        ("AWS_REGION", "eu-central-1"),
        ("AWS_ACCESS_KEY_ID", "AKIDHUNTER2"),
        ("AWS_SECRET_ACCESS_KEY", "hunter2-hunter2"),
        ("AWS_EC2_METADATA_DISABLED", "true"),
    ];
    let end = server(dir.path(), &env);
    assert_eq!(end.code, 1, "{endpoint}: {}", end.err);
    assert!(end.took < Duration::from_secs(10), "{:?}", end.took);
    for words in ["KMS", "alias/strongroom", "eu-central-1"] {
        assert!(end.last().contains(words), "{words}: {}", end.err);
    }
    assert!(!end.err.contains("hunter2"), "{}", end.err);
}

#[tokio::test(flavor = "multi_thread")]
async fn memory_and_files_are_nobody_elses() {
    let cluster = Cluster::start(1).await;
    let node = &cluster.nodes[0];
    let proc = Path::new("/proc").join(node.pid().to_string());
    let limits = fs::read_to_string(proc.join("limits")).unwrap();
    let core = limits
        .lines()
        .find(|line| line.starts_with("Max core file size"))
        .unwrap();
    let words: Vec<_> = core.split_whitespace().collect();
    assert_eq!(words[4..6], ["0", "0"], "{core}");
    // What is not dumpable belongs to root in /proc, and its memory to nobody else.
    assert_eq!(fs::metadata(proc.join("mem")).unwrap().uid(), 0);
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    let mut stack = vec![node.data_dir.clone()];
    while let Some(path) = stack.pop() {
        let metadata = fs::symlink_metadata(&path).unwrap();
        if metadata.is_dir() {
            stack.extend(fs::read_dir(&path).unwrap().map(|e| e.unwrap().path()));
        }
    }
    // Below a directory that nobody else may enter.
    assert_eq!(mode(&node.data_dir), 0o700);
}

/// Root owns everything's /proc, dumpable or not: with a user of its own the difference shows.
#[tokio::test(flavor = "multi_thread")]
async fn the_process_is_not_dumpable() {
    if rustix_uid() != 0 {
        // As another user the test above shows it: root owns what is ours.
        return;
    }
    let cluster = one_node();
    let node = &cluster.nodes[0];
    let dir = cluster.dir.path();
    let everybody = fs::Permissions::from_mode(0o755);
    fs::set_permissions(dir, everybody).unwrap();
    fs::create_dir(&node.data_dir).unwrap();
    std::os::unix::fs::chown(&node.data_dir, Some(65_534), Some(65_534)).unwrap();
    // The binary may lie where another user cannot look.
    let copy = dir.join("strongroom");
    fs::copy(binary(), &copy).unwrap();
    let mut child = Command::new("setpriv")
        .args(["--reuid=65534", "--regid=65534", "--clear-groups"])
        .arg(&copy)
        .arg("server")
        .envs(&node.env)
        .stdin(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("setpriv");
    let raw = Raw::node(node);
    let deadline = Instant::now() + Duration::from_secs(30);
    while raw.connect().await.is_err() && Instant::now() < deadline {
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let owner = fs::metadata(format!("/proc/{}/mem", child.id())).map(|m| m.uid());
    let status = fs::read_to_string(format!("/proc/{}/status", child.id())).unwrap();
    child.kill().unwrap();
    child.wait().unwrap();
    assert!(status.contains("Uid:\t65534"), "{status}");
    assert_eq!(owner.unwrap(), 0, "dumpable: its user owns its memory");
}

fn rustix_uid() -> u32 {
    fs::metadata("/proc/self").unwrap().uid()
}

#[tokio::test(flavor = "multi_thread")]
async fn sigterm_lets_open_requests_end_and_exits_with_0() {
    let mut cluster = Cluster::start(1).await;
    let admin = Raw::node(&cluster.nodes[0]).token(TOKEN);
    let body = json!({"name": "in-flight", "value": "v"}).to_string();
    let length = body.len().to_string();
    let mut stream = admin.connect().await.unwrap();
    let head = admin.head("POST", "/v1/secrets", &[("Content-Length", &length)]);
    stream.write_all(&head).await.unwrap();
    stream.write_all(&body.as_bytes()[..10]).await.unwrap();
    // A connection that is kept open and idle must not hold the end up.
    let idle = admin.connect().await.unwrap();
    tokio::time::sleep(Duration::from_millis(300)).await;
    cluster.nodes[0].signal(rustix_term());
    let began = Instant::now();
    tokio::time::sleep(Duration::from_millis(500)).await;
    assert!(admin.connect().await.is_err(), "no new connections");
    stream.write_all(&body.as_bytes()[10..]).await.unwrap();
    let mut answer = Vec::new();
    tokio::io::AsyncReadExt::read_to_end(&mut stream, &mut answer)
        .await
        .unwrap();
    let answer = String::from_utf8_lossy(&answer);
    assert!(answer.starts_with("HTTP/1.1 201"), "{answer}");
    let status = cluster.nodes[0].wait();
    assert_eq!(status.code(), Some(0), "{}", cluster.nodes[0].log_text());
    assert!(
        began.elapsed() < Duration::from_secs(6),
        "{:?}",
        began.elapsed()
    );
    drop(idle);
    // Ended cleanly: the trail says so and fits, and the secret is there.
    let audit = cluster.nodes[0].data_dir.join("audit");
    let verified = run(&["audit", "verify", audit.to_str().unwrap()], &[]);
    assert_eq!(verified.code, 0, "{}", verified.err);
    assert!(
        verified.out.contains("names the last record"),
        "{}",
        verified.out
    );
    cluster.nodes[0].start();
    cluster.nodes[0].wait_ready().await;
    let read = admin.get("/v1/secrets/in-flight").await.expect(200);
    assert_eq!(read.json["value"], "v");
}

fn rustix_term() -> rustix::process::Signal {
    rustix::process::Signal::TERM
}

#[test]
fn version_says_what_it_reads_and_writes() {
    let end = run(&["version"], &[]);
    assert_eq!(end.code, 0);
    assert!(end.out.starts_with("strongroom "), "{}", end.out);
    for words in [env!("CARGO_PKG_VERSION"), "format"] {
        assert!(end.out.contains(words), "{}", end.out);
    }
    let help = run(&["--help"], &[]);
    assert_eq!(help.code, 0);
    for command in ["server", "dev", "audit", "version"] {
        assert!(help.out.contains(command), "{}", help.out);
    }
}

/// A child that dies with the test.
struct Running(std::process::Child);

impl Drop for Running {
    fn drop(&mut self) {
        self.0.kill().ok();
        self.0.wait().ok();
    }
}

#[test]
fn dev_prints_curl_lines_that_work() {
    let port = free_port().to_string();
    let mut command = Command::new(binary());
    command
        .args(["dev", "--port", &port])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null());
    let mut dev = Running(command.spawn().unwrap());
    let mut lines = BufReader::new(dev.0.stdout.take().unwrap()).lines();
    let mut curls = Vec::new();
    while curls.len() < 2 {
        let line = lines.next().expect("two curl lines").unwrap();
        if let Some(curl) = line.trim().strip_prefix("curl ") {
            curls.push(format!(
                "curl -sS --noproxy '*' --retry-connrefused --retry 20 {curl}"
            ));
        }
    }
    // Right after the start the bootstrap token may not be there yet.
    let shell = |line: &str| {
        let output = Command::new("sh").args(["-c", line]).output().unwrap();
        let text = String::from_utf8(output.stdout).unwrap();
        assert!(output.status.success(), "{line}: {text}");
        serde_json::from_str::<Value>(&text).unwrap_or_else(|_| panic!("{line}: {text}"))
    };
    let written = shell(&curls[0]);
    assert_eq!(written["version"], 1, "{written}");
    let read = shell(&curls[1]);
    assert_eq!(read["name"], written["name"]);
    assert_eq!(read["value"], "s3cret", "{read}");
    let pid = rustix::process::Pid::from_child(&dev.0);
    rustix::process::kill_process(pid, rustix_term()).unwrap();
    assert_eq!(dev.0.wait().unwrap().code(), Some(0));
    let mut rest = String::new();
    lines.for_each(|line| rest.push_str(&line.unwrap()));
}

#[test]
fn dev_keeps_its_data_where_it_is_told_to() {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("kept");
    let mut tokens = Vec::new();
    for round in 0..2 {
        let port = free_port();
        let mut command = Command::new(binary());
        command
            .args(["dev", "--port", &port.to_string(), "--data-dir"])
            .arg(&data)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null());
        let mut dev = Running(command.spawn().unwrap());
        let out = BufReader::new(dev.0.stdout.take().unwrap());
        let token = out.lines().find_map(|line| {
            let line = line.unwrap();
            line.strip_prefix("Admin token: ").map(str::to_owned)
        });
        let token = token.expect("a token");
        let method = if round == 0 { "POST" } else { "PUT" };
        let target = if round == 0 {
            "/v1/secrets"
        } else {
            "/v1/secrets/k"
        };
        let body = if round == 0 {
            r#"{"name":"k","value":"1"}"#
        } else {
            r#"{"value":"2"}"#
        };
        let runtime = tokio::runtime::Runtime::new().unwrap();
        let answer = runtime.block_on(async {
            let raw = Raw::to(([127, 0, 0, 1], port).into()).token(&token);
            let deadline = Instant::now() + Duration::from_secs(20);
            while raw.get("/readyz").await.status != 200 && Instant::now() < deadline {
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
            raw.text(method, target, body).await
        });
        assert_eq!(answer.json["version"], round + 1, "{}", answer.text);
        tokens.push(token);
    }
    assert_eq!(tokens[0], tokens[1]);
    for file in ["dev-token", "dev-master-key"] {
        let mode = fs::metadata(data.join(file)).unwrap().permissions().mode();
        assert_eq!(mode & 0o077, 0, "{file}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn audit_verify_names_the_first_record_that_does_not_fit() {
    let mut cluster = Cluster::start(1).await;
    let raw = Raw::node(&cluster.nodes[0]);
    for n in 0..20 {
        raw.get(&format!("/v1/secrets/not/there/{n}"))
            .await
            .expect(404);
    }
    assert!(cluster.nodes[0].terminate().success());
    let good = cluster.nodes[0].data_dir.join("audit");
    let verify = |dir: &Path| run(&["audit", "verify", dir.to_str().unwrap()], &[]);
    let end = verify(&good);
    assert_eq!((end.code, end.err.as_str()), (0, ""), "{}", end.out);
    let file = fs::read_dir(&good)
        .unwrap()
        .map(|e| e.unwrap().file_name().into_string().unwrap())
        .find(|name| name.ends_with(".jsonl"))
        .unwrap();
    let text = fs::read_to_string(good.join(&file)).unwrap();
    let lines: Vec<&str> = text.split_inclusive('\n').collect();
    assert!(lines.len() > 20);
    let swap = |a: usize, b: usize| {
        let mut lines = lines.clone();
        lines.swap(a, b);
        lines.concat()
    };
    let without = |skip: std::ops::Range<usize>| {
        let mut lines = lines.clone();
        lines.drain(skip);
        lines.concat()
    };
    let edited = |at: usize, from: &str, to: &str| {
        let mut lines: Vec<String> = lines.iter().map(|l| (*l).to_owned()).collect();
        assert!(lines[at].contains(from), "{}", lines[at]);
        lines[at] = lines[at].replacen(from, to, 1);
        lines.concat()
    };
    let failed = (0..lines.len())
        .find(|at| lines[*at].contains("\"failed\""))
        .unwrap();
    let torn = text[..text.len() - 20].to_owned();
    for (what, bad, record) in [
        (
            "an edit",
            edited(failed, "\"failed\"", "\"done\""),
            failed + 1,
        ),
        (
            "an edited number",
            edited(failed, "\"status\":404", "\"status\":200"),
            failed + 1,
        ),
        (
            "an added field",
            edited(3, "{\"seq\"", "{\"x\":1,\"seq\""),
            4,
        ),
        ("a record removed", without(7..8), 9),
        ("the first removed", without(0..1), 2),
        (
            "the last removed",
            without(lines.len() - 1..lines.len()),
            lines.len(),
        ),
        ("the end cut", without(10..lines.len()), 11),
        ("two swapped", swap(4, 5), 6),
        (
            "one doubled",
            [&lines[..5], &lines[4..]].concat().concat(),
            5,
        ),
        ("the last torn", torn, lines.len()),
        ("all gone", String::new(), 1),
    ] {
        let copy = cluster.dir.path().join("copy");
        fs::create_dir(&copy).unwrap();
        for entry in fs::read_dir(&good).unwrap() {
            let entry = entry.unwrap();
            fs::copy(entry.path(), copy.join(entry.file_name())).unwrap();
        }
        fs::write(copy.join(&file), bad).unwrap();
        let end = verify(&copy);
        assert_eq!(end.code, 1, "{what}: {}", end.out);
        assert!(
            end.err.contains(&format!("record {record}:"))
                || end.err.contains(&format!("line {record},"))
                || end.err.contains(&format!("line {record}:")),
            "{what}: {} (record {record})",
            end.err
        );
        fs::remove_dir_all(&copy).unwrap();
    }
    let nowhere = verify(Path::new("/does/not/exist"));
    assert_eq!(nowhere.code, 1, "{}", nowhere.out);
    let mut left = String::new();
    fs::File::open(good.join("head"))
        .unwrap()
        .read_to_string(&mut left)
        .unwrap();
}
