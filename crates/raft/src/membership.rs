//! The membership after it was changed: a change that a leader left half-way is carried to its end, and
//! a node that the cluster has gone on without, or that was removed by command, notices.

use std::{
    collections::BTreeSet,
    sync::{Arc, Weak, atomic::Ordering},
    time::Duration,
};

use futures_util::future::join_all;
use openraft::ChangeMembers;

use crate::{
    formation::{join_as_before, status_at},
    joining::others,
    node::Inner,
    types::{NodeId, Peer, ServerState},
    wire::{NodeStatus, Rpc},
};

const PAUSE: Duration = Duration::from_secs(1);
/// Between two times that a removed node asks to be let in.
pub(crate) const REMOVED_PAUSE: Duration = Duration::from_secs(5);
const ASK_WITHIN: Duration = Duration::from_secs(1);
/// How long a voter hears of no leader before it asks whether it is still one.
const SILENCE: Duration = Duration::from_secs(2);

pub(crate) fn start(inner: &Arc<Inner>) {
    tokio::spawn(keep_uniform(Arc::downgrade(inner)));
    tokio::spawn(notice_removal(Arc::downgrade(inner)));
}

/// While this node leads: a change of the voters takes two steps, and openraft leaves it at the first
/// when the leader fails in between. Every decision would need both old and new voters for ever.
async fn keep_uniform(weak: Weak<Inner>) {
    loop {
        tokio::time::sleep(PAUSE).await;
        let Some(inner) = weak.upgrade() else { return };
        if inner.raft.metrics().borrow().state == ServerState::Leader {
            inner.expel_who_stays_out().await;
        }
        // Whoever holds it changes the membership just now.
        let Ok(_turn) = inner.admitting.try_lock() else {
            continue;
        };
        let Some((joint, learners)) = unfinished(&inner) else {
            continue;
        };
        let change = match joint {
            Some(voters) => ChangeMembers::ReplaceAllVoters(voters),
            None => match of_the_past(&inner, learners).await {
                gone if gone.is_empty() => continue,
                gone => ChangeMembers::RemoveNodes(gone),
            },
        };
        tracing::info!(?change, "finishing a change of the membership");
        if let Err(error) = inner.raft.change_membership(change, false).await {
            tracing::warn!(%error, "a change of the membership is not finished yet");
        }
    }
}

type Unfinished = (Option<BTreeSet<NodeId>>, Vec<(NodeId, Peer)>);

/// The voters that a committed joint membership leads to; and the learners whose name a voter has.
fn unfinished(inner: &Inner) -> Option<Unfinished> {
    let metrics = inner.raft.metrics();
    let metrics = metrics.borrow();
    let membership = &metrics.membership_config;
    let committed = *membership.log_id() <= metrics.last_applied;
    if metrics.state != ServerState::Leader || !committed {
        return None;
    }
    let configs = membership.membership().get_joint_config();
    let joint = (configs.len() > 1)
        .then(|| configs.last().cloned())
        .flatten();
    let voters: BTreeSet<NodeId> = membership.voter_ids().collect();
    let named = |name: &str| {
        let nodes = membership.nodes();
        nodes
            .into_iter()
            .any(|(id, peer)| voters.contains(id) && peer.name == name)
    };
    let learners = membership
        .nodes()
        .filter(|(id, peer)| !voters.contains(id) && named(&peer.name))
        .map(|(id, peer)| (*id, peer.clone()))
        .collect();
    Some((joint, learners))
}

/// Of these, who does not answer any more: what a voter was before it lost its disk.
async fn of_the_past(inner: &Inner, learners: Vec<(NodeId, Peer)>) -> BTreeSet<NodeId> {
    let asked = learners.iter().map(|(id, peer)| async move {
        let status = status_at(inner, inner.addresses.address(peer)).await;
        let lives = status.is_some_and(|status| status.raft_id == *id);
        (!lives).then_some(*id)
    });
    join_all(asked).await.into_iter().flatten().collect()
}

