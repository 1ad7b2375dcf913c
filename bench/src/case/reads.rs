//! Reads, beside a route of the same framework that does nothing for its answer.

use anyhow::Result;

use super::{details, in_turn, p99, pair, rate, ratio};
use crate::{
    budget::{Budget, Figure},
    load,
    plan::Plan,
    subject::{ceiling::Ceiling, strongroom, vault},
};

/// Secrets that random reads are spread over.
const SECRETS: u64 = 100_000;

pub(super) async fn one(plan: &Plan) -> Result<Vec<Figure>> {
    let cluster = strongroom::start(1, &[], None).await;
    load::create(&cluster.admin(0), "bench", 0, 1).await?;
    let ceiling = Ceiling::start(&cluster.nodes[0].api(), "/v1/secrets/bench/0").await?;
    let mut subjects = vec![strongroom::read_one(&cluster, 0), ceiling.read_one()];
    if let Some(url) = &plan.vault {
        subjects.push(vault::read_one(url).await?);
    }
    let mut figures = Vec::new();
    let mut most = 0.0;
    for connections in [1, 16, 64] {
        let taken = in_turn(plan, &subjects, connections).await?;
        let what = format!("native read, {connections} connections");
        let to_ceiling = ratio(&format!("{what}: to a bare route"), pair(&taken)?, rate);
        figures.push(match connections {
            64 => to_ceiling.held_to(Budget::at_least(0.60, 0.85)),
            _ => to_ceiling,
        });
        let all = details(&what, &taken);
        most = all.first().map_or(0.0, |ours| ours.spread.median);
        figures.extend(all);
    }
    // Both at half of what Strongroom can do: the bare route has the easier part.
    for subject in &mut subjects {
        subject.traffic = subject.traffic.clone().paced(most / 2.0, 64);
    }
    let taken = in_turn(plan, &subjects, 64).await?;
    let what = "native read at half of its maximum";
    let slowest = ratio(
        &format!("{what}: p99 to a bare route's"),
        pair(&taken)?,
        p99,
    );
    figures.push(slowest.held_to(Budget::at_most(3.0, 1.5)));
    figures.extend(details(what, &taken));
    Ok(figures)
}

pub(super) async fn random(plan: &Plan) -> Result<Vec<Figure>> {
    let cluster = strongroom::start(1, &[], None).await;
    load::create(&cluster.admin(0), "bench", 0, SECRETS).await?;
    load::read(&cluster.nodes[0].api(), "bench", SECRETS).await?;
    let ceiling = Ceiling::start(&cluster.nodes[0].api(), "/v1/secrets/bench/0").await?;
    let subjects = [
        strongroom::read_any(&cluster, 0, SECRETS),
        ceiling.read_any(SECRETS),
    ];
    let taken = in_turn(plan, &subjects, 64).await?;
    let what = "native read, random over 100,000 secrets, 64 connections";
    let to_ceiling = ratio(&format!("{what}: to a bare route"), pair(&taken)?, rate);
    let mut figures = vec![to_ceiling.held_to(Budget::at_least(0.55, 0.80))];
    figures.extend(details(what, &taken));
    Ok(figures)
}
