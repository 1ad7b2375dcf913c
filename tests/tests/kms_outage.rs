//! Three nodes under load whose KMS hangs, and then is gone.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::print_stdout
)]

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use serde_json::json;
use strongroom_tests::{
    api::Api,
    kms_cluster::{KmsCluster, metric, read},
    moto::gate::Mode,
};

/// Reads of cached secrets, around and around, until told to stop: how long each took.
fn reader(api: Api, secrets: usize, stop: Arc<AtomicBool>) -> tokio::task::JoinHandle<Vec<f64>> {
    tokio::spawn(async move {
        let mut took = Vec::new();
        while !stop.load(Ordering::Relaxed) {
            let name = format!("warm/{}", took.len() % secrets);
            let began = Instant::now();
            let answer = read(&api, &name).await.expect(200);
            took.push(began.elapsed().as_secs_f64() * 1_000.0);
            assert_eq!(answer.json["value"], format!("value of {name}"));
            tokio::time::sleep(Duration::from_millis(4)).await;
        }
        took
    })
}

struct Load {
    stop: Arc<AtomicBool>,
    readers: Vec<tokio::task::JoinHandle<Vec<f64>>>,
}

fn load(it: &KmsCluster, secrets: usize) -> Load {
    let stop = Arc::new(AtomicBool::new(false));
    let readers = (0..6)
        .map(|n| {
            let api = it.cluster.nodes[n % it.cluster.nodes.len()].api();
            reader(api, secrets, Arc::clone(&stop))
        })
        .collect();
    Load { stop, readers }
}

impl Load {
    /// The 50th, 99th and 99.9th percentile in milliseconds, of how many reads.
    async fn end(self, what: &str) -> f64 {
        self.stop.store(true, Ordering::Relaxed);
        let mut took = Vec::new();
        for reader in self.readers {
            took.extend(reader.await.expect("cached reads never fail"));
        }
        took.sort_by(f64::total_cmp);
        let at = |share: f64| took[((took.len() - 1) as f64 * share) as usize];
        println!(
            "{what}: {} reads, p50 {:.2} ms, p99 {:.2} ms, p99.9 {:.2} ms, max {:.2} ms",
            took.len(),
            at(0.5),
            at(0.99),
            at(0.999),
            at(1.0)
        );
        at(0.99)
    }
}

/// How long each outage lasts: `STRONGROOM_OUTAGE_SECS` for more than a look.
fn outage() -> Duration {
    let secs = std::env::var("STRONGROOM_OUTAGE_SECS").ok();
    Duration::from_secs(secs.map_or(15, |secs| secs.parse().unwrap()))
}

/// What the client of a node sees while KMS does not work: every write and every cold read ends with
/// `kms_unavailable`, and in time.
async fn suffer(api: Api, phase: usize, node: usize, until: Instant) -> usize {
    let mut tries = 0;
    while Instant::now() < until {
        let began = Instant::now();
        let name = format!("lost/{phase}/{node}/{tries}");
        let write = api
            .post("/v1/secrets", json!({"name": name, "value": "x"}))
            .await;
        assert_eq!(
            (write.status, write.code()),
            (503, "kms_unavailable"),
            "{}",
            write.text
        );
        assert!(
            began.elapsed() < Duration::from_secs(5),
            "{:?}",
            began.elapsed()
        );
        let began = Instant::now();
        // Written at node 0, and so cold at the others.
        if node > 0 {
            let cold = read(&api, &format!("cold/{phase}/{}", tries % 10)).await;
            assert_eq!(
                (cold.status, cold.code()),
                (503, "kms_unavailable"),
                "{}",
                cold.text
            );
            assert!(
                began.elapsed() < Duration::from_secs(5),
                "{:?}",
                began.elapsed()
            );
        }
        tries += 1;
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    tries
}

/// The same work as [`suffer`] does, while KMS answers.
async fn write(api: Api, writer: usize, until: Instant) {
    let mut tries = 0;
    while Instant::now() < until {
        let body = json!({"name": format!("before/{writer}/{tries}"), "value": "x"});
        api.post("/v1/secrets", body).await.expect(201);
        tries += 1;
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_outage_of_kms_is_not_an_outage_of_cached_reads() {
    const SECRETS: usize = 30;
    const NOISE_MS: f64 = 200.0;
    // Less than what a call to KMS may take, so that the request's deadline is what ends it.
    let it = KmsCluster::start(3, &[("VAULT_REQUEST_TIMEOUT_SECS", "3")]).await;
    for n in 0..SECRETS {
        it.create(0, &format!("warm/{n}")).await.expect(201);
    }
    // For each outage others: a call that was under way when KMS came back has brought its key.
    for n in 0..20 {
        let name = format!("cold/{}/{}", n / 10, n % 10);
        it.create(0, &name).await.expect(201);
    }
    for node in &it.cluster.nodes {
        for n in 0..SECRETS {
            let path = format!("/v1/secrets/warm/{n}?consistency=linearizable");
            node.api().get(&path).await.expect(200);
        }
    }
    let term = it.term().await;
    let running = load(&it, SECRETS);
    let until = Instant::now() + outage();
    let writers: Vec<_> = (0..6)
        .map(|n| tokio::spawn(write(it.cluster.admin(n % 3), n, until)))
        .collect();
    for writer in writers {
        writer.await.unwrap();
    }
    let before = running.end("before").await;

    let outages = [
        ("while it hangs", Mode::Hold),
        ("while it is gone", Mode::Cut),
    ];
    for (phase, (what, mode)) in outages.into_iter().enumerate() {
        it.gate.set(mode);
        let until = Instant::now() + outage();
        let running = load(&it, SECRETS);
        let sufferers: Vec<_> = (0..3)
            .flat_map(|node| [node, node])
            .map(|node| tokio::spawn(suffer(it.cluster.admin(node), phase, node, until)))
            .collect();
        for sufferer in sufferers {
            assert!(sufferer.await.unwrap() > 2);
        }
        let during = running.end(what).await;
        println!(
            "{what}: p99 of cached reads {:.2} times what it was",
            during / before
        );
        // Twice, and what a busy machine adds. A read that waited for KMS would have waited for seconds.
        assert!(
            during < 2.0 * before + NOISE_MS,
            "p99 {during} ms, before {before} ms"
        );
        let ready = it.cluster.nodes[1].api().get("/readyz").await;
        assert_eq!((ready.status, ready.code()), (503, "kms_unavailable"));
        for node in 0..3 {
            let opened = "strongroom_kms_breaker_opened_total";
            assert!(metric(&it.cluster.admin(node), opened).await >= 1.0);
        }

        it.gate.set(Mode::Pass);
        let healing = Instant::now();
        it.cluster.wait_ready().await;
        println!("{what}: ready again {:?} after", healing.elapsed());
        assert!(healing.elapsed() < Duration::from_secs(20));
        for node in 0..3 {
            it.wait_breaker(node, "closed").await;
            it.create(node, &format!("after {what}/{node}").replace(' ', "-"))
                .await
                .expect(201);
        }
        assert_eq!(it.term().await, term, "nobody was elected");
    }
    let last = read(&it.cluster.nodes[2].api(), "cold/0/0")
        .await
        .expect(200);
    assert_eq!(last.json["value"], "value of cold/0/0");
}
