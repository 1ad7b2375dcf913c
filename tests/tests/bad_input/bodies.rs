//! Bodies that make no sense, or too much of it.

use super::*;

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
