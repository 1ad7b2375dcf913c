//! Bad input: a clear error, and nothing changed.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic
)]

use std::time::{Duration, Instant};

use serde_json::{Value, json};
use strongroom_tests::{
    api::Answer,
    cluster::{Cluster, TOKEN},
    raw::{Raw, request_id},
};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

/// In every bad request, and in no answer.
const MARK: &str = "hunter2hunter2";

struct Lab {
    cluster: Cluster,
    before: Value,
}

impl Lab {
    async fn start(env: &[(&str, &str)]) -> Self {
        let cluster = Cluster::start_with(1, env).await;
        let admin = Raw::node(&cluster.nodes[0]).token(TOKEN);
        let body = json!({"name": "there", "value": "v", "description": "d"});
        admin.post("/v1/secrets", &body).await.expect(201);
        let mut lab = Self {
            cluster,
            before: Value::Null,
        };
        lab.before = lab.everything().await;
        lab
    }

    fn raw(&self) -> Raw {
        Raw::node(&self.cluster.nodes[0])
    }

    fn admin(&self) -> Raw {
        self.raw().token(TOKEN)
    }

    async fn everything(&self) -> Value {
        let mut all = Vec::new();
        for at in ["/v1/secrets", "/v1/roles", "/v1/tokens"] {
            let mut list = self.admin().get(at).await.expect(200).json;
            for row in list["tokens"].as_array_mut().into_iter().flatten() {
                row["last_used_at"] = Value::Null;
            }
            all.push(list);
        }
        Value::Array(all)
    }

    /// A clear error that repeats nothing.
    #[track_caller]
    fn refused(&self, answer: &Answer, status: u16, what: &str) -> String {
        let what = what.get(..what.len().min(120)).unwrap_or(what);
        assert_eq!(answer.status, status, "{what}: {}", answer.text);
        let code = match status {
            400 => "invalid_request",
            404 => "not_found",
            405 => "invalid_request",
            409 => "already_exists",
            413 => "too_large",
            status => panic!("{status}"),
        };
        assert_eq!(answer.code(), code, "{what}");
        assert!(!answer.text.contains("hunter2"), "{what}: {}", answer.text);
        assert_eq!(request_id(answer).len(), 32, "{what}");
        answer.json["error"].as_str().unwrap().to_owned()
    }

