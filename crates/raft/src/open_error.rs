//! Why a store does not open.

use std::{
    io,
    path::{Path, PathBuf},
};

use crate::store_format::FORMAT;

/// Why a store does not open.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Another process has it.
    #[error(
        "data directory {} is in use by another process: stop that process, or use another \
         directory", .0.display()
    )]
    Locked(PathBuf),
    /// It was written by a newer version.
    #[error(
        "data directory {} has format {found}, and this version reads up to {FORMAT}: run the newer \
         version again", .dir.display()
    )]
    NewerFormat {
        /// The data directory.
        dir: PathBuf,
        /// The format found.
        found: u8,
    },
    /// Its contents make no sense.
    #[error(
        "the store in {} is damaged ({reason}): move the directory aside (do not delete it) and \
         start again with an empty one; the node then comes back as a new member", .path.display()
    )]
    Corrupt {
        /// The damaged file or directory.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// It is another member's.
    #[error(
        "the store in {} belongs to another member than node.json: put back what belongs together, or \
         move both aside (do not delete them)", .0.display()
    )]
    OtherMembers(PathBuf),
    /// Opening takes for ever.
    #[error(
        "opening the store in {} did not finish: look for a disk that hangs, and start again", .0.display()
    )]
    Hangs(PathBuf),
    /// The file system refused.
    #[error("cannot use {}: {source}", .path.display())]
    Io {
        /// The file or directory.
        path: PathBuf,
        /// What the file system said.
        source: io::Error,
    },
}

impl OpenError {
    pub(crate) fn io(path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self::Io { path, source }
    }
}
