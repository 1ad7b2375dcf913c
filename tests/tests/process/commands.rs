//! `version`, `dev` and `audit verify`.

use super::*;

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
    for command in ["server", "dev", "cluster-key", "tls", "audit", "version"] {
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
    // Without the head file a cut of the end would not show: that is no success.
    fs::remove_file(good.join("head")).unwrap();
    let end = verify(&good);
    assert_eq!(end.code, 1, "{}", end.out);
    assert!(end.err.contains("the head file is missing"), "{}", end.err);
    // The node says so too, and goes on.
    cluster.nodes[0].start();
    cluster.wait_ready().await;
    let log = cluster.nodes[0].log_text();
    assert!(log.contains("head file is gone"), "{log}");
    cluster.nodes[0].kill();
    assert_eq!(verify(&good).code, 0);
}
