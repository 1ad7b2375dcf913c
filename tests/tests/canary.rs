//! Values that were written are found nowhere but where they were asked for.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::print_stdout
)]

#[path = "canary/memory.rs"]
mod memory;
#[path = "canary/turning.rs"]
mod turning;

use std::{
    fs,
    time::{Duration, Instant},
};

use base64::{Engine, engine::general_purpose::STANDARD};
use serde_json::{Value, json};
use strongroom_tests::{
    api::Answer,
    canary::{Hit, Hunt, by_region, canary, in_memory, spellings},
    cluster::Cluster,
    node::Node,
    raw::Raw,
};

/// Values on their way in, each with a word for where it was put.
#[derive(Default)]
struct Values(Vec<(String, String)>);

impl Values {
    fn new_for(&mut self, what: &str) -> String {
        let value = canary();
        self.known(what, &value);
        value
    }

    fn known(&mut self, what: &str, value: &str) {
        self.0.push((what.to_owned(), value.to_owned()));
    }

    fn hunt(&self) -> Hunt {
        Hunt::new(self.0.iter().map(|(w, v)| (w.as_str(), v.as_str())))
    }
}

fn escaped(value: &str) -> String {
    value.bytes().map(|b| format!("\\u{b:04x}")).collect()
}

/// What an answer says beside a value it was asked for.
fn told(answer: &Answer) -> Vec<u8> {
    format!("{:?}\n{}", answer.headers, answer.text).into_bytes()
}

fn random_key() -> String {
    let mut bytes = [0u8; 32];
    getrandom::fill(&mut bytes).unwrap();
    STANDARD.encode(bytes)
}

