//! Who stands for election.
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

use strongroom_core::{Command, Replica};

mod wires;
use wires::{WITHIN, Way, Wires, leader, mount, three, until};

/// One that lacks entries would not be elected, and with each try it would take the term in which the
/// other could be.
#[tokio::test(flavor = "multi_thread")]
async fn a_voter_with_a_shorter_log_leaves_it_to_the_other() {
    for round in 0..5 {
        let (dir, wires) = (tempfile::tempdir().unwrap(), Arc::new(Wires::default()));
        let nodes = three(&dir, &wires).await;
        let led = leader(&nodes).await;
        let (shorter, other) = ((led + 1) % 3, (led + 2) % 3);
        let term = nodes[led].leads_in().unwrap();
        let name = |place: usize| (place + 1).to_string();
        wires.set(&name(shorter), Way::Slow(Duration::from_secs(60)));
        for n in 0..3 {
            // Long enough not to be taken for a heartbeat.
            let long = mount(&format!("{n}{}", "m".repeat(60)));
            nodes[led].submit(long, WITHIN).await.unwrap();
        }
        wires.cut_off(&name(led), true);
        wires.set(&name(shorter), Way::Open);
        let began = Instant::now();
        until("another leader", || nodes[other].is_leader()).await;
        let now = nodes[other].leads_in().unwrap();
        println!(
            "round {round}: led after {:?}, term {term} to {now}",
            began.elapsed()
        );
        // Whoever has a shorter log has not stood: the first term was the other's.
        assert!(now <= term + 2, "term {term} to {now}");
        assert!(!nodes[shorter].is_leader());
        wires.cut_off(&name(led), false);
        nodes[shorter].submit(Command::Tick, WITHIN).await.unwrap();
        for node in &nodes {
            node.shutdown().await;
        }
    }
}
