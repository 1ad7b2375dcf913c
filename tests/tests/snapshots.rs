//! Snapshots while writes go on, and what they do to the disk.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::print_stdout
)]

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use serde_json::{Value, json};
use strongroom_tests::{alone, cluster::Cluster, load::Load};

const MIB: u64 = 1024 * 1024;
const OFTEN: [(&str, &str); 2] = [
    ("VAULT_SNAPSHOT_LOG_BYTES", "64KiB"),
    ("VAULT_SNAPSHOT_LOG_ENTRIES", "20"),
];

/// The snapshot files of a node, by name. A name begins with the index the snapshot claims.
fn snapshot_names(cluster: &Cluster, place: usize) -> BTreeSet<String> {
    let dir = cluster.nodes[place].data_dir.join("snapshots");
    fs::read_dir(dir)
        .map(|files| {
            files
                .filter_map(|file| file.ok()?.file_name().into_string().ok())
                .filter(|name| name.ends_with(".snapshot"))
                .collect()
        })
        .unwrap_or_default()
}

/// Nodes killed at any moment come back from snapshots that were taken under load. If one held less
/// than its label says, the log after it would be applied to the wrong state, and the nodes would
/// differ from each other or from what was acknowledged.
#[tokio::test(flavor = "multi_thread")]
async fn a_snapshot_taken_under_load_holds_what_it_says() {
    let _turn = alone().await;
    let mut cluster = Cluster::start_with(3, &OFTEN).await;
    let admins: Vec<_> = (0..3).map(|place| cluster.admin(place)).collect();
    let load = Load::start(&admins, 6, "load");
    let mut seen = BTreeSet::new();
    for round in 0..6 {
        load.wait_for_more(250).await;
        let place = round % 3;
        cluster.nodes[place].kill();
        seen.extend(snapshot_names(&cluster, place));
        load.wait_for_more(100).await;
        cluster.nodes[place].start();
        cluster.nodes[place].wait_ready().await;
    }
    let ledger = load.stop().await;
    println!(
        "{} acknowledged, {} unknown; {} snapshots started from",
        ledger.acknowledged,
        ledger.unknown,
        seen.len()
    );
    assert!(seen.len() >= 3, "too few snapshots: {seen:?}");
    let check = |held: BTreeMap<String, strongroom_tests::compare::Held>| {
        let found: BTreeMap<String, Value> = held.into_iter().map(|(k, v)| (k, v.value)).collect();
        let wrong = ledger.contradictions(&found);
        assert!(wrong.is_empty(), "{wrong:#?}");
    };
    check(cluster.assert_equal("load").await);
    for place in 0..3 {
        cluster.nodes[place].kill();
        cluster.nodes[place].start();
        cluster.nodes[place].wait_ready().await;
    }
    check(cluster.assert_equal("load").await);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_disk_stays_bounded_under_overwrites() {
    let _turn = alone().await;
    const SECRETS: usize = 20;
    const UPDATES: usize = 20_000;
    let small = [
        ("VAULT_SNAPSHOT_LOG_BYTES", "1MiB"),
        ("VAULT_SNAPSHOT_LOG_ENTRIES", "2000"),
    ];
    let mut cluster = Cluster::start_with(1, &small).await;
    let admin = cluster.admin(0);
    for n in 0..SECRETS {
        let body = json!({"name": format!("over/{n}"), "value": "first", "max_versions": 3});
        admin.post("/v1/secrets", body).await.expect(201);
    }
    let began = Instant::now();
    let next = Arc::new(AtomicUsize::new(0));
    let writers: Vec<_> = (0..SECRETS)
        .map(|secret| {
            let (admin, next) = (admin.clone(), Arc::clone(&next));
            tokio::spawn(async move {
                let path = format!("/v1/secrets/over/{secret}");
                while next.fetch_add(1, Ordering::Relaxed) < UPDATES {
                    let body = json!({"value": "x".repeat(1_000)});
                    admin.put(&path, body).await.expect(200);
                }
            })
        })
        .collect();
    let mut peak = 0;
    while next.load(Ordering::Relaxed) < UPDATES {
        let bytes = cluster.disk_bytes(0);
        peak = peak.max(bytes.log + bytes.snapshots);
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    for writer in writers {
        writer.await.expect("a writer");
    }
    println!(
        "{UPDATES} updates of 1,000 bytes took {:?}",
        began.elapsed()
    );
    tokio::time::sleep(Duration::from_secs(3)).await;
    let at_rest = cluster.disk_bytes(0);
    cluster.nodes[0].terminate();
    let stopped = cluster.disk_bytes(0);
    cluster.nodes[0].start();
    cluster.nodes[0].wait_ready().await;
    let again = cluster.disk_bytes(0);
    println!("disk: peak {peak}, at rest {at_rest:?}, stopped {stopped:?}, again {again:?}");
    assert!(at_rest.snapshots > 0, "no snapshot was taken");
    // 20 MB were written; 60 KB of them are alive, and what the newest 16,384 requests did is kept.
    assert!(at_rest.snapshots < 2 * MIB, "{at_rest:?}");
    assert!(peak < 64 * MIB, "the log grew to {peak}");
    assert!(at_rest.log < 64 * MIB && again.log < 64 * MIB);
    let read = cluster.nodes[0].api().get("/v1/secrets/over/0").await;
    assert_eq!(read.expect(200).json["value"], "x".repeat(1_000));
}
