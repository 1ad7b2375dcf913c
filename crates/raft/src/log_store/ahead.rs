//! A leader's own entries are on their way to the others while this node's disk writes them.
//!
//! openraft sends an entry once the leader's store calls it written, so the disks of leader and followers
//! would work one after the other. Raft needs no such order (§10.2.1 of Ongaro's thesis): it needs that an
//! entry counts as committed, and that anything follows from it, only once a majority has it on its disks.
//! So an entry of this node's own lead is called written when the writer has it, and three rules hold what
//! openraft then concludes too early (invariant 28):
//!
//! - Nothing is applied before it is durable here: [`LogStore::until_durable`], which the state machine
//!   waits for. Answers, snapshots and reads come after that.
//! - No node is told of a commit beyond what is durable here: [`LogStore::durable_end`], to which the
//!   network lowers each message.
//! - A node that starts again lays down the lead it had: [`LogStore::lay_down_lead`]. It may have sent
//!   entries that its own log has lost, and would give their places in the same term to others.
//!
//! And a leader whose disk hangs must not lead on, since nothing comes of what it sends: once such an entry has
//! been waiting for [`STALLED`] with no sync done meanwhile, the network sends nothing more in its name, as if Raft's
//! core waited for the disk itself ([`LogStore::is_stalled`]).
//!
//! So this node's own vote for an entry, which openraft counts from the start, is without effect until
//! the entry is durable. Whatever a follower takes is called written when it is durable, as ever.

