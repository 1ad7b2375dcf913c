//! The log store on disk: restarts, sizes, damage, and what it costs.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::print_stdout
)]
#![allow(unreachable_pub)]

mod common;

use std::{
    fs,
    path::Path,
    time::{Duration, Instant},
};

use common::{append, entry, entry_of, intact};
use openraft::{RaftLogReader, storage::RaftLogStorage, testing::log_id};
use strongroom_raft::{
    durable::OpenError,
    log_store::{LogStore, READ_BYTES, entry_codec},
    types::Vote,
};

fn encoded_len(entry: &strongroom_raft::types::Entry) -> u64 {
    entry_codec::encode(entry).unwrap().len() as u64
}

fn files_below(dir: &Path) -> Vec<std::path::PathBuf> {
    fs::read_dir(dir)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect()
}

fn copy_dir(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for path in files_below(from) {
        let target = to.join(path.file_name().unwrap());
        if path.is_dir() {
            copy_dir(&path, &target);
        } else {
            fs::copy(&path, &target).unwrap();
        }
    }
}

#[tokio::test]
async fn a_restart_finds_everything() {
    let dir = tempfile::tempdir().unwrap();
    let mut log = LogStore::open(dir.path()).unwrap();
    append(&mut log, (1..=100).map(|index| entry(1, index)).collect())
        .await
        .unwrap();
    log.save_vote(&Vote::new(3, 2)).await.unwrap();
    log.save_committed(Some(log_id(1, 1, 90))).await.unwrap();
    log.purge(log_id(1, 1, 40)).await.unwrap();
    log.truncate(log_id(1, 1, 81)).await.unwrap();
    append(&mut log, vec![entry(2, 81)]).await.unwrap();
    let bytes = log.kept_bytes();
    drop(log);

    let mut log = LogStore::open(dir.path()).unwrap();
    let ends = log.get_log_state().await.unwrap();
    assert_eq!(ends.last_purged_log_id, Some(log_id(1, 1, 40)));
    assert_eq!(ends.last_log_id, Some(log_id(2, 1, 81)));
    assert_eq!(log.read_vote().await.unwrap(), Some(Vote::new(3, 2)));
    assert_eq!(log.read_committed().await.unwrap(), Some(log_id(1, 1, 90)));
    assert_eq!(log.kept_bytes(), bytes);
    let found = log.try_get_log_entries(..).await.unwrap();
    assert_eq!(found.len(), 41);
    assert!(found.iter().all(intact));
}

#[tokio::test]
async fn a_purge_past_the_end_is_remembered() {
    let dir = tempfile::tempdir().unwrap();
    let mut log = LogStore::open(dir.path()).unwrap();
    append(&mut log, (1..=10).map(|index| entry(1, index)).collect())
        .await
        .unwrap();
    log.purge(log_id(4, 1, 500)).await.unwrap();
    drop(log);
    let mut log = LogStore::open(dir.path()).unwrap();
    let ends = log.get_log_state().await.unwrap();
    assert_eq!(ends.last_purged_log_id, Some(log_id(4, 1, 500)));
    assert_eq!(ends.last_log_id, Some(log_id(4, 1, 500)));
    append(&mut log, vec![entry(4, 501)]).await.unwrap();
    drop(log);
    let mut log = LogStore::open(dir.path()).unwrap();
    assert_eq!(log.try_get_log_entries(..).await.unwrap().len(), 1);
}

#[tokio::test]
async fn answers_to_replication_are_limited_by_bytes() {
    let dir = tempfile::tempdir().unwrap();
    let mut log = LogStore::open(dir.path()).unwrap();
    let entries: Vec<_> = (1..=20).map(|index| entry_of(1, index, 50_000)).collect();
    let each = encoded_len(&entries[0]);
    append(&mut log, entries).await.unwrap();
    append(&mut log, vec![entry_of(1, 21, 3_000_000)])
        .await
        .unwrap();
    let fits = usize::try_from(READ_BYTES / each).unwrap();
    assert!((2..20).contains(&fits), "the limit is what this is about");
    assert_eq!(
        log.limited_get_log_entries(1, 21).await.unwrap().len(),
        fits
    );
    let large = log.limited_get_log_entries(21, 22).await.unwrap();
    assert_eq!(large.len(), 1);
    assert!(log.bytes_from(21) > 3_000_000);
    assert_eq!(log.bytes_from(1), log.kept_bytes());
    drop(log);
    let mut log = LogStore::open(dir.path()).unwrap();
    let read_back = log.limited_get_log_entries(21, 22).await.unwrap();
    assert_eq!(
        entry_codec::encode(&read_back[0]).unwrap(),
        entry_codec::encode(&large[0]).unwrap()
    );
}

/// sled writes messages over a quarter of a segment to files of their own, which no barrier covers.
#[tokio::test]
async fn large_entries_never_leave_the_file_that_the_barrier_covers() {
    let dir = tempfile::tempdir().unwrap();
    let mut log = LogStore::open(dir.path()).unwrap();
    for index in 1..=60 {
        append(&mut log, vec![entry_of(1, index, 600_000)])
            .await
            .unwrap();
        if index % 7 == 0 {
            log.truncate(log_id(1, 1, index)).await.unwrap();
            append(&mut log, vec![entry_of(2, index, 600_000)])
                .await
                .unwrap();
        }
        assert_eq!(
            files_below(&dir.path().join("log/blobs")),
            Vec::<std::path::PathBuf>::new()
        );
    }
    log.purge(log_id(1, 1, 55)).await.unwrap();
    append(&mut log, vec![entry_of(2, 61, 130_000)])
        .await
        .unwrap();
    drop(log);
    let log = LogStore::open(dir.path()).unwrap();
    assert_eq!(
        files_below(&dir.path().join("log/blobs")),
        Vec::<std::path::PathBuf>::new()
    );
    println!(
        "after 41 MB in 69 entries, mostly purged: {} KiB",
        log.size_on_disk().unwrap() / 1024
    );
}

