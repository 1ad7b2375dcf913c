//! Snapshots: labelled with what they hold, whole or refused, and durable before they are seen.
#![allow(clippy::unwrap_used, clippy::indexing_slicing)]
#![allow(unreachable_pub)]

mod common;

use std::{
    fs,
    io::Write,
    path::{Path, PathBuf},
};

use common::{append, entry, entry_of};
use openraft::{
    RaftLogReader, RaftSnapshotBuilder,
    storage::{RaftLogStorage, RaftStateMachine},
    testing::{log_id, membership_ent},
};
use strongroom_core::{State, codec};
use strongroom_raft::{
    durable::OpenError,
    log_store::LogStore,
    machine::Machine,
    snapshot_codec::{self, SnapshotError},
    snapshot_files::verify,
    types::{SnapshotMeta, TypeConfig},
};

fn encoded(state: &State) -> Vec<Vec<u8>> {
    codec::encode_state(state).collect()
}

fn snapshots(dir: &Path) -> Vec<PathBuf> {
    let mut paths: Vec<_> = fs::read_dir(dir.join("snapshots"))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    paths.sort();
    paths
}

async fn build(machine: &mut Machine) -> SnapshotMeta {
    machine
        .get_snapshot_builder()
        .await
        .build_snapshot()
        .await
        .unwrap()
        .meta
}

async fn filled(dir: &Path, entries: u64) -> Machine {
    let mut machine = Machine::open(dir).unwrap();
    machine
        .apply([membership_ent::<TypeConfig>(
            1,
            1,
            1,
            vec![[1, 2, 3].into()],
        )])
        .await
        .unwrap();
    machine
        .apply((2..=entries).map(|index| entry_of(1, index, 300)))
        .await
        .unwrap();
    machine
}

#[tokio::test(flavor = "multi_thread")]
async fn a_snapshot_taken_during_applies_holds_exactly_what_its_label_says() {
    let dir = tempfile::tempdir().unwrap();
    let mut machine = Machine::open(dir.path()).unwrap();
    let view = machine.view();
    let mut at_index = std::collections::HashMap::new();
    let mut builders = Vec::new();
    for index in 1..=400 {
        machine.apply([entry(1, index)]).await.unwrap();
        at_index.insert(index, view.load());
        if index % 40 == 0 {
            let mut builder = machine.get_snapshot_builder().await;
            // Built by another thread while this one goes on applying.
            builders.push(tokio::spawn(async move {
                builder.build_snapshot().await.unwrap()
            }));
        }
    }
    for built in builders {
        let built = built.await.unwrap();
        let mut file = built.snapshot.into_std().await;
        let (meta, state) = verify(&mut file).unwrap();
        assert_eq!(meta, built.meta);
        let expected = &at_index[&meta.last_log_id.unwrap().index];
        assert_eq!(meta.last_log_id, expected.last_applied);
        assert_eq!(encoded(&state), encoded(&expected.state));
    }
    let (meta, mut file) = newest(&mut machine).await;
    assert_eq!(meta.last_log_id, Some(log_id(1, 1, 400)));
    assert_eq!(verify(&mut file).unwrap().0, meta);
    assert_eq!(snapshots(dir.path()).len(), 1);
}

async fn newest(machine: &mut Machine) -> (SnapshotMeta, fs::File) {
    let newest = machine.get_current_snapshot().await.unwrap().unwrap();
    (newest.meta, newest.snapshot.into_std().await)
}

#[tokio::test]
async fn a_restart_begins_with_the_newest_snapshot() {
    let dir = tempfile::tempdir().unwrap();
    let mut machine = filled(dir.path(), 30).await;
    build(&mut machine).await;
    machine
        .apply((31..=50).map(|index| entry_of(1, index, 300)))
        .await
        .unwrap();
    let meta = build(&mut machine).await;
    machine.apply([entry_of(1, 51, 300)]).await.unwrap();
    let before = machine.view().load();
    drop(machine);
    fs::write(dir.path().join("snapshots/building-1.tmp"), b"half").unwrap();

    let mut machine = Machine::open(dir.path()).unwrap();
    let (applied, membership) = machine.applied_state().await.unwrap();
    assert_eq!(applied, Some(log_id(1, 1, 50)));
    assert_eq!(membership, before.membership);
    assert_eq!(newest(&mut machine).await.0, meta);
    machine.apply([entry_of(1, 51, 300)]).await.unwrap();
    assert_eq!(
        encoded(&machine.view().load().state),
        encoded(&before.state)
    );
    assert_eq!(snapshots(dir.path()).len(), 1);
}

