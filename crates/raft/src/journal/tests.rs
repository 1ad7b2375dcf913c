use std::os::unix::fs::FileExt;

use tempfile::TempDir;

use super::*;
use crate::rows;

const SIZE: usize = 8192;

struct Store {
    dir: TempDir,
    disk: Disk,
    journal: Journal,
}

impl Store {
    fn new() -> Self {
        Self::open(tempfile::tempdir().unwrap())
    }

    fn open(dir: TempDir) -> Self {
        let disk = Disk::open(dir.path(), Barrier::Full).unwrap();
        let left = Left::carry_over(&disk, SIZE).unwrap();
        let journal = left.begin(&disk, Barrier::Full).unwrap();
        Self { dir, disk, journal }
    }

    /// As after a crash of the process: nothing more is written.
    fn again(self) -> Self {
        drop((self.disk, self.journal));
        Self::open(self.dir)
    }

    fn opens(dir: &Path) -> Result<(), OpenError> {
        let disk = Disk::open(dir, Barrier::Full)?;
        Left::carry_over(&disk, SIZE).map(drop)
    }

    fn push(&mut self, changes: impl IntoIterator<Item = Change>) {
        for change in changes {
            assert!(self.journal.has_room(&change));
            self.journal.push(&change);
        }
        self.journal.sync().unwrap();
    }

    /// Has sled take over what is in the journal, as the keeper does.
    fn carry(&self, changes: impl IntoIterator<Item = Change>) {
        let mut making = Making::new(&self.disk);
        changes
            .into_iter()
            .try_for_each(|change| making.make(change))
            .unwrap();
        making.finish().unwrap();
        self.journal.synced().note(&self.disk).unwrap();
        self.disk.barrier().unwrap();
    }

    fn entries(&self) -> Vec<(u64, Vec<u8>)> {
        let read = |index| Some((index, rows::read(&self.disk, index).unwrap()?));
        (0..100).filter_map(read).collect()
    }

    fn spoil(&self, name: &str, at: u64) {
        let file = File::options()
            .read(true)
            .write(true)
            .open(self.disk.path().join(name))
            .unwrap();
        let mut byte = [0];
        file.read_exact_at(&mut byte, at).unwrap();
        file.write_all_at(&[byte[0] ^ 1], at).unwrap();
    }
}

fn entry(index: u64, byte: u8) -> Change {
    Change::Entry {
        index,
        bytes: vec![byte; 100],
    }
}

fn is(index: u64, byte: u8) -> (u64, Vec<u8>) {
    (index, vec![byte; 100])
}

#[test]
fn what_was_synced_is_there_after_a_crash() {
    let mut store = Store::new();
    store.push([entry(1, 1), entry(2, 1), entry(3, 1)]);
    store.push([
        Change::Truncate { from: 2 },
        entry(2, 2),
        Change::Value {
            key: Key::VOTE,
            value: vec![7],
        },
        Change::Value {
            key: Key::VOTE,
            value: vec![8],
        },
    ]);
    store.journal.push(&entry(3, 3));
    let store = store.again();
    assert_eq!(store.entries(), [is(1, 1), is(2, 2)]);
    assert_eq!(store.disk.get(&Key::VOTE).unwrap(), Some(vec![8]));
    assert_eq!(store.again().entries(), [is(1, 1), is(2, 2)]);
}

#[test]
fn both_files_are_read_in_the_order_of_what_they_hold() {
    let mut store = Store::new();
    store.push([entry(1, 1)]);
    store.journal.turn();
    store.push([Change::Truncate { from: 1 }, entry(1, 2)]);
    let mut store = store.again();
    assert_eq!(store.entries(), [is(1, 2)]);
    // And so they are when the first was written over.
    store.push([entry(2, 2)]);
    store.carry([entry(2, 2)]);
    store.journal.turn();
    store.push([entry(3, 2), Change::Truncate { from: 2 }]);
    store.journal.turn();
    store.push([entry(2, 3)]);
    assert_eq!(store.again().entries(), [is(1, 2), is(2, 3)]);
}

#[test]
fn what_sled_has_is_not_made_again() {
    let mut store = Store::new();
    let all = || [entry(1, 1), Change::Truncate { from: 1 }, entry(1, 2)];
    store.push(all());
    store.carry(all());
    // Without its note, the first entry would come back, and what undid it is spoilt.
    store.spoil(
        NAMES[0],
        u64::try_from(record::length(&entry(1, 1))).unwrap(),
    );
    assert_eq!(store.again().entries(), [is(1, 2)]);
}

