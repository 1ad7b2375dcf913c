//! Damaged files: set aside by the node itself where the others go on, and left where they do not.

use super::*;

/// Waits until the node is a voter under another Raft id, and all three hold the same.
async fn assert_came_back(cluster: &Cluster, place: usize, before: &Value, secrets: usize) {
    let node = &cluster.nodes[place];
    node.wait_ready().await;
    let after = identity(node);
    assert_eq!(after["node_id"], before["node_id"]);
    assert_ne!(after["raft_id"], before["raft_id"]);
    until("it is a voter again", async || {
        let view = cluster.admin(place).get("/v1/admin/cluster").await;
        let nodes = view.json["nodes"].as_array().cloned().unwrap_or_default();
        nodes.len() == 3 && view.json["failure_tolerance"] == 1
    })
    .await;
    assert_eq!(cluster.assert_equal("").await.len(), secrets);
    let audit: String = ending(&node.data_dir.join("audit"), ".jsonl")
        .iter()
        .map(|file| fs::read_to_string(file).unwrap())
        .collect();
    assert!(audit.contains("\"store.set_aside\""), "{audit}");
    let verified = std::process::Command::new(binary())
        .args(["audit", "verify"])
        .arg(node.data_dir.join("audit"))
        .output();
    assert!(verified.unwrap().status.success());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_damaged_log_is_set_aside_and_the_node_comes_back_by_itself() {
    let _turn = alone().await;
    let mut cluster = Cluster::start(3).await;
    create(&cluster.admin(0), "kept", 30).await;
    cluster.wait_level().await;
    // Whoever leads is as good as any other.
    let place = cluster.leader().await;
    let before = identity(&cluster.nodes[place]);
    cluster.nodes[place].kill();
    spoil_log(&cluster.nodes[place]);
    let other = cluster.admin((place + 1) % 3);
    create(&other, "meanwhile", 5).await;
    cluster.nodes[place].start();
    assert_came_back(&cluster, place, &before, 35).await;
    let aside = set_aside(&cluster.nodes[place]);
    assert_eq!(aside.len(), 1);
    assert!(aside[0].join("log/db").exists() && aside[0].join("node.json").exists());
    create(&cluster.admin(place), "afterwards", 3).await;
    // It is a node like any other: a start with what it has now is nothing special.
    let now = identity(&cluster.nodes[place]);
    cluster.nodes[place].terminate();
    cluster.nodes[place].start();
    cluster.nodes[place].wait_ready().await;
    assert_eq!(identity(&cluster.nodes[place]), now);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_damaged_snapshot_with_no_log_to_replay_is_set_aside() {
    let _turn = alone().await;
    let small = [("VAULT_SNAPSHOT_LOG_ENTRIES", "10")];
    let mut cluster = Cluster::start_with(3, &small).await;
    create(&cluster.admin(0), "kept", 40).await;
    let place = (cluster.leader().await + 1) % 3;
    let snapshots = cluster.nodes[place].data_dir.join("snapshots");
    until("a snapshot", async || {
        !ending(&snapshots, ".snapshot").is_empty()
    })
    .await;
    tokio::time::sleep(Duration::from_secs(2)).await;
    let before = identity(&cluster.nodes[place]);
    cluster.nodes[place].kill();
    let newest = ending(&snapshots, ".snapshot").pop().unwrap();
    spoil(&newest);
    cluster.nodes[place].start();
    assert_came_back(&cluster, place, &before, 40).await;
    let aside = set_aside(&cluster.nodes[place]);
    assert_eq!(ending(&aside[0].join("snapshots"), ".damaged").len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cluster_of_one_never_sets_its_only_copy_aside() {
    let _turn = alone().await;
    let mut cluster = Cluster::start(1).await;
    create(&cluster.admin(0), "kept", 30).await;
    let before = identity(&cluster.nodes[0]);
    cluster.nodes[0].terminate();
    let whole = spoil_log(&cluster.nodes[0]);
    cluster.nodes[0].start();
    assert_eq!(cluster.nodes[0].wait().code(), Some(3));
    let log = cluster.nodes[0].log_text();
    assert!(log.lines().last().unwrap().contains("is damaged"), "{log}");
    assert!(set_aside(&cluster.nodes[0]).is_empty());
    assert_eq!(identity(&cluster.nodes[0]), before);
    mend(&whole);
    cluster.nodes[0].start();
    cluster.nodes[0].wait_ready().await;
    assert_eq!(cluster.held_by(0, "").await.len(), 30);
}

/// Two of three at once: the third cannot lead, so what is damaged may be all that is left.
#[tokio::test(flavor = "multi_thread")]
async fn where_no_other_leads_what_is_damaged_stays_where_it_is() {
    let _turn = alone().await;
    let mut cluster = Cluster::start(3).await;
    create(&cluster.admin(0), "kept", 30).await;
    cluster.wait_level().await;
    cluster.nodes.iter_mut().for_each(Node::kill);
    let before: Vec<_> = cluster.nodes.iter().map(identity).collect();
    let whole = [0, 1].map(|place| spoil_log(&cluster.nodes[place]));
    cluster.nodes.iter_mut().for_each(Node::start);
    for place in [0, 1] {
        assert_eq!(cluster.nodes[place].wait().code(), Some(3));
        let log = cluster.nodes[place].log_text();
        assert!(log.contains("no leader among the others"), "{log}");
        assert!(set_aside(&cluster.nodes[place]).is_empty());
        assert_eq!(identity(&cluster.nodes[place]), before[place]);
    }
    // One of them is mended, and that is enough for the other.
    mend(&whole[0]);
    cluster.nodes[0].start();
    cluster.nodes[0].wait_ready().await;
    cluster.nodes[1].start();
    assert_came_back(&cluster, 1, &before[1], 30).await;
}

/// A disk that damages its store again and again is to be replaced, and what it holds stays.
#[tokio::test(flavor = "multi_thread")]
async fn the_fourth_damaged_store_is_left_to_an_operator() {
    let _turn = alone().await;
    let mut cluster = Cluster::start(3).await;
    create(&cluster.admin(0), "kept", 30).await;
    cluster.wait_level().await;
    cluster.nodes[2].kill();
    let data = cluster.nodes[2].data_dir.clone();
    for n in 1..=3 {
        fs::create_dir(data.join(format!("damaged-{n}"))).unwrap();
    }
    let before = identity(&cluster.nodes[2]);
    spoil_log(&cluster.nodes[2]);
    cluster.nodes[2].start();
    assert_eq!(cluster.nodes[2].wait().code(), Some(3));
    let log = cluster.nodes[2].log_text();
    assert!(log.contains("were set aside before"), "{log}");
    assert!(data.join("log/db").exists());
    assert_eq!(identity(&cluster.nodes[2]), before);
}

/// If all of them had set theirs aside, a new and empty cluster would pass for the old one.
#[tokio::test(flavor = "multi_thread")]
async fn nodes_that_have_set_their_stores_aside_form_no_cluster() {
    let _turn = alone().await;
    let mut cluster = Cluster::start(3).await;
    create(&cluster.admin(0), "kept", 3).await;
    cluster.nodes.iter_mut().for_each(Node::kill);
    for node in &cluster.nodes {
        // As a crash leaves it right after the first step.
        let aside = node.data_dir.join("damaged-1");
        fs::create_dir(&aside).unwrap();
        fs::rename(node.data_dir.join("log"), aside.join("log")).unwrap();
    }
    cluster.nodes.iter_mut().for_each(Node::start);
    tokio::time::sleep(Duration::from_secs(8)).await;
    for node in &cluster.nodes {
        assert_eq!(node.api().get("/readyz").await.code(), "starting");
        assert_eq!(identity(node)["rejoins"], true);
    }
}
