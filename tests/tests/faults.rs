//! Faults: real processes in network namespaces, and a history that is checked. What a run does is in
//! `tests/src/faults.rs`, and how to have a long one in docs/TESTING.md.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::print_stdout
)]

use std::time::Duration;

use strongroom_tests::faults::{
    fault::Kind,
    net,
    run::{Plan, run},
};

/// A number from the environment.
fn number(key: &str) -> Option<u64> {
    let value = std::env::var(key).ok().filter(|value| !value.is_empty())?;
    Some(
        value
            .parse()
            .unwrap_or_else(|_| panic!("{key} is no number")),
    )
}

/// `FAULTS_KINDS`: some kinds by name, or all.
fn kinds() -> Vec<Kind> {
    let wanted = std::env::var("FAULTS_KINDS").unwrap_or_default();
    let is_wanted = |kind: &Kind| wanted.split(',').any(|name| name == format!("{kind:?}"));
    let kinds: Vec<Kind> = Kind::ALL.into_iter().filter(is_wanted).collect();
    assert!(
        !kinds.is_empty() || wanted.is_empty(),
        "no fault is named {wanted}"
    );
    if kinds.is_empty() {
        Kind::ALL.to_vec()
    } else {
        kinds
    }
}

/// Every kind of fault at least once, then more until the time is over.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs root, network namespaces and nftables; scripts/test and scripts/faults run it"]
async fn whatever_happens_to_nodes_and_network_what_clients_see_can_be_explained() {
    if let Some(why) = net::missing() {
        panic!("faults cannot be tested here: {why}");
    }
    let seed = number("FAULTS_SEED").unwrap_or_else(|| u64::from(fastrand::u32(..)));
    let plan = Plan {
        seed,
        time: Duration::from_secs(number("FAULTS_SECS").unwrap_or(45)),
        kinds: kinds(),
    };
    let report = run(&plan).await;
    println!("{report}");
    assert!(report.is_clean(), "FAULTS_SEED={seed}");
}
