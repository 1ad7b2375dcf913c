//! Many at once, slow ones, and such that break off.

use super::*;

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
