//! Commands on their way from a follower to the leader, in one process.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic
)]

mod wires;

use std::{sync::Arc, time::Duration};

use strongroom_core::{Applied, Replica, SubmitError, Submitted, codec};
use strongroom_raft::{Node, Rpc};
use tokio::task::JoinHandle;

use wires::{WITHIN, Way, Wires, has_mount, leader, mount, name_of, start, three, until};

/// More than go into the messages on their way, and fewer than the mounts there may be.
const MANY: usize = 60;

fn submit(node: &Arc<Node>, name: &str) -> JoinHandle<Result<Submitted, SubmitError>> {
    let (node, command) = (Arc::clone(node), mount(name));
    tokio::spawn(async move { node.submit(command, WITHIN).await })
}

/// Waits until all of them know that this format is decoded everywhere.
async fn until_format(nodes: &[Arc<Node>], format: u8) {
    for node in nodes {
        let known = || node.local().is_ok_and(|state| state.format() >= format);
        until("the format is recorded", known).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_waits_at_a_follower_travels_together_and_is_answered_one_by_one() {
    let (dir, wires) = (tempfile::tempdir().unwrap(), Arc::new(Wires::default()));
    let nodes = three(&dir, &wires).await;
    until_format(&nodes, codec::TOGETHER).await;
    let led = leader(&nodes).await;
    let follower = &nodes[(led + 1) % 3];
    // Entries take a while, so that commands gather behind them.
    for place in 0..3 {
        wires.set(&name_of(place), Way::Slow(Duration::from_millis(20)));
    }
    let asked: Vec<_> = (0..MANY)
        .flat_map(|number| {
            let name = format!("m{number}");
            [submit(follower, &name), submit(follower, &name)]
        })
        .collect();
    let (mut made, mut refused) = (0, 0);
    for task in asked {
        match task.await.unwrap().unwrap().applied {
            Applied::Effect(_) => made += 1,
            Applied::Rejected(_) => refused += 1,
        }
    }
    assert_eq!((made, refused), (MANY, MANY));
    let messages = wires.asked_for(Rpc::SubmitMany);
    assert!((1..MANY as u64).contains(&messages), "{messages}");
    assert_eq!(wires.asked_for(Rpc::Submit), 0);
    assert_eq!(wires.asked_for(Rpc::Attempt), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn while_a_member_is_older_each_travels_alone() {
    let (dir, wires) = (tempfile::tempdir().unwrap(), Arc::new(Wires::default()));
    let nodes = [
        start(&dir, &wires, "1", codec::FORMAT).await,
        start(&dir, &wires, "2", codec::FORMAT).await,
        start(&dir, &wires, "3", codec::TOGETHER - 1).await,
    ];
    until_format(&nodes, codec::TOGETHER - 1).await;
    for (place, node) in nodes.iter().enumerate() {
        let submitted = submit(node, &format!("m{place}")).await.unwrap();
        assert!(matches!(submitted.unwrap().applied, Applied::Effect(_)));
    }
    assert!(wires.asked_for(Rpc::Submit) + wires.asked_for(Rpc::Attempt) >= 2);
    assert_eq!(wires.asked_for(Rpc::SubmitMany), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_lost_leader_does_not_answer_holds_up_nothing_for_the_next() {
    let (dir, wires) = (tempfile::tempdir().unwrap(), Arc::new(Wires::default()));
    let nodes = three(&dir, &wires).await;
    until_format(&nodes, codec::TOGETHER).await;
    let led = leader(&nodes).await;
    wires.cut_off(&name_of(led), true);
    let others = [
        Arc::clone(&nodes[(led + 1) % 3]),
        Arc::clone(&nodes[(led + 2) % 3]),
    ];
    // As many messages as may be on their way, from both: one of them follows the next leader.
    let mut stuck = Vec::new();
    for round in 0..3 {
        for (place, node) in others.iter().enumerate() {
            stuck.push(submit(node, &format!("s{round}-{place}")));
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    leader(&others).await;
    for (place, node) in others.iter().enumerate() {
        let name = format!("after{place}");
        let submitted = node.submit(mount(&name), WITHIN / 4).await.unwrap();
        assert!(matches!(submitted.applied, Applied::Effect(_)), "{name}");
        until("it is applied", || {
            node.local().is_ok_and(|state| has_mount(&state, &name))
        })
        .await;
    }
    for task in stuck {
        task.abort();
    }
}
