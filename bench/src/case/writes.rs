//! Updates that a quorum of three nodes has on its disks, beside etcd's.

use anyhow::Result;
use strongroom_tests::cluster::Cluster;

use super::{details, in_turn, p99, pair, rate, ratio};
use crate::{
    budget::{Budget, Figure},
    load,
    plan::Plan,
    server::SlowSyncs,
    subject::{NAMES, etcd::Etcd, strongroom, vault},
};

/// Three nodes of each.
pub(super) struct Pair {
    pub(super) cluster: Cluster,
    pub(super) etcd: Etcd,
}

impl Pair {
    /// Started; each sync takes longer if that is said.
    pub(super) async fn start(slow: Option<&SlowSyncs>) -> Result<Self> {
        let cluster = strongroom::start(3, &[], slow).await;
        let leader = cluster.leader().await;
        load::create(&cluster.admin(leader), "bench", 0, NAMES).await?;
        let etcd = Etcd::start(slow).await?;
        Ok(Self { cluster, etcd })
    }

    /// Updates at both, at the leaders or at followers.
    pub(super) async fn compare(
        &self,
        plan: &Plan,
        what: &str,
        connections: usize,
        at_leader: bool,
        budget: Budget,
    ) -> Result<Vec<Figure>> {
        let place = |leader: usize| if at_leader { leader } else { (leader + 1) % 3 };
        let ours = place(self.cluster.leader().await);
        let theirs = place(self.etcd.leader().await?);
        let mut subjects = vec![
            strongroom::update(&self.cluster, ours),
            self.etcd.update(theirs)?,
        ];
        if let Some(url) = &plan.vault {
            subjects.push(vault::update(url)?);
        }
        let taken = in_turn(plan, &subjects, connections).await?;
        let to_etcd = ratio(&format!("{what}: to etcd's put"), pair(&taken)?, rate);
        let mut figures = vec![to_etcd.held_to(budget)];
        let slowest = ratio(&format!("{what}: p99 to etcd's"), pair(&taken)?, p99);
        figures.push(match (at_leader, connections) {
            (true, 64) => slowest.held_to(Budget::at_most(1.0, 1.0)),
            _ => slowest,
        });
        figures.extend(details(what, &taken));
        Ok(figures)
    }
}

pub(super) async fn run(plan: &Plan) -> Result<Vec<Figure>> {
    let pair = Pair::start(None).await?;
    let at_leader = Budget::at_least(1.0, 2.0);
    let what = "update, three nodes, 64 connections, at the leader";
    let mut figures = pair.compare(plan, what, 64, true, at_leader).await?;
    let what = "update, three nodes, 64 connections, at a follower";
    let at_follower = Budget::at_least(0.8, 1.5);
    figures.extend(pair.compare(plan, what, 64, false, at_follower).await?);
    let what = "update, three nodes, one connection, at the leader";
    let alone = Budget::at_least(1.0, 1.3);
    figures.extend(pair.compare(plan, what, 1, true, alone).await?);
    Ok(figures)
}
