//! One backup against a store that does not do what it should.

use std::{
    collections::BTreeMap,
    num::NonZeroUsize,
    sync::{Arc, Mutex},
    time::Duration,
};

use bytes::Bytes;
use futures_util::{StreamExt, stream};
use strongroom_core::{
    ClusterId, Command, LogPosition, LogTime, State,
    backup::{self, BackupError, Reader},
    rehearsal::RehearsalError,
};

use super::{
    Pieces,
    name::BackupName,
    store::{BackupStore, StoreError, StoreFuture},
    turn::{Found, TurnError, delete_old, left, look, take},
};

const OURS: ClusterId = ClusterId([3; 16]);
const NOON: u64 = 1_767_268_800_000;

/// What a store gives back of what was written.
#[derive(Clone)]
enum Gives {
    Same,
    Changed(fn(Vec<u8>) -> Vec<u8>),
    Other(Vec<u8>),
}

/// Files in memory.
struct Fake {
    files: Mutex<BTreeMap<String, Vec<u8>>>,
    gives: Gives,
    /// Takes so many pieces, and no more.
    takes: usize,
}

impl Fake {
    fn new(gives: Gives) -> Self {
        Self {
            files: Mutex::default(),
            gives,
            takes: usize::MAX,
        }
    }

    fn with(names: &[&str]) -> Self {
        let fake = Self::new(Gives::Same);
        for name in names {
            fake.files
                .lock()
                .unwrap()
                .insert((*name).to_owned(), Vec::new());
        }
        fake
    }

    fn names(&self) -> Vec<String> {
        self.files.lock().unwrap().keys().cloned().collect()
    }
}

impl BackupStore for Fake {
    fn list(&self) -> StoreFuture<'_, Vec<String>> {
        Box::pin(async { Ok(self.names()) })
    }

    fn write<'a>(&'a self, name: &'a str, mut pieces: Pieces) -> StoreFuture<'a, ()> {
        Box::pin(async move {
            let (mut file, mut taken) = (Vec::new(), 0);
            while let Some(piece) = pieces.next().await {
                if taken == self.takes {
                    return Err(StoreError("it is full".into()));
                }
                taken += 1;
                file.extend_from_slice(&piece.unwrap());
            }
            self.files.lock().unwrap().insert(name.to_owned(), file);
            Ok(())
        })
    }

    fn read<'a>(
        &'a self,
        name: &'a str,
    ) -> StoreFuture<'a, stream::BoxStream<'static, Result<Bytes, StoreError>>> {
        let file = self.files.lock().unwrap().get(name).cloned();
        let given = match (self.gives.clone(), file) {
            (Gives::Same, Some(file)) => Ok(file),
            (Gives::Changed(change), Some(file)) => Ok(change(file)),
            (Gives::Other(other), Some(_)) => Ok(other),
            (_, None) => Err(StoreError("there is no such file".into())),
        };
        Box::pin(async {
            let pieces: Vec<_> = given?
                .chunks(1_000)
                .map(|piece| Ok(Bytes::copy_from_slice(piece)))
                .collect();
            Ok(stream::iter(pieces).boxed())
        })
    }

    fn rename<'a>(&'a self, from: &'a str, to: &'a str) -> StoreFuture<'a, ()> {
        let mut files = self.files.lock().unwrap();
        let file = files.remove(from).unwrap();
        files.insert(to.to_owned(), file);
        Box::pin(async { Ok(()) })
    }

    fn delete<'a>(&'a self, name: &'a str) -> StoreFuture<'a, ()> {
        self.files.lock().unwrap().remove(name);
        Box::pin(async { Ok(()) })
    }
}

/// A formed cluster's state after so many more entries.
fn state(entries: u64) -> Arc<State> {
    let mut state = State::default();
    let commands = std::iter::once(Command::Form { cluster_id: OURS })
        .chain((0..entries).map(|_| Command::Tick));
    for (command, index) in commands.zip(1..) {
        let _ = state.apply(LogPosition { term: 1, index }, LogTime(NOON), command);
    }
    Arc::new(state)
}

fn name(seconds: u64, index: u64) -> BackupName {
    BackupName::new(OURS, LogTime(NOON + seconds * 1_000), index)
}