#[test]
fn records_of_an_earlier_run_do_not_follow_those_of_this() {
    let mut store = Store::new();
    store.push([Change::Truncate { from: 50 }, entry(1, 1), entry(2, 1)]);
    let mut store = store.again();
    assert_eq!(store.entries().len(), 2);
    // It takes the first one's place, to the byte, with the same number.
    store.push([Change::Truncate { from: 1 }]);
    assert_eq!(store.again().entries(), []);
}

#[test]
fn what_a_crash_left_in_part_ends_the_journal() {
    let mut store = Store::new();
    store.push([entry(1, 1), entry(2, 1), entry(3, 1)]);
    let one = u64::try_from(record::length(&entry(1, 1))).unwrap();
    store.spoil(NAMES[0], one + 40);
    assert_eq!(store.again().entries(), [is(1, 1)]);
}

#[test]
fn a_file_that_goes_on_after_what_cannot_be_read_is_damage() {
    let mut store = Store::new();
    store.push([entry(1, 1), Change::Truncate { from: 1 }]);
    store.journal.turn();
    store.push([entry(1, 2)]);
    store.spoil(NAMES[0], 40);
    let dir = store.dir;
    drop((store.disk, store.journal));
    for _ in 0..2 {
        // Each time: the records can still be read.
        let opened = Store::opens(dir.path());
        assert!(matches!(opened, Err(OpenError::Corrupt { .. })));
    }
}

#[test]
fn a_store_that_has_lost_how_far_its_journal_went_is_damaged() {
    for (format, written) in [(2, false), (1, true)] {
        let mut store = Store::new();
        if written {
            store.push([entry(1, 1)]);
        }
        store.disk.put(&Key::JOURNAL, None).unwrap();
        store.disk.put(&Key::FORMAT, Some(&[format])).unwrap();
        store.disk.barrier().unwrap();
        let dir = store.dir;
        drop((store.disk, store.journal));
        let opened = Store::opens(dir.path());
        assert!(matches!(opened, Err(OpenError::Corrupt { .. })), "{format}");
    }
}

#[test]
fn a_file_that_is_missing_or_cut_short_is_damage() {
    for name in NAMES {
        for gone in [true, false] {
            let store = Store::new();
            let (path, dir) = (store.disk.path().join(name), store.dir);
            drop((store.disk, store.journal));
            match gone {
                true => fs::remove_file(&path).unwrap(),
                false => File::create(&path).unwrap().set_len(100).unwrap(),
            }
            let opened = Store::opens(dir.path());
            assert!(matches!(opened, Err(OpenError::Corrupt { .. })), "{name}");
        }
    }
}

#[test]
fn a_store_without_a_journal_gets_one_and_says_so() {
    let dir = tempfile::tempdir().unwrap();
    let disk = Disk::open(dir.path(), Barrier::Full).unwrap();
    // As the versions before wrote it, and as a crash while it was made may leave it.
    disk.put(&Key::FORMAT, Some(&[1])).unwrap();
    rows::write(&disk, 1, &[5; 100]).unwrap();
    disk.barrier().unwrap();
    fs::write(disk.path().join(NAMES[1]), [0; 100]).unwrap();
    drop(disk);
    let store = Store::open(dir);
    assert_eq!(store.disk.get(&Key::FORMAT).unwrap(), Some(vec![2]));
    assert_eq!(store.entries(), [is(1, 5)]);
    assert_eq!(size_on_disk(store.disk.path()).unwrap(), 2 * SIZE as u64);
}

#[test]
fn room_is_counted_with_what_is_not_written_yet() {
    let mut store = Store::new();
    let one = entry(1, 1);
    let fit = SIZE / record::length(&one);
    for index in 0..fit as u64 {
        assert!(store.journal.has_room(&one));
        store.journal.push(&entry(index, 1));
    }
    assert!(!store.journal.has_room(&one));
    store.journal.sync().unwrap();
    assert!(!store.journal.has_room(&one) && store.journal.takes(&one));
    assert!(!store.journal.takes(&Change::Entry {
        index: 1,
        bytes: vec![0; SIZE],
    }));
    assert_eq!(store.again().entries().len(), fit);
}
