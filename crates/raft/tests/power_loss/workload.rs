//! The traced process: appends, votes, truncates, takes snapshots and purges through the real store,
//! and notes down what it was told is durable.

use std::{fs::File, io::Write, path::Path};

use openraft::{
    RaftLogReader, RaftSnapshotBuilder,
    storage::{RaftLogStorage, RaftStateMachine},
    testing::log_id,
};
use strongroom_raft::{
    DataDir, durable::Barrier, log_store::LogStore, machine::Machine, types::Vote,
};

use crate::{
    common::{append, entry, entry_of},
    rebuild::Random,
};

/// Size of the journal's files: so small that they are written over again and again, and that some entries
/// are larger.
const JOURNAL_BYTES: usize = 16 * 1024;
/// How often a log of so many entries is truncated, and the size of each.
const FLOODS: u64 = 3;
const FLOOD_ENTRIES: u64 = 100;
const FLOOD_ENTRY_BYTES: usize = 60_000;
/// `NODE_ID`.
pub const NODE: &str = "1";

struct Workload {
    log: LogStore,
    machine: Machine,
    marks: File,
    random: Random,
    term: u64,
    /// Index of the next entry; counting from 1, so that 0 is nothing.
    next: u64,
    purging: u64,
    snapshot: u64,
}

/// Runs `steps` steps on the store in `root/data`, and ends without closing it.
pub async fn run(root: &Path, barrier: Barrier, steps: u64, seed: u64) {
    let data = root.join("data");
    let dir = DataDir::open(&data, NODE).unwrap();
    let log = LogStore::open_with(&data, barrier, JOURNAL_BYTES).unwrap();
    log.claim(dir.identity.raft_id).unwrap();
    let machine = Machine::open(&data).unwrap();
    let marks = File::options()
        .append(true)
        .create(true)
        .open(root.join("marks"))
        .unwrap();
    let random = Random(seed);
    let mut workload = Workload {
        log,
        machine,
        marks,
        random,
        term: 1,
        next: 1,
        purging: 0,
        snapshot: 0,
    };
    // From here on there is a log of this name, and a vote given under another would be a second one.
    workload.mark(&format!("identity {}", dir.identity.raft_id));
    workload.take_stock().await;
    for _ in 0..steps {
        workload.step().await;
    }
    // The process dies with an append on its way.
    let entry = entry(workload.term, workload.next);
    let mut log = workload.log.clone();
    let on_its_way = tokio::spawn(async move { append(&mut log, vec![entry]).await });
    tokio::task::yield_now().await;
    // The shim kills the process here, between two records of its trace.
    let alive = std::fs::remove_file(root.join("die"));
    drop(on_its_way);
    panic!("the workload lives on without the shim: {alive:?}");
}

/// Has a long log truncated at once, again and again, and ends without closing it: the most that sled is given between
/// two barriers.
pub async fn flood(root: &Path, barrier: Barrier) {
    let mut log = LogStore::open_with(&root.join("data"), barrier, JOURNAL_BYTES).unwrap();
    for term in 1..=FLOODS {
        for index in 1..=FLOOD_ENTRIES {
            let entry = entry_of(term, index, FLOOD_ENTRY_BYTES);
            append(&mut log, vec![entry]).await.unwrap();
        }
        log.truncate(log_id(term, 1, 1)).await.unwrap();
    }
    append(&mut log, vec![entry(FLOODS + 1, 1)]).await.unwrap();
    let alive = std::fs::remove_file(root.join("die"));
    panic!("the workload lives on without the shim: {alive:?}");
}

impl Workload {
    fn mark(&mut self, line: &str) {
        self.marks
            .write_all(format!("{line}\n").as_bytes())
            .unwrap();
    }

    /// What a node finds when it starts it will vouch for, so from then on that must be durable.
    async fn take_stock(&mut self) {
        let ends = self.log.ends();
        if let Some(purged) = ends.last_purged_log_id {
            self.purging = purged.index;
            self.mark(&format!("purging {}", purged.index));
            self.mark(&format!("purged {}", purged.index));
        }
        for found in self.log.try_get_log_entries(..).await.unwrap() {
            let id = found.log_id;
            self.mark(&format!("acked {} {}", id.index, id.leader_id.term));
        }
        if let Some(last) = ends.last_log_id {
            self.next = last.index + 1;
            self.term = last.leader_id.term;
        }
        if let Some(vote) = self.log.read_vote().await.unwrap() {
            let (term, node) = (vote.leader_id.term, vote.leader_id.node_id);
            self.mark(&format!("voting {term} {node}"));
            self.mark(&format!("voted {term} {node}"));
            self.term = self.term.max(term);
        }
        if let Some(applied) = self.machine.applied_state().await.unwrap().0 {
            self.snapshot = applied.index;
            self.mark(&format!("snapshot {}", applied.index));
            let unapplied = self
                .log
                .try_get_log_entries(applied.index + 1..)
                .await
                .unwrap();
            self.machine.apply(unapplied).await.unwrap();
        } else {
            let all = self.log.try_get_log_entries(..).await.unwrap();
            self.machine.apply(all).await.unwrap();
        }
    }

