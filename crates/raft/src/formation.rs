//! How nodes become one cluster, and how a node that lost its disk comes back.
//!
//! A node that belongs to no cluster asks all listed peers. If one belongs to a cluster, it joins
//! that one. Only if all have answered and none belongs to any does the first by name form a new
//! cluster of all (invariant 9): a node that cannot see the others never forms one of its own.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Weak, atomic::Ordering},
    time::{Duration, Instant},
};

use openraft::ChangeMembers;
use strongroom_core::{ClusterId, Command};

use crate::{
    joining::{found_at, has_moved, may_join, moves, others, votes},
    membership::{REMOVED_PAUSE, note_removal},
    node::Inner,
    types::{NodeId, Peer, ServerState},
    wire::{self, JoinError, Joiner, NodeStatus, Rpc},
};

const PAUSE: Duration = Duration::from_millis(200);
const ASK_WITHIN: Duration = Duration::from_secs(2);
const JOIN_WITHIN: Duration = Duration::from_secs(60);
/// How long a node that joins may take to hold what the leader holds.
const LEVEL_WITHIN: Duration = Duration::from_secs(50);
/// How long a restarted node waits for a leader before it serves what it had committed.
const LEADER_PATIENCE: Duration = Duration::from_secs(10);

pub(crate) fn start(inner: &Arc<Inner>) {
    tokio::spawn(become_member(Arc::downgrade(inner)));
    open_when_caught_up(inner);
    tokio::spawn(keep_cluster_identified(Arc::downgrade(inner)));
}

/// Sees to it that this node is a voter: one that was let in half (its leader died in between) is a
/// learner, and asks again; so does one whose admission another leader took back.
async fn become_member(weak: Weak<Inner>) {
    loop {
        let Some(inner) = weak.upgrade() else { return };
        let (Ok(has_a_past), Some(is_voter)) =
            (inner.raft.is_initialized().await, is_voter(&inner).await)
        else {
            return;
        };
        let pause = match is_voter {
            true => {
                if has_moved(&inner) {
                    join_as_before(&inner).await;
                }
                PAUSE * 5
            }
            false => {
                try_to_become_member(&inner, has_a_past).await;
                match inner.removed.load(Ordering::Acquire) {
                    true => REMOVED_PAUSE,
                    false => PAUSE,
                }
            }
        };
        drop(inner);
        tokio::time::sleep(pause).await;
    }
}

/// Asks the members to be let in under the id that this node has, and at the address.
pub(crate) async fn join_as_before(inner: &Arc<Inner>) {
    let others = others(inner);
    join(inner, &others).await;
}

/// Opens the node for reads once it has caught up.
pub(crate) fn open_when_caught_up(inner: &Arc<Inner>) {
    let weak = Arc::downgrade(inner);
    tokio::spawn(async move { catch_up(&weak).await });
}

/// By Raft's own state, which is there from the start, unlike its metrics. `None`: Raft has stopped.
async fn is_voter(inner: &Inner) -> Option<bool> {
    let id = inner.raft_id();
    let asked = inner.raft.with_raft_state(move |state| {
        state
            .membership_state
            .effective()
            .voter_ids()
            .any(|voter| voter == id)
    });
    asked.await.ok()
}

async fn try_to_become_member(inner: &Arc<Inner>, has_a_past: bool) {
    let mut answers = BTreeMap::from([(inner.identity.node_id.clone(), inner.status())]);
    let others = others(inner);
    for (name, address) in &others {
        match inner
            .ask::<NodeStatus>(address, Rpc::Status, Vec::new(), ASK_WITHIN)
            .await
        {
            Ok(status) if status.name == *name => {
                answers.insert(name.clone(), status);
            }
            Ok(status) => {
                tracing::warn!(expected = %name, found = %status.name, "another node answers here");
            }
            Err(error) => tracing::debug!(peer = %name, %error, "no answer yet"),
        }
    }
    let is_member = |name: &String| answers.get(name).is_some_and(|status| status.member);
    let members: BTreeMap<_, _> = others
        .into_iter()
        .filter(|(name, _)| is_member(name))
        .collect();
    if !members.is_empty() {
        return join(inner, &members).await;
    }
    let everyone = answers.len() == inner.addresses.len().max(1);
    let first = answers.keys().next() == Some(&inner.identity.node_id);
    if everyone && first && !has_a_past && !inner.identity.rejoins {
        form(inner, &answers).await;
    }
}

