//! Which voters answer, and which have not for so long that they count as dead.
//!
//! Dead voters that still count are how clusters die: each makes the majority larger and never votes.
//! Every node asks all voters now and then, for its metrics; and so whoever leads knows how long each
//! has been silent.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex, MutexGuard, PoisonError, Weak, atomic::Ordering},
    time::{Duration, Instant},
};

use futures_util::future::join_all;
use strongroom_core::{RemoveError, VoterCount};

use crate::{
    formation::status_at,
    node::Inner,
    types::{NodeId, Peer, ServerState},
    view::failure_tolerance,
};

/// Between two times that voters are asked.
const EVERY: Duration = Duration::from_secs(5);
/// A round that took so long: the process stood still, and nobody was asked meanwhile.
const STOOD_STILL: Duration = Duration::from_secs(20);
/// No voter is dead sooner.
const SILENT_AT_LEAST: Duration = Duration::from_secs(10);
/// How long a leader has led before it takes anybody for dead.
const LED_FOR: Duration = Duration::from_secs(60);
/// Voters that answer, and voters, that remain at least.
const AT_LEAST: usize = 3;

/// What this node knows of the voters.
#[derive(Default)]
pub(crate) struct Heard(Mutex<Known>);

#[derive(Default)]
struct Known {
    /// When they were asked last.
    asked: Option<Instant>,
    /// When each answered last, or was first found silent.
    last: BTreeMap<NodeId, Instant>,
    /// Who has answered the last time, this node included.
    answering: BTreeSet<NodeId>,
    /// Since when each round has found a quorum.
    quorum_since: Option<Instant>,
    /// The term in which this node leads, and since when.
    leads: Option<(u64, Instant)>,
    count: Option<VoterCount>,
}

impl Heard {
    fn known(&self) -> MutexGuard<'_, Known> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn count(&self) -> Option<VoterCount> {
        self.known().count
    }
}

impl Known {
    /// Notes who answered in a round that ended now.
    fn note(&mut self, voters: &BTreeSet<NodeId>, answering: BTreeSet<NodeId>, now: Instant) {
        let stood_still = |at: Instant| now.duration_since(at) > STOOD_STILL;
        if self.asked.is_some_and(stood_still) || answering.len() <= voters.len() / 2 {
            self.last.clear();
            self.quorum_since = None;
        }
        self.asked = Some(now);
        if answering.len() > voters.len() / 2 {
            self.quorum_since.get_or_insert(now);
        }
        self.last.retain(|id, _| voters.contains(id));
        for id in voters {
            let at = self.last.entry(*id).or_insert(now);
            if answering.contains(id) {
                *at = now;
            }
        }
        self.answering = answering;
    }

    /// The voter that has been silent for longest, if it is dead and the others can do without it.
    fn dead(&self, voters: &BTreeSet<NodeId>, silent: Duration, now: Instant) -> Option<NodeId> {
        let silent = silent.max(SILENT_AT_LEAST);
        let for_long = |at: Instant, long: Duration| now.duration_since(at) >= long;
        let (_, led_since) = self.leads?;
        if !for_long(self.quorum_since?, silent) || !for_long(led_since, silent.min(LED_FOR)) {
            return None;
        }
        let answering = voters.intersection(&self.answering).count();
        if voters.len() <= AT_LEAST || answering < AT_LEAST || answering <= voters.len() / 2 {
            return None;
        }
        let silent_voters = self.last.iter().filter(|(id, at)| {
            voters.contains(id) && !self.answering.contains(id) && for_long(**at, silent)
        });
        silent_voters.min_by_key(|(_, at)| **at).map(|(id, _)| *id)
    }
}

pub(crate) fn start(inner: &Arc<Inner>) {
    tokio::spawn(ask_voters(Arc::downgrade(inner)));
}

async fn ask_voters(weak: Weak<Inner>) {
    loop {
        let Some(inner) = weak.upgrade() else { return };
        let voters = inner.voter_peers();
        if !voters.is_empty() {
            ask_once(&inner, voters).await;
        }
        drop(inner);
        tokio::time::sleep(EVERY).await;
    }
}

async fn ask_once(inner: &Inner, voters: BTreeMap<NodeId, Peer>) {
    let asked = voters.iter().map(|(id, peer)| async move {
        if *id == inner.raft_id() {
            return Some(*id);
        }
        let status = status_at(inner, inner.addresses.address(peer)).await;
        status.filter(|status| status.raft_id == *id).map(|_| *id)
    });
    let answering: BTreeSet<NodeId> = join_all(asked).await.into_iter().flatten().collect();
    let leads_in = {
        let metrics = inner.raft.metrics();
        let metrics = metrics.borrow();
        (metrics.state == ServerState::Leader).then_some(metrics.current_term)
    };
    // Who was removed knows an old membership.
    let is_out = inner.removed.load(Ordering::Acquire);
    let ids: BTreeSet<NodeId> = voters.into_keys().collect();
    let now = Instant::now();
    let mut known = inner.heard.known();
    let count = |voters: usize, reachable: usize| VoterCount {
        voters: voters as u64,
        reachable: reachable as u64,
        failure_tolerance: failure_tolerance(voters, reachable),
    };
    known.count = (!is_out).then(|| count(ids.len(), answering.len()));
    known.note(&ids, answering, now);
    known.leads = leads_in.map(|term| match known.leads {
        Some((led, since)) if led == term => (led, since),
        _ => (term, now),
    });
}

