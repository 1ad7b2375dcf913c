//! Opens what a power cut left, with the code that a node opens it with, and looks for what must be
//! there.

use std::path::Path;

use openraft::{
    RaftLogReader,
    storage::{RaftLogStorage, RaftStateMachine},
};
use strongroom_raft::{DataDir, log_store::LogStore, machine::Machine, types::Vote};

use crate::{
    common::{append, entry, intact},
    expect::Expect,
    workload::NODE,
};

/// Returns what it found, which from then on must be found again, or what is missing.
pub async fn check(root: &Path, expect: &Expect) -> Result<Expect, String> {
    let data = root.join("data");
    let dir = DataDir::open(&data, NODE).map_err(|e| format!("identity: {e}"))?;
    let mut found = look(&data, expect, dir.identity.raft_id).await?;
    // And it must still be a store: it takes an entry, and has it after a clean restart.
    let last = found
        .entries
        .last_key_value()
        .map(|(index, term)| (*index, *term));
    let (last_index, last_term) = last.unwrap_or((found.purged, 1));
    let (term, index) = (last_term.max(found.vote.0), last_index + 1);
    let mut log = LogStore::open(&data).map_err(|e| format!("second opening: {e}"))?;
    append(&mut log, vec![entry(term, index)])
        .await
        .map_err(|e| format!("append: {e}"))?;
    log.save_vote(&Vote::new(term + 1, 1))
        .await
        .map_err(|e| format!("vote: {e}"))?;
    drop(log);
    let mut log = LogStore::open(&data).map_err(|e| format!("third opening: {e}"))?;
    let appended = log
        .try_get_log_entries(index..)
        .await
        .map_err(|e| e.to_string())?;
    match appended.as_slice() {
        [entry] if intact(entry) => {}
        _ => return Err("the entry appended after recovery is gone".to_owned()),
    }
    found.entries.insert(index, term);
    found.vote = (term + 1, 1);
    found.later_vote = found.vote;
    Ok(found)
}

async fn look(data: &Path, expect: &Expect, identity: u64) -> Result<Expect, String> {
    if ![0, identity].contains(&expect.identity) {
        return Err(format!(
            "this was node {}, and is {identity}",
            expect.identity
        ));
    }
    let mut log = LogStore::open(data).map_err(|e| format!("opening: {e}"))?;
    log.claim(identity).map_err(|e| format!("whose log: {e}"))?;
    let mut machine = Machine::open(data).map_err(|e| format!("opening: {e}"))?;
    let applied = machine.applied_state().await.map_err(|e| e.to_string())?.0;
    let snapshot = applied.map_or(0, |id| id.index);
    if snapshot < expect.snapshot {
        return Err(format!(
            "snapshot {} was acknowledged, found {snapshot}",
            expect.snapshot
        ));
    }
    let purged = log.ends().last_purged_log_id.map_or(0, |id| id.index);
    if purged < expect.purged || purged > expect.later_purged {
        return Err(format!(
            "purge point {} to {} expected, found {purged}",
            expect.purged, expect.later_purged
        ));
    }
    if purged > snapshot {
        return Err(format!(
            "purged to {purged}, but the snapshot ends at {snapshot}"
        ));
    }
    let vote = log.read_vote().await.map_err(|e| e.to_string())?;
    let vote = vote.map_or((0, 0), |vote| (vote.leader_id.term, vote.leader_id.node_id));
    if vote != expect.vote && vote != expect.later_vote {
        return Err(format!(
            "vote {:?} was acknowledged, found {vote:?}",
            expect.vote
        ));
    }
    let found = log
        .try_get_log_entries(..)
        .await
        .map_err(|e| e.to_string())?;
    let mut previous = 0;
    for entry in &found {
        if !intact(entry) {
            return Err(format!("entry {} is not as it was written", entry.log_id));
        }
        if entry.log_id.leader_id.term < previous {
            return Err(format!(
                "entry {} follows one of term {previous}",
                entry.log_id
            ));
        }
        previous = entry.log_id.leader_id.term;
    }
    let mut at = found.iter().peekable();
    for (index, term) in expect.entries.iter().filter(|(index, _)| **index > purged) {
        while at.next_if(|entry| entry.log_id.index < *index).is_some() {}
        match at.peek() {
            Some(entry) if entry.log_id.index == *index => {
                if entry.log_id.leader_id.term != *term {
                    return Err(format!("entry {index} of term {term} was replaced"));
                }
            }
            _ => return Err(format!("entry {index} of term {term} is gone")),
        }
    }
    let entries = found
        .iter()
        .map(|entry| (entry.log_id.index, entry.log_id.leader_id.term));
    Ok(Expect {
        entries: entries.collect(),
        vote,
        later_vote: vote,
        purged,
        later_purged: purged,
        snapshot,
        identity,
    })
}
