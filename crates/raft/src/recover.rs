//! A lost quorum: one node's data becomes a cluster of its own, in a new epoch.
//!
//! Everything in the node's log counts, committed or not: what a quorum acknowledged may be there and
//! nowhere else. The new cluster begins with a snapshot of it, whose label carries a term of the new
//! epoch and one voter, with an empty log behind it and under a Raft id that nobody has seen. So no
//! message to the old id reaches it, and none of an old term is taken.

use std::{
    collections::{BTreeMap, BTreeSet},
    io,
    path::{Path, PathBuf},
    sync::Arc,
};

use openraft::{
    CommittedLeaderId, Membership, RaftLogReader,
    storage::{RaftLogStorage, RaftStateMachine},
};
use strongroom_core::State;

use crate::{
    epoch,
    identity::{DataDir, Identity, IdentityError},
    log_store::LogStore,
    machine::Published,
    replacement,
    snapshot_files::SnapshotFiles,
    store::{OpenError, Store},
    types::{LogId, Peer, SnapshotMeta, StoredMembership, Vote, position},
};

/// Why a node's data was not looked at, or made no cluster.
#[derive(Debug, thiserror::Error)]
pub enum RecoverError {
    /// There is no node's data directory there.
    #[error("{} is no node's data directory: it holds no node.json", .0.display())]
    NoNode(PathBuf),
    /// The node has never belonged to a cluster.
    #[error("{} holds no data of a cluster: this node has never been a member", .0.display())]
    NoData(PathBuf),
    /// The data directory cannot be used.
    #[error(transparent)]
    Identity(#[from] IdentityError),
    /// The store cannot be opened.
    #[error(transparent)]
    Store(#[from] OpenError),
    /// Reading what is there, or writing what is new, failed.
    #[error("{0}: nothing has changed unless the next start says so; mend it and run this again")]
    Failed(String),
}

impl RecoverError {
    fn failed(error: &dyn std::fmt::Display) -> Self {
        Self::Failed(error.to_string())
    }
}

/// A member, as the log records it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Member {
    /// `NODE_ID`.
    pub name: String,
    /// Its Raft id.
    pub raft_id: u64,
    /// Whether it votes.
    pub votes: bool,
}

/// What a node holds.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Standing {
    /// `NODE_ID`.
    pub node_id: String,
    /// Its Raft id.
    pub raft_id: u64,
    /// The cluster's id in hexadecimal, if it has one.
    pub cluster_id: Option<String>,
    /// The epoch of its data.
    pub epoch: u32,
    /// The term in which it voted last.
    pub voted_in: u64,
    /// The term and the index of the last entry that it holds.
    pub last: (u64, u64),
    /// The last entry that it knows to be committed.
    pub committed: Option<u64>,
    /// The last entry in its newest snapshot.
    pub snapshot: Option<u64>,
    /// The members after the last entry.
    pub members: Vec<Member>,
    /// Whether it is the only voter, and needs nobody else.
    pub is_alone: bool,
}

/// What became of it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Recovered {
    /// The new epoch.
    pub epoch: u32,
    /// The node's new Raft id.
    pub raft_id: u64,
    /// Where what it had before is kept.
    pub before: PathBuf,
}

/// A node's data, read and replayed to its end. The data directory is locked.
pub struct Recovery {
    dir: DataDir,
    standing: Standing,
    published: Arc<Published>,
    was_under_way: bool,
}

impl Recovery {
    /// Locks the directory and reads what is there. Opening repairs what a crash left, as a start of
    /// the node would; a recovery that a crash interrupted is brought to its end. Nothing else changes.
    ///
    /// # Errors
    /// See [`RecoverError`].
    pub async fn look(path: &Path) -> Result<Self, RecoverError> {
        let was_under_way = replacement::is_under_way(path);
        if !path.join(crate::identity::FILE).exists() && !was_under_way {
            return Err(RecoverError::NoNode(path.to_owned()));
        }
        let dir = DataDir::open_existing(path)?;
        // Opening would make one.
        if !path.join("log").exists() {
            return Err(RecoverError::NoData(path.to_owned()));
        }
        let store = Store::open(path, dir.identity.raft_id)?;
        let mut log = store.log();
        let committed = log.read_committed().await;
        let committed = committed.map_err(|error| RecoverError::failed(&error))?;
        let vote = log.stored_vote();
        let snapshot = store.view().load().last_applied.map(|id| id.index);
        let published = replay(&store).await?;
        let members = members(&published.membership);
        let Some(last) = published.last_applied.filter(|_| !members.is_empty()) else {
            return Err(RecoverError::NoData(path.to_owned()));
        };
        let own = dir.identity.raft_id;
        let mut voters = members.iter().filter(|member| member.votes);
        let is_alone = voters.clone().count() == 1 && voters.any(|voter| voter.raft_id == own);
        let at = position(&last);
        let standing = Standing {
            node_id: dir.identity.node_id.clone(),
            raft_id: own,
            cluster_id: published.state.cluster_id().map(|id| id.to_string()),
            epoch: epoch::of_stored(vote.as_ref(), Some(&last)).max(dir.identity.epoch),
            voted_in: vote.map_or(0, |vote| vote.leader_id.term),
            last: (at.term, at.index),
            committed: committed.map(|id| id.index).max(snapshot),
            snapshot,
            members,
            is_alone,
        };
        Ok(Self {
            dir,
            standing,
            published,
            was_under_way,
        })
    }

