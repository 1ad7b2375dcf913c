//! Who gets in: the allowlist, trusted proxies, the lockout, the bootstrap token.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::print_stdout
)]

use std::{
    net::SocketAddr,
    time::{Duration, Instant},
};

use serde_json::json;
use strongroom_tests::{
    api::Answer,
    cluster::{Cluster, TOKEN},
    node::{Node, PATIENCE},
    raw::{Raw, audit_records, audited},
};

const WRONG: &str = "srt_wrong-wrong-wrong-wrong";
const READ: &str = "/v1/secrets/s";

async fn one(env: &[(&str, &str)]) -> Cluster {
    let cluster = Cluster::start_with(1, env).await;
    let secret = json!({"name": "s", "value": "v"});
    let admin = Raw::node(&cluster.nodes[0]).token(TOKEN);
    admin.post("/v1/secrets", &secret).await.expect(201);
    cluster
}

#[tokio::test(flavor = "multi_thread")]
async fn both_families_are_told_apart_and_mapped_addresses_are_ipv4() {
    // A listener for both families: IPv4 clients come as ::ffff:127.0.0.1.
    for (allowed, v4, v6) in [
        ("127.0.0.1", 200, 403),
        ("::1", 403, 200),
        ("127.0.0.0/8,::1/128", 200, 200),
        ("::ffff:127.0.0.1", 200, 403),
        ("::ffff:127.0.0.0/104", 200, 403),
        ("0.0.0.0/0", 200, 403),
        ("::/0", 403, 200),
        ("10.0.0.0/8", 403, 403),
    ] {
        let mut cluster = Cluster::prepare(1, &[("VAULT_ALLOWED_IPS", allowed)]);
        let node = &mut cluster.nodes[0];
        let port = node.api_port;
        node.env
            .insert("VAULT_API_ADDR".into(), format!("[::]:{port}"));
        node.start();
        node.wait_ready().await;
        let node = &cluster.nodes[0];
        let four = Raw::node(node);
        let six = Raw::to(SocketAddr::from(([0u16, 0, 0, 0, 0, 0, 0, 1], port)));
        let secret = json!({"name": "s", "value": "v"});
        let admin = four.token(TOKEN);
        admin.post("/v1/secrets", &secret).await.expect(201);
        let (from4, from6) = (four.get(READ).await, six.get(READ).await);
        assert_eq!((from4.status, from6.status), (v4, v6), "{allowed}");
        assert_eq!(audited(node, &from4)[0]["peer_ip"], "127.0.0.1");
        assert_eq!(audited(node, &from6)[0]["client_ip"], "::1");
    }
}

