//! What a node keeps: the log store and the state machine, opened together.

use std::{
    path::Path,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use openraft::storage::RaftLogStorage;
use strongroom_core::State;

pub(crate) use crate::durable::OpenError;
use crate::{
    log_store::LogStore,
    machine::{Machine, View},
    snapshot_files::SnapshotFiles,
};

/// The log, the vote, the snapshots and what has been applied.
pub(crate) struct Store {
    log: LogStore,
    /// Taken by openraft at the start.
    machine: Mutex<Option<Machine>>,
    view: View,
    snapshots: Arc<SnapshotFiles>,
    /// What this node had committed when it stopped.
    committed_before: Option<u64>,
}

impl Store {
    /// Opens or makes the store in the data directory. Blocks.
    ///
    /// # Errors
    /// See [`OpenError`].
    pub(crate) fn open(data_dir: &Path, raft_id: u64) -> Result<Self, OpenError> {
        let log = LogStore::open(data_dir)?;
        log.claim(raft_id)?;
        check_vote(&log, data_dir)?;
        let machine = Machine::open(data_dir)?;
        // A log that was purged up to a snapshot is of no use without that snapshot.
        machine.check_against(log.ends().last_purged_log_id, data_dir)?;
        let (view, snapshots) = (machine.view(), machine.snapshots());
        log.follow_snapshots(snapshots.kept());
        let machine = machine.following(log.clone());
        Ok(Self {
            log,
            machine: Mutex::new(Some(machine)),
            view,
            snapshots,
            committed_before: None,
        })
    }

    /// Notes what had been committed before this start.
    pub(crate) async fn recall_committed(mut self) -> Self {
        self.committed_before = self
            .log
            .read_committed()
            .await
            .ok()
            .flatten()
            .map(|id| id.index);
        self
    }

    pub(crate) fn snapshots(&self) -> Arc<SnapshotFiles> {
        Arc::clone(&self.snapshots)
    }

    pub(crate) fn log(&self) -> LogStore {
        self.log.clone()
    }

    /// The state machine; `None` once it has been handed out.
    pub(crate) fn take_machine(&self) -> Option<Machine> {
        self.machine
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take()
    }

    /// The way to read what has been applied.
    pub(crate) fn view(&self) -> View {
        self.view.clone()
    }

    pub(crate) fn failed(&self) -> bool {
        self.log.failed().borrow().is_some()
    }

    pub(crate) fn state(&self) -> Arc<State> {
        Arc::clone(&self.view.load().state)
    }

    /// The state, if the entry at `index` has been applied.
    pub(crate) fn state_at(&self, index: u64) -> Option<Arc<State>> {
        let published = self.view.load();
        let reached = published.last_applied.is_some_and(|id| id.index >= index);
        reached.then(|| Arc::clone(&published.state))
    }

    /// Waits until the entry at `index` has been applied, at most `within`.
    pub(crate) async fn wait_applied(&self, index: u64, within: Duration) {
        let mut applied = self.view.applied();
        let reached = applied.wait_for(|applied| applied.is_some_and(|at| at >= index));
        // Whoever waits looks again: a closed channel and a late index are the same to it.
        let _ = tokio::time::timeout(within, reached).await;
    }

    pub(crate) fn applied_what_was_committed(&self) -> bool {
        self.committed_before
            .is_none_or(|index| self.state_at(index).is_some())
    }

    pub(crate) fn log_bytes_from(&self, index: u64) -> u64 {
        self.log.bytes_from(index)
    }

    /// The first index from which on, up to `last`, the log weighs at most `bytes`.
    pub(crate) fn first_index_within(&self, last: u64, bytes: u64) -> Option<u64> {
        let beyond = self.log.bytes_from(last + 1);
        let weight = |first| self.log.bytes_from(first).saturating_sub(beyond);
        let (mut light, mut heavy) = (last + 1, 0);
        if weight(heavy) <= bytes {
            return None;
        }
        while light - heavy > 1 {
            let middle = heavy + (light - heavy) / 2;
            if weight(middle) <= bytes {
                light = middle
            } else {
                heavy = middle
            }
        }
        Some(light)
    }

    /// Bytes of the newest snapshot; 0 if there is none.
    pub(crate) fn snapshot_bytes(&self) -> u64 {
        self.snapshots.newest_bytes()
    }
}

/// A node votes before it takes an entry, but for the first of a cluster. One that does not know how it
/// voted might vote twice.
fn check_vote(log: &LogStore, data_dir: &Path) -> Result<(), OpenError> {
    let corrupt = |reason: String| OpenError::Corrupt {
        path: data_dir.join("log"),
        reason,
    };
    let vote = log.stored_vote();
    match log.ends().last_log_id {
        Some(last) if last.index > 0 && vote.is_none() => {
            Err(corrupt("the vote is missing".to_owned()))
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        durable::{Barrier, Disk},
        log_store::entry_codec,
        rows,
        types::{Entry, LogId},
    };

    #[test]
    fn a_log_without_its_vote_is_damaged_unless_it_has_just_begun() {
        for (entries, is_damaged) in [(1, false), (2, true)] {
            let dir = tempfile::tempdir().unwrap();
            let disk = Disk::open(dir.path(), Barrier::Full).unwrap();
            for index in 0..entries {
                let mut entry = Entry::default();
                entry.log_id = LogId::new(entry.log_id.leader_id, index);
                let bytes = entry_codec::encode(&entry).unwrap();
                rows::write(&disk, index, &bytes).unwrap();
            }
            disk.barrier().unwrap();
            drop(disk);
            let opened = Store::open(dir.path(), 7);
            let found = matches!(opened, Err(OpenError::Corrupt { .. }));
            assert_eq!(found, is_damaged, "{entries} entries");
        }
    }
}
