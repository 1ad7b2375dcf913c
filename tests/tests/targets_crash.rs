//! The leader is killed at each step of a rotation with a target, while others read the password and
//! sign in with it.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::print_stdout
)]

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use serde_json::json;
use strongroom_tests::{
    api::Api,
    node::PATIENCE,
    postgres::{
        gate::Step,
        lets_in,
        setup::{NAME, PATH, Setup, USER, login, rotate},
    },
};
use tokio::task::JoinHandle;

/// Who has read a password has so long to sign in with it, when it is just being replaced.
const NOTICE: Duration = Duration::from_secs(1);
/// How long users take from the read to the login.
const MOMENTS: [Duration; 3] = [
    Duration::ZERO,
    Duration::from_millis(300),
    Duration::from_millis(700),
];

#[derive(Default)]
struct Seen {
    logins: u64,
    /// Read when another was about to replace it, and used after its notice: no promise was broken.
    late: u64,
    refused: Vec<String>,
    unanswered: u64,
    unavailable: u64,
    slowest: Duration,
}

/// Reads at a node and signs in after a moment, around and around.
async fn user(api: Api, port: u16, moment: Duration, stop: Arc<AtomicBool>) -> Seen {
    let mut seen = Seen::default();
    while !stop.load(Ordering::Relaxed) {
        let began = Instant::now();
        match api.try_get(PATH).await {
            Ok(answer) if answer.status == 200 => {
                seen.slowest = seen.slowest.max(began.elapsed());
                let (version, password) = login(&answer.json);
                let read = Instant::now();
                tokio::time::sleep(moment).await;
                let works = lets_in(port, USER, &password).await;
                match (works, read.elapsed() < NOTICE) {
                    (true, _) => seen.logins += 1,
                    (false, true) => seen.refused.push(format!("version {version}")),
                    (false, false) => seen.late += 1,
                }
            }
            Ok(answer) => {
                assert_eq!(answer.status, 503, "{}", answer.text);
                seen.unavailable += 1;
            }
            Err(_) => seen.unanswered += 1,
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    seen
}

/// Kills the leader, lets the others come to an end with version `next`, and starts it again.
async fn kill_and_see(setup: &mut Setup, leader: usize, next: u64, what: &str) {
    setup.cluster.nodes[leader].kill();
    setup.gate.open();
    let began = Instant::now();
    let survivor = (leader + 1) % 3;
    let password = setup.wait_version(survivor, next).await;
    let took = began.elapsed();
    assert!(setup.postgres.lets_in(USER, &password).await, "{what}");
    println!("killed {what}: version {next} works after {took:.1?}");
    setup.cluster.nodes[leader].start();
    setup.cluster.nodes[leader].wait_ready().await;
}

/// Asks for a rotation at a node that is not the leader; what is answered does not matter.
fn ask(setup: &Setup, leader: usize) -> JoinHandle<()> {
    let api = setup.cluster.admin((leader + 1) % 3);
    tokio::spawn(async move { drop(rotate(&api).await) })
}

/// Waits until a rotation is laid down.
async fn wait_pending(api: &Api) {
    let until = Instant::now() + PATIENCE;
    loop {
        let list = api.get(&format!("/v1/secrets?prefix={NAME}")).await;
        if list.status == 200 && list.json["secrets"][0]["rotation_pending"] == true {
            return;
        }
        assert!(Instant::now() < until);
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn whatever_step_the_leader_dies_at_what_is_read_signs_in() {
    let mut setup = Setup::start(3, &[]).await;
    setup.create(json!({})).await;
    let stop = Arc::new(AtomicBool::new(false));
    let port = setup.postgres.port;
    let users: Vec<_> = setup
        .cluster
        .nodes
        .iter()
        .flat_map(|node| MOMENTS.map(|moment| (node.api(), moment)))
        .map(|(api, moment)| tokio::spawn(user(api, port, moment, Arc::clone(&stop))))
        .collect();
    let mut version = 1;
    for step in Step::ALL {
        let leader = setup.cluster.leader().await;
        setup.gate.stop_at(step);
        let asked = ask(&setup, leader);
        assert_eq!(setup.gate.stopped().await, step);
        if step == Step::Begun {
            // Marked by now, and in its notice.
            tokio::time::sleep(Duration::from_millis(300)).await;
        }
        version += 1;
        kill_and_see(&mut setup, leader, version, &format!("at {step:?}")).await;
        asked.await.unwrap();
    }
    // A node that has just begun to lead lays a rotation down, and waits before it goes on.
    let leader = setup.cluster.leader().await;
    let asked = ask(&setup, leader);
    wait_pending(&setup.cluster.admin((leader + 1) % 3)).await;
    version += 1;
    kill_and_see(&mut setup, leader, version, "with the intent alone").await;
    asked.await.unwrap();

    stop.store(true, Ordering::Relaxed);
    let (mut logins, mut late) = (0, 0);
    for (place, task) in users.into_iter().enumerate() {
        let (node, moment) = (place / MOMENTS.len(), MOMENTS[place % MOMENTS.len()]);
        let seen = task.await.unwrap();
        println!(
            "at node {node}, after {moment:?}: {} logins, {} late, {} unavailable, {} unanswered, slowest read {:.1?}",
            seen.logins, seen.late, seen.unavailable, seen.unanswered, seen.slowest
        );
        assert!(
            seen.refused.is_empty(),
            "at node {node}: {:?}",
            seen.refused
        );
        logins += seen.logins;
        late += seen.late;
    }
    println!("{} leaders killed, {logins} logins, 0 refused", version - 1);
    assert!(logins > 100 && late < logins / 100);
}

/// The mark may have come to a node with the new leader's lead only, so the second for those who have
/// just read begins anew.
#[tokio::test(flavor = "multi_thread")]
async fn a_new_leader_waits_for_readers_as_the_first_did() {
    let mut setup = Setup::start(3, &[]).await;
    setup.create(json!({})).await;
    let leader = setup.cluster.leader().await;
    setup.gate.stop_at(Step::Change);
    let asked = ask(&setup, leader);
    assert_eq!(setup.gate.stopped().await, Step::Change);
    setup.gate.stop_at(Step::Begun);
    setup.cluster.nodes[leader].kill();
    assert_eq!(setup.gate.stopped().await, Step::Begun);
    // The server's own clock began a little earlier: what is seen here is never shorter.
    let signed_in = Instant::now();
    setup.gate.stop_at(Step::Change);
    let changes = tokio::time::timeout(PATIENCE, setup.gate.stopped()).await;
    assert_eq!(changes.expect("the change is asked for"), Step::Change);
    let waited = signed_in.elapsed();
    setup.gate.open();
    assert!(waited > NOTICE - Duration::from_millis(100), "{waited:?}");
    asked.await.unwrap();
}