    async fn step(&mut self) {
        match self.random.below(100) {
            0..70 => {
                let count = 1 + self.random.below(8);
                self.append(count, true).await;
            }
            70..80 => self.vote().await,
            80..88 => self.replace().await,
            _ => self.compact().await,
        }
    }

    async fn append(&mut self, count: u64, apply: bool) {
        let entries: Vec<_> = (self.next..self.next + count)
            .map(|index| entry(self.term, index))
            .collect();
        append(&mut self.log, entries.clone()).await.unwrap();
        for index in self.next..self.next + count {
            self.mark(&format!("acked {index} {}", self.term));
        }
        if self.purging > 0 {
            self.mark(&format!("purged {}", self.purging));
        }
        self.next += count;
        if apply {
            let committed = entries.last().map(|last| last.log_id);
            self.machine.apply(entries).await.unwrap();
            self.log.save_committed(committed).await.unwrap();
        }
    }

    async fn vote(&mut self) {
        self.term += 1;
        let (term, node) = (self.term, self.random.below(3));
        self.mark(&format!("voting {term} {node}"));
        self.log.save_vote(&Vote::new(term, node)).await.unwrap();
        self.mark(&format!("voted {term} {node}"));
    }

    /// Entries that were never committed are replaced by another leader's.
    async fn replace(&mut self) {
        let since = self.next;
        let count = 1 + self.random.below(20);
        self.append(count, false).await;
        self.next = since + self.random.below(count);
        self.mark(&format!("truncating {}", self.next));
        self.log
            .truncate(log_id(self.term, 1, self.next))
            .await
            .unwrap();
        // What is left of them is committed after all.
        let left = self.log.try_get_log_entries(since..).await.unwrap();
        if !left.is_empty() {
            self.machine.apply(left).await.unwrap();
        }
        self.term += 1;
        let count = 1 + self.random.below(3);
        self.append(count, true).await;
    }

    /// A snapshot, built here or received, and then everything before it but a few goes.
    async fn compact(&mut self) {
        let mut built = self
            .machine
            .get_snapshot_builder()
            .await
            .build_snapshot()
            .await
            .unwrap();
        let Some(last) = built.meta.last_log_id else {
            return;
        };
        self.mark(&format!("snapshot {}", last.index));
        self.snapshot = last.index;
        if self.random.below(3) == 0 {
            let mut incoming = self.machine.begin_receiving_snapshot().await.unwrap();
            tokio::io::copy(&mut built.snapshot, &mut incoming)
                .await
                .unwrap();
            self.machine
                .install_snapshot(&built.meta, incoming)
                .await
                .unwrap();
        }
        let keep = self.random.below(10);
        let upto = last.index.saturating_sub(keep);
        if upto <= self.purging {
            return;
        }
        let Ok([upto]) =
            <[_; 1]>::try_from(self.log.try_get_log_entries(upto..=upto).await.unwrap())
        else {
            return;
        };
        self.purging = upto.log_id.index;
        self.mark(&format!("purging {}", self.purging));
        self.log.purge(upto.log_id).await.unwrap();
    }
}

/// Appends until the disk dies, which it must tell, and for good. Returns what is wrong, if anything.
pub async fn until_the_disk_dies(root: &Path) -> Result<(), String> {
    let mut log = LogStore::open(&root.join("data")).map_err(|e| e.to_string())?;
    let mut index = 1;
    while append(&mut log, vec![entry_of(1, index, 300)])
        .await
        .is_ok()
    {
        index += 1;
        if index > 100 {
            return Err("the disk did not die".to_owned());
        }
    }
    if log.failed().borrow().is_none() {
        return Err("the store does not say that it has failed".to_owned());
    }
    if append(&mut log, vec![entry_of(1, index + 1, 300)])
        .await
        .is_ok()
    {
        return Err("an entry was acknowledged after that".to_owned());
    }
    if log.save_vote(&Vote::new(9, 1)).await.is_ok() {
        return Err("a vote was acknowledged after that".to_owned());
    }
    // Every sync but the last ones worked, so the error did not come early either.
    if index < 10 {
        Err(format!("only {index} entries"))
    } else {
        Ok(())
    }
}
