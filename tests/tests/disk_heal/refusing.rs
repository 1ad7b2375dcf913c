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
