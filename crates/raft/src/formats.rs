//! Which commands the cluster may be given: a command is proposed only when every member has
//! announced that it can decode it. Operators set no flag for that (invariant 16).

use std::{
    collections::HashMap,
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

use futures_util::future::join_all;

use crate::{
    node::Inner,
    types::{NodeId, Peer},
    wire::{NodeStatus, Rpc},
};

/// The format that every version decodes.
const FIRST: u8 = 1;
const ASK_WITHIN: Duration = Duration::from_secs(1);
/// How long an announcement is believed: a node may be set back to an older version.
const BELIEVED: Duration = Duration::from_secs(10);

/// What members have announced, as far as this node has asked.
#[derive(Default)]
pub(crate) struct Announced(Mutex<HashMap<NodeId, (u8, Instant)>>);

impl Announced {
    fn get(&self, id: NodeId) -> Option<u8> {
        let known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        known
            .get(&id)
            .filter(|(_, at)| at.elapsed() < BELIEVED)
            .map(|(format, _)| *format)
    }

    fn note(&self, id: NodeId, format: u8) {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        known.retain(|_, (_, at)| at.elapsed() < BELIEVED);
        known.insert(id, (format, Instant::now()));
    }
}

/// Whether every member has announced that it decodes `format`. One that does not answer has not.
pub(crate) async fn everybody_decodes(inner: &Inner, format: u8) -> bool {
    if format <= FIRST {
        return true;
    }
    let membership = inner.raft.metrics().borrow().membership_config.clone();
    let asked = membership
        .nodes()
        .map(|(id, peer)| announced_by(inner, *id, peer));
    join_all(asked)
        .await
        .into_iter()
        .all(|announced| announced.is_some_and(|it| it >= format))
}

async fn announced_by(inner: &Inner, id: NodeId, peer: &Peer) -> Option<u8> {
    if id == inner.raft_id() {
        return Some(inner.config.decodes);
    }
    if let Some(format) = inner.announced.get(id) {
        return Some(format);
    }
    let address = inner.addresses.address(peer);
    let asked = inner
        .ask::<NodeStatus>(address, Rpc::Status, Vec::new(), ASK_WITHIN)
        .await;
    let format = asked.ok().filter(|status| status.raft_id == id)?.decodes;
    inner.announced.note(id, format);
    Some(format)
}