async fn form(inner: &Arc<Inner>, answers: &BTreeMap<String, NodeStatus>) {
    let members: BTreeMap<NodeId, Peer> = answers
        .iter()
        .map(|(name, status)| {
            let address = inner.config.peers.get(name).cloned().unwrap_or_default();
            let peer = Peer {
                name: name.clone(),
                address,
                version: status.version.clone(),
            };
            (status.raft_id, peer)
        })
        .collect();
    match inner.raft.initialize(members).await {
        Ok(()) => tracing::info!(nodes = answers.len(), "formed a new cluster"),
        Err(error) => tracing::warn!(%error, "the cluster was not formed; trying again"),
    }
}

async fn join(inner: &Arc<Inner>, members: &BTreeMap<String, String>) {
    let this = inner.this_peer();
    let joiner = Joiner {
        name: this.name,
        raft_id: inner.raft_id(),
        address: this.address,
        version: this.version,
    };
    if inner.raft.metrics().borrow().state == ServerState::Leader {
        // It has moved, and there is nobody to ask.
        if let Err(error) = admit(inner, joiner).await {
            tracing::debug!(%error, "the membership has not got this node's address yet");
        }
        return;
    }
    for (name, address) in &inner.of_the_newest(members).await {
        let Ok(body) = wire::encode(&joiner) else {
            continue;
        };
        let asked: Result<Result<(), JoinError>, _> =
            inner.ask(address, Rpc::Join, body, JOIN_WITHIN).await;
        match asked {
            Ok(Ok(())) => {
                tracing::info!("joined the cluster");
                return;
            }
            Ok(Err(JoinError::NotLeader)) => {}
            Ok(Err(JoinError::Removed)) => return note_removal(inner, true),
            Ok(Err(error)) => tracing::warn!(%error, "not let into the cluster; trying again"),
            Err(error) => tracing::debug!(peer = %name, %error, "no answer to a join"),
        }
    }
}

/// Lets a node in. The leader makes it a learner, waits until it has caught up, and then makes it a
/// voter in place of the node that had its name.
pub(crate) async fn admit(inner: &Arc<Inner>, joiner: Joiner) -> Result<(), JoinError> {
    let _turn = inner.admitting.lock().await;
    if inner.raft.metrics().borrow().state != ServerState::Leader {
        return Err(JoinError::NotLeader);
    }
    // What is compared below must be what the cluster has decided.
    let fresh = inner.linearize(ASK_WITHIN).await;
    let fresh = fresh.map_err(|_| JoinError::NotLeader)?;
    may_join(inner, &fresh, &joiner)?;
    let format = fresh.format();
    let failed = |error: &dyn std::fmt::Display| JoinError::Raft(error.to_string());
    let peer = Peer {
        name: joiner.name,
        address: joiner.address,
        version: joiner.version,
    };
    // As a voter it counts at once: one that cannot be reached would stop a small cluster for good.
    let status = found_at(inner, &peer, joiner.raft_id).await;
    let status = status.ok_or(JoinError::Unreachable)?;
    inner.may_bring(&status)?;
    // It would be sent what it cannot read.
    if status.decodes < format {
        return Err(JoinError::TooOld);
    }
    if moves(inner, joiner.raft_id, &peer).await? {
        tracing::info!(node = %peer.name, address = %peer.address, "a member has moved");
        if votes(inner, joiner.raft_id) {
            return Ok(());
        }
    }
    let gone = namesakes(inner, &peer.name, joiner.raft_id);
    for (id, namesake) in &gone {
        // Where it was when it was let in: at its place in the settings the joiner answers.
        let found = status_at(inner, &namesake.address).await;
        if found.is_some_and(|status| status.raft_id == *id) {
            return Err(JoinError::NameTaken);
        }
    }
    inner
        .raft
        .add_learner(joiner.raft_id, peer, false)
        .await
        .map_err(|error| failed(&error))?;
    wait_until_level(inner, joiner.raft_id).await?;
    if status.decodes < inner.store.state().format() {
        return Err(JoinError::TooOld);
    }
    // Read anew: it may have changed since.
    let membership = Arc::clone(&inner.raft.metrics().borrow().membership_config);
    let voters: BTreeSet<NodeId> = membership
        .voter_ids()
        .filter(|id| !gone.contains_key(id))
        .chain([joiner.raft_id])
        .collect();
    let change = ChangeMembers::ReplaceAllVoters(voters);
    inner
        .raft
        .change_membership(change, false)
        .await
        .map_err(|error| failed(&error))?;
    forget_learners(inner, &gone).await;
    tracing::info!(
        node = joiner.raft_id,
        replaced = gone.len(),
        "let a node in"
    );
    Ok(())
}

