//! A disk like a cloud's: 2 ms more for every sync, put in between the servers and the kernel alike.

use std::time::Duration;

use anyhow::Result;

use super::{details, in_turn, pair, rate, ratio, writes::Pair};
use crate::{
    budget::{Budget, Figure},
    load,
    plan::Plan,
    server::SlowSyncs,
    subject::strongroom,
};

const DELAY: Duration = Duration::from_millis(2);

pub(super) async fn run(plan: &Plan) -> Result<Vec<Figure>> {
    let budget = Budget::at_least(1.0, 1.5);
    let syncs = SlowSyncs::new(DELAY)?;
    let both = Pair::start(Some(&syncs)).await?;
    let what = "update, 2 ms slower syncs, 64 connections, at the leader";
    let mut figures = both.compare(plan, what, 64, true, budget).await?;
    let what = "update, 2 ms slower syncs, one connection, at the leader";
    figures.extend(both.compare(plan, what, 1, true, budget).await?);
    drop(both);

    let (slow, quick) = (
        strongroom::start(1, &[], Some(&syncs)).await,
        strongroom::start(1, &[], None).await,
    );
    let mut subjects = Vec::new();
    for (name, cluster) in [("2 ms slower syncs", &slow), ("this disk", &quick)] {
        load::create(&cluster.admin(0), "bench", 0, 1).await?;
        let mut subject = strongroom::read_one(cluster, 0);
        subject.name = name.to_owned();
        subjects.push(subject);
    }
    let taken = in_turn(plan, &subjects, 64).await?;
    let what = "native read, 64 connections";
    let to_quick = ratio(
        "native read with 2 ms slower syncs: to without",
        pair(&taken)?,
        rate,
    );
    figures.push(to_quick.held_to(Budget::at_least(0.9, 1.0)));
    figures.extend(details(what, &taken));
    Ok(figures)
}
