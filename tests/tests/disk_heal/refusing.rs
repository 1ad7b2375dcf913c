//! Disks that refuse: read-only, and full.

use strongroom_tests::{load::Load, shim::FailingDisk};

use super::*;

/// The leader's disk begins to refuse, with this error, under load.
async fn refuses(errno: rustix::io::Errno, words: &str) {
    let mut cluster = Cluster::prepare(3, &[]);
    let scratch = cluster.dir.path().to_owned();
    let disks: Vec<FailingDisk> = cluster
        .nodes
        .iter_mut()
        .map(|node| {
            let dir = node.data_dir.join("log");
            FailingDisk::install_with(node, &scratch, &dir, errno.raw_os_error())
        })
        .collect();
    cluster.nodes.iter_mut().for_each(Node::start);
    cluster.wait_ready().await;
    let admins: Vec<Api> = (0..3).map(|place| cluster.admin(place)).collect();
    let load = Load::start(&admins, 3, "load");
    load.wait_for_more(60).await;
    let failing = cluster.leader().await;
    disks[failing].break_down();
    let reader = cluster.nodes[failing].api();
    until("the node says so", async || {
        reader.get("/readyz").await.code() == "store_failed"
    })
    .await;
    let refused = admins[failing].post("/v1/secrets", json!({"name": "void", "value": "v"}));
    assert_eq!(refused.await.status, 503);
    let log = cluster.nodes[failing].log_text();
    assert!(log.contains(words), "{words}: {log}");
    until("another leads", async || cluster.leader().await != failing).await;
    load.wait_for_more(30).await;
    let ledger = load.stop().await;

    // Started again on a disk that still refuses, it ends and says why.
    cluster.nodes[failing].kill();
    cluster.nodes[failing].start();
    assert_eq!(cluster.nodes[failing].wait().code(), Some(3));
    let log = cluster.nodes[failing].log_text();
    assert!(log.lines().last().unwrap().contains(words), "{log}");
    assert!(
        set_aside(&cluster.nodes[failing]).is_empty(),
        "it is not damaged"
    );
    disks[failing].heal();
    cluster.nodes[failing].start();
    cluster.wait_ready().await;
    let held = cluster.assert_equal("load").await;
    let found = held.into_iter().map(|(k, v)| (k, v.value)).collect();
    let wrong = ledger.contradictions(&found);
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_leader_whose_disk_turns_read_only_makes_way_and_heals() {
    let _turn = alone().await;
    refuses(rustix::io::Errno::ROFS, "Read-only file system").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_leader_whose_disk_is_full_makes_way_and_heals() {
    let _turn = alone().await;
    refuses(rustix::io::Errno::NOSPC, "No space left on device").await;
}

/// A full disk takes syncs and what makes no file longer: it gets further than one that refuses all.
#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_is_started_on_a_full_disk_sets_nothing_aside() {
    let _turn = alone().await;
    let mut cluster = Cluster::prepare(3, &[]);
    let scratch = cluster.dir.path().to_owned();
    let dir = cluster.nodes[0].data_dir.join("log");
    let disk = FailingDisk::install(&mut cluster.nodes[0], &scratch, &dir);
    cluster.nodes.iter_mut().for_each(Node::start);
    cluster.wait_ready().await;
    create(&cluster.admin(0), "kept", 30).await;
    let before = identity(&cluster.nodes[0]);
    cluster.nodes[0].kill();
    disk.fill_up();
    cluster.nodes[0].start();
    let api = cluster.nodes[0].api();
    let mut ready = false;
    until("it runs, or says why not", async || {
        let answer = api.try_get("/readyz").await;
        ready = answer.is_ok_and(|answer| answer.status == 200);
        ready || cluster.nodes[0].log_text().contains("No space left")
    })
    .await;
    println!("started on a full disk: ready {ready}");
    if !ready {
        assert_eq!(cluster.nodes[0].wait().code(), Some(3));
    }
    let log = cluster.nodes[0].log_text();
    assert!(set_aside(&cluster.nodes[0]).is_empty(), "{log}");
    assert_eq!(identity(&cluster.nodes[0]), before);
    disk.heal();
    cluster.nodes[0].kill();
    cluster.nodes[0].start();
    cluster.wait_ready().await;
    assert_eq!(cluster.assert_equal("kept").await.len(), 30);
}
