//! Reads while 64 writers write, on one node.

use anyhow::Result;

use super::measured;
use crate::{
    budget::{Budget, Figure},
    load,
    plan::Plan,
    subject::{NAMES, strongroom},
};

pub(super) async fn run(plan: &Plan) -> Result<Vec<Figure>> {
    let cluster = strongroom::start(1, &[], None).await;
    load::create(&cluster.admin(0), "bench", 0, NAMES).await?;
    let (reads, writes) = (
        strongroom::read_any(&cluster, 0, NAMES),
        strongroom::update(&cluster, 0),
    );
    let scratch = tempfile::tempdir()?;
    let scratch = scratch.path();
    let (mut alone, mut beside, mut written, mut slowest) = (vec![], vec![], vec![], vec![]);
    for _ in 0..plan.rounds {
        let quiet = measured(plan, &reads, 64, scratch).await?;
        let (busy, writes) = tokio::join!(
            measured(plan, &reads, 64, scratch),
            measured(plan, &writes, 64, scratch)
        );
        let (busy, writes) = (busy?, writes?);
        eprintln!(
            "   reads alone {:.0}/s, beside writers {:.0}/s (p99 {:.0} us), writes {:.0}/s",
            quiet.rate, busy.rate, busy.p99_micros, writes.rate
        );
        alone.push(quiet.rate);
        beside.push(busy.rate);
        written.push(writes.rate);
        slowest.push(busy.p99_micros);
    }
    let parts = beside
        .iter()
        .zip(&alone)
        .map(|(beside, alone)| beside / alone);
    Ok(vec![
        Figure::of("reads while 64 writers write: to reads alone", "x", parts)
            .held_to(Budget::at_least(0.5, 0.8)),
        Figure::of("reads alone, 64 connections", "/s", alone),
        Figure::of("reads while 64 writers write", "/s", beside),
        Figure::of("reads while 64 writers write: p99", "us", slowest),
        Figure::of("writes meanwhile", "/s", written),
    ])
}
