//! How a leader tells the others what is committed.
//!
//! openraft sends each of them a message for it as soon as it is, and the next write's message says it again: half of
//! all messages, where one writer follows another. So while nobody on another node writes or asks, this news waits a
//! moment for a message that is sent anyhow ([`Telling::defer`]). And some of it has to be told again:
//!
//! openraft tells them once, when a majority has an entry, and counts this node's own disk from the start; so
//! the network lowers what a message calls committed to what is durable here (invariant 28). Where a
//! follower's disk was quicker, that message tells less than it could a moment later, and without another
//! write the next one is a heartbeat. Until then a follower would neither apply the entry nor answer a read
//! that must have seen it.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError, Weak},
    time::{Duration, Instant},
};

use tokio::sync::watch;

use crate::{
    node::Inner,
    types::{LogId, NodeId},
};

/// How long to wait for a message that tells it anyhow, as the next write's does.
const MOMENT: Duration = Duration::from_millis(2);
/// So long after another node has passed a write on, or asked how far the log is, news is told at once: its clients
/// wait for what this node has to say.
const ASKED_WITHIN: Duration = Duration::from_secs(1);

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
    /// When another node has last written or asked.
    asked: Mutex<Option<Instant>>,
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
        self.members().insert(member, Told { told, owed });
        self.note_untold(told, owed);
        lowered
    }

    /// Whether the news of this commit may wait for the next message to `member`; then it is owed.
    pub(crate) fn defer(&self, member: NodeId, committed: Option<LogId>) -> bool {
        let asked = *self.asked.lock().unwrap_or_else(PoisonError::into_inner);
        if asked.is_some_and(|at| at.elapsed() < ASKED_WITHIN) {
            return false;
        }
        let owed = committed.map_or(0, |id| id.index);
        let mut members = self.members();
        let Some(last) = members.get_mut(&member).filter(|last| last.told < owed) else {
            return false;
        };
        last.owed = owed;
        let told = last.told;
        drop(members);
        self.note_untold(told, owed);
        true
    }

    /// Another node has written or asked.
    pub(crate) fn note_asked(&self) {
        *self.asked.lock().unwrap_or_else(PoisonError::into_inner) = Some(Instant::now());
    }

    fn note_untold(&self, told: u64, owed: u64) {
        if owed > told {
            self.untold.send_if_modified(|untold| {
                let is_more = owed > *untold;
                *untold = owed.max(*untold);
                is_more
            });
        }
    }

    fn members(&self) -> MutexGuard<'_, BTreeMap<NodeId, Told>> {
        self.members.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether some member was told less than this, last, and would have been told it.
    fn is_owed(&self, index: u64) -> bool {
        let members = self.members();
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

    #[test]
    fn news_waits_unless_another_node_is_waiting_for_it() {
        let telling = Telling::default();
        // Of a member that was told nothing in this lead, nothing is known.
        assert!(!telling.defer(2, at(4)));
        telling.lower(2, at(4), at(4));
        assert!(telling.defer(2, at(5)));
        assert!(telling.is_owed(5) && *telling.untold.borrow() == 5);
        // It is no news any more, so this is a heartbeat.
        telling.lower(2, at(5), at(5));
        assert!(!telling.is_owed(5) && !telling.defer(2, at(5)));
        telling.note_asked();
        assert!(!telling.defer(2, at(6)));
        let long_ago = Instant::now().checked_sub(ASKED_WITHIN);
        *telling.asked.lock().unwrap() = long_ago;
        assert!(long_ago.is_some() && telling.defer(2, at(6)));
    }
}
