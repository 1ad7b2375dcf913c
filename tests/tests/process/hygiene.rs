//! What the process keeps to itself, and how it ends.

use super::*;

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
    while admin.connect().await.is_ok() {
        assert!(
            began.elapsed() < Duration::from_secs(5),
            "no new connections"
        );
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
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
        began.elapsed() < Duration::from_secs(20),
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
