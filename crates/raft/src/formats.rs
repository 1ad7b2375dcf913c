//! Which commands the cluster may be given: a command of a newer format is proposed only once every
//! member has announced that it decodes it. Operators set no flag for that (invariant 16).
//!
//! That everybody has is itself recorded in the log, by [`Command::RaiseFormat`]: so it holds while a
//! member is away, and no older one is let in afterwards.

use std::{
    sync::{Arc, Weak},
    time::{Duration, Instant},
};

use futures_util::future::join_all;
use strongroom_core::Command;
use tokio::sync::Mutex;

use crate::{
    node::Inner,
    types::{NodeId, Peer, ServerState},
    wire::{NodeStatus, Rpc},
};

const ASK_WITHIN: Duration = Duration::from_secs(1);
/// Between two times that members are asked.
const PAUSE: Duration = Duration::from_secs(1);

/// Between two looks whether the cluster is formed.
const FORMING_PAUSE: Duration = Duration::from_millis(20);

/// When members were asked last.
#[derive(Default)]
pub(crate) struct Asked(Mutex<Option<Instant>>);

pub(crate) fn start(inner: &Arc<Inner>) {
    tokio::spawn(raise_while_leading(Arc::downgrade(inner)));
}

/// After an upgrade of the last member, nobody has to say so.
async fn raise_while_leading(weak: Weak<Inner>) {
    loop {
        let Some(inner) = weak.upgrade() else { return };
        let state = inner.store.state();
        let leads = inner.raft.metrics().borrow().state == ServerState::Leader;
        let formed = state.cluster_id().is_some();
        if leads && formed && state.format() < inner.config.decodes {
            everybody_decodes(&inner, inner.config.decodes).await;
        }
        drop(inner);
        // A new cluster has it from its beginning.
        tokio::time::sleep(if formed { PAUSE } else { FORMING_PAUSE }).await;
    }
}

/// Whether every member has announced that it decodes `format`. One that does not answer has not,
/// unless it had before.
pub(crate) async fn everybody_decodes(inner: &Inner, format: u8) -> bool {
    if inner.store.state().format() >= format {
        return true;
    }
    let mut asked = inner.asked.0.lock().await;
    if inner.store.state().format() < format && asked.is_none_or(|at| at.elapsed() >= PAUSE) {
        raise(inner).await;
        *asked = Some(Instant::now());
    }
    inner.store.state().format() >= format
}

/// Asks all members, and records what all of them decode.
async fn raise(inner: &Inner) {
    // Nobody is let in between the question and the record.
    let Ok(_turn) = inner.admitting.try_lock() else {
        return;
    };
    let membership = inner.raft.metrics().borrow().membership_config.clone();
    let asked = membership
        .nodes()
        .map(|(id, peer)| announced_by(inner, *id, peer));
    let announced: Option<Vec<u8>> = join_all(asked).await.into_iter().collect();
    let Some(to) = announced.and_then(|all| all.into_iter().min()) else {
        return;
    };
    if to <= inner.store.state().format() {
        return;
    }
    let proposed = inner.proposer.propose(Command::RaiseFormat { to }, None);
    match tokio::time::timeout(ASK_WITHIN, proposed).await {
        Ok(Ok(_)) => tracing::info!(format = to, "every member decodes this format"),
        Ok(Err(error)) => tracing::debug!(?error, "the format is not raised yet"),
        Err(_) => tracing::debug!("the format is not raised yet"),
    }
}

pub(crate) async fn announced_by(inner: &Inner, id: NodeId, peer: &Peer) -> Option<u8> {
    if id == inner.raft_id() {
        return Some(inner.config.decodes);
    }
    let address = inner.addresses.address(peer);
    let asked = inner
        .ask::<NodeStatus>(address, Rpc::Status, Vec::new(), ASK_WITHIN)
        .await;
    asked
        .ok()
        .filter(|status| status.raft_id == id)
        .map(|status| status.decodes)
}