#[tokio::test]
async fn a_snapshot_cut_short_anywhere_or_changed_anywhere_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let mut machine = filled(dir.path(), 12).await;
    build(&mut machine).await;
    let whole = fs::read(&snapshots(dir.path())[0]).unwrap();
    snapshot_codec::read(&mut whole.as_slice()).unwrap();
    for length in 0..whole.len() {
        let cut = snapshot_codec::read(&mut &whole[..length]);
        assert!(
            matches!(cut, Err(SnapshotError::Damaged(_))),
            "length {length}"
        );
    }
    for at in 0..whole.len() {
        let mut changed = whole.clone();
        changed[at] ^= 1 << (at % 8);
        assert!(
            snapshot_codec::read(&mut changed.as_slice()).is_err(),
            "byte {at}"
        );
    }
    let mut longer = whole.clone();
    longer.push(0);
    assert!(snapshot_codec::read(&mut longer.as_slice()).is_err());
}

#[tokio::test]
async fn a_damaged_snapshot_is_set_aside_and_not_passed_over() {
    let dir = tempfile::tempdir().unwrap();
    let mut machine = filled(dir.path(), 12).await;
    build(&mut machine).await;
    drop(machine);
    let path = snapshots(dir.path()).remove(0);
    let mut bytes = fs::read(&path).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 4;
    fs::write(&path, &bytes).unwrap();
    let refused = Machine::open(dir.path()).err().unwrap();
    assert!(matches!(refused, OpenError::Corrupt { .. }), "{refused}");
    assert_eq!(snapshots(dir.path()), [path.with_extension("damaged")]);
    assert_eq!(fs::read(path.with_extension("damaged")).unwrap(), bytes);
}

