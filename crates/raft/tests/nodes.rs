//! Members that are removed, let in, or missed.
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
    Admission, ReadError, ReadGate, Readiness, RemoveError, Replica, codec::FORMAT,
};

mod wires;
use wires::{
    WITHIN, Way, Wires, address, admit, has_mount, leader, name_of, named, start_with, three,
    until, until_voters, voters, write,
};

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
    // It asks to be let in, again and again, and is not, not even for a moment.
    let began = Instant::now();
    while began.elapsed() < Duration::from_secs(8) {
        assert_eq!(voters(&nodes[led]).await, left);
        assert!(matches!(nodes[gone].local(), Err(ReadError::Removed)));
        tokio::time::sleep(Duration::from_millis(20)).await;
    }

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

/// It may never catch up; whoever is to be removed is removed meanwhile, and leadership passed on.
#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_catches_up_is_a_learner_and_holds_up_no_other_change() {
    let (dir, wires) = (tempfile::tempdir().unwrap(), Arc::new(Wires::default()));
    let nodes = three(&dir, &wires).await;
    let peers = ["1", "2", "3", "4"].map(|name| (name, address(name)));
    nodes[0]
        .submit(admit("4", Admission::Allowed), WITHIN)
        .await
        .unwrap();
    wires.set("4", Way::Slow(Duration::from_secs(600)));
    let fourth = start_with(&dir, &wires, "4", FORMAT, &peers).await;
    let deadline = Instant::now() + WITHIN;
    loop {
        let view = nodes[0].cluster().await;
        let found = view.nodes.iter().find(|node| node.name == "4");
        if let Some(found) = found {
            assert_eq!(found.role, "learner");
            assert_eq!(view.failure_tolerance, 1);
            break;
        }
        assert!(Instant::now() < deadline);
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let to = name_of((leader(&nodes).await + 1) % 3);
    let began = Instant::now();
    assert_eq!(nodes[0].hand_over(Some(to.clone()), WITHIN).await, Ok(to));
    println!("passed on in {:?}", began.elapsed());
    let began = Instant::now();
    assert_eq!(nodes[0].remove_node(named("4"), WITHIN).await, Ok(()));
    println!("removed in {:?}", began.elapsed());
    until_voters(&nodes[0], &["1", "2", "3"]).await;
    let led = leader(&nodes).await;
    let view = nodes[led].cluster().await;
    assert!(view.nodes.iter().all(|node| node.name != "4"));
    wires.set("4", Way::Open);
    until("it says so", || fourth.readiness() == Readiness::Removed).await;
    for node in nodes.iter().chain([&fourth]) {
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
