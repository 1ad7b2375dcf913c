//! `kill -9` under load: of the leader, and of everyone.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::print_stdout
)]

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use serde_json::{Value, json};
use strongroom_tests::{
    alone,
    api::Api,
    cluster::Cluster,
    compare::Held,
    load::{Fate, Ledger, Load, attempt},
    node::PATIENCE,
};

/// How soon writes must be accepted again after the leader has died.
const RESUMES_WITHIN: Duration = Duration::from_secs(3);

fn admins(cluster: &Cluster) -> Vec<Api> {
    (0..cluster.nodes.len())
        .map(|node| cluster.admin(node))
        .collect()
}

#[track_caller]
fn assert_nothing_lost(ledger: &Ledger, held: BTreeMap<String, Held>) {
    let found: BTreeMap<String, Value> = held.into_iter().map(|(k, v)| (k, v.value)).collect();
    let wrong = ledger.contradictions(&found);
    assert!(
        wrong.is_empty(),
        "{} contradictions: {wrong:#?}",
        wrong.len()
    );
}

/// Writes through `api` until one is accepted.
async fn until_accepted(api: &Api, name: &str) {
    let began = Instant::now();
    for n in 0.. {
        let body = json!({"name": format!("{name}/{n}"), "value": "a probe"});
        match attempt(api, "POST", "/v1/secrets", Some(body)).await {
            Fate::Done(answer) => return drop(answer.expect(201)),
            other => assert!(
                began.elapsed() < PATIENCE,
                "no write is accepted: {other:?}"
            ),
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_leader_killed_under_load_loses_nothing_and_is_replaced_within_three_seconds() {
    let _turn = alone().await;
    let mut cluster = Cluster::start(3).await;
    let mut took = Vec::new();
    for round in 0..3 {
        let prefix = format!("load-{round}");
        let load = Load::start(&admins(&cluster), 4, &prefix);
        load.wait_for_more(300).await;
        let leader = cluster.leader().await;
        let survivor = cluster.admin((leader + 1) % 3);
        cluster.nodes[leader].kill();
        let killed = Instant::now();
        until_accepted(&survivor, &format!("probe/{round}")).await;
        took.push(killed.elapsed());
        load.wait_for_more(100).await;
        let ledger = load.stop().await;
        cluster.nodes[leader].start();
        cluster.wait_ready().await;
        println!(
            "round {round}: {:?} from the kill to the next accepted write; {} acknowledged, \
             {} refused, {} unknown, slowest {:?}",
            took[round], ledger.acknowledged, ledger.refused, ledger.unknown, ledger.slowest
        );
        assert_nothing_lost(&ledger, cluster.assert_equal(&prefix).await);
    }
    // The middle one of three: a vote that is split once, or a busy machine, is no lost leader.
    took.sort_unstable();
    assert!(took[1] < RESUMES_WITHIN, "writes resumed after {took:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn all_nodes_killed_under_load_form_a_quorum_in_any_order_with_nothing_lost() {
    let _turn = alone().await;
    let mut cluster = Cluster::start(3).await;
    let mut everything = Vec::new();
    for (round, order) in [[0, 1, 2], [2, 1, 0], [1, 2, 0]].into_iter().enumerate() {
        let prefix = format!("load-{round}");
        let load = Load::start(&admins(&cluster), 4, &prefix);
        load.wait_for_more(300).await;
        for node in &cluster.nodes {
            node.signal(rustix::process::Signal::KILL);
        }
        for node in &mut cluster.nodes {
            node.kill();
        }
        let ledger = load.stop().await;
        let (first, last) = order.split_at(2);
        cluster.nodes[first[0]].start();
        tokio::time::sleep(Duration::from_millis(300)).await;
        cluster.nodes[first[1]].start();
        let restarted = Instant::now();
        // Two of three are a quorum; nobody gave a command.
        let at_first = cluster.admin(first[0]);
        cluster.nodes[first[0]].wait_ready().await;
        until_accepted(&at_first, &format!("probe/{round}")).await;
        let took = restarted.elapsed();
        cluster.nodes[last[0]].start();
        cluster.wait_ready().await;
        println!(
            "order {order:?}: {took:?} from the second start to an accepted write; {} acknowledged, \
             {} unknown",
            ledger.acknowledged, ledger.unknown
        );
        everything.push((prefix, ledger));
        for (prefix, ledger) in &everything {
            assert_nothing_lost(ledger, cluster.assert_equal(prefix).await);
        }
    }
}

/// A leader that hangs keeps its connections open: nobody is told that it is gone.
#[tokio::test(flavor = "multi_thread")]
async fn a_leader_that_hangs_is_replaced_as_well() {
    let _turn = alone().await;
    let cluster = Cluster::start(3).await;
    let load = Load::start(&admins(&cluster), 4, "load");
    load.wait_for_more(300).await;
    let leader = cluster.leader().await;
    let survivor = cluster.admin((leader + 1) % 3);
    cluster.nodes[leader].signal(rustix::process::Signal::STOP);
    let hung = Instant::now();
    until_accepted(&survivor, "probe").await;
    let took = hung.elapsed();
    // Requests that were on their way to it end long before their deadline of 15 s.
    load.wait_for_more(100).await;
    let flowing = hung.elapsed();
    cluster.nodes[leader].signal(rustix::process::Signal::CONT);
    cluster.wait_ready().await;
    let ledger = load.stop().await;
    println!(
        "{took:?} from the hang to the next accepted write, {flowing:?} to the hundredth; \
         {} acknowledged, {} refused, {} unknown, slowest {:?}",
        ledger.acknowledged, ledger.refused, ledger.unknown, ledger.slowest
    );
    assert_nothing_lost(&ledger, cluster.assert_equal("load").await);
    assert!(took < RESUMES_WITHIN + Duration::from_secs(2), "{took:?}");
}
