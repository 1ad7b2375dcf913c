//! Linearizable reads: a leader proves that it leads by those who follow it.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic
)]

mod wires;

use std::{sync::Arc, time::Duration};

use strongroom_core::{ReadGate, Replica};
use strongroom_raft::Rpc;

use wires::{WITHIN, Way, Wires, has_mount, leader, submit, three, until};

const READS: u64 = 50;

#[tokio::test(flavor = "multi_thread")]
async fn a_read_asks_the_others_and_waits_for_no_entry() {
    let (dir, wires) = (tempfile::tempdir().unwrap(), Arc::new(Wires::default()));
    let nodes = three(&dir, &wires).await;
    let led = leader(&nodes).await;
    submit(&nodes[led], "before").await;
    let (asked, sent) = (wires.asked_for(Rpc::Follows), wires.asked_for(Rpc::Append));
    for _ in 0..READS {
        let state = nodes[led].read(ReadGate::Linearizable, WITHIN).await;
        assert!(has_mount(&state.unwrap(), "before"));
    }
    assert!(wires.asked_for(Rpc::Follows) - asked >= READS);
    // Heartbeats alone.
    assert!(wires.asked_for(Rpc::Append) - sent < READS);
    // Of a version that does not know the question: it is done as ever.
    for name in ["1", "2", "3"] {
        wires.set_kind(name, Rpc::Follows, Way::Refused);
    }
    for node in &nodes {
        let state = node.read(ReadGate::Linearizable, WITHIN).await;
        assert!(has_mount(&state.unwrap(), "before"));
    }
    for node in nodes {
        node.shutdown().await;
    }
}

/// Its questions are heard and answered, and it hears nothing else.
#[tokio::test(flavor = "multi_thread")]
async fn who_does_not_know_that_another_leads_proves_nothing() {
    let (dir, wires) = (tempfile::tempdir().unwrap(), Arc::new(Wires::default()));
    let nodes = three(&dir, &wires).await;
    let led = leader(&nodes).await;
    let name = (led + 1).to_string();
    wires.set(&name, Way::Cut);
    wires.set_kind(&name, Rpc::Append, Way::Cut);
    let others = [(led + 1) % 3, (led + 2) % 3];
    until("another leads", || {
        others.iter().any(|other| nodes[*other].is_leader())
    })
    .await;
    submit(&nodes[others[0]], "afterwards").await;
    assert!(nodes[led].is_leader(), "it has not heard");
    let asked = wires.asked_for(Rpc::Follows);
    let read = nodes[led].read(ReadGate::Linearizable, Duration::from_secs(2));
    assert!(read.await.is_err());
    assert!(wires.asked_for(Rpc::Follows) > asked);
    wires.set(&name, Way::Open);
    wires.set_kind(&name, Rpc::Append, Way::Open);
    let state = nodes[led].read(ReadGate::Linearizable, WITHIN).await;
    assert!(has_mount(&state.unwrap(), "afterwards"));
    for node in nodes {
        node.shutdown().await;
    }
}
