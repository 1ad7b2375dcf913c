//! A listener of this machine: a Unix socket.

use std::{
    fs, io,
    os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt},
    path::{Path, PathBuf},
    time::Duration,
};

use tokio::{
    net::{UnixListener, UnixStream},
    time::timeout,
};

/// How long whoever may listen there already has to show it.
const LIVE_WITHIN: Duration = Duration::from_secs(1);

/// A Unix socket that the user of this process, and root, may open. Its file goes with it.
pub(crate) struct Socket {
    listener: UnixListener,
    path: PathBuf,
    /// Device and inode of the file: another's at the same path is not removed.
    file: (u64, u64),
}

impl Socket {
    /// Listens at `path`. What a process that is gone has left there is replaced.
    ///
    /// # Errors
    /// Where somebody listens there, or something else stands there, or it cannot be made.
    pub(crate) async fn bind(path: &Path) -> io::Result<Self> {
        remove_stale(path).await?;
        let listener = UnixListener::bind(path)?;
        let private = fs::Permissions::from_mode(0o600);
        fs::set_permissions(path, private)?;
        let file = fs::symlink_metadata(path)?;
        Ok(Self {
            listener,
            path: path.to_owned(),
            file: (file.dev(), file.ino()),
        })
    }

    pub(super) async fn accept(&self) -> io::Result<UnixStream> {
        self.listener.accept().await.map(|(stream, _)| stream)
    }
}

impl Drop for Socket {
    fn drop(&mut self) {
        let found = fs::symlink_metadata(&self.path);
        if found.is_ok_and(|found| (found.dev(), found.ino()) == self.file)
            && let Err(error) = fs::remove_file(&self.path)
        {
            tracing::warn!(%error, path = %self.path.display(), "the API's socket was not removed");
        }
    }
}

async fn remove_stale(path: &Path) -> io::Result<()> {
    let found = match fs::symlink_metadata(path) {
        Ok(found) => found,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error),
    };
    if !found.file_type().is_socket() {
        return Err(io::Error::other("something that is no socket stands there"));
    }
    match timeout(LIVE_WITHIN, UnixStream::connect(path)).await {
        // Nobody listens any more.
        Ok(Err(error)) if error.kind() == io::ErrorKind::ConnectionRefused => fs::remove_file(path),
        // Gone by itself meanwhile.
        Ok(Err(error)) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        // Whoever does not answer, or lets us not ask, may still be there.
        _ => Err(io::ErrorKind::AddrInUse.into()),
    }
}