/// The node that answers at this address.
pub(crate) async fn status_at(inner: &Inner, address: &str) -> Option<NodeStatus> {
    let status = inner
        .ask::<NodeStatus>(address, Rpc::Status, Vec::new(), ASK_WITHIN)
        .await;
    status.ok()
}

/// Members of this name under other ids: what the node was before it lost its disk.
fn namesakes(inner: &Inner, name: &str, except: NodeId) -> BTreeMap<NodeId, Peer> {
    let metrics = inner.raft.metrics();
    let metrics = metrics.borrow();
    let nodes = metrics.membership_config.nodes();
    nodes
        .filter(|(id, peer)| peer.name == name && **id != except)
        .map(|(id, peer)| (*id, peer.clone()))
        .collect()
}

/// Waits until a learner holds everything that this leader held when it was let in.
async fn wait_until_level(inner: &Inner, learner: NodeId) -> Result<(), JoinError> {
    let mut metrics = inner.raft.metrics();
    let goal = metrics.borrow().last_log_index;
    let level = metrics.wait_for(|now| {
        let matched = now
            .replication
            .as_ref()
            .and_then(|all| all.get(&learner).copied().flatten());
        now.state != ServerState::Leader || matched.map(|id| id.index) >= goal
    });
    // It goes on to catch up as a learner, and asks again.
    let makes_way = async {
        while inner.hurried.load(Ordering::Acquire) == 0 {
            tokio::time::sleep(PAUSE / 4).await;
        }
    };
    tokio::select! {
        level = tokio::time::timeout(LEVEL_WITHIN, level) => match level {
            Ok(Ok(now)) if now.state == ServerState::Leader => Ok(()),
            _ => Err(JoinError::NotLevel),
        },
        () = makes_way => Err(JoinError::NotLevel),
    }
}

/// Takes learners off the membership whose node has come back under another id.
async fn forget_learners(inner: &Inner, gone: &BTreeMap<NodeId, Peer>) {
    let left: BTreeSet<NodeId> = {
        let metrics = inner.raft.metrics();
        let metrics = metrics.borrow();
        metrics
            .membership_config
            .nodes()
            .map(|(id, _)| *id)
            .filter(|id| gone.contains_key(id))
            .collect()
    };
    if left.is_empty() {
        return;
    }
    let removed = inner
        .raft
        .change_membership(ChangeMembers::RemoveNodes(left), false)
        .await;
    if let Err(error) = removed {
        tracing::warn!(%error, "a member that is gone is still listed");
    }
}

/// Opens the node for reads once it has seen everything the cluster had committed when it started;
/// or, when no leader can be found, everything that it had committed itself (invariant 12).
async fn catch_up(weak: &Weak<Inner>) {
    let began = Instant::now();
    loop {
        let Some(inner) = weak.upgrade() else { return };
        if inner.epoch.is_over() {
            return;
        }
        let has_seen_all = inner.linearize(Duration::from_secs(1)).await.is_ok();
        let waited_enough = began.elapsed() > LEADER_PATIENCE
            && inner.store.applied_what_was_committed()
            && inner.store.state().cluster_id().is_some()
            && !inner.store.state().keeps_out(&inner.identity.node_id);
        if (has_seen_all && inner.store.state().cluster_id().is_some()) || waited_enough {
            inner.caught_up.store(true, Ordering::Release);
            tracing::info!(by_leader = has_seen_all, "caught up");
            return;
        }
        drop(inner);
        tokio::time::sleep(PAUSE / 4).await;
    }
}

/// While this node leads a cluster without an identity, it proposes one.
async fn keep_cluster_identified(weak: Weak<Inner>) {
    loop {
        let Some(inner) = weak.upgrade() else { return };
        if inner.store.state().cluster_id().is_some() {
            return;
        }
        let leads = inner.raft.metrics().borrow().state == ServerState::Leader;
        let mut id = [0; 16];
        if leads && getrandom::fill(&mut id).is_ok() {
            let form = Command::Form {
                cluster_id: ClusterId(id),
            };
            if let Err(error) = inner.propose(form, None, ASK_WITHIN).await {
                tracing::debug!(?error, "the cluster has no identity yet");
            }
        }
        drop(inner);
        tokio::time::sleep(PAUSE / 4).await;
    }
}
