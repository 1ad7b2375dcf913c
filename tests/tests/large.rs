//! Many large values at once cost no election.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::print_stdout
)]

use std::time::{Duration, Instant};

use serde_json::json;
use strongroom_tests::{alone, cluster::Cluster};

const WRITERS: usize = 64;
const BYTES: usize = 400 * 1024;

#[tokio::test(flavor = "multi_thread")]
async fn sixty_four_writers_of_large_values_cost_no_election() {
    let _turn = alone().await;
    let cluster = Cluster::start(3).await;
    let leader = cluster.leader().await;
    let term = |view: &serde_json::Value| view["term"].as_u64().unwrap();
    let before = cluster.admin(leader).get("/v1/admin/cluster").await;
    let began = Instant::now();
    let writers: Vec<_> = (0..WRITERS)
        .map(|n| {
            let admin = cluster.admin(n % 3);
            tokio::spawn(async move {
                let value = format!("{n:04}").repeat(BYTES / 4);
                let body = json!({"name": format!("large/{n}"), "value": value});
                let began = Instant::now();
                admin.post("/v1/secrets", body).await.expect(201);
                began.elapsed()
            })
        })
        .collect();
    let mut slowest = Duration::ZERO;
    for writer in writers {
        slowest = slowest.max(writer.await.expect("a writer"));
    }
    println!(
        "{WRITERS} writers of 400 KB at once: {:?}, the slowest {slowest:?}",
        began.elapsed()
    );
    let after = cluster.admin(leader).get("/v1/admin/cluster").await;
    assert_eq!(term(&before.json), term(&after.json), "an election");
    assert_eq!(before.json["leader"], after.json["leader"]);
    let held = cluster.assert_equal("large/").await;
    assert_eq!(held.len(), WRITERS);
    for (name, held) in held {
        let n: usize = name.trim_start_matches("large/").parse().unwrap();
        assert!(held.value == format!("{n:04}").repeat(BYTES / 4), "{name}");
    }
}
