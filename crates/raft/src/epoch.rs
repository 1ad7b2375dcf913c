//! Epochs: which of its lives a cluster is in. Recovering from a lost quorum begins the next one.
//!
//! The epoch is the upper half of Raft's terms, so it is in every vote, in every entry's id, in every
//! snapshot's label and in every message that Raft sends, on disk and between nodes, in the formats
//! that the first release has. Nodes of two epochs share no member, and take nothing from each other
//! (invariant 22):
//!
//! - what Raft sends is for one Raft id and of one epoch ([`Inner::in_epoch`]);
//! - what nodes ask each other beside it says in a recovered cluster of which epoch it is
//!   ([`Rpc::InEpoch`]), which nodes of the first release neither say nor understand;
//! - a node tells its epoch with its status: who joins goes to the newest, and a leader lets in nobody
//!   who brings data of another;
//! - a node with data that finds a newer epoch at a peer is at its end ([`surpassed`]).

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Weak,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use futures_util::future::join_all;

use crate::{
    network::AddressBook,
    node::Inner,
    types::{LogId, Vote},
    wire::{self, JoinError, NodeStatus, Rpc, Transport, TransportError, WireError},
};

/// The bits of a term that elections count in: at one a second they last for 136 years.
const ELECTION_BITS: u32 = 32;
/// Terms stay below 2^53, so that they survive every JSON reader they are shown to.
pub(crate) const LAST: u32 = (1 << 20) - 1;
/// How long a peer may take to tell its epoch.
const ASK_WITHIN: Duration = Duration::from_millis(700);
/// Between two looks for a newer epoch.
const LOOK: Duration = Duration::from_secs(2);

/// The epoch of a term.
pub(crate) fn of_term(term: u64) -> u32 {
    u32::try_from(term >> ELECTION_BITS).unwrap_or(u32::MAX)
}

/// The term that an epoch begins with.
pub(crate) fn first_term(epoch: u32) -> u64 {
    u64::from(epoch) << ELECTION_BITS
}

/// The epoch of what a node has stored.
pub(crate) fn of_stored(vote: Option<&Vote>, last: Option<&LogId>) -> u32 {
    let voted = vote.map_or(0, |vote| vote.leader_id.term);
    let written = last.map_or(0, |id| id.leader_id.term);
    of_term(voted.max(written))
}

/// What a node knows of its epoch.
pub(crate) struct Epoch {
    /// What its data, or what it had before, was of when it started.
    at_start: u32,
    /// Whether a newer one was found: then this node is at its end.
    over: AtomicBool,
}

impl Epoch {
    pub(crate) fn begin(at_start: u32) -> Self {
        Self {
            at_start,
            over: AtomicBool::new(false),
        }
    }

    pub(crate) fn is_over(&self) -> bool {
        self.over.load(Ordering::Acquire)
    }
}

/// Asks the peers other than `own_name` for their epoch. Returns the newest, if it is newer than `own`.
pub(crate) async fn surpassed(
    transport: &dyn Transport,
    addresses: &AddressBook,
    own_name: &str,
    own: u32,
) -> Option<u32> {
    let others = addresses.iter().filter(|(name, _)| *name != own_name);
    let asked =
        others.map(|(_, address)| transport.ask(address, Rpc::Status, Vec::new(), ASK_WITHIN));
    let answers = join_all(asked).await.into_iter().flatten();
    answers
        .filter_map(|answer| wire::decode::<NodeStatus>(&answer).ok()?.epoch)
        .max()
        .filter(|newest| *newest > own)
}

/// Looks now and then whether the cluster was recovered without this node.
pub(crate) fn start(inner: &Arc<Inner>) {
    tokio::spawn(watch(Arc::downgrade(inner)));
}

async fn watch(weak: Weak<Inner>) {
    loop {
        tokio::time::sleep(LOOK).await;
        let Some(inner) = weak.upgrade() else { return };
        // One without data has nothing that is over: it joins whoever is newest.
        if !inner.has_data() {
            continue;
        }
        let (transport, own) = (inner.transport.as_ref(), inner.epoch());
        let name = &inner.identity.node_id;
        if let Some(newest) = surpassed(transport, &inner.addresses, name, own).await {
            return end(&inner, own, newest).await;
        }
    }
}

/// Nothing is served, and nothing changes any more: Raft is stopped.
async fn end(inner: &Arc<Inner>, own: u32, newest: u32) {
    inner.epoch.over.store(true, Ordering::Release);
    inner.removed.store(true, Ordering::Release);
    inner.caught_up.store(false, Ordering::Release);
    tracing::error!("{}", Surpassed { own, newest });
    if let Err(error) = inner.raft.shutdown().await {
        tracing::warn!(%error, "Raft did not stop cleanly");
    }
}

/// The cluster was recovered without this node.
#[derive(Clone, Copy, Debug, thiserror::Error)]
#[error(
    "the cluster was recovered without this node, which has data of epoch {own} while a peer is in epoch \
     {newest}: it serves nothing and changes nothing. Stop it, move its data directory aside (do not \
     delete it) and start it again with an empty one; it then joins as a new member"
)]
pub struct Surpassed {
    /// This node's epoch.
    pub own: u32,
    /// The newest that a peer has told.
    pub newest: u32,
}

