//! What a recovered node keeps, and what it takes from nodes of before.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic
)]

mod wires;

use std::{
    collections::BTreeMap,
    sync::Arc,
    time::{Duration, Instant},
};

use bytes::Bytes;
use strongroom_core::{Readiness, Replica, codec::FORMAT};
use strongroom_raft::{DataDir, Node, NodeConfig, Rpc, StartError, WireError, recover::Recovery};
use wires::{Way, Wires, has_mount, leader, mount, start, three, until};

async fn submit(node: &Node, name: &str) {
    let submitted = node.submit(mount(name), Duration::from_secs(10)).await;
    submitted.unwrap();
}

/// Stops the nodes, and lets go of their files.
async fn stop(wires: &Arc<Wires>, nodes: [Arc<Node>; 3]) {
    for (node, name) in nodes.into_iter().zip(["1", "2", "3"]) {
        node.shutdown().await;
        wires.remove(name);
    }
}

/// Three nodes, stopped; the first one recovered.
async fn recovered(dir: &tempfile::TempDir) {
    let wires = Arc::new(Wires::default());
    let nodes = three(dir, &wires).await;
    submit(&nodes[leader(&nodes).await], "kept").await;
    stop(&wires, nodes).await;
    look(dir, "1").await.carry_out().await.unwrap();
}

/// The node's store may be let go of a moment later than it was stopped.
async fn look(dir: &tempfile::TempDir, name: &str) -> Recovery {
    let deadline = Instant::now() + Duration::from_secs(20);
    loop {
        match Recovery::look(&dir.path().join(name)).await {
            Ok(recovery) => return recovery,
            Err(error) => assert!(Instant::now() < deadline, "{error}"),
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_end_of_the_log_is_kept_though_nobody_has_committed_it() {
    let (dir, wires) = (tempfile::tempdir().unwrap(), Arc::new(Wires::default()));
    let nodes = three(&dir, &wires).await;
    let led = leader(&nodes).await;
    submit(&nodes[led], "kept").await;
    for other in 0..3 {
        if other != led {
            wires.set(&(other + 1).to_string(), Way::Refused);
        }
    }
    let unknown = nodes[led]
        .submit(mount("end"), Duration::from_secs(1))
        .await;
    assert!(unknown.is_err());
    stop(&wires, nodes).await;
    let name = (led + 1).to_string();
    let recovery = look(&dir, &name).await;
    let standing = recovery.standing().clone();
    assert!(standing.committed < Some(standing.last.1), "{standing:?}");
    let recovered = recovery.carry_out().await.unwrap();
    assert_eq!(recovered.epoch, 1);
    assert_ne!(recovered.raft_id, standing.raft_id);
    let node = start(&dir, &Arc::new(Wires::default()), &name, FORMAT).await;
    until("it leads", || node.is_leader() && node.local().is_ok()).await;
    let state = node.local().unwrap();
    assert!(has_mount(&state, "kept") && has_mount(&state, "end"));
    let position = state.position().unwrap();
    assert!(position.index > standing.last.1 && position.term > 1 << 32);
    node.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_that_a_node_of_before_asks_is_heard() {
    let dir = tempfile::tempdir().unwrap();
    recovered(&dir).await;
    let (wires, one) = (Arc::new(Wires::default()), "1");
    let node = start(&dir, &wires, one, FORMAT).await;
    until("it leads", || node.is_leader() && node.local().is_ok()).await;
    // A node of before may believe that the leader of its cluster is at this address.
    for rpc in Rpc::ALL {
        let answer = node.serve(rpc, Bytes::from_static(&[1, 0, 0, 0])).await;
        match rpc {
            Rpc::Status => assert!(answer.is_ok()),
            Rpc::Append | Rpc::Vote | Rpc::Snapshot | Rpc::TakeOver | Rpc::Join | Rpc::InEpoch => {
                assert!(answer.is_err(), "{rpc:?}")
            }
            _ => assert_eq!(answer, Err(WireError::Misaddressed), "{rpc:?}"),
        }
    }
    node.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_of_before_ends_at_its_start_or_as_soon_as_it_sees_the_recovered_one() {
    let dir = tempfile::tempdir().unwrap();
    recovered(&dir).await;
    let wires = Arc::new(Wires::default());
    let one = start(&dir, &wires, "1", FORMAT).await;
    until("it leads", || one.is_leader() && one.local().is_ok()).await;
    // At once, where it sees it.
    let peers: BTreeMap<_, _> = ["1", "2", "3"]
        .map(|name| (name.to_owned(), format!("node-{name}")))
        .into();
    let config = |name: &str| NodeConfig {
        name: name.to_owned(),
        peers: peers.clone(),
        version: "test".to_owned(),
        decodes: FORMAT,
        snapshot_log_bytes: 1 << 20,
        snapshot_log_entries: 1_000,
    };
    let data = DataDir::open(&dir.path().join("2"), "2").unwrap();
    let ended = Node::start(data, config("2"), Arc::new(wires.end("2"))).await;
    assert!(matches!(ended, Err(StartError::Surpassed(_))));
    // Where it does not, it starts; two of them are a quorum of before.
    wires.cut_off("1", true);
    let two = start(&dir, &wires, "2", FORMAT).await;
    let three = start(&dir, &wires, "3", FORMAT).await;
    let both = [Arc::clone(&two), Arc::clone(&three)];
    submit(&both[leader(&both).await], "of-the-past").await;
    wires.cut_off("1", false);
    until("they are out", || {
        both.iter()
            .all(|node| node.readiness() == Readiness::Removed)
    })
    .await;
    assert!(
        two.submit(mount("more"), Duration::from_secs(1))
            .await
            .is_err()
    );
    assert!(two.local().is_err() && !two.is_leader() && !three.is_leader());
    submit(&one, "of-today").await;
    let state = one.local().unwrap();
    assert!(has_mount(&state, "of-today") && !has_mount(&state, "of-the-past"));
    for node in [&one, &two, &three] {
        node.shutdown().await;
    }
}
