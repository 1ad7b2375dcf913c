//! What a log that comes and goes takes of the disk.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing)]
#![allow(clippy::print_stdout, unreachable_pub)]

mod common;

use common::{append, entry_of};
use openraft::{storage::RaftLogStorage, testing::log_id};
use strongroom_raft::log_store::LogStore;

/// Entries that come at a time, their size, and how many come in all.
const AT_ONCE: u64 = 50;
const ENTRY_BYTES: usize = 4_000;
const ENTRIES: u64 = 75_000;
/// How many come between two purges, and how many each leaves.
const BETWEEN: u64 = 2_800;
const KEPT: u64 = 1_400;
/// sled's file at most, on average: 34 to 35 MiB, and 46 to 47 if it cleans up by itself alone.
const MOST_BYTES: u64 = 41 << 20;

#[tokio::test]
async fn a_log_that_is_purged_as_it_grows_does_not_make_its_file_grow() {
    let dir = tempfile::tempdir().unwrap();
    let mut log = LogStore::open(dir.path()).unwrap();
    let file = dir.path().join("log/db");
    let (mut purged, mut sizes) = (0, Vec::new());
    for first in (0..ENTRIES).step_by(AT_ONCE as usize) {
        let entries = (first..first + AT_ONCE).map(|index| entry_of(1, index, ENTRY_BYTES));
        append(&mut log, entries.collect()).await.unwrap();
        if first >= purged + BETWEEN + KEPT {
            purged = first - KEPT;
            log.purge(log_id(1, 1, purged)).await.unwrap();
        }
        sizes.push(file.metadata().unwrap().len());
    }
    // It comes and goes a little with each purge.
    let second_half = &sizes[sizes.len() / 2..];
    let mean = second_half.iter().sum::<u64>() / second_half.len() as u64;
    println!("sled's file: {} MiB on average", mean >> 20);
    assert!(mean <= MOST_BYTES, "{mean} bytes");
}