use std::{
    collections::VecDeque,
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

use openraft::storage::RaftLogStorage;

use super::LogStore;
use crate::{
    failing::StoreFailed,
    types::{Entry, LogId, StorageError, Vote},
};

/// How long a leader's disk may take for a sync before the leader falls silent. The others stand for election
/// after a silence of 0.9 s and more, so a sync that takes less than both together costs no lead.
const STALLED: Duration = Duration::from_millis(500);

/// Entries that were sent ahead and are not durable yet: the numbers of their appends, and since when.
#[derive(Default)]
pub(super) struct Pending(Mutex<VecDeque<(u64, Instant)>>);

impl Pending {
    pub(super) fn begin(&self, append: u64) {
        let mut pending = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        pending.push_back((append, Instant::now()));
    }

    /// All up to this append are durable.
    pub(super) fn end(&self, upto: u64) {
        let mut pending = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        while pending.front().is_some_and(|(append, _)| *append <= upto) {
            pending.pop_front();
        }
    }

    fn waits_for(&self) -> Duration {
        let pending = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        pending
            .front()
            .map_or(Duration::ZERO, |(_, since)| since.elapsed())
    }
}

impl LogStore {
    /// Whether an entry that was sent ahead has been waiting for this node's disk for too long to lead on.
    pub(crate) fn is_stalled(&self) -> bool {
        self.waits_for_disk() > STALLED
    }

    /// How long an entry that was sent ahead has been waiting for this node's disk while nothing was written
    /// there. An entry larger than the journal takes several syncs, and each of them shows that the disk works.
    pub(crate) fn waits_for_disk(&self) -> Duration {
        let (pending, disk) = (&self.shared.pending, &self.shared.disk);
        pending.waits_for().min(disk.synced.ago())
    }

    /// Notes as whom this node may send ahead: as the leader of this vote, if that is its own. A vote of
    /// an earlier run does not count: it is not noted.
    pub(super) fn note_vote(&self, vote: &Vote) {
        let own = self.shared.own.get() == Some(&vote.leader_id.node_id);
        let leader = own.then_some(vote.leader_id);
        *self.leads_as() = leader;
    }

    /// Whether all of these are entries of this node's present lead.
    pub(super) fn are_own<'a>(&self, mut entries: impl Iterator<Item = &'a Entry>) -> bool {
        let own = *self.leads_as();
        own.is_some() && entries.all(|entry| Some(entry.log_id.leader_id) == own)
    }

    /// Waits until the entry at `index` is durable here. Entries that a follower took always are.
    ///
    /// # Errors
    /// The store has failed, and it may never be.
    pub(crate) async fn until_durable(&self, index: u64) -> Result<(), StoreFailed> {
        let (mut durable, mut failed) = (self.shared.durable.subscribe(), self.failed());
        let reached = |upto: &u64| {
            self.window()
                .append_of(index)
                .is_none_or(|append| append <= *upto)
        };
        tokio::select! {
            biased;
            reached = durable.wait_for(reached) => match reached {
                Ok(_) => Ok(()),
                Err(_) => Err(StoreFailed("it is closed".into())),
            },
            failed = failed.wait_for(Option::is_some) => Err(match failed {
                Ok(failed) => failed.clone().unwrap_or(StoreFailed("it has failed".into())),
                Err(_) => StoreFailed("it is closed".into()),
            }),
        }
    }

    /// The last entry of which it is known that it, and all before it, are durable here.
    pub(crate) fn durable_end(&self) -> Option<LogId> {
        let durable = *self.shared.durable.borrow();
        self.window().durable_end(durable)
    }

    /// Makes a vote by which this node led into one by which it does not: openraft would take up the lead
    /// where it ended, in the same term. To be called before openraft starts.
    ///
    /// # Errors
    /// The store cannot be written.
    pub(crate) async fn lay_down_lead(&mut self, vote: &Vote) -> Result<(), StorageError> {
        if self.shared.own.get() != Some(&vote.leader_id.node_id) || !vote.committed {
            return Ok(());
        }
        let laid_down = Vote {
            committed: false,
            ..*vote
        };
        self.save_vote(&laid_down).await?;
        // It is no lead of this run.
        *self.leads_as() = None;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use openraft::testing::blank_ent;

    use super::*;
    use crate::types::TypeConfig;

    const OWN: u64 = 7;

    fn opened(dir: &std::path::Path) -> LogStore {
        let log = LogStore::open(dir).unwrap();
        log.claim(OWN).unwrap();
        log
    }

    #[tokio::test]
    async fn only_entries_of_a_lead_won_in_this_run_are_sent_ahead() {
        let dir = tempfile::tempdir().unwrap();
        let mut log = opened(dir.path());
        let of = |term, node| blank_ent::<TypeConfig>(term, node, 5);
        assert!(!log.are_own([of(3, OWN)].iter()));
        log.save_vote(&Vote::new_committed(3, OWN)).await.unwrap();
        assert!(log.are_own([of(3, OWN), of(3, OWN)].iter()));
        // Entries of an earlier lead come from whoever leads now.
        for other in [of(2, OWN), of(3, 8), of(4, OWN)] {
            assert!(!log.are_own([of(3, OWN), other].iter()));
        }
        log.save_vote(&Vote::new_committed(4, 8)).await.unwrap();
        assert!(!log.are_own([of(4, 8)].iter()));
        assert!(!log.are_own([of(3, OWN)].iter()));
    }

    #[test]
    fn the_oldest_that_waits_counts() {
        let pending = Pending::default();
        assert_eq!(pending.waits_for(), Duration::ZERO);
        pending.begin(1);
        std::thread::sleep(Duration::from_millis(20));
        pending.begin(2);
        assert!(pending.waits_for() >= Duration::from_millis(20));
        pending.end(0);
        assert!(pending.waits_for() >= Duration::from_millis(20));
        pending.end(2);
        assert_eq!(pending.waits_for(), Duration::ZERO);
    }

    #[tokio::test]
    async fn a_lead_ends_with_the_run() {
        let dir = tempfile::tempdir().unwrap();
        let (led, followed) = (Vote::new_committed(3, OWN), Vote::new_committed(4, 8));
        for (vote, expected) in [(led, Vote::new(3, OWN)), (followed, followed)] {
            let mut log = opened(dir.path());
            log.save_vote(&vote).await.unwrap();
            drop(log);
            let mut log = opened(dir.path());
            log.lay_down_lead(&vote).await.unwrap();
            assert_eq!(log.stored_vote(), Some(expected));
            assert!(!log.are_own([blank_ent::<TypeConfig>(3, OWN, 5)].iter()));
        }
    }
}
