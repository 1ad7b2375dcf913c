//! Who this data directory belongs to, and the lock that keeps a second process out.

use std::{
    fs::{self, DirBuilder, File, OpenOptions},
    io::{self, Write},
    os::unix::fs::{DirBuilderExt, OpenOptionsExt},
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};

use crate::replacement;

/// The format of the data directory that this version writes.
pub const DATA_FORMAT: u32 = 1;
/// The identity's file.
pub(crate) const FILE: &str = "node.json";

/// Why a data directory cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum IdentityError {
    /// Another process has it open.
    #[error("{0} is in use by another process: stop it, or give this node another VAULT_DATA_DIR")]
    Locked(PathBuf),
    /// It was made by a node of another name.
    #[error(
        "the data directory belongs to node {found:?}, and this is node {expected:?}: \
         set NODE_ID or VAULT_DATA_DIR right"
    )]
    OtherNode {
        /// The name in the directory.
        found: String,
        /// This process's `NODE_ID`.
        expected: String,
    },
    /// A newer version wrote it.
    #[error(
        "the data directory has format {found}, and this version reads up to {DATA_FORMAT}: \
         run the version that wrote it, or a newer one"
    )]
    NewerFormat {
        /// The format found.
        found: u32,
    },
    /// `node.json` makes no sense.
    #[error(
        "{0} is damaged: restore it from another copy, or move the data directory aside so that this node joins anew"
    )]
    Damaged(PathBuf),
    /// The operating system refused.
    #[error("cannot use {path}: {source}")]
    Io {
        /// What was being used.
        path: PathBuf,
        /// What the operating system said.
        source: io::Error,
    },
}

/// What a node knows itself by.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Identity {
    /// The directory's format.
    pub format: u32,
    /// `NODE_ID`.
    pub node_id: String,
    /// Drawn at random at the first start.
    pub raft_id: u64,
    /// The newest epoch that this directory was recovered into: a node never goes back to an earlier one.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub epoch: u32,
    /// Whether it takes the place of one whose store was damaged: it joins, and never forms a cluster.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub rejoins: bool,
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "serde asks so")]
fn is_zero(epoch: &u32) -> bool {
    *epoch == 0
}

impl Identity {
    /// Another identity of a node, with a Raft id that nobody has.
    pub(crate) fn draw(node_id: &str, epoch: u32) -> io::Result<Self> {
        let raft_id = loop {
            // Kept below 2^53, so that the id survives every JSON reader it is shown to.
            match getrandom::u64().map_err(|error| io::Error::other(error.to_string()))? >> 11 {
                0 => {}
                id => break id,
            }
        };
        Ok(Self {
            format: DATA_FORMAT,
            node_id: node_id.to_owned(),
            raft_id,
            epoch,
            rejoins: false,
        })
    }

    /// Writes it as the identity of a directory: whole and durable, or not at all.
    pub(crate) fn keep(&self, dir: &Path) -> io::Result<()> {
        let temporary = dir.join("node.json.new");
        let mut out = OpenOptions::new()
            .create(true)
            .truncate(true)
            .write(true)
            .mode(0o600)
            .open(&temporary)?;
        out.write_all(&serde_json::to_vec_pretty(self)?)?;
        out.sync_all()?;
        fs::rename(&temporary, dir.join(FILE))?;
        File::open(dir)?.sync_all()
    }
}

/// An identified, locked data directory. The lock goes with the value.
#[derive(Debug)]
pub struct DataDir {
    /// Where it is.
    pub path: PathBuf,
    /// Whose it is.
    pub identity: Identity,
    _lock: File,
}

impl DataDir {
    /// Opens the directory for the node `node_id`, making it on the first start.
    ///
    /// # Errors
    /// See [`IdentityError`]; nothing is changed then.
    pub fn open(path: &Path, node_id: &str) -> Result<Self, IdentityError> {
        let io_error = |path: &Path| {
            let path = path.to_owned();
            move |source| IdentityError::Io { path, source }
        };
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(path)
            .map_err(io_error(path))?;
        let lock = lock(path)?;
        replacement::finish(path).map_err(io_error(path))?;
        let file = path.join(FILE);
        let identity = match fs::read(&file) {
            Ok(bytes) => {
                let known = check(&file, &bytes)?;
                if known.node_id != node_id {
                    return Err(IdentityError::OtherNode {
                        found: known.node_id,
                        expected: node_id.to_owned(),
                    });
                }
                // An error is no answer: a disk that cannot be read must not cost the node its id.
                let log = path.join("log");
                match log.try_exists().map_err(io_error(&log))? {
                    true => known,
                    // The log was moved aside, or never made. Whoever has no memory of its votes must
                    // not vote under its old id: it comes back as another member.
                    false => {
                        set_snapshots_aside(path, known.raft_id).map_err(io_error(path))?;
                        let identity = draw_another(path, &known).map_err(io_error(&file))?;
                        tracing::warn!(
                            before = known.raft_id,
                            now = identity.raft_id,
                            "this directory holds no log: the node joins as another member"
                        );
                        identity
                    }
                }
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                create(path, node_id).map_err(io_error(&file))?
            }
            Err(source) => return Err(IdentityError::Io { path: file, source }),
        };
        Ok(Self {
            path: path.to_owned(),
            identity,
            _lock: lock,
        })
    }

