//! Who may join, and where members are.

use std::{
    collections::BTreeMap,
    sync::{Arc, Weak, atomic::Ordering},
    time::Duration,
};

use openraft::ChangeMembers;
use strongroom_core::{State, limits};
use tokio::sync::MutexGuard;

use crate::{
    formation::status_at,
    node::Inner,
    types::{NodeId, Peer},
    wire::{JoinError, Joiner, NodeStatus},
};

/// Between two looks for members that have moved.
const PAUSE: Duration = Duration::from_secs(1);

impl Inner {
    /// Waits for the turn to change the membership. A node that is just being let in makes way: it may
    /// take most of a minute to catch up, or never do.
    pub(crate) async fn turn(&self, within: Duration) -> Option<MutexGuard<'_, ()>> {
        self.hurried.fetch_add(1, Ordering::AcqRel);
        let _hurries = Hurries(self);
        let turn = tokio::time::timeout(within, self.admitting.lock()).await;
        turn.ok()
    }
}

/// One that waits for its turn, however the wait ends.
struct Hurries<'a>(&'a Inner);

impl Drop for Hurries<'_> {
    fn drop(&mut self) {
        self.0.hurried.fetch_sub(1, Ordering::AcqRel);
    }
}

/// All nodes but this one, by name, and where they are: those in `VAULT_PEERS`, and the members that
/// it does not list.
pub(crate) fn others(inner: &Inner) -> BTreeMap<String, String> {
    let membership = Arc::clone(&inner.raft.metrics().borrow().membership_config);
    let listed = inner.addresses.iter();
    let listed = listed.map(|(name, address)| (name.clone(), address.clone()));
    let mut all: BTreeMap<String, String> = listed.collect();
    for (_, peer) in membership.nodes() {
        all.insert(peer.name.clone(), inner.addresses.address(peer).to_owned());
    }
    all.remove(&inner.identity.node_id);
    all
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

/// What a node says of itself: where this one would look for it, or else where it says it is.
pub(crate) async fn found_at(inner: &Inner, peer: &Peer, id: NodeId) -> Option<NodeStatus> {
    for address in [inner.addresses.address(peer), &peer.address] {
        let status = status_at(inner, address).await;
        if let Some(status) = status.filter(|status| status.raft_id == id) {
            return Some(status);
        }
    }
    None
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

pub(crate) fn start(inner: &Arc<Inner>) {
    tokio::spawn(look_for_those_who_moved(Arc::downgrade(inner)));
}

/// A member may be listed at one address and recorded at another: it has moved, or all have moved and
/// been listed anew. Where it answers by its id it is.
async fn look_for_those_who_moved(weak: Weak<Inner>) {
    loop {
        let Some(inner) = weak.upgrade() else { return };
        let membership = Arc::clone(&inner.raft.metrics().borrow().membership_config);
        for (id, peer) in membership.nodes() {
            let listed = inner.addresses.listed(&peer.name);
            let elsewhere = listed.filter(|listed| *listed != peer.address);
            let answers = async |address: &str| {
                let status = status_at(&inner, address).await;
                status.is_some_and(|status| status.raft_id == *id)
            };
            let has_moved = match elsewhere.filter(|_| *id != inner.raft_id()) {
                Some(listed) => !answers(listed).await && answers(&peer.address).await,
                None => false,
            };
            inner.addresses.note(peer, has_moved);
        }
        drop(inner);
        tokio::time::sleep(PAUSE).await;
    }
}