impl Inner {
    /// The voters, those of both halves of a change under way.
    fn voter_peers(&self) -> BTreeMap<NodeId, Peer> {
        let metrics = self.raft.metrics();
        let metrics = metrics.borrow();
        let voters: BTreeSet<NodeId> = metrics.membership_config.voter_ids().collect();
        let nodes = metrics.membership_config.nodes();
        nodes
            .filter(|(id, _)| voters.contains(id))
            .map(|(id, peer)| (*id, peer.clone()))
            .collect()
    }

    /// While this node leads, and no change is under way: a voter that counts as dead.
    pub(crate) fn dead_voter(&self, silent: Duration) -> Option<(NodeId, Peer)> {
        let is_settled = {
            let metrics = self.raft.metrics();
            let metrics = metrics.borrow();
            let membership = metrics.membership_config.membership();
            metrics.state == ServerState::Leader && membership.get_joint_config().len() == 1
        };
        if !is_settled {
            return None;
        }
        let voters = self.voter_peers();
        let ids = voters.keys().copied().collect();
        let id = self.heard.known().dead(&ids, silent, Instant::now())?;
        voters.into_iter().find(|(voter, _)| *voter == id)
    }

    /// Takes a dead voter out of the membership. Nothing is decided about its name: it asks to be let in
    /// again when it comes back.
    pub(crate) async fn drop_dead_voter(
        &self,
        name: &str,
        silent: Duration,
    ) -> Result<(), RemoveError> {
        let Ok(_turn) = self.admitting.try_lock() else {
            return Err(RemoveError::Busy);
        };
        let fresh = self.linearize(EVERY).await;
        fresh.map_err(|_| RemoveError::NoLeader)?;
        let dead = self.dead_voter(silent);
        let (id, peer) = dead
            .filter(|(_, peer)| peer.name == name)
            .ok_or(RemoveError::UnknownNode)?;
        let lives = status_at(self, self.addresses.address(&peer)).await;
        if lives.is_some_and(|status| status.raft_id == id) {
            return Err(RemoveError::UnknownNode);
        }
        let gone = BTreeSet::from([id]);
        if !self.can_do_without(&gone).await {
            return Err(RemoveError::QuorumAtRisk);
        }
        self.expel(gone).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SILENT: Duration = Duration::from_secs(3_600);

    fn ids(voters: &[NodeId]) -> BTreeSet<NodeId> {
        voters.iter().copied().collect()
    }

    /// A leader that has asked `voters` every five seconds for so long, of which some answered.
    fn after(secs: u64, voters: &[NodeId], answering: &[NodeId]) -> (Known, Instant) {
        let (mut known, began) = (Known::default(), Instant::now());
        known.leads = Some((1, began));
        let mut now = began;
        for round in 0..=secs / 5 {
            now = began + Duration::from_secs(round * 5);
            known.note(&ids(voters), ids(answering), now);
        }
        (known, now)
    }

    #[test]
    fn a_voter_is_dead_once_it_has_been_silent_for_long_and_can_be_spared() {
        let five = [1, 2, 3, 4, 5];
        let dead = |secs, answering: &[NodeId]| {
            let (known, now) = after(secs, &five, answering);
            known.dead(&ids(&five), SILENT, now)
        };
        assert_eq!(dead(3_600, &[1, 2, 3, 4]), Some(5));
        assert_eq!(dead(3_600, &[1, 2, 3]), Some(4));
        assert_eq!(dead(3_590, &[1, 2, 3, 4]), None);
        assert_eq!(dead(3_600, &five), None);
        // No quorum: nobody knows who is dead.
        assert_eq!(dead(3_600, &[1, 2]), None);
    }

    #[test]
    fn three_voters_remain_and_three_answer() {
        for (voters, answering, expected) in [
            (&[1, 2, 3][..], &[1, 2][..], None),
            (&[1, 2, 3, 4], &[1, 2, 3], Some(4)),
            (&[1, 2, 3, 4], &[1, 2], None),
        ] {
            let (known, now) = after(3_600, voters, answering);
            let dead = known.dead(&ids(voters), SILENT, now);
            assert_eq!(dead, expected, "{voters:?} {answering:?}");
        }
    }

    #[test]
    fn what_breaks_the_watch_begins_it_anew() {
        let five = ids(&[1, 2, 3, 4, 5]);
        let living = ids(&[1, 2, 3, 4]);
        let later = |at: Instant, secs| at + Duration::from_secs(secs);
        // The voter has answered once.
        let (mut known, now) = after(3_595, &[1, 2, 3, 4, 5], &[1, 2, 3, 4]);
        known.note(&five, five.clone(), later(now, 5));
        known.note(&five, living.clone(), later(now, 10));
        assert_eq!(known.dead(&five, SILENT, later(now, 10)), None);
        // The leader had no quorum once.
        let (mut known, now) = after(3_600, &[1, 2, 3, 4, 5], &[1, 2, 3, 4]);
        known.note(&five, ids(&[1, 2]), later(now, 5));
        known.note(&five, living.clone(), later(now, 10));
        assert_eq!(known.dead(&five, SILENT, later(now, 10)), None);
        // The process stood still.
        let (mut known, now) = after(3_600, &[1, 2, 3, 4, 5], &[1, 2, 3, 4]);
        known.note(&five, living.clone(), later(now, 60));
        assert_eq!(known.dead(&five, SILENT, later(now, 60)), None);
        // It has led for a moment only.
        let (mut known, now) = after(3_600, &[1, 2, 3, 4, 5], &[1, 2, 3, 4]);
        known.leads = Some((2, later(now, 0)));
        assert_eq!(known.dead(&five, SILENT, later(now, 1)), None);
        known.leads = None;
        assert_eq!(known.dead(&five, SILENT, later(now, 1)), None);
    }
}