/// A node that was replaced, and comes back with what it had, is a voter as far as it knows. It must
/// not serve the past.
async fn notice_removal(weak: Weak<Inner>) {
    loop {
        tokio::time::sleep(PAUSE).await;
        let Some(inner) = weak.upgrade() else { return };
        if inner.epoch.is_over() {
            return;
        }
        let removed = inner.removed.load(Ordering::Acquire);
        let was_told = inner.store.state().keeps_out(&inner.identity.node_id);
        if inner.contact.ago() < SILENCE && !removed && !was_told {
            continue;
        }
        let own = inner.status();
        let leads = own.leader == Some(own.raft_id);
        if leads || !(removed || own.voters.contains(&own.raft_id)) {
            continue;
        }
        let found = gone_on_without(&inner, &own).await;
        if let Some(found) = found {
            note_removal(&inner, found);
        }
        if found == Some(true) {
            join_as_before(&inner).await;
            drop(inner);
            tokio::time::sleep(REMOVED_PAUSE).await;
        }
    }
}

/// Notes that this node is a member no more, or again.
pub(crate) fn note_removal(inner: &Arc<Inner>, removed: bool) {
    if inner.removed.swap(removed, Ordering::AcqRel) == removed {
        return;
    }
    if removed {
        inner.caught_up.store(false, Ordering::Release);
        tracing::error!(
            "this node was removed from its cluster, or replaced: it serves nothing. It asks to be let \
             in again; to give it up, stop it and move its data directory aside"
        );
    } else {
        tracing::info!("this node is a member again");
        crate::formation::open_when_caught_up(inner);
    }
}

/// Whether members with a leader and a newer membership have this node no more among them. `None`: no
/// such member answers.
async fn gone_on_without(inner: &Inner, own: &NodeStatus) -> Option<bool> {
    let others = others(inner);
    let asked = others
        .values()
        .map(|address| inner.ask::<NodeStatus>(address, Rpc::Status, Vec::new(), ASK_WITHIN));
    let newest = join_all(asked)
        .await
        .into_iter()
        .filter_map(Result::ok)
        // What peers of another epoch say of their members says nothing about this one's.
        .filter(|status| status.epoch.unwrap_or_default() == own.epoch.unwrap_or_default())
        .filter(|status| status.leader.is_some() && status.membership >= own.membership)
        .max_by_key(|status| status.membership)?;
    Some(!newest.voters.contains(&own.raft_id))
}

#[cfg(test)]
#[path = "../tests/wires/mod.rs"]
mod wires;

#[cfg(test)]
mod tests {
    use super::{
        wires::{Wires, leader, three, until},
        *,
    };
    use crate::Node;

    fn configs(node: &Node) -> usize {
        let metrics = node.inner.raft.metrics();
        let metrics = metrics.borrow();
        metrics
            .membership_config
            .membership()
            .get_joint_config()
            .len()
    }

    /// The leader fails between the two steps: whoever asked hangs up, here.
    #[tokio::test(flavor = "multi_thread")]
    async fn a_change_left_half_way_is_finished() {
        let (dir, wires) = (tempfile::tempdir().unwrap(), Arc::new(Wires::default()));
        let nodes = three(&dir, &wires).await;
        let led = leader(&nodes).await;
        let inner = Arc::clone(&nodes[led].inner);
        let voters: BTreeSet<NodeId> = {
            let metrics = inner.raft.metrics();
            metrics.borrow().membership_config.voter_ids().collect()
        };
        let fewer = voters.iter().copied().filter(|id| *id == inner.raft_id());
        let change = ChangeMembers::ReplaceAllVoters(fewer.collect());
        let asked = tokio::spawn({
            let inner = Arc::clone(&inner);
            async move { inner.raft.change_membership(change, true).await.map(|_| ()) }
        });
        let mut metrics = inner.raft.metrics();
        let joint = |now: &crate::types::RaftMetrics| {
            now.membership_config.membership().get_joint_config().len() > 1
        };
        metrics.wait_for(joint).await.unwrap();
        asked.abort();
        // It may have come to its end all the same.
        drop(asked.await);
        until("one set of voters", || configs(&nodes[led]) == 1).await;
        for node in nodes {
            node.shutdown().await;
        }
    }
}
