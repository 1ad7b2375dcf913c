//! Members that are not listed where they are, or not at all.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::print_stdout
)]

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use strongroom_core::{Admission, Readiness, Replica, codec::FORMAT};
use strongroom_raft::Node;

mod wires;
use wires::{
    WITHIN, Wires, address, admit, has_mount, leader, name_of, start_with, three, until,
    until_voters, voters, write,
};

/// Where the others list three, a fourth needs a word, and is found wherever it is.
#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_is_not_listed_is_let_in_by_command_and_may_move() {
    let (dir, wires) = (tempfile::tempdir().unwrap(), Arc::new(Wires::default()));
    let nodes = three(&dir, &wires).await;
    let at = |own: &str| {
        let [one, two, three] = ["1", "2", "3"].map(|name| (name, address(name)));
        [one, two, three, ("4", own.to_owned())]
    };
    let fourth = start_with(&dir, &wires, "4", FORMAT, &at("first-place")).await;
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert_eq!(voters(&nodes[0]).await, ["1", "2", "3"]);
    assert_eq!(fourth.readiness(), Readiness::Starting);
    nodes[1]
        .submit(admit("4", Admission::Allowed), WITHIN)
        .await
        .unwrap();
    until_voters(&nodes[0], &["1", "2", "3", "4"]).await;
    until("it serves", || fourth.local().is_ok()).await;
    write(&fourth, "by-the-fourth").await;

    fourth.shutdown().await;
    drop(fourth);
    wires.remove_at("first-place");
    write(&nodes[2], "while-it-moves").await;
    let began = Instant::now();
    let fourth = start_with(&dir, &wires, "4", FORMAT, &at("second-place")).await;
    until("it serves", || {
        fourth
            .local()
            .is_ok_and(|state| has_mount(&state, "while-it-moves"))
    })
    .await;
    println!("found at its new address after {:?}", began.elapsed());
    for node in nodes.iter().chain([&fourth]) {
        until_reached_at(node, "4", "second-place").await;
    }
    for node in nodes.iter().chain([&fourth]) {
        node.shutdown().await;
    }
}

/// All list the place where it was; it says itself where it is.
#[tokio::test(flavor = "multi_thread")]
async fn a_listed_node_may_move_without_the_others_being_told() {
    let (dir, wires) = (tempfile::tempdir().unwrap(), Arc::new(Wires::default()));
    let mut nodes = three(&dir, &wires).await.to_vec();
    let led = leader(&nodes).await;
    for (round, place) in [(led + 1) % 3, led].into_iter().enumerate() {
        let (name, moved_to) = (name_of(place), format!("new-place-{round}"));
        let other = Arc::clone(&nodes[(place + 1) % 3]);
        let stopped = nodes.remove(place);
        stopped.shutdown().await;
        wires.remove(&name);
        drop(stopped);
        let written = format!("while-{name}-moves");
        write(&other, &written).await;
        let mut peers = ["1", "2", "3"].map(|name| (name, address(name)));
        peers[place].1.clone_from(&moved_to);
        let began = Instant::now();
        let moved = start_with(&dir, &wires, &name, FORMAT, &peers).await;
        nodes.insert(place, moved);
        until("it serves", || {
            nodes[place]
                .local()
                .is_ok_and(|state| has_mount(&state, &written))
        })
        .await;
        println!("found at its new address after {:?}", began.elapsed());
        let began = Instant::now();
        for node in &nodes {
            until_all_reachable(node).await;
        }
        println!("and by all after {:?}", began.elapsed());
    }
    for node in &nodes {
        node.shutdown().await;
    }
}

/// Another node may not have applied yet where it is now.
async fn until_reached_at(node: &Node, name: &str, address: &str) {
    let deadline = Instant::now() + WITHIN * 3;
    loop {
        let view = node.cluster().await;
        let found = view.nodes.iter().find(|node| node.name == name).unwrap();
        if found.address == address && found.reachable {
            return;
        }
        assert!(Instant::now() < deadline, "{view:?}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

async fn until_all_reachable(node: &Node) {
    let deadline = Instant::now() + WITHIN * 3;
    while !node.cluster().await.nodes.iter().all(|node| node.reachable) {
        assert!(Instant::now() < deadline, "{:?}", node.cluster().await);
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}