    async fn nothing_changed(&self) {
        assert_eq!(self.before, self.everything().await);
        let log = self.cluster.nodes[0].log_text();
        assert!(!log.contains("panic"), "{log}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn bodies_that_make_no_sense() {
    let lab = Lab::start(&[]).await;
    let admin = lab.admin();
    let nested = |depth: usize| {
        let (open, close) = ("[".repeat(depth), "]".repeat(depth));
        format!(r#"{{"name":"n","data":{{"{MARK}":{open}{close}}}}}"#)
    };
    let objects = format!(
        r#"{{"name":"n","data":{}1}}"#,
        r#"{"a":"#.repeat(400_000 / 5)
    );
    let create = [
        String::new(),
        " ".into(),
        MARK.into(),
        "null".into(),
        "[]".into(),
        "1".into(),
        format!("\"{MARK}\""),
        "{".into(),
        "{}".into(),
        format!(r#"{{"name":"n","value":"{MARK}""#),
        format!(r#"{{"name":"n","value":"{MARK}"}} x"#),
        format!(r#"{{"name":"n","value":"{MARK}"}}{{}}"#),
        format!(r#"{{"name":"n","value":{MARK}}}"#),
        format!(r#"{{'name':'n','value':'{MARK}'}}"#),
        format!(r#"{{"name":"n","value":"{MARK}",}}"#),
        format!("{{\"name\":\"n\",\"value\":\"{MARK}\u{1}\"}}"),
        format!(r#"{{"name":"n","value":"\ud800{MARK}"}}"#),
        format!(r#"{{"name":"n","value":"{MARK}\x"}}"#),
        format!(r#"{{"name":"n","value":["{MARK}"]}}"#),
        r#"{"name":"n","value":1}"#.into(),
        r#"{"name":"n","value":null}"#.into(),
        format!(r#"{{"name":"n","data":"{MARK}"}}"#),
        format!(r#"{{"name":"n","data":["{MARK}"]}}"#),
        r#"{"name":"n","data":1}"#.into(),
        r#"{"name":"n","data":null}"#.into(),
        r#"{"name":"n"}"#.into(),
        format!(r#"{{"value":"{MARK}"}}"#),
        format!(r#"{{"name":"n","value":"{MARK}","data":{{}}}}"#),
        format!(r#"{{"name":"n","value":"a","value":"{MARK}"}}"#),
        format!(r#"{{"name":"n","name":"m","value":"{MARK}"}}"#),
        format!(r#"{{"name":1,"value":"{MARK}"}}"#),
        format!(r#"{{"name":["n"],"value":"{MARK}"}}"#),
        format!(r#"{{"name":null,"value":"{MARK}"}}"#),
        format!(r#"{{"name":"n","kind":"{MARK}","value":"v"}}"#),
        r#"{"name":"n","kind":1,"value":"v"}"#.into(),
        r#"{"name":"n","kind":{"manual":null},"value":"v","x":1}"#.into(),
        format!(r#"{{"name":"n","value":"v","description":["{MARK}"]}}"#),
        format!(
            r#"{{"name":"n","value":"v","description":"{}"}}"#,
            MARK.repeat(100)
        ),
        format!(r#"{{"name":"n","value":"v","grace_period_secs":"{MARK}"}}"#),
        r#"{"name":"n","value":"v","grace_period_secs":-1}"#.into(),
        r#"{"name":"n","value":"v","grace_period_secs":1.5}"#.into(),
        r#"{"name":"n","value":"v","grace_period_secs":1e3}"#.into(),
        r#"{"name":"n","value":"v","grace_period_secs":18446744073709551615}"#.into(),
        r#"{"name":"n","value":"v","grace_period_secs":18446744073709551616}"#.into(),
        r#"{"name":"n","value":"v","grace_period_secs":true}"#.into(),
        r#"{"name":"n","value":"v","max_versions":1001}"#.into(),
        r#"{"name":"n","value":"v","max_versions":4294967296}"#.into(),
        r#"{"name":"n","value":"v","max_versions":-1}"#.into(),
        r#"{"name":"n","kind":"automatic","rotation_interval_secs":18446744073709551615}"#.into(),
        r#"{"name":"n","kind":"automatic","rotation_interval_secs":9223372036854775807}"#.into(),
        r#"{"name":"n","kind":"automatic","rotation_interval_secs":-5}"#.into(),
        r#"{"name":"n","kind":"automatic","rotation_interval_secs":60,"generator":1}"#.into(),
        r#"{"name":"n","kind":"automatic","rotation_interval_secs":60,"generator":{"x":1}}"#.into(),
        r#"{"name":"n","kind":"automatic","rotation_interval_secs":60,"keep_superseded":"yes"}"#
            .into(),
        nested(33),
        nested(200_000),
        objects,
        format!("{}{}", "[".repeat(500_000), "]".repeat(500_000)),
        "{\"a\":".repeat(100_000),
    ];
    for body in &create {
        let answer = admin.text("POST", "/v1/secrets", body).await;
        let error = lab.refused(&answer, 400, body);
        assert!(!error.is_empty() && error.len() < 200, "{error}");
    }
    for (body, words) in [
        (r#"{"name":"n","value":"v","extra":1}"#, "`extra`"),
        (r#"{"name":"n","value":"v","Value":"v"}"#, "`Value`"),
        (r#"{"name":"n","value":"v","cas":1}"#, "`cas`"),
        (r#"{"name":"n","value":"v","value":"w"}"#, "`value`"),
        (r#"{"value":"v"}"#, "`name`"),
    ] {
        let answer = admin.text("POST", "/v1/secrets", body).await;
        assert!(lab.refused(&answer, 400, body).contains(words), "{body}");
    }
    for (method, target, body) in [
        (
            "PUT",
            "/v1/secrets/there",
            r#"{"name":"there","value":"x"}"#,
        ),
        ("PUT", "/v1/secrets/there", r#"{"value":"x","cas":-1}"#),
        ("PUT", "/v1/secrets/there", r#"{"value":"x","cas":"1"}"#),
        ("PUT", "/v1/secrets/there", r#"{"value":"x","cas":1.0}"#),
        (
            "PUT",
            "/v1/secrets/there",
            r#"{"value":"x","kind":"automatic"}"#,
        ),
        ("PUT", "/v1/secrets/there", r#"{"max_versions":1001}"#),
        (
            "PUT",
            "/v1/secrets/there",
            r#"{"grace_period_secs":18446744073709551615}"#,
        ),
        (
            "PUT",
            "/v1/secrets/there",
            r#"{"description":null,"value":1}"#,
        ),
        ("PUT", "/v1/secrets/there", ""),
        ("POST", "/v1/secrets/there/verify", r#"{"value":1}"#),
        (
            "POST",
            "/v1/secrets/there/verify",
            r#"{"value":"v","version":1}"#,
        ),
        ("POST", "/v1/secrets/there/verify", r#"{"value":null}"#),
        ("POST", "/v1/secrets/there/verify", r#"{}"#),
        ("POST", "/v1/secrets/there/verify", ""),
        ("POST", "/v1/batch/secrets", r#"{"names":"there"}"#),
        ("POST", "/v1/batch/secrets", r#"{"names":[1]}"#),
        ("POST", "/v1/batch/secrets", r#"{"names":["there",""]}"#),
        ("POST", "/v1/batch/secrets", r#"{"names":["a/../b"]}"#),
        ("POST", "/v1/batch/secrets", r#"["there"]"#),
        ("POST", "/v1/roles", r#"{"name":"r","is_admin":"yes"}"#),
        ("POST", "/v1/roles", r#"{"name":"r","rules":[]}"#),
        ("POST", "/v1/roles", r#"{"name":"r","permissions":{}}"#),
        ("POST", "/v1/tokens", r#"{"name":"t"}"#),
        (
            "POST",
            "/v1/tokens",
            r#"{"name":"t","role":"admin","token":"mine"}"#,
        ),
        (
            "POST",
            "/v1/tokens",
            r#"{"name":"t","role":"admin","num_uses":-1}"#,
        ),
        ("POST", "/v1/tokens", r#"{"name":"a/b","role":"admin"}"#),
        (
            "POST",
            "/v1/tokens",
            "{\"name\":\"t\\u0000\",\"role\":\"admin\"}",
        ),
    ] {
        let answer = admin.text(method, target, body).await;
        lab.refused(&answer, 400, &format!("{method} {target} {body}"));
    }
    let over: Vec<String> = (0..257).map(|n| format!("n{n}")).collect();
    let answer = admin
        .post("/v1/batch/secrets", &json!({"names": over}))
        .await;
    assert!(lab.refused(&answer, 400, "257 names").contains("256"));
    // What makes sense is taken, whatever its Content-Type says.
    for (n, kind) in ["text/plain", "application/xml; charset=x", "", "\u{fc}"]
        .into_iter()
        .enumerate()
    {
        let typed = admin.header("Content-Type", kind);
        let body = json!({"name": format!("typed{n}"), "value": "v"});
        typed.post("/v1/secrets", &body).await.expect(201);
        let deleted = admin.delete(&format!("/v1/secrets/typed{n}")).await;
        deleted.expect(204);
    }
    lab.nothing_changed().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn bodies_over_their_limits() {
    let lab = Lab::start(&[]).await;
    let admin = lab.admin();
    let body = |bytes: usize| format!(r#"{{"name":"big","value":"{}"}}"#, "x".repeat(bytes));
    let (at_limit, mib) = (512 * 1024 - 12, 1024 * 1024);
    for (bytes, status) in [
        (at_limit + 1, 413),
        (mib - 100, 413),
        (mib, 413),
        (3 * mib, 413),
    ] {
        let answer = admin.text("POST", "/v1/secrets", &body(bytes)).await;
        lab.refused(&answer, status, &format!("{bytes} bytes"));
    }
    // Announced, and nothing sent: refused at once.
    let head = admin.head("POST", "/v1/secrets", &[("Content-Length", "1048577")]);
    let began = Instant::now();
    lab.refused(&admin.answer_to(head).await, 413, "announced");
    assert!(began.elapsed() < Duration::from_secs(3));
    let head = admin.head(
        "POST",
        "/v1/secrets",
        &[("Content-Length", "9000000000000000")],
    );
    lab.refused(&admin.answer_to(head).await, 413, "announced");
    // The largest number there is does not get as far as the API.
    let head = admin.head(
        "POST",
        "/v1/secrets",
        &[("Content-Length", "18446744073709551615")],
    );
    assert_eq!(admin.answer_to(head).await.status, 431);
    // In chunks: the length shows only while it comes.
    for (bytes, status) in [(2 * mib, 413), (at_limit + 1, 413), (10, 201)] {
        let head = admin.head("POST", "/v1/secrets", &[("Transfer-Encoding", "chunked")]);
        let (mut request, text) = (head, body(bytes));
        for chunk in text.as_bytes().chunks(60_000) {
            request.extend_from_slice(format!("{:x}\r\n", chunk.len()).as_bytes());
            request.extend_from_slice(chunk);
            request.extend_from_slice(b"\r\n");
        }
        request.extend_from_slice(b"0\r\n\r\n");
        let answer = admin.answer_to(request).await;
        match status {
            201 => drop(answer.expect(201)),
            status => drop(lab.refused(&answer, status, &format!("{bytes} in chunks"))),
        }
    }
    admin.delete("/v1/secrets/big").await.expect(204);
    // The largest value that is allowed, written, read, verified, replaced.
    admin
        .text("POST", "/v1/secrets", &body(at_limit))
        .await
        .expect(201);
    let read = admin.get("/v1/secrets/big").await.expect(200);
    assert_eq!(read.json["value"].as_str().unwrap().len(), at_limit);
    let verify = json!({"value": "x".repeat(at_limit)});
    let verified = admin.post("/v1/secrets/big/verify", &verify).await;
    assert_eq!(verified.expect(200).json["valid"], true);
    let over = json!({"value": "x".repeat(at_limit + 1)});
    lab.refused(&admin.put("/v1/secrets/big", &over).await, 413, "update");
    admin.delete("/v1/secrets/big").await.expect(204);
    // Bodies that break off, and bodies of two lengths.
    let mut half = admin.head("POST", "/v1/secrets", &[("Content-Length", "100")]);
    half.extend_from_slice(b"{\"name\":\"half\"");
    let mut stream = admin.connect().await.unwrap();
    stream.write_all(&half).await.unwrap();
    stream.shutdown().await.unwrap();
    drop(stream);
    let mut bad = admin.head("POST", "/v1/secrets", &[("Transfer-Encoding", "chunked")]);
    bad.extend_from_slice(b"zz\r\n{}\r\n0\r\n\r\n");
    let answer = admin.answer_to(bad).await;
    assert_eq!(answer.status, 400, "{}", answer.text);
    let text = body(1);
    let length = text.len().to_string();
    let two = [("Content-Length", length.as_str()), ("Content-Length", "1")];
    let mut bad = admin.head("POST", "/v1/secrets", &two);
    bad.extend_from_slice(text.as_bytes());
    assert_eq!(admin.answer_to(bad).await.status, 400);
    lab.nothing_changed().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn names_that_are_none() {
    let lab = Lab::start(&[]).await;
    let admin = lab.admin();
    let long = MARK.repeat(10_000 / MARK.len());
    let paths = [
        "..",
        ".",
        "../there",
        "a/../there",
        "a/..",
        "./there",
        "there/.",
        "there/..",
        "%2e%2e/there",
        "a/%2e%2e/there",
        "%2e",
        "a%2fb",
        "a%2Fb",
        "%2f",
        "there%2f",
        "a%252fb",
        "there%00",
        "%00",
        "a%0ab",
        "a%0d%0ab",
        "a%7f",
        "a%1b",
        "a//b",
        "/there",
        "//",
        "there/",
        "there//",
        "%20there",
        "there%20",
        "a%5cb",
        "%ff",
        "%c3%a4",
        "%",
        "%2",
        "%zz",
        "a%",
        "a%2",
        "*",
        "a*",
        "there;x",
        "there%3f",
        "a'b",
        "a%22b",
        "a%3cb",
        "%ef%bc%8fx",
        "there%e2%80%8b",
        "a&b",
        "(a)",
        "a|b",
        "a$b",
    ];
    for path in paths.into_iter().chain([long.as_str()]) {
        let target = format!("/v1/secrets/{path}");
        for (method, body) in [
            ("GET", None),
            ("HEAD", None),
            ("PUT", Some(r#"{"value":"hunter2hunter2"}"#)),
            ("DELETE", None),
        ] {
            let answer = match body {
                Some(body) => admin.text(method, &target, body).await,
                None => admin.plain(method, &target).await,
            };
            assert_eq!(answer.status, 400, "{method} {target}: {}", answer.text);
            if method != "HEAD" {
                lab.refused(&answer, 400, &target);
            }
        }
        let verify = format!("{target}/verify");
        let answer = admin.post(&verify, &json!({"value": "v"})).await;
        lab.refused(&answer, 400, &verify);
    }
    // The same name stands in a body: there nothing is decoded.
    let long_ok = "x".repeat(513);
    for name in [
        "",
        "/",
        "..",
        ".",
        "a/../b",
        "a//b",
        "/a",
        "a/",
        "a/./b",
        "a b",
        " a",
        "a%2fb",
        "a%2Fb",
        "%2e%2e",
        "a\0b",
        "a\nb",
        "a\u{7f}",
        "ä",
        "日本",
        "a\u{200b}",
        "a*",
        "a\\b",
        "a?b",
        "a#b",
        "a\u{202e}b",
        "a/../../etc/passwd",
        &long,
        &long_ok,
    ] {
        let body = json!({"name": name, "value": MARK});
        let answer = admin.post("/v1/secrets", &body).await;
        lab.refused(&answer, 400, name);
        for (at, body) in [
            ("/v1/roles", json!({"name": name})),
            ("/v1/tokens", json!({"name": name, "role": "admin"})),
            ("/v1/tokens", json!({"name": "t", "role": name})),
        ] {
            lab.refused(&admin.post(at, &body).await, 400, &format!("{at} {name}"));
        }
        let batch = json!({"names": ["there", name]});
        let answer = admin.post("/v1/batch/secrets", &batch).await;
        lab.refused(&answer, 400, name);
    }
    for path in ["a%2fb", "..", "%00", "a%20b", &long] {
        for target in [format!("/v1/roles/{path}"), format!("/v1/tokens/{path}")] {
            lab.refused(&admin.delete(&target).await, 400, &target);
        }
        let target = format!("/v1/roles/{path}/permissions");
        let body = json!({"permissions": []});
        lab.refused(&admin.put(&target, &body).await, 400, &target);
    }
    for target in [
        "/v1/secrets/",
        "/v1/secrets?",
        "/v1/roles/",
        "/v1/tokens/",
        "/v1//secrets",
        "//v1/secrets",
        "/V1/secrets",
        "/v1/secrets/there/verify/x",
        "/v1/./secrets",
        "/v1/x/../secrets",
        "/v1%2fsecrets",
        "/v1/roles/a/b",
    ] {
        let answer = admin.post(target, &json!({"name": "n"})).await;
        assert!(
            [400, 404, 405].contains(&answer.status),
            "{target}: {}",
            answer.text
        );
    }
    // Names differ by case, and every allowed character is one.
    for name in [
        "There",
        "a.b_c-d~e@f+g=h:i,j",
        "...",
        "a/.../b",
        ".a",
        "a.",
        "-",
    ] {
        let body = json!({"name": name, "value": "v"});
        admin.post("/v1/secrets", &body).await.expect(201);
        let target = format!("/v1/secrets/{name}");
        let read = admin.get(&target).await.expect(200);
        assert_eq!(read.json["name"], name);
        admin.delete(&target).await.expect(204);
    }
    // Encoded where it need not be: decoded once, and the same name.
    admin.get("/v1/secrets/%74here").await.expect(200);
    lab.nothing_changed().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn parameters_that_make_no_sense() {
    let lab = Lab::start(&[]).await;
    let admin = lab.admin();
    let huge = "9".repeat(40);
    let long = "a".repeat(20_000);
    for (target, status) in [
        ("/v1/secrets?limit=0", 400),
        ("/v1/secrets?limit=-1", 400),
        ("/v1/secrets?limit=abc", 400),
        ("/v1/secrets?limit=", 400),
        ("/v1/secrets?limit=1.0", 400),
        ("/v1/secrets?limit=%31", 200),
        (&format!("/v1/secrets?limit={huge}"), 400),
        ("/v1/secrets?limit=1000000", 200),
        ("/v1/secrets?prefix=%zz", 400),
        ("/v1/secrets?prefix=%ff", 400),
        (&format!("/v1/secrets?prefix={long}"), 400),
        (&format!("/v1/secrets?after={long}"), 400),
        ("/v1/secrets?after=..%2F..", 200),
        ("/v1/secrets?unknown=1&&=&x", 200),
        ("/v1/roles?limit=0", 400),
        ("/v1/roles?after=a%2Fb", 400),
        ("/v1/tokens?limit=abc", 400),
        ("/v1/audit?limit=0", 400),
        ("/v1/audit?after=-1", 400),
        ("/v1/audit?after=abc", 400),
        ("/v1/secrets/there?version=abc", 400),
        ("/v1/secrets/there?version=-1", 400),
        ("/v1/secrets/there?version=", 400),
        ("/v1/secrets/there?version=1.0", 400),
        (&format!("/v1/secrets/there?version={huge}"), 400),
        ("/v1/secrets/there?version=0", 404),
        ("/v1/secrets/there?consistency=", 400),
        ("/v1/secrets/there?consistency=LOCAL", 400),
    ] {
        let answer = admin.get(target).await;
        match status {
            200 => drop(answer.expect(200)),
            status => drop(lab.refused(&answer, status, target)),
        }
    }
    lab.nothing_changed().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn creates_at_the_same_moment_end_in_one() {
    let cluster = Cluster::start(3).await;
    for round in 0..5 {
        let tries: Vec<_> = (0..12)
            .map(|n| {
                let raw = Raw::node(&cluster.nodes[n % 3]).token(TOKEN);
                let body = json!({"name": format!("same/{round}"), "value": format!("by {n}")});
                tokio::spawn(async move { raw.post("/v1/secrets", &body).await })
            })
            .collect();
        let mut winner = None;
        for (n, answer) in tries.into_iter().enumerate() {
            let answer = answer.await.unwrap();
            match answer.status {
                201 => assert_eq!(winner.replace(n), None, "two were told 201"),
                409 => assert_eq!(answer.code(), "already_exists"),
                other => panic!("{other}: {}", answer.text),
            }
        }
        let winner = winner.expect("one was told 201");
        for node in &cluster.nodes {
            let target = format!("/v1/secrets/same/{round}?consistency=linearizable");
            let read = Raw::node(node).get(&target).await.expect(200);
            assert_eq!(read.json["value"], format!("by {winner}"));
            assert_eq!(read.json["version"], 1);
        }
    }
    // Updates with the same expected version: one wins. Without one: all do, each its own version.
    for (cas, wins) in [(Some(1), 1), (None, 12)] {
        let tries: Vec<_> = (0..12)
            .map(|n| {
                let raw = Raw::node(&cluster.nodes[n % 3]).token(TOKEN);
                let mut body = json!({"value": format!("by {n}")});
                if let Some(cas) = cas {
                    body["cas"] = json!(cas);
                }
                tokio::spawn(async move { raw.put("/v1/secrets/same/0", &body).await })
            })
            .collect();
        let mut versions = Vec::new();
        for answer in tries {
            let answer = answer.await.unwrap();
            match answer.status {
                200 => versions.push(answer.json["version"].as_u64().unwrap()),
                409 => assert_eq!(answer.code(), "version_mismatch"),
                other => panic!("{other}: {}", answer.text),
            }
        }
        versions.sort_unstable();
        assert_eq!(versions.len(), wins, "{versions:?}");
        versions.dedup();
        assert_eq!(versions.len(), wins, "a version was given twice");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn slow_and_broken_clients_hurt_nobody() {
    let lab = Lab::start(&[("VAULT_REQUEST_TIMEOUT_SECS", "2")]).await;
    let admin = lab.admin();
    // Half a body, and then silence: answered at the deadline.
    let body = r#"{"name":"slow","value":"hunter2hunter2"}"#;
    let length = body.len().to_string();
    let mut half = admin.head("POST", "/v1/secrets", &[("Content-Length", &length)]);
    half.extend_from_slice(&body.as_bytes()[..20]);
    let began = Instant::now();
    let slow: Vec<_> = (0..20)
        .map(|_| tokio::spawn(admin.answer_to(half.clone())))
        .collect();
    // Meanwhile the server serves others.
    for _ in 0..5 {
        lab.raw().get("/v1/secrets/there").await.expect(200);
    }
    assert!(began.elapsed() < Duration::from_millis(1_500));
    for answer in slow {
        let answer = answer.await.unwrap();
        let took = began.elapsed();
        lab.refused(&answer, 400, "half a body");
        assert!(took >= Duration::from_millis(1_900), "{took:?}");
        assert!(took < Duration::from_secs(5), "{took:?}");
    }
    // Byte by byte does not buy more time.
    let mut stream = admin.connect().await.unwrap();
    stream.write_all(&half).await.unwrap();
    let (mut read, mut write) = stream.into_split();
    let drip = tokio::spawn(async move {
        while write.write_all(b" ").await.is_ok() {
            tokio::time::sleep(Duration::from_millis(300)).await;
        }
    });
    let began = Instant::now();
    let mut answer = [0; 12];
    read.read_exact(&mut answer).await.unwrap();
    assert_eq!(&answer, b"HTTP/1.1 400");
    assert!(began.elapsed() < Duration::from_secs(5));
    drip.abort();
    // What is no HTTP: answered with 400 or dropped.
    let many = format!("GET / HTTP/1.1\r\n{}\r\n", "X: y\r\n".repeat(5_000));
    let long = format!("GET /{} HTTP/1.1\r\nHost: x\r\n\r\n", "a".repeat(100_000));
    let garbage: [&[u8]; 12] = [
        b"\0\0\0\0\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        b"hunter2\r\n\r\n",
        b"GET\r\n\r\n",
        b"GET / HTTP/9.9\r\n\r\n",
        b"GET /v1/secrets/there HTTP/1.1\r\nHost x\r\n\r\n",
        b"GET /v1/secrets/th\xffere HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n",
        b"GET /v1/secrets/there HTTP/1.1\r\nContent-Length: -1\r\n\r\n",
        b"POST /v1/secrets HTTP/1.1\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n0\r\n\r\n",
        many.as_bytes(),
        long.as_bytes(),
    ];
    for bytes in garbage {
        let mut stream = admin.connect().await.unwrap();
        stream.write_all(bytes).await.ok();
        stream.shutdown().await.ok();
        let mut answer = Vec::new();
        let read = stream.read_to_end(&mut answer);
        // A reset is an answer as well.
        let _ = tokio::time::timeout(Duration::from_secs(5), read)
            .await
            .expect("an end");
        let text = String::from_utf8_lossy(&answer);
        assert!(!text.contains("hunter2"), "{text}");
        let refused = ["400", "401", "404", "414", "431", "505"];
        let status = text.get(9..12).unwrap_or_default();
        assert!(
            answer.is_empty() || refused.contains(&status),
            "{:?}: {text}",
            String::from_utf8_lossy(&bytes[..bytes.len().min(80)])
        );
    }
    // Connections that say nothing, or half a head, take nobody's place.
    let mut silent = Vec::new();
    for n in 0..300 {
        let mut stream = admin.connect().await.unwrap();
        if n % 2 == 0 {
            stream.write_all(b"GET /v1/secr").await.unwrap();
        }
        silent.push(stream);
    }
    lab.raw().get("/v1/secrets/there").await.expect(200);
    drop(silent);
    lab.raw().get("/healthz").await.expect(200);
    lab.nothing_changed().await;
}
