//! Leadership that is passed on.
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

use strongroom_core::{Command, HandOverError, Replica};

mod wires;
use wires::{WITHIN, Way, Wires, leader, three, until};

async fn write(node: Arc<strongroom_raft::Node>, times: u32) {
    for _ in 0..times {
        node.submit(Command::Tick, WITHIN).await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn leadership_goes_where_it_is_sent_and_writes_meanwhile_are_held() {
    let (dir, wires) = (tempfile::tempdir().unwrap(), Arc::new(Wires::default()));
    let nodes = three(&dir, &wires).await;
    let mut led = leader(&nodes).await;
    for round in 0..6 {
        let to = (led + 1 + round % 2) % 3;
        let name = (to + 1).to_string();
        let writers: Vec<_> = nodes
            .iter()
            .map(|node| tokio::spawn(write(Arc::clone(node), 40)))
            .collect();
        // Asked at the leader, at the one that takes over, and at the third.
        // At once, within the lease of the leader before; and when that is long over.
        tokio::time::sleep(Duration::from_millis(if round < 3 { 0 } else { 1_000 })).await;
        let began = Instant::now();
        let asked = nodes[round % 3].hand_over(Some(name.clone()), WITHIN);
        assert_eq!(asked.await, Ok(name), "round {round}");
        println!("round {round}: passed on in {:?}", began.elapsed());
        assert!(nodes[to].is_leader(), "round {round}");
        for writer in writers {
            writer.await.unwrap();
        }
        led = to;
    }
    let own = (led + 1).to_string();
    let stays = nodes[0].hand_over(Some(own.clone()), WITHIN).await;
    assert_eq!(stays, Ok(own));
    let nobody = nodes[led]
        .hand_over(Some("nobody".to_owned()), WITHIN)
        .await;
    assert_eq!(nobody, Err(HandOverError::UnknownNode));
    for node in &nodes {
        node.shutdown().await;
    }
}

/// Who could not go on is not offered the lead, and the leader leads on.
#[tokio::test(flavor = "multi_thread")]
async fn a_leader_that_nobody_can_relieve_leads_on() {
    let (dir, wires) = (tempfile::tempdir().unwrap(), Arc::new(Wires::default()));
    let nodes = three(&dir, &wires).await;
    let led = leader(&nodes).await;
    let (behind, away) = ((led + 1) % 3, (led + 2) % 3);
    // One follower gets its entries so late that it never has all; the other is not there.
    wires.set(
        &(behind + 1).to_string(),
        Way::Slow(Duration::from_millis(1_500)),
    );
    write(Arc::clone(&nodes[led]), 1).await;
    wires.cut_off(&(away + 1).to_string(), true);
    let asked = nodes[led]
        .hand_over(Some((away + 1).to_string()), WITHIN)
        .await;
    assert_eq!(asked, Err(HandOverError::NobodyFit));
    assert!(nodes[led].is_leader());
    wires.set(&(behind + 1).to_string(), Way::Open);
    write(Arc::clone(&nodes[led]), 3).await;
    // The one that is there takes over when it is left to the leader to choose.
    let asked = nodes[led].hand_over(None, WITHIN).await;
    assert_eq!(asked, Ok((behind + 1).to_string()));
    wires.cut_off(&(away + 1).to_string(), false);
    until("one leader", || {
        nodes.iter().filter(|n| n.is_leader()).count() == 1
    })
    .await;
    write(Arc::clone(&nodes[away]), 1).await;
    for node in &nodes {
        node.shutdown().await;
    }
}

/// A node that stops passes leadership on first: no one waits for an election.
#[tokio::test(flavor = "multi_thread")]
async fn a_leader_that_stops_is_relieved_first() {
    let (dir, wires) = (tempfile::tempdir().unwrap(), Arc::new(Wires::default()));
    let nodes = three(&dir, &wires).await;
    let led = leader(&nodes).await;
    let writers: Vec<_> = (0..3)
        .filter(|place| *place != led)
        .map(|place| tokio::spawn(write(Arc::clone(&nodes[place]), 300)))
        .collect();
    tokio::time::sleep(Duration::from_millis(50)).await;
    nodes[led].step_down().await;
    assert!(!nodes[led].is_leader());
    assert!(nodes.iter().any(|node| node.is_leader()));
    nodes[led].shutdown().await;
    wires.remove(&(led + 1).to_string());
    for writer in writers {
        writer.await.unwrap();
    }
    for place in (0..3).filter(|place| *place != led) {
        nodes[place].shutdown().await;
    }
}
