//! What updates leave behind.

use std::time::Duration;

use anyhow::Result;

use crate::{
    budget::{Budget, Figure},
    load,
    plan::Plan,
    subject::{NAMES, strongroom},
    usage,
};

const UPDATES: u64 = 1_000_000;
const MIB: f64 = 1024.0 * 1024.0;
/// Until what goes on after the last write is over.
const REST: Duration = Duration::from_secs(20);

/// Of the files of a node, without its audit trail: that is the operator's to keep.
pub(super) fn of_store(data_dir: &std::path::Path) -> Result<f64> {
    let (all, audit) = (
        usage::disk(data_dir)?,
        usage::disk(&data_dir.join("audit"))?,
    );
    Ok((all - audit) as f64 / MIB)
}

pub(super) async fn run(_plan: &Plan) -> Result<Vec<Figure>> {
    let cluster = strongroom::start(1, &[], None).await;
    let admin = cluster.admin(0);
    load::create(&admin, "bench", 0, NAMES).await?;
    load::update(&admin, "bench", NAMES, UPDATES / NAMES).await?;
    tokio::time::sleep(REST).await;
    let node = &cluster.nodes[0];
    let used = of_store(&node.data_dir)?;
    // What a backup holds: every version that is kept, sealed.
    let live = strongroom_tests::backup::take(&admin).await.len() as f64 / MIB;
    let trail = usage::disk(&node.data_dir.join("audit"))? as f64 / MIB;
    eprintln!(
        "   {used:.1} MiB for {live:.1} MiB of live data; the audit trail has {trail:.1} MiB"
    );
    // The budgets of 5 x live + 64 MB and 2 x live + 32 MB.
    let budget = Budget::at_most(5.0 * live + 64e6 / MIB, 2.0 * live + 32e6 / MIB);
    Ok(vec![
        Figure::of(
            "disk after 1,000,000 updates of 1,000 secrets, at rest",
            "MiB",
            [used],
        )
        .held_to(budget),
        Figure::of("live data of them (a backup)", "MiB", [live]),
        Figure::of("their audit trail", "MiB", [trail]),
    ])
}
