//! Members that are removed, let in, or that move.
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

use strongroom_core::{
    Admission, Command, NodeName, ReadError, ReadGate, Readiness, RemoveError, Replica,
    codec::FORMAT,
};
use strongroom_raft::Node;

mod wires;
use wires::{WITHIN, Wires, address, has_mount, leader, mount, start_with, three, until};

fn named(name: &str) -> NodeName {
    NodeName::parse(name).unwrap()
}

fn name_of(place: usize) -> String {
    (place + 1).to_string()
}

fn admit(name: &str, admission: Admission) -> Command {
    Command::AdmitNode {
        name: named(name),
        admission,
    }
}

/// The names of the voters, as a node sees them.
async fn voters(node: &Node) -> Vec<String> {
    let nodes = node.cluster().await.nodes.into_iter();
    let voters = nodes.filter(|node| node.role != "learner");
    let mut names: Vec<_> = voters.map(|node| node.name).collect();
    names.sort();
    names
}

async fn until_voters(node: &Node, expected: &[&str]) {
    let deadline = Instant::now() + WITHIN * 3;
    loop {
        let found = voters(node).await;
        if found == expected {
            return;
        }
        assert!(Instant::now() < deadline, "{found:?}, not {expected:?}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

async fn write(node: &Node, name: &str) {
    node.submit(mount(name), WITHIN).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn who_is_removed_stays_out_until_it_is_let_in_again() {
    let (dir, wires) = (tempfile::tempdir().unwrap(), Arc::new(Wires::default()));
    let nodes = three(&dir, &wires).await;
    let led = leader(&nodes).await;
    let (gone, other) = ((led + 1) % 3, (led + 2) % 3);
    let left: Vec<_> = (0..3).filter(|place| *place != gone).map(name_of).collect();
    let left: Vec<&str> = left.iter().map(String::as_str).collect();
    let unknown = nodes[other].remove_node(named("9"), WITHIN).await;
    assert_eq!(unknown, Err(RemoveError::UnknownNode));

    // Asked at a node that does not lead, and twice.
    for _ in 0..2 {
        let removed = nodes[other]
            .remove_node(named(&name_of(gone)), WITHIN)
            .await;
        assert_eq!(removed, Ok(()));
        until_voters(&nodes[other], &left).await;
    }
    until("it says so", || {
        nodes[gone].readiness() == Readiness::Removed
    })
    .await;
    write(&nodes[led], "meanwhile").await;
    // It asks to be let in, again and again.
    tokio::time::sleep(Duration::from_secs(8)).await;
    assert_eq!(voters(&nodes[led]).await, left);
    assert!(matches!(nodes[gone].local(), Err(ReadError::Removed)));

    let allowed = admit(&name_of(gone), Admission::Allowed);
    nodes[other].submit(allowed, WITHIN).await.unwrap();
    until_voters(&nodes[led], &["1", "2", "3"]).await;
    until("it serves", || {
        nodes[gone]
            .local()
            .is_ok_and(|state| has_mount(&state, "meanwhile"))
    })
    .await;
    for node in &nodes {
        node.shutdown().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_leader_that_is_removed_hands_over_first() {
    for asked_at_the_leader in [true, false] {
        let (dir, wires) = (tempfile::tempdir().unwrap(), Arc::new(Wires::default()));
        let nodes = three(&dir, &wires).await;
        let led = leader(&nodes).await;
        let rest = [(led + 1) % 3, (led + 2) % 3];
        let asked = if asked_at_the_leader { led } else { rest[0] };
        let began = Instant::now();
        let removed = nodes[asked].remove_node(named(&name_of(led)), WITHIN).await;
        assert_eq!(removed, Ok(()));
        println!("removed the leader in {:?}", began.elapsed());
        until("it says so", || {
            nodes[led].readiness() == Readiness::Removed
        })
        .await;
        assert_eq!(voters(&nodes[rest[0]]).await.len(), 2);
        write(&nodes[rest[1]], "after").await;
        assert!(!nodes[led].is_leader());
        for node in &nodes {
            node.shutdown().await;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_is_removed_whom_the_quorum_needs() {
    let (dir, wires) = (tempfile::tempdir().unwrap(), Arc::new(Wires::default()));
    let nodes = three(&dir, &wires).await;
    let led = leader(&nodes).await;
    let (lives, away) = (name_of((led + 1) % 3), name_of((led + 2) % 3));
    // A command that says so once everybody decodes it.
    nodes[led]
        .submit(admit("7", Admission::Allowed), WITHIN)
        .await
        .unwrap();
    wires.cut_off(&away, true);
    for needed in [&lives, &name_of(led)] {
        let refused = nodes[led].remove_node(named(needed), WITHIN).await;
        assert_eq!(refused, Err(RemoveError::QuorumAtRisk), "{needed}");
    }
    let state = nodes[led]
        .read(ReadGate::Linearizable, WITHIN)
        .await
        .unwrap();
    assert_eq!(state.admission(&named(&lives)), None);
    assert_eq!(voters(&nodes[led]).await.len(), 3);

    // The dead one can be spared, and then the other one; the last one cannot.
    for spared in [&away, &lives] {
        assert_eq!(nodes[led].remove_node(named(spared), WITHIN).await, Ok(()));
    }
    until_voters(&nodes[led], &[&name_of(led)]).await;
    let last = nodes[led].remove_node(named(&name_of(led)), WITHIN).await;
    assert_eq!(last, Err(RemoveError::QuorumAtRisk));
    write(&nodes[led], "alone").await;
    for node in &nodes {
        node.shutdown().await;
    }
}

/// It knows no newer format, and so nothing newer can be decided while it is a member.
#[tokio::test(flavor = "multi_thread")]
async fn who_died_before_an_upgrade_can_be_removed() {
    let (dir, wires) = (tempfile::tempdir().unwrap(), Arc::new(Wires::default()));
    let peers = ["1", "2", "3"].map(|name| (name, address(name)));
    let mut nodes = Vec::new();
    for (name, decodes) in [("1", FORMAT), ("2", FORMAT), ("3", 2)] {
        nodes.push(start_with(&dir, &wires, name, decodes, &peers).await);
    }
    for node in &nodes {
        until("a node is caught up", || node.local().is_ok()).await;
    }
    // Not while it is the other way round: who stays would not understand.
    let refused = nodes[0].remove_node(named("2"), WITHIN).await;
    assert_eq!(refused, Err(RemoveError::NotEverywhere));
    wires.cut_off("3", true);
    until("a leader", || {
        nodes[..2].iter().any(|node| node.is_leader())
    })
    .await;
    assert_eq!(nodes[0].remove_node(named("3"), WITHIN).await, Ok(()));
    until_voters(&nodes[0], &["1", "2"]).await;
    let state = nodes[1].read(ReadGate::Linearizable, WITHIN).await.unwrap();
    assert!(state.keeps_out("3"));
    assert_eq!(state.format(), FORMAT);
    for node in &nodes {
        node.shutdown().await;
    }
}

/// A leader that dies after the decision leaves just this behind.
#[tokio::test(flavor = "multi_thread")]
async fn what_was_decided_is_carried_out_by_whoever_leads() {
    let (dir, wires) = (tempfile::tempdir().unwrap(), Arc::new(Wires::default()));
    let nodes = three(&dir, &wires).await;
    let led = leader(&nodes).await;
    let (follower, last) = ((led + 1) % 3, (led + 2) % 3);
    let decided = admit(&name_of(follower), Admission::Removed);
    nodes[last].submit(decided, WITHIN).await.unwrap();
    let mut left = [name_of(led), name_of(last)];
    left.sort();
    until_voters(&nodes[last], &[&left[0], &left[1]]).await;
    // The same of the leader itself.
    let decided = admit(&name_of(led), Admission::Removed);
    nodes[last].submit(decided, WITHIN).await.unwrap();
    until_voters(&nodes[last], &[&name_of(last)]).await;
    for gone in [led, follower] {
        until("it says so", || {
            nodes[gone].readiness() == Readiness::Removed
        })
        .await;
    }
    write(&nodes[last], "alone").await;
    for node in &nodes {
        node.shutdown().await;
    }
}

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
        let view = node.cluster().await;
        let found = view.nodes.iter().find(|node| node.name == "4").unwrap();
        assert_eq!(found.address, "second-place");
        assert!(found.reachable);
    }
    for node in nodes.iter().chain([&fourth]) {
        node.shutdown().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dead_voter_is_found_dropped_and_comes_back() {
    let (dir, wires) = (tempfile::tempdir().unwrap(), Arc::new(Wires::default()));
    let nodes = three(&dir, &wires).await;
    let mut peers = ["1", "2", "3", "4"].map(|name| (name, address(name)));
    nodes[1]
        .submit(admit("4", Admission::Allowed), WITHIN)
        .await
        .unwrap();
    let fourth = start_with(&dir, &wires, "4", FORMAT, &peers).await;
    until_voters(&nodes[0], &["1", "2", "3", "4"]).await;
    let led = leader(&[&nodes[..], &[Arc::clone(&fourth)]].concat()).await;
    assert!(led < 3, "nobody stands for election here");
    let silent = Duration::from_secs(10);
    until("the voters are counted", || {
        nodes[led]
            .voters()
            .is_some_and(|count| (count.voters, count.reachable) == (4, 4))
    })
    .await;
    assert_eq!(nodes[led].voters().unwrap().failure_tolerance, 1);
    fourth.shutdown().await;
    drop(fourth);
    wires.remove("4");
    until("it is missed", || nodes[led].dead_voter(silent).is_some()).await;
    assert_eq!(nodes[led].dead_voter(silent), Some("4".to_owned()));
    assert_eq!(nodes[led].dead_voter(Duration::from_secs(3_600)), None);
    assert_eq!(nodes[led].voters().unwrap().failure_tolerance, 0);
    // Of another nobody says so.
    let other = nodes[led]
        .drop_dead_voter(name_of((led + 1) % 3), silent)
        .await;
    assert_eq!(other, Err(RemoveError::UnknownNode));
    assert_eq!(
        nodes[led].drop_dead_voter("4".to_owned(), silent).await,
        Ok(())
    );
    until_voters(&nodes[led], &["1", "2", "3"]).await;
    write(&nodes[led], "without-it").await;

    // It knows of nothing, and has moved meanwhile.
    peers[3].1 = "another-place".to_owned();
    let fourth = start_with(&dir, &wires, "4", FORMAT, &peers).await;
    until_voters(&nodes[led], &["1", "2", "3", "4"]).await;
    until("it serves", || {
        fourth
            .local()
            .is_ok_and(|state| has_mount(&state, "without-it"))
    })
    .await;
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

async fn until_all_reachable(node: &Node) {
    let deadline = Instant::now() + WITHIN * 3;
    while !node.cluster().await.nodes.iter().all(|node| node.reachable) {
        assert!(Instant::now() < deadline, "{:?}", node.cluster().await);
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}