    /// Opens a directory that some node has made, whichever.
    ///
    /// # Errors
    /// See [`IdentityError`]; nothing is changed then.
    pub(crate) fn open_existing(path: &Path) -> Result<Self, IdentityError> {
        let io_error = |path: &Path| {
            let path = path.to_owned();
            move |source| IdentityError::Io { path, source }
        };
        let file = path.join(FILE);
        // Before the lock: no file is left in a directory that is none of ours.
        if !replacement::is_under_way(path) {
            fs::metadata(&file).map_err(io_error(&file))?;
        }
        let lock = lock(path)?;
        replacement::finish(path).map_err(io_error(path))?;
        let bytes = fs::read(&file).map_err(io_error(&file))?;
        Ok(Self {
            path: path.to_owned(),
            identity: check(&file, &bytes)?,
            _lock: lock,
        })
    }
}

fn lock(path: &Path) -> Result<File, IdentityError> {
    let lock_path = path.join("node.lock");
    let lock = OpenOptions::new()
        .create(true)
        .truncate(false)
        .write(true)
        .mode(0o600)
        .open(&lock_path);
    let failed = |source| IdentityError::Io {
        path: lock_path.clone(),
        source,
    };
    let lock = lock.map_err(failed)?;
    match lock.try_lock() {
        Ok(()) => Ok(lock),
        Err(fs::TryLockError::WouldBlock) => Err(IdentityError::Locked(path.to_owned())),
        Err(fs::TryLockError::Error(source)) => Err(failed(source)),
    }
}

fn check(file: &Path, bytes: &[u8]) -> Result<Identity, IdentityError> {
    let damaged = || IdentityError::Damaged(file.to_owned());
    let value: serde_json::Value = serde_json::from_slice(bytes).map_err(|_| damaged())?;
    // The format first: a newer one may have other fields.
    let found = value
        .get("format")
        .and_then(serde_json::Value::as_u64)
        .ok_or_else(damaged)?;
    let found = u32::try_from(found).unwrap_or(u32::MAX);
    if found > DATA_FORMAT {
        return Err(IdentityError::NewerFormat { found });
    }
    serde_json::from_value(value).map_err(|_| damaged())
}

fn create(dir: &Path, node_id: &str) -> io::Result<Identity> {
    // A store without its identity is a damaged directory, not a first start.
    if ["log", "snapshots"]
        .iter()
        .any(|part| dir.join(part).exists())
    {
        return Err(io::Error::other(
            "node.json is missing beside an existing store",
        ));
    }
    let identity = Identity::draw(node_id, 0)?;
    identity.keep(dir)?;
    Ok(identity)
}

/// Another identity for a node whose log is gone.
fn draw_another(dir: &Path, known: &Identity) -> io::Result<Identity> {
    let mut drawn = Identity::draw(&known.node_id, known.epoch)?;
    // It may have been on its way to set a damaged log aside, as all others may have been.
    for entry in fs::read_dir(dir)? {
        let name = entry?.file_name();
        drawn.rejoins |= name.to_string_lossy().starts_with(crate::damage::ASIDE);
    }
    drawn.keep(dir)?;
    Ok(drawn)
}

/// Snapshots without their log are another member's past.
fn set_snapshots_aside(dir: &Path, raft_id: u64) -> io::Result<()> {
    let snapshots = dir.join("snapshots");
    if snapshots.exists() {
        fs::rename(&snapshots, dir.join(format!("snapshots.of-{raft_id}")))?;
        File::open(dir)?.sync_all()?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_directory_belongs_to_one_node_and_one_process() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("data");
        let first = DataDir::open(&path, "1").unwrap();
        assert!(matches!(
            DataDir::open(&path, "1"),
            Err(IdentityError::Locked(_))
        ));
        fs::create_dir(path.join("log")).unwrap();
        let identity = first.identity.clone();
        drop(first);
        assert!(matches!(
            DataDir::open(&path, "2"),
            Err(IdentityError::OtherNode { .. })
        ));
        assert_eq!(DataDir::open(&path, "1").unwrap().identity, identity);
    }

    #[test]
    fn a_node_that_lost_its_log_comes_back_as_another_member() {
        let dir = tempfile::tempdir().unwrap();
        let first = DataDir::open(dir.path(), "1").unwrap().identity;
        fs::create_dir(dir.path().join("log")).unwrap();
        assert_eq!(DataDir::open(dir.path(), "1").unwrap().identity, first);
        fs::rename(dir.path().join("log"), dir.path().join("log.damaged")).unwrap();
        fs::create_dir(dir.path().join("snapshots")).unwrap();
        let second = DataDir::open(dir.path(), "1").unwrap().identity;
        assert_eq!(second.node_id, first.node_id);
        assert_ne!(second.raft_id, first.raft_id);
        assert!(!dir.path().join("snapshots").exists());
    }

    #[test]
    fn newer_and_damaged_directories_are_refused() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("node.json");
        fs::write(&file, r#"{"format": 2, "something": "new"}"#).unwrap();
        let opened = DataDir::open(dir.path(), "1");
        assert!(matches!(
            opened,
            Err(IdentityError::NewerFormat { found: 2 })
        ));
        for damaged in ["", "{", "{}", "[1]", r#"{"format":1,"node_id":"1"}"#] {
            fs::write(&file, damaged).unwrap();
            let opened = DataDir::open(dir.path(), "1");
            assert!(
                matches!(opened, Err(IdentityError::Damaged(_))),
                "{damaged}"
            );
        }
        fs::remove_file(&file).unwrap();
        fs::create_dir(dir.path().join("log")).unwrap();
        assert!(matches!(
            DataDir::open(dir.path(), "1"),
            Err(IdentityError::Io { .. })
        ));
    }
}
