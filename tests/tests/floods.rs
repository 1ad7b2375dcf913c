//! Clients that ask for more than anybody needs: what they cost is bounded, and others are served.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::print_stdout
)]

use std::time::{Duration, Instant};

use serde_json::{Value, json};
use strongroom_tests::{
    cluster::{Cluster, TOKEN},
    node::{Node, PATIENCE},
    raw::{Raw, audit_records, audited},
};

const READ: &str = "/v1/secrets/s";

async fn one(env: &[(&str, &str)]) -> Cluster {
    let cluster = Cluster::start_with(1, env).await;
    let secret = json!({"name": "s", "value": "v"});
    let admin = Raw::node(&cluster.nodes[0]).token(TOKEN);
    admin.post("/v1/secrets", &secret).await.expect(201);
    cluster
}

/// Sends reads from an address that may not read; how many were refused by name, and how many as one
/// of too many.
async fn flood(raw: Raw, times: u64) -> (u64, u64) {
    let mut counts = (0, 0);
    for _ in 0..times {
        let answer = raw.get(READ).await;
        match (answer.status, answer.code()) {
            (403, "address_not_allowed") => counts.0 += 1,
            (429, "rate_limited") => {
                assert_eq!(answer.headers["retry-after"], "1");
                counts.1 += 1;
            }
            other => panic!("{other:?}"),
        }
    }
    counts
}

fn by(node: &Node, client: &str) -> Vec<Value> {
    let mut records = audit_records(node);
    records.retain(|record| record["client_ip"] == client);
    records
}

#[tokio::test(flavor = "multi_thread")]
async fn refusals_beyond_a_burst_are_counted_and_not_written_one_by_one() {
    const EACH: u64 = 1_600;
    let cluster = one(&[("VAULT_ALLOWED_IPS", "127.0.0.1")]).await;
    let node = &cluster.nodes[0];
    let raw = Raw::node(node);
    let admin = raw.token(TOKEN);
    let role = json!({"name": "low", "permissions": [{"action": "create", "path": "app/*"}]});
    admin.post("/v1/roles", &role).await.expect(201);
    let token = json!({"name": "low", "role": "low"});
    let made = admin.post("/v1/tokens", &token).await.expect(201).json;
    let low = made["token"].as_str().unwrap().to_owned();
    let began = Instant::now();
    let floods: Vec<_> = ["127.0.0.2", "127.0.0.3"]
        .map(|from| tokio::spawn(flood(raw.from(from), EACH)))
        .into();
    let mut limited = Vec::new();
    for flood in floods {
        let (refused, beyond) = flood.await.unwrap();
        // The burst, and what is allowed again every second.
        let most = 1_000 + 5 * began.elapsed().as_secs() + 5;
        assert!((1_000..=most).contains(&refused), "{refused}");
        assert_eq!(refused + beyond, EACH);
        limited.push(beyond);
    }
    // Others are neither limited nor kept from being refused by name.
    raw.get(READ).await.expect(200);
    raw.from("127.0.0.4").get(READ).await.expect(403);
    // Nor does it hide what the holder of a token tries from the same address.
    let denied = raw.from("127.0.0.2").token(&low).get("/v1/tokens").await;
    let denied = denied.expect(403);
    assert_eq!(denied.code(), "permission_denied");
    assert_eq!(audited(node, &denied)[0]["actor"], "low");
    // Each refusal is a record of its own or counted by one.
    let deadline = Instant::now() + PATIENCE;
    for (client, limited) in ["127.0.0.2", "127.0.0.3"].iter().zip(limited) {
        loop {
            let records = by(node, client);
            let (counts, each): (Vec<_>, Vec<_>) = records
                .iter()
                .filter(|record| record["actor"] != "low")
                .partition(|record| record["action"] == "refusals.uncounted");
            let counted: u64 = counts
                .iter()
                .map(|record| record["target"].as_str().unwrap().parse::<u64>().unwrap())
                .sum();
            if counted == limited {
                assert_eq!(each.len() as u64, EACH - limited, "{client}");
                assert!(counts.iter().all(|record| record["outcome"] == "denied"));
                break;
            }
            assert!(Instant::now() < deadline, "{counted} of {limited}");
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    }
}

/// The value of a gauge.
async fn gauge(raw: &Raw, name: &str) -> u64 {
    let page = raw.get("/metrics").await.expect(200).text;
    let line = page
        .lines()
        .find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    line.unwrap_or_else(|| panic!("no {name} in {page}"))
        .parse()
        .unwrap()
}

async fn until(raw: &Raw, name: &str, value: u64) {
    let deadline = Instant::now() + PATIENCE;
    while gauge(raw, name).await != value {
        assert!(Instant::now() < deadline, "{name} is not {value}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_waits_and_hangs_up_costs_nothing_any_more() {
    const WAITERS: u64 = 200;
    let cluster = one(&[]).await;
    let node = &cluster.nodes[0];
    let raw = Raw::node(node);
    let mut waiting = Vec::new();
    for _ in 0..WAITERS {
        let mut stream = raw.connect().await.unwrap();
        let head = raw.head("GET", &format!("{READ}?wait=300s&after_version=1"), &[]);
        tokio::io::AsyncWriteExt::write_all(&mut stream, &head)
            .await
            .unwrap();
        waiting.push(stream);
    }
    until(&raw, "strongroom_waits", WAITERS).await;
    drop(waiting);
    until(&raw, "strongroom_waits", 0).await;
    // Nothing was shown, and so nothing was read.
    let read = |record: &Value| record["action"] == "secret.read" && record["outcome"] == "done";
    assert!(!audit_records(node).iter().any(read));
}

#[tokio::test(flavor = "multi_thread")]
async fn no_other_site_can_have_a_browser_read_from_here() {
    let cluster = one(&[("VAULT_ALLOWED_HOSTS", "vault.example, localhost")]).await;
    let node = &cluster.nodes[0];
    let raw = Raw::node(node);
    // The address itself is nobody else's name.
    raw.get(READ).await.expect(200);
    for (host, status) in [
        ("vault.example", 200),
        ("VAULT.example:8200", 200),
        ("localhost:1", 200),
        ("evil.example", 403),
        ("vault.example.evil", 403),
        ("", 403),
    ] {
        for path in [READ, "/metrics", "/v1/tokens", "/v1/admin/cluster"] {
            let request = format!(
                "GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\
                 Authorization: Bearer {TOKEN}\r\n\r\n"
            );
            let answer = raw.answer_to(request.into_bytes()).await.expect(status);
            if status == 403 {
                assert_eq!(answer.code(), "address_not_allowed");
                assert_eq!(audited(node, &answer)[0]["target"], "host");
            }
        }
    }
    for (name, value, status) in [
        ("Origin", "http://evil.example", 403),
        ("Origin", "null", 403),
        ("Sec-Fetch-Site", "cross-site", 403),
        ("Sec-Fetch-Site", "same-site", 403),
        ("Sec-Fetch-Site", "same-origin", 200),
        ("Sec-Fetch-Site", "none", 200),
    ] {
        let answer = raw.header(name, value).get(READ).await.expect(status);
        if status == 403 {
            assert_eq!(audited(node, &answer)[0]["target"], "origin", "{value}");
        }
    }
}
