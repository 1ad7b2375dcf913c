//! A leader tells the others again what is committed, once it may.
//!
//! openraft tells them once, when a majority has an entry, and counts this node's own disk from the start; so
//! the network lowers what a message calls committed to what is durable here (invariant 28). Where a
//! follower's disk was quicker, that message tells less than it could a moment later, and without another
//! write the next one is a heartbeat. Until then a follower would neither apply the entry nor answer a read
//! that must have seen it.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError, Weak},
    time::Duration,
};

use tokio::sync::watch;

use crate::{
    node::Inner,
    types::{LogId, NodeId},
};

/// How long to wait for a message that tells it anyhow, as the next write's does.
const MOMENT: Duration = Duration::from_millis(2);

/// What the last message to a member called committed, and what it would have, were it durable here.
#[derive(Clone, Copy)]
struct Told {
    told: u64,
    owed: u64,
}

/// What members were told, and were not.
#[derive(Default)]
pub(crate) struct Telling {
    members: Mutex<BTreeMap<NodeId, Told>>,
    /// The last index that some message left out.
    untold: watch::Sender<u64>,
}

impl Telling {
    /// What a message to `member` may call committed: what is durable here, and no more. Notes what it leaves out.
    pub(crate) fn lower(
        &self,
        member: NodeId,
        committed: Option<LogId>,
        durable: Option<LogId>,
    ) -> Option<LogId> {
        let lowered = committed.min(durable);
        let index = |id: Option<LogId>| id.map_or(0, |id| id.index);
        let (told, owed) = (index(lowered), index(committed));
        let mut members = self.members.lock().unwrap_or_else(PoisonError::into_inner);
        members.insert(member, Told { told, owed });
        drop(members);
        if owed > told {
            self.untold.send_if_modified(|untold| {
                let is_more = owed > *untold;
                *untold = owed.max(*untold);
                is_more
            });
        }
        lowered
    }

    /// Whether some member was told less than this, last, for it was not durable here.
    fn is_owed(&self, index: u64) -> bool {
        let members = self.members.lock().unwrap_or_else(PoisonError::into_inner);
        let mut all = members.values();
        all.any(|member| member.told < index && index <= member.owed)
    }
}

pub(crate) fn start(inner: &Arc<Inner>) {
    let untold = inner.telling.untold.subscribe();
    tokio::spawn(tell_again(Arc::downgrade(inner), untold));
}

async fn tell_again(weak: Weak<Inner>, mut untold: watch::Receiver<u64>) {
    // The node is gone otherwise.
    while untold.changed().await.is_ok() {
        let index = *untold.borrow_and_update();
        let Some(inner) = weak.upgrade() else { return };
        if inner.store.log().until_durable(index).await.is_err() {
            return;
        }
        // Held while it sleeps, it would keep a node that stops from giving its directory back.
        drop(inner);
        tokio::time::sleep(MOMENT).await;
        let Some(inner) = weak.upgrade() else { return };
        if !inner.telling.is_owed(index) {
            continue;
        }
        // Of one that does not lead any more, Raft's core takes no notice.
        if let Err(error) = inner.raft.trigger().heartbeat().await {
            tracing::debug!(%error, "nothing is told any more");
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use openraft::CommittedLeaderId;

    use super::*;

    fn at(index: u64) -> Option<LogId> {
        Some(LogId::new(CommittedLeaderId::new(1, 1), index))
    }

    #[test]
    fn what_was_left_out_is_owed_until_it_is_told() {
        let telling = Telling::default();
        assert_eq!(telling.lower(2, at(5), at(5)), at(5));
        assert!(!telling.is_owed(5) && *telling.untold.borrow() == 0);
        assert_eq!(telling.lower(2, at(7), at(6)), at(6));
        assert_eq!(telling.lower(3, at(7), None), None);
        assert_eq!(*telling.untold.borrow(), 7);
        assert!(telling.is_owed(7));
        // One of them was told by the next message.
        telling.lower(2, at(7), at(7));
        assert!(telling.is_owed(7));
        telling.lower(3, at(8), at(7));
        assert!(!telling.is_owed(7) && telling.is_owed(8));
        // What has become durable since is not owed for what nobody had asked to be told.
        assert!(!telling.is_owed(9));
    }
}
