//! Putting a node's log, snapshots and identity in place of those that it had, all of them or none.
//!
//! What comes is made whole in [`NEW`], and counts once that is renamed to [`READY`]: the one step that
//! decides. Until then the node is what it was, and afterwards whoever opens the directory next goes on
//! where a crash left it. What was there before is kept beside it, never deleted.

use std::{
    fs::{self, DirBuilder},
    io,
    os::unix::fs::DirBuilderExt,
    path::{Path, PathBuf},
};

use crate::{files, identity};

/// What is being made, below the data directory.
const NEW: &str = "recover.new";
/// What is whole, and put in place.
const READY: &str = "recover.ready";
/// Where what was there before goes, below [`READY`] until all is in place.
const BEFORE: &str = "before";
/// The parts, in the order in which they are put in place. The identity goes last: until then a version
/// that knows nothing of all this finds a log that is not its own, and refuses.
const PARTS: [&str; 3] = ["log", "snapshots", identity::FILE];

/// An empty directory to make the replacement in. What a crash left there is removed.
pub(crate) fn begin(data_dir: &Path) -> io::Result<PathBuf> {
    let dir = data_dir.join(NEW);
    if dir.exists() {
        fs::remove_dir_all(&dir)?;
    }
    DirBuilder::new().mode(0o700).create(&dir)?;
    DirBuilder::new().mode(0o700).create(dir.join(BEFORE))?;
    Ok(dir)
}

/// Makes what is in the directory durable, and decides: from here on it is put in place. `before`: the
/// name under which the data directory keeps what was there.
pub(crate) fn decide(data_dir: &Path, before: &str) -> io::Result<()> {
    let dir = data_dir.join(NEW);
    fs::write(dir.join("keep-as"), before)?;
    files::sync_tree(&dir)?;
    fs::rename(&dir, data_dir.join(READY))?;
    files::sync_dir(data_dir)
}

/// Whether a replacement was decided and is not in place yet.
pub(crate) fn is_under_way(data_dir: &Path) -> bool {
    data_dir.join(READY).exists()
}

/// Puts in place what was decided, from wherever it was left. Whoever calls holds the lock.
pub(crate) fn finish(data_dir: &Path) -> io::Result<()> {
    let ready = data_dir.join(READY);
    if !ready.try_exists()? {
        return Ok(());
    }
    let before = ready.join(BEFORE);
    for part in PARTS {
        let (comes, place) = (ready.join(part), data_dir.join(part));
        if !comes.try_exists()? {
            continue;
        }
        // As long as it comes, what is in its place is of before.
        if place.try_exists()? {
            fs::rename(&place, before.join(part))?;
            files::sync_dir(&before)?;
        }
        fs::rename(&comes, &place)?;
        files::sync_dir(data_dir)?;
        files::sync_dir(&ready)?;
    }
    if before.try_exists()? {
        let keep_as = fs::read_to_string(ready.join("keep-as"))?;
        fs::rename(&before, data_dir.join(keep_as))?;
        files::sync_dir(data_dir)?;
    }
    fs::remove_dir_all(&ready)?;
    files::sync_dir(data_dir)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn put(dir: &Path, text: &str) {
        for part in ["log", "snapshots"] {
            fs::create_dir_all(dir.join(part)).unwrap();
            fs::write(dir.join(part).join("file"), text).unwrap();
        }
        fs::write(dir.join(identity::FILE), text).unwrap();
    }

    fn has(dir: &Path, text: &str) -> bool {
        let files = ["log/file", "snapshots/file", identity::FILE];
        files
            .iter()
            .all(|file| fs::read_to_string(dir.join(file)).is_ok_and(|found| found == text))
    }

    #[test]
    fn wherever_it_is_left_it_is_the_old_node_or_becomes_the_new_one() {
        // The steps of `finish`, as a crash after each leaves them.
        let steps: [&[(&str, &str)]; 3] = [
            &[
                ("log", "recover.ready/before/log"),
                ("recover.ready/log", "log"),
            ],
            &[
                ("snapshots", "recover.ready/before/snapshots"),
                ("recover.ready/snapshots", "snapshots"),
            ],
            &[
                (identity::FILE, "recover.ready/before/node.json"),
                ("recover.ready/node.json", identity::FILE),
            ],
        ];
        let all: Vec<_> = steps.concat();
        for done in 0..=all.len() {
            let dir = tempfile::tempdir().unwrap();
            put(dir.path(), "old");
            let new = begin(dir.path()).unwrap();
            put(&new, "new");
            finish(dir.path()).unwrap();
            assert!(has(dir.path(), "old"), "not decided yet");
            decide(dir.path(), "kept").unwrap();
            for (from, to) in &all[..done] {
                fs::rename(dir.path().join(from), dir.path().join(to)).unwrap();
            }
            assert!(is_under_way(dir.path()));
            finish(dir.path()).unwrap();
            finish(dir.path()).unwrap();
            assert!(has(dir.path(), "new"), "after {done} steps");
            assert!(has(&dir.path().join("kept"), "old"), "after {done} steps");
            assert!(!is_under_way(dir.path()));
        }
    }

    #[test]
    fn what_was_not_decided_is_made_anew() {
        let dir = tempfile::tempdir().unwrap();
        put(dir.path(), "old");
        let new = begin(dir.path()).unwrap();
        fs::write(new.join("half"), "written").unwrap();
        let again = begin(dir.path()).unwrap();
        assert!(!again.join("half").exists());
        assert!(has(dir.path(), "old"));
    }
}