#[tokio::test]
async fn a_received_snapshot_is_installed_whole_or_not_at_all() {
    let (one, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let mut leader = filled(one.path(), 40).await;
    let meta = build(&mut leader).await;
    let bytes = fs::read(&snapshots(one.path())[0]).unwrap();
    let mut follower = filled(other.path(), 5).await;
    build(&mut follower).await;
    let before = follower.applied_state().await.unwrap();

    let receive = async |follower: &mut Machine, bytes: &[u8]| {
        let mut file = follower
            .begin_receiving_snapshot()
            .await
            .unwrap()
            .into_std()
            .await;
        file.write_all(bytes).unwrap();
        Box::new(tokio::fs::File::from_std(file))
    };
    let cut = receive(&mut follower, &bytes[..bytes.len() - 1]).await;
    assert!(follower.install_snapshot(&meta, cut).await.is_err());
    // Whole, but announced as something else: the label decides what is replayed afterwards.
    let later = SnapshotMeta {
        last_log_id: Some(log_id(1, 1, 41)),
        ..meta.clone()
    };
    let whole = receive(&mut follower, &bytes).await;
    assert!(follower.install_snapshot(&later, whole).await.is_err());
    assert_eq!(follower.applied_state().await.unwrap(), before);
    assert_eq!(newest(&mut follower).await.0.last_log_id, before.0);

    let whole = receive(&mut follower, &bytes).await;
    follower.install_snapshot(&meta, whole).await.unwrap();
    assert_eq!(newest(&mut follower).await.0, meta);
    let states = [leader.view().load(), follower.view().load()];
    assert_eq!(encoded(&states[0].state), encoded(&states[1].state));
    assert_eq!(states[0].membership, states[1].membership);
    drop(follower);
    let follower = Machine::open(other.path()).unwrap();
    assert_eq!(
        encoded(&follower.view().load().state),
        encoded(&states[0].state)
    );
    assert_eq!(snapshots(other.path()).len(), 1);
}

#[tokio::test]
async fn an_older_build_that_ends_later_does_not_replace_a_newer_snapshot() {
    let dir = tempfile::tempdir().unwrap();
    let mut machine = filled(dir.path(), 10).await;
    let mut early = machine.get_snapshot_builder().await;
    machine
        .apply((11..=20).map(|index| entry_of(1, index, 300)))
        .await
        .unwrap();
    let late = build(&mut machine).await;
    assert_eq!(early.build_snapshot().await.unwrap().meta, late);
    assert_eq!(newest(&mut machine).await.0, late);
    assert_eq!(snapshots(dir.path()).len(), 1);
}

#[tokio::test]
async fn a_log_purged_beyond_the_snapshot_is_not_started_from() {
    let dir = tempfile::tempdir().unwrap();
    let mut machine = filled(dir.path(), 10).await;
    build(&mut machine).await;
    machine.check_against(None, dir.path()).unwrap();
    machine
        .check_against(Some(log_id(1, 1, 10)), dir.path())
        .unwrap();
    let refused = machine
        .check_against(Some(log_id(1, 1, 11)), dir.path())
        .err()
        .unwrap();
    assert!(matches!(refused, OpenError::Corrupt { .. }), "{refused}");
}

/// openraft installs a snapshot and purges the log side by side.
#[tokio::test(flavor = "multi_thread")]
async fn the_log_is_purged_once_a_snapshot_holds_it() {
    let dir = tempfile::tempdir().unwrap();
    let open = || {
        let (log, machine) = (
            LogStore::open(dir.path()).unwrap(),
            Machine::open(dir.path()).unwrap(),
        );
        machine
            .check_against(log.ends().last_purged_log_id, dir.path())
            .unwrap();
        log.follow_snapshots(machine.snapshots().kept());
        (log, machine)
    };
    let purge = |log: &LogStore, upto| {
        let mut log = log.clone();
        tokio::spawn(async move { log.purge(log_id(1, 1, upto)).await })
    };
    let (mut log, machine) = open();
    append(&mut log, (1..=50).map(|index| entry(1, index)).collect())
        .await
        .unwrap();
    let waiting = purge(&log, 40);
    tokio::time::sleep(std::time::Duration::from_millis(300)).await;
    assert!(!waiting.is_finished());
    // The process dies before the snapshot is kept: it starts again with all it had.
    waiting.abort();
    waiting.await.unwrap_err();
    drop((log, machine));
    let (mut log, mut machine) = open();
    assert_eq!(log.ends().last_purged_log_id, None);
    let kept = log.try_get_log_entries(..).await.unwrap();
    assert_eq!(kept.len(), 50);
    machine.apply(kept).await.unwrap();
    let waiting = purge(&log, 40);
    build(&mut machine).await;
    waiting.await.unwrap().unwrap();
    drop((log, machine));
    let (log, machine) = open();
    assert_eq!(log.ends().last_purged_log_id, Some(log_id(1, 1, 40)));

    // One that cannot be kept lets nobody wait for ever.
    let waiting = purge(&log, 60);
    let announced = SnapshotMeta {
        last_log_id: Some(log_id(1, 1, 60)),
        ..SnapshotMeta::default()
    };
    let mut machine = machine;
    let incoming = machine.begin_receiving_snapshot().await.unwrap();
    machine
        .install_snapshot(&announced, incoming)
        .await
        .unwrap_err();
    waiting.await.unwrap().unwrap_err();
    drop((log, machine));
    let (log, _machine) = open();
    assert_eq!(log.ends().last_purged_log_id, Some(log_id(1, 1, 40)));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_snapshot_that_was_set_aside_is_written_anew() {
    let dir = tempfile::tempdir().unwrap();
    let mut machine = filled(dir.path(), 50).await;
    let meta = build(&mut machine).await;
    machine.snapshots().set_aside("another");
    let current = machine.get_current_snapshot().await.unwrap().unwrap();
    assert_eq!(current.meta, meta);
    machine.snapshots().set_aside(&meta.snapshot_id);
    let again = machine.get_current_snapshot().await.unwrap().unwrap();
    assert_ne!(again.meta.snapshot_id, meta.snapshot_id);
    assert_eq!(again.meta.last_log_id, meta.last_log_id);
    let names: Vec<_> = snapshots(dir.path());
    let damaged = names.iter().filter(|p| p.extension().unwrap() == "damaged");
    assert_eq!((names.len(), damaged.count()), (2, 1));
    drop(machine);
    // It is still there for whoever wants to look at it, and in nobody's way.
    Machine::open(dir.path()).unwrap();
}