/// The client that the audit trail names, and the status.
async fn seen(node: &Node, answer: Answer) -> (u16, String) {
    let record = &audited(node, &answer)[0];
    (
        answer.status,
        record["client_ip"].as_str().unwrap().to_owned(),
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn behind_proxies_the_rightmost_address_that_is_none_of_them_counts() {
    let cluster = one(&[
        ("VAULT_TRUST_PROXY", "true"),
        ("VAULT_TRUSTED_PROXIES", "127.0.0.1,10.0.0.0/8,fd00::/8"),
        ("VAULT_ALLOWED_IPS", "192.0.2.7,2001:db8::7"),
    ])
    .await;
    let node = &cluster.nodes[0];
    let raw = Raw::node(node);
    for (headers, status, client) in [
        (&["192.0.2.7"][..], 200, "192.0.2.7"),
        (&["192.0.2.7:4711"], 200, "192.0.2.7"),
        (&["::ffff:192.0.2.7"], 200, "192.0.2.7"),
        (&["2001:db8::7"], 200, "2001:db8::7"),
        (&["[2001:db8::7]:4711"], 200, "2001:db8::7"),
        (&["192.0.2.7, 10.1.2.3 ,fd00::9"], 200, "192.0.2.7"),
        (&["192.0.2.7", "10.0.0.1"], 200, "192.0.2.7"),
        (&["10.0.0.1", "192.0.2.7"], 200, "192.0.2.7"),
        // Further left is the client's own claim, whatever it is.
        (&["192.0.2.7, 198.51.100.1"], 403, "198.51.100.1"),
        (&["192.0.2.7", "198.51.100.1"], 403, "198.51.100.1"),
        (
            &["192.0.2.7", "198.51.100.1, 10.0.0.1"],
            403,
            "198.51.100.1",
        ),
        (&["garbage, 192.0.2.7"], 200, "192.0.2.7"),
        // Only proxies, or a client that claims to be one: there is no telling who asks.
        (&["10.0.0.1, 10.0.0.2"], 403, "127.0.0.1"),
        // What is no address where one must be ends the search with a refusal.
        (&["garbage"], 403, "127.0.0.1"),
        (&[""], 403, "127.0.0.1"),
        (&["192.0.2.7,"], 403, "127.0.0.1"),
        (&["192.0.2.7, ,10.0.0.1"], 403, "127.0.0.1"),
        (&["192.0.2.7 10.0.0.1"], 403, "127.0.0.1"),
        (&["192.0.2.7", ""], 403, "127.0.0.1"),
        (&["192.0.2.7.evil"], 403, "127.0.0.1"),
        (&["0xC0.0.2.7"], 403, "127.0.0.1"),
        (&["192.0.2.007"], 403, "127.0.0.1"),
        (&["unknown"], 403, "127.0.0.1"),
        (&["192.0.2.7/32"], 403, "127.0.0.1"),
        (&["fe80::1%eth0"], 403, "127.0.0.1"),
        (&["\u{e9}"], 403, "127.0.0.1"),
    ] {
        let mut request = raw.clone();
        for header in headers {
            request = request.header("X-Forwarded-For", header);
        }
        let found = seen(node, request.get(READ).await).await;
        assert_eq!(found, (status, client.to_owned()), "{headers:?}");
    }
    // No header: the proxy itself asks. Other headers say nothing.
    assert_eq!(
        seen(node, raw.get(READ).await).await,
        (403, "127.0.0.1".to_owned())
    );
    let others = raw
        .header("X-Real-IP", "192.0.2.7")
        .header("Forwarded", "for=192.0.2.7")
        .header("X-Client-IP", "192.0.2.7");
    assert_eq!(others.get(READ).await.status, 403);
    // Whoever is no proxy is the client, whatever it claims.
    let spoof = raw.from("127.0.0.2").header("X-Forwarded-For", "192.0.2.7");
    assert_eq!(
        seen(node, spoof.get(READ).await).await,
        (403, "127.0.0.2".to_owned())
    );
    // A chain longer than any real one ends in a refusal, not in work.
    let long = vec!["10.0.0.1"; 65].join(",");
    let long = raw.header("X-Forwarded-For", &format!("192.0.2.7,{long}"));
    assert_eq!(long.get(READ).await.status, 403);
    // A refused address is refused for management as well.
    let garbage = raw.header("X-Forwarded-For", "garbage").token(TOKEN);
    let refused = garbage.get("/v1/tokens").await.expect(403);
    assert_eq!(refused.code(), "address_not_allowed");
}

#[tokio::test(flavor = "multi_thread")]
async fn without_trust_the_header_is_ignored() {
    let cluster = one(&[("VAULT_TRUSTED_PROXIES", "127.0.0.2")]).await;
    let raw = Raw::node(&cluster.nodes[0]);
    let claims = |raw: Raw, client: &str| raw.header("X-Forwarded-For", client);
    claims(raw.clone(), "198.51.100.1")
        .get(READ)
        .await
        .expect(200);
    claims(raw.clone(), "garbage").get(READ).await.expect(200);
    claims(raw.from("127.0.0.2"), "127.0.0.1")
        .get(READ)
        .await
        .expect(403);
}

#[tokio::test(flavor = "multi_thread")]
async fn wrong_tokens_lock_an_address_out_for_a_while() {
    let cluster = one(&[
        ("VAULT_AUTH_LOCKOUT_SECS", "3"),
        ("VAULT_ALLOWED_IPS", "127.0.0.1,127.0.0.3"),
    ])
    .await;
    let node = &cluster.nodes[0];
    let raw = Raw::node(node);
    // No token at all is no guess.
    for _ in 0..10 {
        raw.get("/v1/tokens").await.expect(401);
    }
    // Unknown and malformed ones are, at whatever route they are tried.
    for (n, path) in ["/v1/tokens", "/v1/secrets", "/v1/audit", "/v1/roles/admin"]
        .into_iter()
        .enumerate()
    {
        let wrong = match n {
            0 => raw.header("Authorization", "Bearer short"),
            _ => raw.header("X-Vault-Token", WRONG),
        };
        assert_eq!(wrong.get(path).await.expect(401).code(), "unauthenticated");
    }
    raw.token(TOKEN).get("/v1/tokens").await.expect(200);
    let body = json!({"value": "x"});
    let locked = Instant::now();
    raw.token(WRONG).put(READ, &body).await.expect(401);
    // The right token does not open either, and the answer says when it may.
    for token in [TOKEN, WRONG] {
        let refused = raw.token(token).get("/v1/tokens").await.expect(429);
        assert_eq!(refused.code(), "locked_out");
        let retry = refused.headers["retry-after"].to_str().unwrap();
        let retry: u64 = retry.parse().unwrap();
        assert!((1..=4).contains(&retry), "{retry}");
        let record = &audited(node, &refused)[0];
        assert_eq!(
            (&record["outcome"], &record["status"]),
            (&json!("denied"), &json!(429))
        );
    }
    let refused = raw.get("/v1/tokens").await.expect(429);
    assert_eq!(refused.json["code"], "locked_out");
    // Reads by address go on, and other addresses are not affected.
    raw.get(READ).await.expect(200);
    raw.token(WRONG).get(READ).await.expect(200);
    raw.get("/healthz").await.expect(200);
    let other = raw.from("127.0.0.3").token(TOKEN);
    other.get("/v1/tokens").await.expect(200);
    // Trying on does not lengthen it; the time said is the time it takes.
    let deadline = locked + PATIENCE;
    loop {
        let answer = raw.token(TOKEN).get("/v1/tokens").await;
        if answer.status == 200 {
            break;
        }
        assert_eq!(answer.status, 429);
        assert!(Instant::now() < deadline);
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    let took = locked.elapsed();
    assert!(took >= Duration::from_secs(3), "{took:?}");
    assert!(took < Duration::from_secs(20), "{took:?}");
    // Afterwards the count starts anew.
    for _ in 0..4 {
        raw.token(WRONG).get("/v1/tokens").await.expect(401);
    }
    raw.token(TOKEN).get("/v1/tokens").await.expect(200);
    let page = raw.get("/metrics").await.expect(200).text;
    assert!(page.contains("strongroom_lockouts_total 1\n"), "{page}");
}

#[tokio::test(flavor = "multi_thread")]
async fn claimed_addresses_neither_escape_the_lockout_nor_lock_others_out() {
    // 127.0.0.1 is a proxy; 127.0.0.2 is not.
    let cluster = one(&[
        ("VAULT_TRUST_PROXY", "true"),
        ("VAULT_TRUSTED_PROXIES", "127.0.0.1"),
    ])
    .await;
    let raw = Raw::node(&cluster.nodes[0]);
    let attacker = raw.from("127.0.0.2");
    let mut statuses = Vec::new();
    for n in 0..8 {
        let claim = format!("198.51.100.{n}");
        let guess = attacker.header("X-Forwarded-For", &claim).token(WRONG);
        statuses.push(guess.get("/v1/tokens").await.status);
    }
    assert_eq!(statuses, [401, 401, 401, 401, 401, 429, 429, 429]);
    // Through the proxy, in front of which the attacker claims addresses further left.
    let mut statuses = Vec::new();
    for n in 0..8 {
        let claim = format!("198.51.100.{n}, 203.0.113.9");
        let guess = raw.header("X-Forwarded-For", &claim).token(WRONG);
        statuses.push(guess.get("/v1/tokens").await.status);
    }
    assert_eq!(statuses, [401, 401, 401, 401, 401, 429, 429, 429]);
    // Nobody whose address was claimed is locked out, and the proxy is not either.
    for victim in ["198.51.100.1", "198.51.100.7", "203.0.113.10"] {
        let victim = raw.header("X-Forwarded-For", victim).token(TOKEN);
        victim.get("/v1/tokens").await.expect(200);
    }
    raw.token(TOKEN).get("/v1/tokens").await.expect(200);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_bootstrap_token_may_be_given_as_its_hash() {
    // printf %s abcdefghijklmnopqrstuvwxyz | sha256sum
    let hash = "sha256:71c480df93d6ae2f1efad1447c66c9525e316218cf51fc8d9ed832f2daf18b73";
    let cluster = Cluster::start_with(1, &[("VAULT_BOOTSTRAP_TOKEN", hash)]).await;
    let raw = Raw::node(&cluster.nodes[0]);
    let list = raw.token("abcdefghijklmnopqrstuvwxyz").get("/v1/tokens");
    let list = list.await.expect(200);
    assert_eq!(list.json["tokens"][0]["name"], "bootstrap-admin");
    assert_eq!(list.json["tokens"][0]["role"], "admin");
    // The hash is not the token.
    raw.token(hash).get("/v1/tokens").await.expect(401);
    // The trail says when the most powerful token there is came into being.
    let records = audit_records(&cluster.nodes[0]);
    let made = records.iter().filter(|r| r["action"] == "token.bootstrap");
    let outcomes: Vec<_> = made.map(|r| (&r["actor"], &r["outcome"])).collect();
    let node = json!("node");
    assert_eq!(
        outcomes,
        [(&node, &json!("attempted")), (&node, &json!("done"))]
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn the_bootstrap_token_opens_nothing_once_an_admin_token_has_existed() {
    let mut cluster = Cluster::start(3).await;
    let admin = Raw::node(&cluster.nodes[0]).token(TOKEN);
    let body = json!({"name": "successor", "role": "admin"});
    let made = admin.post("/v1/tokens", &body).await.expect(201);
    let successor = made.json["token"].as_str().unwrap().to_owned();
    let raw = Raw::node(&cluster.nodes[1]).token(&successor);
    raw.delete("/v1/tokens/bootstrap-admin").await.expect(204);
    admin.get("/v1/tokens").await.expect(401);
    // The setting is still there: after a restart it revives nothing. Another one opens nothing
    // either, even when no admin token is left at all.
    raw.delete("/v1/tokens/successor").await.expect(204);
    for token in [TOKEN, "another-bootstrap-token-1"] {
        for node in &mut cluster.nodes {
            node.kill();
            node.env
                .insert("VAULT_BOOTSTRAP_TOKEN".into(), token.into());
        }
        cluster.nodes.iter_mut().for_each(Node::start);
        cluster.wait_ready().await;
        tokio::time::sleep(Duration::from_millis(500)).await;
        for node in &cluster.nodes {
            for dead in [token, TOKEN, &successor] {
                let refused = Raw::node(node).token(dead).get("/v1/tokens").await;
                assert_eq!(refused.expect(401).code(), "unauthenticated");
            }
        }
    }
}

/// Who is early is told so: no wrong token is counted while the right one is not there yet.
#[tokio::test(flavor = "multi_thread")]
async fn the_bootstrap_token_used_too_early_locks_nobody_out() {
    for count in [1, 3] {
        let mut cluster = Cluster::prepare(count, &[]);
        cluster.nodes.iter_mut().for_each(Node::start);
        let raw = Raw::node(&cluster.nodes[0]);
        let request = raw.token(TOKEN).head("GET", "/v1/tokens", &[]);
        let deadline = Instant::now() + PATIENCE;
        loop {
            assert!(Instant::now() < deadline);
            if raw.connect().await.is_err() {
                tokio::time::sleep(Duration::from_millis(2)).await;
                continue;
            }
            let answer = raw.answer_to(request.clone()).await;
            match answer.status {
                200 => break,
                503 => assert!(
                    ["starting", "no_leader"].contains(&answer.code()),
                    "{}",
                    answer.text
                ),
                other => panic!("{other}: {}", answer.text),
            }
        }
    }
}
