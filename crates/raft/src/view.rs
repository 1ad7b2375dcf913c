//! The cluster as this node sees it.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use futures_util::future::join_all;
use strongroom_core::{ClusterView, NodeView};

use crate::{
    leading::Leader,
    node::Inner,
    types::{NodeId, Peer, ServerState},
    wire::{NodeStatus, Rpc},
};

const ASK_WITHIN: Duration = Duration::from_millis(700);

pub(crate) async fn cluster(inner: &Arc<Inner>) -> ClusterView {
    let (membership, leader, term) = {
        let metrics = inner.raft.metrics();
        let metrics = metrics.borrow();
        let claims_to_lead = metrics.current_leader == Some(inner.raft_id());
        let leader = metrics.current_leader.filter(|_| match claims_to_lead {
            true => metrics.state == ServerState::Leader,
            false => !inner.hears_nobody(),
        });
        (
            Arc::clone(&metrics.membership_config),
            leader,
            metrics.current_term,
        )
    };
    let voters: Vec<NodeId> = membership.voter_ids().collect();
    let asked: Vec<_> = membership
        .nodes()
        .map(|(id, peer)| {
            let (inner, id, peer) = (Arc::clone(inner), *id, peer.clone());
            tokio::spawn(async move { ask_member(&inner, id, &peer).await })
        })
        .collect();
    let mut nodes = Vec::with_capacity(asked.len());
    for (answer, (id, peer)) in asked.into_iter().zip(membership.nodes()) {
        let status = answer.await.ok().flatten();
        nodes.push(NodeView {
            name: peer.name.clone(),
            raft_id: *id,
            address: inner.addresses.address(peer).to_owned(),
            role: match (leader == Some(*id), voters.contains(id)) {
                (true, _) => "leader",
                (_, true) => "voter",
                _ => "learner",
            },
            applied: status.as_ref().and_then(|status| status.applied),
            version: status.as_ref().map(|status| status.version.clone()),
            reachable: status.is_some(),
        });
    }
    let reachable = nodes
        .iter()
        .filter(|node| node.reachable && voters.contains(&node.raft_id));
    ClusterView {
        cluster_id: inner.store.state().cluster_id(),
        node_name: inner.identity.node_id.clone(),
        leader: leader.and_then(|id| {
            membership
                .nodes()
                .find(|(node, _)| **node == id)
                .map(|(_, peer)| peer.name.clone())
        }),
        term,
        failure_tolerance: failure_tolerance(voters.len(), reachable.count()),
        nodes,
    }
}

/// Asks all other members at once.
pub(crate) async fn ask_members(
    inner: &Arc<Inner>,
    question: Vec<u8>,
    within: Duration,
) -> Vec<Bytes> {
    let membership = Arc::clone(&inner.raft.metrics().borrow().membership_config);
    let others = membership.nodes().filter(|(id, _)| **id != inner.raft_id());
    let asked = others.map(|(_, peer)| {
        let address = inner.addresses.address(peer);
        inner.carry(address, Rpc::Question, question.clone(), within)
    });
    join_all(asked)
        .await
        .into_iter()
        .filter_map(Result::ok)
        .collect()
}

/// Asks the leader, if that is another node.
pub(crate) async fn ask_leader(
    inner: &Inner,
    question: Vec<u8>,
    within: Duration,
) -> Option<Bytes> {
    let Leader::At(leader) = inner.leader() else {
        return None;
    };
    let address = inner.addresses.address(&leader);
    let asked = inner.carry(address, Rpc::Question, question, within);
    asked.await.ok()
}

/// How many more voters may fail: those that answer, less the majority of all.
pub(crate) fn failure_tolerance(voters: usize, reachable: usize) -> u64 {
    let majority = voters / 2 + 1;
    reachable.saturating_sub(majority) as u64
}

async fn ask_member(inner: &Inner, id: NodeId, peer: &Peer) -> Option<NodeStatus> {
    if id == inner.raft_id() {
        return Some(inner.status());
    }
    let address = inner.addresses.address(peer);
    let status = inner
        .ask::<NodeStatus>(address, Rpc::Status, Vec::new(), ASK_WITHIN)
        .await
        .ok()?;
    (status.raft_id == id).then_some(status)
}

#[cfg(test)]
mod tests {
    use super::failure_tolerance;

    #[test]
    fn tolerance_counts_dead_voters() {
        assert_eq!(failure_tolerance(1, 1), 0);
        assert_eq!(failure_tolerance(3, 3), 1);
        assert_eq!(failure_tolerance(3, 2), 0);
        assert_eq!(failure_tolerance(3, 1), 0);
        assert_eq!(failure_tolerance(5, 5), 2);
        assert_eq!(failure_tolerance(5, 4), 1);
    }
}
