//! The disk fails under a node: EIO on every write and sync.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::print_stdout
)]

use std::{
    collections::BTreeMap,
    fs,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use serde_json::{Value, json};
use strongroom_tests::{
    alone,
    api::{Answer, Api},
    cluster::Cluster,
    load::{Fate, Load, attempt},
    node::{Node, PATIENCE},
    shim::FailingDisk,
};

async fn until(what: &str, within: Duration, mut fits: impl AsyncFnMut() -> bool) -> Duration {
    let began = Instant::now();
    while !fits().await {
        assert!(began.elapsed() < within, "{what}: not within {within:?}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    began.elapsed()
}

fn files_text(dir: &Path) -> String {
    let files = fs::read_dir(dir).unwrap();
    files
        .filter_map(|file| fs::read_to_string(file.ok()?.path()).ok())
        .collect()
}

/// A client that a trusted proxy brings from an address that may not read.
async fn from_outside(api: &Api) -> Answer {
    let headers = [("x-forwarded-for", "192.0.2.7")];
    let sent = api.try_send("GET", "/v1/secrets/kept", &headers, None);
    sent.await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_served_that_the_audit_trail_cannot_take() {
    let _turn = alone().await;
    let proxy = [
        ("VAULT_TRUST_PROXY", "true"),
        ("VAULT_TRUSTED_PROXIES", "127.0.0.2/32,127.0.0.1/32"),
    ];
    let mut cluster = Cluster::prepare(1, &proxy);
    let audit_dir = cluster.nodes[0].data_dir.join("audit");
    let disk = {
        let scratch = cluster.dir.path().to_owned();
        FailingDisk::install(&mut cluster.nodes[0], &scratch, &audit_dir)
    };
    cluster.nodes[0].start();
    cluster.wait_ready().await;
    let (admin, reader) = (cluster.admin(0), cluster.nodes[0].api());
    let body = json!({"name": "kept", "value": "v"});
    admin.post("/v1/secrets", body).await.expect(201);
    reader.get("/v1/secrets/kept").await.expect(200);
    from_outside(&reader).await.expect(403);

    // Readers go on all the while: each value they get must stand in the trail.
    let stop = Arc::<AtomicBool>::default();
    let readers: Vec<_> = (0..4)
        .map(|_| {
            let (reader, stop) = (reader.clone(), Arc::clone(&stop));
            tokio::spawn(async move {
                let mut served = Vec::new();
                while !stop.load(Ordering::Relaxed) {
                    let read = reader.get("/v1/secrets/kept").await;
                    match read.status {
                        200 => {
                            let id = read.headers["x-request-id"].to_str().unwrap();
                            served.push(id.to_owned());
                        }
                        503 => assert_eq!(read.code(), "audit_unavailable"),
                        other => panic!("{other}: {}", read.text),
                    }
                }
                served
            })
        })
        .collect();
    tokio::time::sleep(Duration::from_millis(300)).await;
    for round in 0..3 {
        disk.break_down();
        // Records on their way when it broke may still be written; from then on nothing is.
        tokio::time::sleep(Duration::from_millis(100)).await;
        for _ in 0..20 {
            let read = reader.get("/v1/secrets/kept").await.expect(503);
            assert_eq!(read.code(), "audit_unavailable");
            let refused = from_outside(&reader).await.expect(503);
            assert_eq!(refused.code(), "audit_unavailable");
        }
        let names = json!({"names": ["kept"]});
        for (method, path, body) in [
            ("POST", "/v1/batch/secrets", Some(names)),
            (
                "POST",
                "/v1/secrets/kept/verify",
                Some(json!({"value": "v"})),
            ),
            (
                "POST",
                "/v1/secrets",
                Some(json!({"name": "new", "value": "v"})),
            ),
            ("PUT", "/v1/secrets/kept", Some(json!({"value": "w"}))),
            ("DELETE", "/v1/secrets/kept", None),
            ("GET", "/v1/secrets", None),
            ("GET", "/v1/roles", None),
            (
                "POST",
                "/v1/tokens",
                Some(json!({"name": "t", "role": "admin"})),
            ),
        ] {
            let answer = admin.send(method, path, body).await;
            assert_eq!(
                (answer.status, answer.code()),
                (503, "audit_unavailable"),
                "{method} {path}: {}",
                answer.text
            );
        }
        let ready = reader.get("/readyz").await.expect(503);
        assert_eq!(ready.code(), "audit_unavailable");
        reader.get("/healthz").await.expect(200);
        disk.heal();
        let healed = until("ready again", PATIENCE, async || {
            reader.get("/readyz").await.status == 200
        })
        .await;
        let read = reader.get("/v1/secrets/kept").await.expect(200);
        assert_eq!(read.json["value"], "v", "an unaudited change was made");
        println!("round {round}: ready {healed:?} after the disk healed");
    }
    admin.get("/v1/secrets/new").await.expect(404);
    stop.store(true, Ordering::Relaxed);
    let mut served = Vec::new();
    for reader in readers {
        served.extend(reader.await.unwrap());
    }
    let trail = files_text(&audit_dir);
    let missing: Vec<_> = served.iter().filter(|id| !trail.contains(*id)).collect();
    assert!(missing.is_empty(), "served and not audited: {missing:?}");
    println!(
        "{} values served while the disk came and went, all audited",
        served.len()
    );
    let binary = strongroom_tests::node::binary();
    let verified = std::process::Command::new(binary)
        .args(["audit", "verify"])
        .arg(&audit_dir)
        .output()
        .unwrap();
    assert!(verified.status.success(), "{verified:?}");
}

/// The store of the node at `place`, counted from the leader, breaks under load.
async fn store_breaks(place_from_leader: usize) {
    let mut cluster = Cluster::prepare(3, &[]);
    let scratch = cluster.dir.path().to_owned();
    let disks: Vec<FailingDisk> = cluster
        .nodes
        .iter_mut()
        .map(|node| {
            let dir = node.data_dir.join("log");
            FailingDisk::install(node, &scratch, &dir)
        })
        .collect();
    cluster.nodes.iter_mut().for_each(Node::start);
    cluster.wait_ready().await;
    let admins: Vec<Api> = (0..3).map(|place| cluster.admin(place)).collect();
    let load = Load::start(&admins, 3, "load");
    load.wait_for_more(150).await;
    let failing = (cluster.leader().await + place_from_leader) % 3;
    let survivor = cluster.admin((failing + 1) % 3);
    disks[failing].break_down();
    let broke = Instant::now();
    let reader = cluster.nodes[failing].api();
    until("the node says so", Duration::from_secs(5), async || {
        let ready = reader.get("/readyz").await;
        ready.status == 503 && ready.code() == "store_failed"
    })
    .await;
    let said = broke.elapsed();
    // It acknowledges nothing more, whatever its disk does now, and serves nothing it cannot keep up.
    let body = || Some(json!({"name": "into/the/void", "value": "v"}));
    let refused = admins[failing].send("POST", "/v1/secrets", body()).await;
    assert_eq!(refused.status, 503, "{}", refused.text);
    let read = reader.get("/v1/secrets/none").await.expect(503);
    assert_eq!(read.code(), "store_failed");
    // The other two go on.
    for n in 0.. {
        let body = json!({"name": format!("probe/{n}"), "value": "v"});
        if let Fate::Done(answer) = attempt(&survivor, "POST", "/v1/secrets", Some(body)).await {
            answer.expect(201);
            break;
        }
        assert!(broke.elapsed() < PATIENCE, "the others do not go on");
    }
    println!(
        "said so after {said:?}; the others accepted a write {:?} after it broke",
        broke.elapsed()
    );
    load.wait_for_more(50).await;
    assert_ne!(cluster.leader().await, failing);
    let ledger = load.stop().await;
    disks[failing].heal();
    cluster.nodes[failing].kill();
    cluster.nodes[failing].start();
    cluster.wait_ready().await;
    let held = cluster.assert_equal("load").await;
    let found: BTreeMap<String, Value> = held.into_iter().map(|(k, v)| (k, v.value)).collect();
    let wrong = ledger.contradictions(&found);
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_leader_that_cannot_store_makes_way() {
    let _turn = alone().await;
    store_breaks(0).await;
}

/// A disk that hangs says nothing, and neither does what waits for it.
#[tokio::test(flavor = "multi_thread")]
async fn a_leader_whose_disk_hangs_says_so_and_makes_way() {
    let _turn = alone().await;
    let mut cluster = Cluster::prepare(3, &[]);
    let scratch = cluster.dir.path().to_owned();
    let disks: Vec<_> = cluster
        .nodes
        .iter_mut()
        .map(|node| {
            let data_dir = node.data_dir.join("log");
            FailingDisk::install(node, &scratch, &data_dir)
        })
        .collect();
    cluster.nodes.iter_mut().for_each(Node::start);
    cluster.wait_ready().await;
    let leader = cluster.leader().await;
    disks[leader].slow_down(Duration::from_secs(25));
    // A write has its core wait for the disk.
    let (admin, body) = (cluster.admin(leader), json!({"name": "h", "value": "v"}));
    tokio::spawn(async move { admin.post("/v1/secrets", body).await });
    let (hung, others) = (
        cluster.nodes[leader].api(),
        [(leader + 1) % 3, (leader + 2) % 3],
    );
    until("not ready", Duration::from_secs(10), async || {
        hung.get("/readyz").await.code() == "no_leader"
    })
    .await;
    let admin = cluster.admin(others[0]);
    until("another leads", Duration::from_secs(10), async || {
        let body = json!({"name": format!("after/{}", cluster.nodes.len()), "value": "v"});
        let written = admin.post("/v1/secrets", body).await.status;
        written == 201 || written == 409
    })
    .await;
    // SIGTERM ends it in time all the same.
    let began = Instant::now();
    cluster.nodes[leader].signal(rustix::process::Signal::TERM);
    cluster.nodes[leader].wait();
    assert!(began.elapsed() < Duration::from_secs(30));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_follower_that_cannot_store_says_so_and_holds_up_nobody() {
    let _turn = alone().await;
    store_breaks(1).await;
}