    /// What the node holds.
    #[must_use]
    pub fn standing(&self) -> &Standing {
        &self.standing
    }

    /// Whether a recovery was found that a crash had interrupted, and was brought to its end.
    #[must_use]
    pub fn was_under_way(&self) -> bool {
        self.was_under_way
    }

    /// Makes a cluster of this node alone, in the next epoch. A crash leaves the old node or the new
    /// one; calling it again works.
    ///
    /// # Errors
    /// [`RecoverError::Failed`].
    pub async fn carry_out(self) -> Result<Recovered, RecoverError> {
        let epoch = self.standing.epoch.saturating_add(1);
        if epoch > epoch::LAST {
            return Err(RecoverError::Failed("there are no more epochs".to_owned()));
        }
        let failed = |error: io::Error| RecoverError::failed(&error);
        let identity = Identity::draw(&self.standing.node_id, epoch).map_err(failed)?;
        let path = &self.dir.path;
        let dir = replacement::begin(path).map_err(failed)?;
        let at = self.write_snapshot(&dir, &identity).map_err(failed)?;
        write_log(&dir, &identity, at).await?;
        identity.keep(&dir).map_err(failed)?;
        let before = format!(
            "before-epoch-{epoch}-{:08x}",
            identity.raft_id & 0xffff_ffff
        );
        replacement::decide(path, &before).map_err(failed)?;
        replacement::finish(path).map_err(failed)?;
        Ok(Recovered {
            epoch,
            raft_id: identity.raft_id,
            before: path.join(before),
        })
    }

    /// Returns the entry that the new cluster begins after: none of the old log's.
    fn write_snapshot(&self, dir: &Path, identity: &Identity) -> io::Result<LogId> {
        let term = epoch::first_term(identity.epoch);
        let (_, last) = self.standing.last;
        let at = LogId::new(CommittedLeaderId::new(term, identity.raft_id), last + 1);
        let mut state = State::clone(&self.published.state);
        state.advance(position(&at));
        let own = self.standing.raft_id;
        let nodes = self.published.membership.membership();
        let peer = nodes.get_node(&own).cloned().unwrap_or_else(|| Peer {
            name: identity.node_id.clone(),
            ..Peer::default()
        });
        let voters = BTreeSet::from([identity.raft_id]);
        let nodes = BTreeMap::from([(identity.raft_id, peer)]);
        let meta = SnapshotMeta {
            last_log_id: Some(at),
            last_membership: StoredMembership::new(Some(at), Membership::new(vec![voters], nodes)),
            snapshot_id: format!("{term}-{}-{:016x}", at.index, identity.raft_id),
        };
        let opened = SnapshotFiles::open(dir);
        let (files, _) = opened.map_err(|error| io::Error::other(error.to_string()))?;
        files.write(&meta, &state).map(|_| at)
    }
}

/// An empty log behind the snapshot, with a vote in the new epoch.
async fn write_log(dir: &Path, identity: &Identity, at: LogId) -> Result<(), RecoverError> {
    let mut log = LogStore::open(dir)?;
    log.claim(identity.raft_id)?;
    let failed = |error: crate::types::StorageError| RecoverError::failed(&error);
    log.purge(at).await.map_err(failed)?;
    log.save_committed(Some(at)).await.map_err(failed)?;
    // Behind the others, and durable when it returns: so are they.
    let vote = Vote::new(at.leader_id.term, identity.raft_id);
    log.save_vote(&vote).await.map_err(failed)
}

/// The state after the last entry of the log, as if all of them were committed.
async fn replay(store: &Store) -> Result<Arc<Published>, RecoverError> {
    let failed = |error: crate::types::StorageError| RecoverError::failed(&error);
    let (mut log, machine) = (store.log(), store.take_machine());
    let mut machine = machine.ok_or_else(|| RecoverError::Failed("no state machine".to_owned()))?;
    let (applied, _) = machine.applied_state().await.map_err(failed)?;
    let mut next = applied.map_or(0, |id| id.index + 1);
    let end = log.ends().last_log_id.map_or(0, |id| id.index + 1);
    while next < end {
        let entries = log.limited_get_log_entries(next, end).await;
        let entries = entries.map_err(failed)?;
        let Some(last) = entries.last().map(|entry| entry.log_id.index) else {
            return Err(RecoverError::Failed(format!("entry {next} cannot be read")));
        };
        machine.apply(entries).await.map_err(failed)?;
        next = last + 1;
    }
    Ok(store.view().load())
}

fn members(membership: &StoredMembership) -> Vec<Member> {
    let voters: BTreeSet<u64> = membership.voter_ids().collect();
    let nodes = membership.nodes();
    nodes
        .map(|(id, peer)| Member {
            name: peer.name.clone(),
            raft_id: *id,
            votes: voters.contains(id),
        })
        .collect()
}
