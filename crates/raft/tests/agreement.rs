//! Nodes in one process: a leader started again, nodes cut off and back, members that cannot take part.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::print_stdout
)]

mod wires;

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use openraft::storage::RaftLogStorage;
use strongroom_core::{ReadGate, Replica};
use strongroom_raft::{Node, log_store::LogStore};

use wires::{WITHIN, Way, Wires, has_mount, leader, mount, start, three, until};

async fn submit(node: &Arc<Node>, name: &str) {
    let submitted = node.submit(mount(name), WITHIN).await.unwrap();
    submitted.applied.into_result().unwrap();
}

async fn term(node: &Arc<Node>) -> u64 {
    node.cluster().await.term
}

/// openraft would restore a leader that stopped without an election, in the same term (invariant 28); and its
/// commit index on disk lags.
#[tokio::test(flavor = "multi_thread")]
async fn a_leader_started_again_knows_what_it_had_acknowledged() {
    let (dir, wires) = (tempfile::tempdir().unwrap(), Arc::new(Wires::default()));
    let mut nodes = three(&dir, &wires).await;
    let led = leader(&nodes).await;
    let name = (led + 1).to_string();
    submit(&nodes[led], "early").await;
    let early = nodes[led]
        .read(ReadGate::Linearizable, WITHIN)
        .await
        .unwrap();
    for n in 0..20 {
        submit(&nodes[led], &format!("more-{n}")).await;
    }
    submit(&nodes[led], "acknowledged").await;
    nodes[led].shutdown().await;
    wires.remove(&name);
    // Killed, not stopped: what it had committed last did not reach its disk.
    let before = nodes[led].clone();
    nodes[led] = nodes[(led + 1) % 3].clone();
    until("the store is closed", || Arc::strong_count(&before) == 1).await;
    drop(before);
    {
        let data = dir.path().join(&name);
        // What looks after a node may hold on to it for a moment yet.
        let open = move || {
            let deadline = Instant::now() + WITHIN;
            loop {
                match LogStore::open(&data) {
                    Err(_) if Instant::now() < deadline => {
                        std::thread::sleep(Duration::from_millis(20));
                    }
                    opened => return opened.unwrap(),
                }
            }
        };
        let began = Instant::now();
        let mut log = tokio::task::spawn_blocking(open).await.unwrap();
        println!("the store is closed after {:?}", began.elapsed());
        let position = early.position().unwrap();
        let id = openraft::testing::log_id(position.term, 0, position.index);
        log.save_committed(Some(id)).await.unwrap();
    }
    // It finds its followers before they stand, and is slow to learn what they hold.
    for other in ["1", "2", "3"].iter().filter(|other| **other != name) {
        wires.set(other, Way::Slow(Duration::from_millis(400)));
    }
    let again = start(&dir, &wires, &name, strongroom_core::codec::FORMAT).await;
    let state = again.read(ReadGate::Linearizable, WITHIN).await.unwrap();
    assert!(has_mount(&state, "acknowledged"));
    again.shutdown().await;
    for node in nodes {
        node.shutdown().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn who_was_cut_off_deposes_nobody() {
    let (dir, wires) = (tempfile::tempdir().unwrap(), Arc::new(Wires::default()));
    let nodes = three(&dir, &wires).await;
    let led = leader(&nodes).await;
    let (follower, before) = ((led + 1) % 3, term(&nodes[led]).await);
    let name = (follower + 1).to_string();
    wires.cut_off(&name, true);
    tokio::time::sleep(Duration::from_secs(4)).await;
    assert_eq!(term(&nodes[follower]).await, before, "it stands alone");
    wires.cut_off(&name, false);
    submit(&nodes[led], "afterwards").await;
    until("it has caught up", || {
        nodes[follower]
            .local()
            .is_ok_and(|state| has_mount(&state, "afterwards"))
    })
    .await;
    assert_eq!(term(&nodes[led]).await, before);
    assert!(nodes[led].is_leader());
    for node in nodes {
        node.shutdown().await;
    }
}

/// The others hear of no leader either, and elect one.
#[tokio::test(flavor = "multi_thread")]
async fn a_leader_that_is_cut_off_is_replaced() {
    let (dir, wires) = (tempfile::tempdir().unwrap(), Arc::new(Wires::default()));
    let nodes = three(&dir, &wires).await;
    let led = leader(&nodes).await;
    wires.cut_off(&(led + 1).to_string(), true);
    let others: Vec<_> = (0..3).filter(|n| *n != led).collect();
    until("another leads", || {
        others.iter().any(|n| nodes[*n].is_leader())
    })
    .await;
    submit(&nodes[others[0]], "afterwards").await;
    wires.cut_off(&(led + 1).to_string(), false);
    until("it has caught up", || {
        nodes[led]
            .local()
            .is_ok_and(|state| has_mount(&state, "afterwards"))
    })
    .await;
    for node in nodes {
        node.shutdown().await;
    }
}

/// A node whose store has failed, or that another has taken the place of, refuses at once.
#[tokio::test(flavor = "multi_thread")]
async fn a_member_that_refuses_is_not_asked_without_end() {
    let (dir, wires) = (tempfile::tempdir().unwrap(), Arc::new(Wires::default()));
    let nodes = three(&dir, &wires).await;
    let led = leader(&nodes).await;
    wires.set(&((led + 1) % 3 + 1).to_string(), Way::Refused);
    submit(&nodes[led], "more").await;
    let before = wires.asked();
    tokio::time::sleep(Duration::from_secs(2)).await;
    let asked = wires.asked() - before;
    assert!(asked < 200, "{asked} messages in two idle seconds");
    for node in nodes {
        node.shutdown().await;
    }
}

/// Entries take longer to arrive than openraft waits for an answer.
#[tokio::test(flavor = "multi_thread")]
async fn entries_may_take_their_time() {
    let (dir, wires) = (tempfile::tempdir().unwrap(), Arc::new(Wires::default()));
    let nodes = three(&dir, &wires).await;
    let led = leader(&nodes).await;
    let before = term(&nodes[led]).await;
    for name in ["1", "2", "3"] {
        wires.set(name, Way::Slow(Duration::from_millis(600)));
    }
    for n in 0..3 {
        submit(&nodes[led], &format!("slow-{n}")).await;
    }
    assert_eq!(term(&nodes[led]).await, before);
    for node in nodes {
        node.shutdown().await;
    }
}