#[tokio::test]
async fn a_second_opening_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let _log = LogStore::open(dir.path()).unwrap();
    let refused = LogStore::open(dir.path()).err().unwrap();
    assert!(matches!(refused, OpenError::Locked(_)), "{refused}");
}

/// What a crash while sled wrote its own snapshot leaves would keep sled from opening.
#[tokio::test]
async fn what_half_a_start_left_does_not_matter() {
    let dir = tempfile::tempdir().unwrap();
    fs::create_dir_all(dir.path().join("log.new/blobs")).unwrap();
    fs::write(dir.path().join("log.new/conf"), b"segm").unwrap();
    let mut log = LogStore::open(dir.path()).unwrap();
    append(&mut log, vec![entry(1, 1)]).await.unwrap();
    drop(log);
    fs::write(
        dir.path().join("log/snap.FFFFFFFFFFFFFFFF.generating"),
        b"half",
    )
    .unwrap();
    let mut log = LogStore::open(dir.path()).unwrap();
    assert!(intact(&log.try_get_log_entries(..).await.unwrap()[0]));
}

/// Whatever is cut off the store's files, opening says what is wrong or opens; it neither hangs nor
/// panics.
#[tokio::test]
async fn files_cut_short_are_an_error_or_open() {
    let dir = tempfile::tempdir().unwrap();
    let whole = dir.path().join("whole");
    let mut log = LogStore::open(&whole).unwrap();
    for index in 1..=40 {
        append(&mut log, vec![entry_of(1, index, 20_000)])
            .await
            .unwrap();
    }
    drop(log);
    drop(LogStore::open(&whole).unwrap());
    let start = Instant::now();
    let (mut opened, mut refused) = (0, 0);
    let names: Vec<_> = files_below(&whole.join("log"))
        .into_iter()
        .filter(|path| path.is_file())
        .map(|path| path.file_name().unwrap().to_owned())
        .collect();
    assert!(names.len() >= 3, "{names:?}");
    for name in &names {
        let length = fs::metadata(whole.join("log").join(name)).unwrap().len();
        // Odd, so that cuts fall within what sled writes and not between.
        let step = (length / 40) | 1;
        for cut in (0..length).step_by(usize::try_from(step).unwrap()) {
            let copy = dir.path().join("copy");
            copy_dir(&whole, &copy);
            let file = fs::File::options()
                .write(true)
                .open(copy.join("log").join(name))
                .unwrap();
            file.set_len(cut).unwrap();
            match LogStore::open(&copy) {
                Ok(mut log) => {
                    assert!(log.try_get_log_entries(..).await.is_ok());
                    opened += 1;
                }
                Err(OpenError::Corrupt { .. } | OpenError::Io { .. }) => refused += 1,
                Err(other) => panic!("{other}"),
            }
            fs::remove_dir_all(&copy).unwrap();
        }
    }
    println!(
        "cut short: {opened} opened, {refused} refused, {:?}",
        start.elapsed()
    );
}

/// Appends and purges as a node with snapshots does, and returns the most that was on disk in the
/// first half and in the second.
async fn most_on_disk(entries: u64, batch: u64, size: usize, keep: u64) -> (u64, u64) {
    let dir = tempfile::tempdir().unwrap();
    let mut log = LogStore::open(dir.path()).unwrap();
    let mut most = [0, 0];
    let mut appending = Duration::ZERO;
    for (number, first) in (1..=entries)
        .step_by(usize::try_from(batch).unwrap())
        .enumerate()
    {
        let indexes = first..first + batch;
        let group: Vec<_> = indexes.map(|index| entry_of(1, index, size)).collect();
        let begun = Instant::now();
        append(&mut log, group).await.unwrap();
        appending += begun.elapsed();
        let last = first + batch - 1;
        if number % 20 == 19 && last > keep {
            log.purge(log_id(1, 1, last - keep)).await.unwrap();
        }
        let half = usize::from(first > entries / 2);
        most[half] = most[half].max(log.size_on_disk().unwrap());
    }
    let written = entries * size as u64;
    println!(
        "{entries} entries of {size} bytes ({} MiB), {keep} kept: at most {} MiB on disk in the first \
         half, {} MiB in the second; {appending:?} to append",
        written >> 20,
        most[0] >> 20,
        most[1] >> 20,
    );
    drop(log);
    let start = Instant::now();
    let mut log = LogStore::open(dir.path()).unwrap();
    println!("  opened again in {:?}", start.elapsed());
    assert!(log.try_get_log_entries(..).await.unwrap().len() as u64 >= keep);
    (most[0], most[1])
}

/// `STORE_FACTOR` makes it larger.
#[tokio::test(flavor = "multi_thread")]
async fn the_disk_stays_bounded_while_entries_come_and_go() {
    let factor = std::env::var("STORE_FACTOR").map_or(1, |text| text.parse().unwrap());
    let (small_first, small) = most_on_disk(20_000 * factor, 50, 200, 1_000).await;
    assert!(
        small <= small_first.max(24 << 20),
        "{small} after {small_first}"
    );
    let (large_first, large) = most_on_disk(100 * factor, 1, 600_000, 5).await;
    assert!(
        large <= large_first.max(64 << 20),
        "{large} after {large_first}"
    );
}
