use std::{fs::File, os::fd::OwnedFd};

use super::*;

/// The system tells of a lost write once. Whoever hears of it, a reader too, hears it for all.
#[test]
fn a_sync_that_failed_is_the_last_thing_that_is_done() {
    let dir = tempfile::tempdir().unwrap();
    let mut disk = Disk::open(dir.path(), Barrier::Full).unwrap();
    let (pipe, _other_end) = io::pipe().unwrap();
    let pipe = File::from(OwnedFd::from(pipe));
    let whole = std::mem::replace(&mut disk.db_file, pipe);
    // sled has gone on to another segment, as far as this reader can see.
    disk.segment.store(-1, Ordering::Relaxed);
    assert!(disk.get(&Key::FORMAT).is_err());
    disk.db_file = whole;
    assert!(disk.get(&Key::FORMAT).is_err());
    assert!(disk.put(&Key::VOTE, Some(&[1])).is_err());
    assert!(disk.clean_up(1).is_err());
    assert!(disk.barrier().is_err());
    let row = disk.range(Key::VOTE, Key::after(0)).next();
    assert!(row.unwrap().is_err());
}
