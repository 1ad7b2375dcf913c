//! Traces: what a collector gets, what it never gets, and that nothing waits for it.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::print_stdout
)]

use std::{
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use serde_json::json;
use strongroom_tests::{
    canary::canary,
    cluster::{Cluster, TOKEN},
    node::PATIENCE,
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
};

/// Takes what is sent to it, and says yes.
#[derive(Clone, Default)]
struct Collector(Arc<Mutex<Vec<u8>>>);

impl Collector {
    async fn start(&self) -> String {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let own = self.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let own = own.clone();
                tokio::spawn(async move { own.serve(stream).await });
            }
        });
        format!("http://{address}")
    }

    async fn serve(&self, mut stream: TcpStream) -> Option<()> {
        let mut taken = Vec::new();
        loop {
            let mut part = [0; 4_096];
            let count = stream.read(&mut part).await.ok().filter(|n| *n > 0)?;
            taken.extend_from_slice(&part[..count]);
            let text = String::from_utf8_lossy(&taken).into_owned();
            let Some((head, _)) = text.split_once("\r\n\r\n") else {
                continue;
            };
            let lower = head.to_lowercase();
            let length = lower
                .lines()
                .find_map(|l| l.strip_prefix("content-length: "));
            let length: usize = length.unwrap().trim().parse().unwrap();
            if taken.len() < head.len() + 4 + length {
                continue;
            }
            assert!(head.starts_with("POST /v1/traces "), "{head}");
            assert!(lower.contains("application/x-protobuf"), "{head}");
            self.0.lock().unwrap().append(&mut taken);
            let yes = "HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n";
            stream.write_all(yes.as_bytes()).await.ok()?;
        }
    }

    fn holds(&self, text: &str) -> bool {
        let taken = self.0.lock().unwrap();
        taken
            .windows(text.len())
            .any(|part| part == text.as_bytes())
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_collector_gets_the_stages_of_a_request_and_no_secret() {
    let collector = Collector::default();
    let url = collector.start().await;
    let env = [
        ("VAULT_OTLP_ENDPOINT", url.as_str()),
        ("OTEL_BSP_SCHEDULE_DELAY", "200"),
        ("VAULT_DEK_CACHE_TTL_SECS", "0"),
        // What is logged is not traced.
        ("VAULT_LOG", "trace"),
    ];
    let mut cluster = Cluster::start_with(1, &env).await;
    let (name, value, role) = (canary(), canary(), canary());
    let admin = cluster.admin(0);
    let secret = json!({"name": name, "value": value});
    admin.post("/v1/secrets", secret).await.expect(201);
    admin.get(&format!("/v1/secrets/{name}")).await.expect(200);
    admin.get(&format!("/v1/{name}?{value}")).await.expect(404);
    let lost = json!({"name": "t", "role": role});
    admin.post("/v1/tokens", lost).await.expect(404);
    let wanted = [
        "POST /v1/secrets",
        "GET /v1/secrets/{*name}",
        "GET other",
        "gate",
        "submit",
        "audit",
        "seal",
        "open",
        "kms",
        "generate",
        "unwrap",
        "service.instance.id",
        "http.response.status_code",
    ];
    let until = Instant::now() + PATIENCE / 4;
    while let Some(missing) = wanted.iter().find(|name| !collector.holds(name)) {
        let log = cluster.nodes[0].log_text();
        let panics: Vec<_> = log.lines().filter(|l| l.contains("panic")).collect();
        assert!(Instant::now() < until, "no span says {missing}: {panics:?}");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    // What waits is sent at the end.
    admin.get("/v1/admin/kms").await.expect(200);
    assert!(cluster.nodes[0].terminate().success());
    assert!(collector.holds("GET /v1/admin/kms"));
    for (what, text) in [
        ("the name", name.as_str()),
        ("the value", &value),
        ("the role", &role),
        ("the token", TOKEN),
    ] {
        assert!(!collector.holds(text), "{what} went to the collector");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_waits_for_a_collector_that_is_away_or_hangs() {
    // It takes connections and never answers.
    let hangs = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let hanging = format!("http://{}", hangs.local_addr().unwrap());
    for url in [hanging.as_str(), "http://127.0.0.1:9"] {
        let env = [
            ("VAULT_OTLP_ENDPOINT", url),
            ("OTEL_BSP_SCHEDULE_DELAY", "50"),
            ("OTEL_BSP_MAX_QUEUE_SIZE", "64"),
            ("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", "16"),
        ];
        let mut cluster = Cluster::start_with(1, &env).await;
        let secret = json!({"name": "s", "value": "v"});
        cluster
            .admin(0)
            .post("/v1/secrets", secret)
            .await
            .expect(201);
        let reader = cluster.nodes[0].api();
        let mut slowest = Duration::ZERO;
        for _ in 0..500 {
            let began = Instant::now();
            reader.get("/v1/secrets/s").await.expect(200);
            slowest = slowest.max(began.elapsed());
        }
        // Who waited for it would wait for 5 s.
        assert!(slowest < Duration::from_secs(4), "{url}: {slowest:?}");
        assert!(!cluster.nodes[0].log_text().contains("panic"), "{url}");
        if url == hanging {
            // It was asked, and has not answered.
            hangs.accept().await.unwrap();
        }
        let began = Instant::now();
        assert!(cluster.nodes[0].terminate().success());
        let took = began.elapsed();
        assert!(took < Duration::from_secs(8), "{url}: {took:?}");
        println!("{url}: the slowest read took {slowest:?}, the end {took:?}");
    }
}