fn bytes_of(state: &State) -> Vec<u8> {
    backup::encode(state).flatten().collect()
}

#[tokio::test]
async fn a_backup_gets_its_name_when_it_was_read_again_and_rehearsed() {
    let (store, state) = (Fake::new(Gives::Same), state(4));
    take(&store, &name(0, 5), Arc::clone(&state)).await.unwrap();
    assert_eq!(store.names(), [name(0, 5).to_string()]);
    let mut reader = Reader::default();
    let files = store.files.lock().unwrap();
    reader.push(&files[&name(0, 5).to_string()]).unwrap();
    assert_eq!(reader.finish().as_ref(), Ok(&*state));
}

#[tokio::test]
async fn what_is_read_again_as_something_else_is_no_backup() {
    let cut = |mut file: Vec<u8>| {
        file.pop();
        file
    };
    let flipped = |mut file: Vec<u8>| {
        let middle = file.len() / 2;
        file[middle] ^= 1;
        file
    };
    let older = bytes_of(&state(3));
    for (gives, expected) in [
        (Gives::Changed(cut), "the backup is cut short"),
        (Gives::Changed(flipped), "the backup is damaged"),
        // Whole in itself, which its checksum says.
        (Gives::Other(older), "another backup than was written"),
        (Gives::Other(b"<html>".to_vec()), "this is no backup"),
    ] {
        let store = Fake::new(gives);
        let error = take(&store, &name(0, 5), state(4)).await.unwrap_err();
        assert!(error.to_string().contains(expected), "{error}");
        assert!(matches!(
            error,
            TurnError::Backup(
                BackupError::CutShort | BackupError::Damaged | BackupError::NotABackup
            ) | TurnError::Rehearsal(RehearsalError::Another)
        ));
        // It is there to be looked at, and counts as none.
        assert_eq!(store.names(), [name(0, 5).unverified()]);
        let found = look(&store, OURS).await.unwrap();
        assert!(found.verified.is_empty() && found.unverified == [name(0, 5)]);
    }
}

#[tokio::test]
async fn a_store_that_breaks_off_has_nothing() {
    let store = Fake {
        takes: 0,
        ..Fake::new(Gives::Same)
    };
    let error = take(&store, &name(0, 5), state(4)).await.unwrap_err();
    assert_eq!(error.to_string(), "it is full");
    assert_eq!(store.names(), [""; 0]);
}

#[test]
fn the_next_is_due_when_the_newest_verified_is_old_and_those_of_the_future_do_not_count() {
    let now = LogTime(NOON);
    let hour = Duration::from_secs(3_600);
    let found = |verified: &[BackupName]| Found {
        verified: verified.to_vec(),
        unverified: vec![BackupName::new(OURS, now, 9)],
    };
    let ago = |secs: u64| BackupName::new(OURS, LogTime(NOON - secs * 1_000), 7);
    assert_eq!(left(&found(&[]), now, hour), None);
    assert_eq!(left(&found(&[ago(3_600)]), now, hour), None);
    let newest = [ago(3_000), ago(3_601)];
    assert_eq!(left(&found(&newest), now, hour), Some(hour / 6));
    assert_eq!(left(&found(&[name(7_200, 9)]), now, hour), None);
    let ahead = [name(7_200, 9), ago(3_000)];
    assert_eq!(left(&found(&ahead), now, hour), Some(hour / 6));
}

#[tokio::test]
async fn the_newest_are_kept_and_files_of_others_are_not_touched() {
    let others = BackupName::new(ClusterId([4; 16]), LogTime(NOON), 1).to_string();
    let ours: Vec<String> = (0..5).map(|n| name(n, 100 - n).to_string()).collect();
    let mut names: Vec<&str> = ours.iter().map(String::as_str).collect();
    let unverified = name(0, 0).unverified();
    names.extend([others.as_str(), "notes.txt", unverified.as_str()]);
    let store = Fake::with(&names);
    let found = look(&store, OURS).await.unwrap();
    delete_old(&store, &found, NonZeroUsize::new(2).unwrap())
        .await
        .unwrap();
    let mut kept = vec![
        ours[3].clone(),
        ours[4].clone(),
        others,
        "notes.txt".into(),
        unverified,
    ];
    kept.sort();
    assert_eq!(store.names(), kept);
}