impl Inner {
    /// This node's epoch. A node without data has the one of what it had before.
    pub(crate) fn epoch(&self) -> u32 {
        let term = self.raft.metrics().borrow().current_term;
        self.epoch.at_start.max(of_term(term))
    }

    fn has_data(&self) -> bool {
        self.has_a_past
            || self
                .raft
                .metrics()
                .borrow()
                .membership_config
                .log_id()
                .is_some()
    }

    /// Refuses what Raft sends in a term of another epoch. A node without data takes that of a newer
    /// one, and is then of it.
    ///
    /// # Errors
    /// [`WireError::Misaddressed`].
    pub(crate) fn in_epoch(&self, term: u64) -> Result<(), WireError> {
        let (own, theirs) = (self.epoch(), of_term(term));
        if own == theirs || (own < theirs && !self.has_data()) {
            return Ok(());
        }
        Err(WireError::Misaddressed)
    }

    /// Asks a node. In a recovered cluster, what is not Raft's own says of which epoch it is.
    pub(crate) async fn carry(
        &self,
        address: &str,
        rpc: Rpc,
        body: Vec<u8>,
        within: Duration,
    ) -> Result<Bytes, TransportError> {
        let epoch = self.epoch();
        if epoch == 0 || !needs_epoch(rpc) {
            return self.transport.ask(address, rpc, body, within).await;
        }
        let wrapped = wire::encode(&(epoch, rpc.as_str(), body));
        let wrapped = wrapped.map_err(|_| TransportError::Unreachable)?;
        self.transport
            .ask(address, Rpc::InEpoch, wrapped, within)
            .await
    }

    /// What another node asks, taken out of what says of which epoch it is.
    ///
    /// # Errors
    /// [`WireError`] if it is of another epoch, or does not say so where it must.
    pub(crate) fn take_out(&self, rpc: Rpc, body: Bytes) -> Result<(Rpc, Bytes), WireError> {
        let epoch = self.epoch();
        if rpc != Rpc::InEpoch {
            let fits = epoch == 0 || !needs_epoch(rpc);
            return fits.then_some((rpc, body)).ok_or(WireError::Misaddressed);
        }
        let (theirs, word, body): (u32, String, Vec<u8>) = wire::decode(&body)?;
        let rpc = Rpc::ALL.into_iter().find(|rpc| rpc.as_str() == word);
        let rpc = rpc.filter(|rpc| needs_epoch(*rpc));
        let rpc = rpc.ok_or(WireError::Malformed)?;
        match theirs == epoch {
            true => Ok((rpc, body.into())),
            false => Err(WireError::Misaddressed),
        }
    }

    /// Of these peers, by name, those of the newest epoch that any of them is in: who joins an older
    /// one joins the past. A peer that does not answer is none of them.
    pub(crate) async fn of_the_newest(
        &self,
        peers: &BTreeMap<String, String>,
    ) -> BTreeMap<String, String> {
        let asked = peers.iter().map(|(name, address)| async move {
            let answer = self
                .transport
                .ask(address, Rpc::Status, Vec::new(), ASK_WITHIN);
            let status: NodeStatus = wire::decode(&answer.await.ok()?).ok()?;
            let peer = (name.clone(), address.clone());
            Some((status.epoch.unwrap_or_default(), peer))
        });
        let found: Vec<_> = join_all(asked).await.into_iter().flatten().collect();
        let newest = found.iter().map(|(epoch, _)| *epoch).max();
        let newest = newest.filter(|newest| *newest >= self.epoch());
        let newest = found
            .into_iter()
            .filter(|(epoch, _)| Some(*epoch) == newest);
        newest.map(|(_, peer)| peer).collect()
    }

    /// While this node leads: refuses whoever would bring data of another epoch, and in a recovered
    /// cluster whoever knows nothing of epochs.
    ///
    /// # Errors
    /// [`JoinError`].
    pub(crate) fn may_bring(&self, joiner: &NodeStatus) -> Result<(), JoinError> {
        let epoch = self.epoch();
        match joiner.epoch {
            None if epoch > 0 => Err(JoinError::TooOld),
            theirs => {
                let theirs = theirs.unwrap_or_default();
                // What it votes in tells whether it holds anything.
                let is_empty = joiner.voters.is_empty() && joiner.membership.is_none();
                if theirs == epoch || (is_empty && theirs < epoch) {
                    return Ok(());
                }
                Err(JoinError::Raft(format!(
                    "the node has data of epoch {theirs}, and the cluster is in epoch {epoch}: move \
                     its data directory aside"
                )))
            }
        }
    }
}

/// Raft's own messages are for one Raft id, and have a term. Who joins is judged by its status.
fn needs_epoch(rpc: Rpc) -> bool {
    !rpc.is_rafts_own() && !matches!(rpc, Rpc::Join | Rpc::InEpoch)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_epoch_is_the_upper_half_of_its_terms() {
        for epoch in [0, 1, 7, LAST] {
            assert_eq!(of_term(first_term(epoch)), epoch);
            assert_eq!(of_term(first_term(epoch) + u64::from(u32::MAX)), epoch);
            assert!(first_term(epoch + 1) <= 1 << 53);
        }
        assert_eq!(of_term(u64::MAX), u32::MAX);
    }
}
