//! Restarting with 100,000 secrets of 3 versions.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use strongroom_tests::cluster::Cluster;

use crate::{
    budget::{Budget, Figure},
    load,
    plan::Plan,
    subject::strongroom,
    usage,
};

const SECRETS: u64 = 100_000;
const MIB: f64 = 1024.0 * 1024.0;

/// Stops the only node, starts it, and waits until it is ready. How long the latter took.
pub(super) async fn restart(cluster: &mut Cluster) -> Result<Duration> {
    let node = &mut cluster.nodes[0];
    ensure!(
        node.terminate().success(),
        "the node did not end well: {}",
        node.log_text()
    );
    let began = Instant::now();
    node.start();
    let api = node.api();
    loop {
        if api
            .try_get("/readyz")
            .await
            .is_ok_and(|answer| answer.status == 200)
        {
            return Ok(began.elapsed());
        }
        ensure!(
            began.elapsed() < Duration::from_secs(120),
            "it is not ready"
        );
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

pub(super) async fn run(plan: &Plan) -> Result<Vec<Figure>> {
    let mut cluster = strongroom::start(1, &[], None).await;
    let admin = cluster.admin(0);
    load::create(&admin, "bench", 0, SECRETS).await?;
    load::update(&admin, "bench", SECRETS, 2).await?;
    let (mut ready, mut memory, mut after_reads) = (vec![], vec![], vec![]);
    for _ in 0..plan.rounds {
        ready.push(restart(&mut cluster).await?.as_secs_f64());
        let used = || usage::memory(cluster.nodes[0].pid()).map(|bytes| bytes as f64 / MIB);
        memory.push(used()?);
        load::read(&cluster.nodes[0].api(), "bench", SECRETS).await?;
        after_reads.push(used()?);
        eprintln!(
            "   ready {:?} s, memory {:?} MiB, {:?} MiB",
            ready.last(),
            memory.last(),
            after_reads.last()
        );
    }
    Ok(vec![
        Figure::of(
            "ready after a restart, 100,000 secrets of 3 versions",
            "s",
            ready,
        )
        .held_to(Budget::at_most(3.0, 1.0)),
        Figure::of("memory once ready", "MiB", memory),
        Figure::of("memory with those, each read once", "MiB", after_reads)
            // The budgets of 350 MB and 200 MB.
            .held_to(Budget::at_most(350e6 / MIB, 200e6 / MIB)),
    ])
}