/// The net has no holes: each spelling is found where it is.
#[test]
fn the_hunt_finds_every_spelling() {
    let dir = tempfile::tempdir().unwrap();
    fs::create_dir(dir.path().join("below")).unwrap();
    let value = canary();
    let hunt = Hunt::new([("v", value.as_str())]);
    let others = Hunt::new([("w", canary().as_str())]);
    let base64 = |front: &str| STANDARD.encode(format!("{front}{value}xyz")).into_bytes();
    let mut planted = spellings(&value);
    planted.extend([base64(""), base64("a"), base64("ab"), base64("abc")]);
    planted.push(format!("{:?}", value.as_bytes()).into_bytes());
    for bytes in planted {
        let file = dir.path().join("below/file");
        fs::write(&file, [&[0xff; 1000][..], &bytes, &[0; 77]].concat()).unwrap();
        let (found, files, _) = hunt.in_files(dir.path());
        assert_eq!((found.is_empty(), files), (false, 1), "{bytes:?}");
        assert_eq!(others.in_files(dir.path()).0, Vec::<String>::new());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn values_are_in_no_file_log_error_or_metric() {
    let mut values = Values::default();
    let (key, bootstrap) = (random_key(), canary());
    // As it is configured, and the bytes it stands for.
    values.known("the master key", key.trim_end_matches('='));
    values.known("the bootstrap token", &bootstrap);
    let cluster = Cluster::start_with(
        3,
        &[
            ("VAULT_LOG", "trace"),
            ("VAULT_AUTH_MAX_FAILURES", "0"),
            ("VAULT_LOCAL_MASTER_KEY", &key),
            ("VAULT_BOOTSTRAP_TOKEN", &bootstrap),
            ("VAULT_SNAPSHOT_LOG_ENTRIES", "10"),
            ("VAULT_ROTATION_POLL_SECS", "1"),
        ],
    )
    .await;
    let mut answers: Vec<Answer> = Vec::new();
    // At each node, so that what travels between nodes is covered too.
    for (n, node) in cluster.nodes.iter().enumerate() {
        let raw = Raw::node(node);
        let admin = raw.token(&bootstrap);
        let linear = "consistency=linearizable";
        // Create, with value and with data; twice, so that the second is refused.
        for (field, what) in [("value", "create value"), ("data", "create data")] {
            let value = values.new_for(what);
            let name = format!("c{n}/{field}");
            let body = match field {
                "value" => json!({"name": name, "value": value}),
                _ => json!({"name": name, "data": {"deep": [{"er": value}]}}),
            };
            let created = admin.post("/v1/secrets", &body).await.expect(201);
            let refused = admin.post("/v1/secrets", &body).await.expect(409);
            answers.extend([created, refused]);
            let read = raw.get(&format!("/v1/secrets/{name}?{linear}")).await;
            assert!(read.expect(200).text.contains(&value));
            // Update, and the same with a version that is not current.
            let value = values.new_for("update");
            let at = format!("/v1/secrets/{name}");
            answers.push(admin.put(&at, &json!({"value": value})).await.expect(200));
            let stale = json!({"data": {"x": value}, "cas": 1});
            answers.push(admin.put(&at, &stale).await.expect(409));
            // Verify, right and wrong.
            let at = format!("{at}/verify?{linear}");
            let right = raw.post(&at, &json!({"value": value})).await.expect(200);
            assert_eq!(right.json["valid"], true, "{}", right.text);
            let wrong = json!({"value": values.new_for("verify")});
            answers.extend([right, raw.post(&at, &wrong).await.expect(200)]);
        }
        // Written with escapes.
        let value = values.new_for("escaped");
        let body = format!(r#"{{"name":"e{n}","value":"{}"}}"#, escaped(&value));
        answers.push(admin.text("POST", "/v1/secrets", &body).await.expect(201));
        let read = raw.get(&format!("/v1/secrets/e{n}?{linear}")).await;
        assert_eq!(read.expect(200).json["value"], value);
        // Generated.
        let auto = json!({"name": format!("auto{n}"), "kind": "automatic",
            "rotation_interval_secs": 3600});
        let made = admin.post("/v1/secrets", &auto).await.expect(201);
        values.known("generated", made.json["value"].as_str().unwrap());
        answers.extend(turning::turn_over(&mut values, &raw, &admin, n).await);
        // Bodies that are refused for what is around the value.
        let value = values.new_for("refused body");
        let big = value.repeat(1024 * 1024 / 32 - 10);
        for body in [
            format!(r#"{{"name":"x","value":"{value}""#),
            format!(r#"{{"name":"x","value":{value}}}"#),
            format!(r#"{{"name":"x","value":"{value}","unknown":1}}"#),
            format!(r#"{{"name":"x","value":"v","unknown":"{value}"}}"#),
            format!(r#"{{"name":"x","value":"v","{value} is a field":1}}"#),
            format!(r#"{{"name":"x","value":["{value}"]}}"#),
            format!(r#"{{"name":"x","kind":"{value}","value":"v"}}"#),
            format!(r#"{{"name":"x","value":"v","grace_period_secs":"{value}"}}"#),
            format!(r#"{{"name":"../{value}","value":"v"}}"#),
            format!(r#"{{"name":"{value} {value}","value":"v"}}"#),
            format!(r#"{{"name":"x","data":"{value}"}}"#),
            format!(r#"{{"name":"x","value":"{big}"}}"#),
            value.clone(),
        ] {
            for target in [
                "/v1/secrets",
                "/v1/roles",
                "/v1/tokens",
                "/v1/batch/secrets",
            ] {
                answers.push(admin.text("POST", target, &body).await);
            }
            answers.push(admin.text("PUT", "/v1/secrets/x", &body).await);
            answers.push(raw.text("POST", "/v1/secrets/x/verify", &body).await);
        }
        // Not bodies at all.
        let value = values.new_for("elsewhere in a request");
        let headers = [
            "X-Anything",
            "X-Request-Id",
            "X-Forwarded-For",
            "Cookie",
            "User-Agent",
        ];
        let chatty = headers
            .iter()
            .fold(raw.clone(), |raw, h| raw.header(h, &value));
        for (method, target) in [
            ("GET", format!("/v1/secrets/c{n}/none?x={value}")),
            ("GET", format!("/v1/secrets/../{value}")),
            ("GET", format!("/v1/secrets/%00{value}")),
            ("GET", format!("/v1/secrets/x?version={value}")),
            ("GET", format!("/v1/secrets/x?consistency={value}")),
            ("GET", format!("/v1/secrets?limit={value}")),
            ("GET", format!("/{value}")),
            ("GET", format!("/v1/{value}?{value}={value}")),
            (&format!("BREW{value}"), "/v1/secrets".into()),
            ("PATCH", format!("/v1/secrets/x?{value}")),
            ("GET", "/healthz".into()),
            ("GET", "/v1/openapi.json".into()),
        ] {
            answers.push(chatty.plain(method, &target).await);
            answers.push(chatty.token(&bootstrap).plain(method, &target).await);
        }
        // As a token: wrong ones, and such as cannot be one.
        let value = values.new_for("a wrong token");
        for (header, token) in [
            ("Authorization", format!("Bearer {value}")),
            ("Authorization", format!("Bearer {value} {value}")),
            ("Authorization", format!("Basic {value}")),
            ("Authorization", value.clone()),
            ("X-Vault-Token", value.clone()),
            ("X-Vault-Token", value.repeat(20)),
        ] {
            let guess = raw.header(header, &token);
            answers.push(guess.get("/v1/tokens").await.expect(401));
        }
        // Tokens that are right.
        let made = json!({"name": format!("t{n}"), "role": "admin"});
        let made = admin.post("/v1/tokens", &made).await.expect(201);
        let token = made.json["token"].as_str().unwrap().to_owned();
        values.known("a token", token.strip_prefix("srt_").unwrap());
        let created = raw.token(&token);
        for target in [
            "/v1/tokens",
            "/v1/roles",
            "/v1/secrets",
            "/v1/audit",
            "/v1/admin/kms",
            "/v1/backup",
        ] {
            answers.push(created.get(target).await.expect(200));
        }
        let ninth = json!({"node_id": "9"});
        let added = created.post("/v1/admin/cluster/nodes", &ninth).await;
        answers.push(added.expect(202));
        let removed = created.delete("/v1/admin/cluster/nodes/9").await;
        answers.push(removed.expect(204));
        let here = json!({"to": node.id});
        let passed = created.post("/v1/admin/cluster/handover", &here).await;
        answers.push(passed.expect(200));
        let api = node.api().with_token(&bootstrap);
        let backup = strongroom_tests::backup::take(&api).await;
        assert_eq!(values.hunt().in_bytes(&backup), Vec::<String>::new());
        let restored = strongroom_tests::backup::restore(&api, "/v1/restore", backup).await;
        answers.push(restored.expect(200));
        answers.push(created.get("/v1/admin/cluster").await.expect(200));
        // Garbage that is not HTTP.
        let value = values.new_for("garbage");
        for bytes in [
            format!("{value}\r\n\r\n"),
            format!("GET / HTTP/1.1\r\n{value}\r\n\r\n"),
            format!("GET / HTTP/1.1\r\nContent-Length: {value}\r\n\r\n"),
        ] {
            let said = raw.exchange(bytes.as_bytes()).await.unwrap_or_default();
            assert_eq!(values.hunt().in_bytes(&said), Vec::<String>::new());
        }
    }
    // A request that is made when a value is opened: trails and metrics after all of it.
    for node in &cluster.nodes {
        answers.push(Raw::node(node).get("/metrics").await.expect(200));
        let admin = Raw::node(node).token(&bootstrap);
        answers.push(admin.get("/v1/audit").await.expect(200));
    }
    turning::assert_every_route_was_called(&cluster).await;
    let key_bytes = STANDARD.decode(&key).unwrap();
    let hunt = values
        .hunt()
        .and_bytes("the master key's bytes", &key_bytes);
    for answer in &answers {
        assert_eq!(hunt.in_bytes(&told(answer)), Vec::<String>::new());
    }
    assert!(answers.len() > 300, "{}", answers.len());

    wait_for_snapshots(&cluster).await;
    let clean = |what: &str| {
        let (found, files, bytes) = hunt.in_files(cluster.dir.path());
        assert!(found.is_empty(), "{what}:\n{}", found.join("\n"));
        assert!(
            files > 15 && bytes > 100_000,
            "{files} files, {bytes} bytes"
        );
        // The files that were searched are the right ones: names are in them.
        let names = Hunt::new([("name", "c0/value")]);
        let (found, _, _) = names.in_files(cluster.dir.path());
        for part in ["snapshot", "audit"] {
            assert!(found.iter().any(|hit| hit.contains(part)), "{part}");
        }
        println!(
            "{what}: {} values in none of {files} files, {bytes} bytes",
            values.0.len()
        );
    };
    clean("running");
    let mut cluster = cluster;
    for node in &mut cluster.nodes {
        assert!(node.terminate().success());
    }
    let (found, _, _) = hunt.in_files(cluster.dir.path());
    assert!(found.is_empty(), "stopped:\n{}", found.join("\n"));
    for node in &cluster.nodes {
        // Garbage is worth a line on this level only.
        let log = node.log_text();
        assert!(log.contains("DEBUG"), "the log is not in full: {log}");
    }
}

async fn wait_for_snapshots(cluster: &Cluster) {
    let deadline = Instant::now() + Duration::from_secs(20);
    let has_one = |node: &Node| {
        let mut stack = vec![node.data_dir.clone()];
        while let Some(dir) = stack.pop() {
            for entry in fs::read_dir(dir).unwrap().flatten() {
                let path = entry.path();
                if path.is_dir() {
                    stack.push(path);
                } else if path.extension().is_some_and(|e| e == "snapshot") {
                    return true;
                }
            }
        }
        false
    };
    while !cluster.nodes.iter().all(has_one) {
        assert!(Instant::now() < deadline, "no snapshot");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}
