//! A leader that is killed, and the next write that is accepted.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use serde_json::json;

use super::writes::Pair;
use crate::{
    budget::{Budget, Figure},
    load,
    plan::Plan,
};

const WITHIN: Duration = Duration::from_secs(30);
/// Between two of them, so that the cluster is whole again.
const REST: Duration = Duration::from_secs(3);

pub(super) async fn run(plan: &Plan) -> Result<Vec<Figure>> {
    let mut pair = Pair::start(None).await?;
    let (mut ours, mut theirs) = (Vec::new(), Vec::new());
    for _ in 0..2 * plan.rounds {
        ours.push(strongroom(&mut pair).await?);
        theirs.push(etcd(&mut pair).await?);
        eprintln!(
            "   strongroom {:?} s, etcd {:?} s",
            ours.last(),
            theirs.last()
        );
    }
    let what = "kill -9 of the leader to the next accepted write";
    Ok(vec![
        Figure::of(what, "s", ours).held_to(Budget::at_most(1.5, 0.5)),
        Figure::of(format!("{what}, etcd"), "s", theirs),
    ])
}

async fn strongroom(pair: &mut Pair) -> Result<f64> {
    let cluster = &mut pair.cluster;
    let leader = cluster.leader().await;
    let survivor = cluster.admin((leader + 1) % 3);
    cluster.nodes[leader].kill();
    let began = Instant::now();
    let body = json!({"value": load::VALUE}).to_string();
    loop {
        let put = survivor.try_send("PUT", "/v1/secrets/bench/0", &[], Some(body.clone()));
        if put.await.is_ok_and(|answer| answer.status == 200) {
            break;
        }
        ensure!(began.elapsed() < WITHIN, "no write is accepted");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let took = began.elapsed().as_secs_f64();
    cluster.nodes[leader].start();
    cluster.wait_ready().await;
    tokio::time::sleep(REST).await;
    Ok(took)
}

async fn etcd(pair: &mut Pair) -> Result<f64> {
    let etcd = &mut pair.etcd;
    let leader = etcd.leader().await?;
    etcd.kill(leader);
    let began = Instant::now();
    while etcd.put((leader + 1) % 3).await.is_err() {
        ensure!(began.elapsed() < WITHIN, "no write is accepted");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let took = began.elapsed().as_secs_f64();
    etcd.restart(leader)?;
    tokio::time::sleep(REST).await;
    Ok(took)
}
