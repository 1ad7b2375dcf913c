//! Who may join, and where members are.

use std::{collections::BTreeMap, sync::Arc};

use openraft::ChangeMembers;
use strongroom_core::{State, limits};

use crate::{
    formation::status_at,
    node::Inner,
    types::{NodeId, Peer},
    wire::{JoinError, Joiner},
};

/// All nodes but this one, by name, and where they are: those in `VAULT_PEERS`, and the members that
/// it does not list.
pub(crate) fn others(inner: &Inner) -> BTreeMap<String, String> {
    let membership = Arc::clone(&inner.raft.metrics().borrow().membership_config);
    let recorded = membership
        .nodes()
        .map(|(_, peer)| (&peer.name, &peer.address));
    // Of two addresses, the one in the settings stays.
    let all = recorded.chain(inner.addresses.iter());
    all.filter(|(name, _)| **name != inner.identity.node_id)
        .map(|(name, address)| (name.clone(), address.clone()))
        .collect()
}

/// Whether the membership has another address for this node than its settings: nodes that do not list
/// it would look for it there.
pub(crate) fn has_moved(inner: &Inner) -> bool {
    let own = inner.this_peer().address;
    let recorded = {
        let metrics = inner.raft.metrics();
        let metrics = metrics.borrow();
        let found = metrics
            .membership_config
            .membership()
            .get_node(&inner.raft_id());
        found.map(|peer| peer.address.clone())
    };
    !own.is_empty() && recorded.is_some_and(|recorded| recorded != own)
}

/// Whether nodes of this name may be members: by command, or by `VAULT_PEERS` of this leader.
pub(crate) fn may_join(inner: &Inner, state: &State, joiner: &Joiner) -> Result<(), JoinError> {
    if state.keeps_out(&joiner.name) {
        return Err(JoinError::Removed);
    }
    let metrics = inner.raft.metrics();
    let metrics = metrics.borrow();
    let members = metrics.membership_config.nodes();
    let is_one = metrics
        .membership_config
        .membership()
        .get_node(&joiner.raft_id)
        .is_some_and(|peer| peer.name == joiner.name);
    if !is_one && !inner.addresses.contains(&joiner.name) && !state.lets_in(&joiner.name) {
        return Err(JoinError::UnknownName);
    }
    let others = members.filter(|(_, peer)| peer.name != joiner.name).count();
    match others < limits::PEERS {
        true => Ok(()),
        false => Err(JoinError::Full),
    }
}

/// Whether a member comes from another address than the membership has, which is recorded then: by
/// itself, since who does not list the node in `VAULT_PEERS` looks for it there.
pub(crate) async fn moves(inner: &Inner, id: NodeId, peer: &Peer) -> Result<bool, JoinError> {
    let recorded = {
        let metrics = inner.raft.metrics();
        let metrics = metrics.borrow();
        metrics
            .membership_config
            .membership()
            .get_node(&id)
            .cloned()
    };
    if recorded.is_none_or(|recorded| recorded.address == peer.address) {
        return Ok(false);
    }
    let found = status_at(inner, &peer.address).await;
    if found.is_none_or(|status| status.raft_id != id) {
        return Err(JoinError::Unreachable);
    }
    let change = ChangeMembers::SetNodes(BTreeMap::from([(id, peer.clone())]));
    match inner.raft.change_membership(change, true).await {
        Ok(_) => Ok(true),
        Err(error) => Err(JoinError::Raft(error.to_string())),
    }
}

/// Whether a node is a voter, and no change of the voters is under way.
pub(crate) fn votes(inner: &Inner, id: NodeId) -> bool {
    let metrics = inner.raft.metrics();
    let metrics = metrics.borrow();
    let configs = metrics.membership_config.membership().get_joint_config();
    configs.iter().all(|voters| voters.contains(&id))
}
