//! Snapshots on disk: one file each, seen only when it is whole and durable.

use std::{
    fs::{self, File},
    io::{self, BufReader, BufWriter, Seek, Write},
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::Instant,
};

use strongroom_core::{Durations, DurationsReading, State};
use tokio::sync::watch;

use crate::{
    durable::OpenError,
    files,
    paced::Paced,
    snapshot_codec::{self, SnapshotError},
    types::SnapshotMeta,
};

const SUFFIX: &str = "snapshot";
const TEMPORARY: &str = "tmp";
const BUFFER_BYTES: usize = 64 * 1024;

/// How far the snapshots on disk go: only so far may the log be purged (invariant 19).
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Kept {
    /// The last entry in the newest snapshot that is durable.
    pub upto: Option<u64>,
    /// A snapshot was to be kept, and could not be.
    pub failed: bool,
}

/// The directory of snapshots. The newest is kept.
pub struct SnapshotFiles {
    dir: PathBuf,
    kept: watch::Sender<Kept>,
    current: Mutex<Option<Current>>,
    /// The file that a snapshot is being received into.
    incoming: Mutex<Option<PathBuf>>,
    written: Durations,
    installed: AtomicU64,
    failures: AtomicU64,
}

struct Current {
    meta: SnapshotMeta,
    path: PathBuf,
    bytes: u64,
}

impl SnapshotFiles {
    /// Opens the snapshots below `data_dir` and reads the newest, if there is one. A damaged one is
    /// set aside under another name, and that is an error: what it held may be nowhere else.
    ///
    /// # Errors
    /// See [`OpenError`].
    pub fn open(data_dir: &Path) -> Result<(Self, Option<(SnapshotMeta, State)>), OpenError> {
        let dir = data_dir.join("snapshots");
        fs::create_dir_all(&dir).map_err(OpenError::io(&dir))?;
        files::sync_dir(data_dir).map_err(OpenError::io(data_dir))?;
        let mut paths = Vec::new();
        for entry in fs::read_dir(&dir).map_err(OpenError::io(&dir))? {
            let path = entry.map_err(OpenError::io(&dir))?.path();
            match path.extension().and_then(|extension| extension.to_str()) {
                Some(TEMPORARY) => fs::remove_file(&path).map_err(OpenError::io(&path))?,
                Some(SUFFIX) => paths.push(path),
                _ => {}
            }
        }
        // Names begin with the index, in digits of one width.
        paths.sort();
        let files = Self {
            dir,
            kept: watch::Sender::new(Kept::default()),
            current: Mutex::new(None),
            incoming: Mutex::new(None),
            written: Durations::default(),
            installed: AtomicU64::new(0),
            failures: AtomicU64::new(0),
        };
        let Some(newest) = paths.pop() else {
            return Ok((files, None));
        };
        let (meta, state) = files.load(&newest)?;
        for older in paths {
            fs::remove_file(&older).map_err(OpenError::io(&older))?;
        }
        let bytes = fs::metadata(&newest).map_err(OpenError::io(&newest))?.len();
        files.note_kept(&meta);
        *files.current() = Some(Current {
            meta: meta.clone(),
            path: newest,
            bytes,
        });
        Ok((files, Some((meta, state))))
    }

    /// How far the snapshots on disk go, now and from now on.
    #[must_use]
    pub fn kept(&self) -> watch::Receiver<Kept> {
        self.kept.subscribe()
    }

    /// How long writing snapshots took.
    #[must_use]
    pub fn written(&self) -> DurationsReading {
        self.written.read()
    }

    /// Snapshots that were installed, and those that could not be written or installed.
    #[must_use]
    pub fn installed_and_failed(&self) -> (u64, u64) {
        (self.installed.load(Relaxed), self.failures.load(Relaxed))
    }

    fn note_kept(&self, meta: &SnapshotMeta) {
        let index = meta.last_log_id.map(|id| id.index);
        self.kept
            .send_modify(|kept| kept.upto = kept.upto.max(index));
    }

    /// Bytes of the newest snapshot; 0 if there is none.
    #[must_use]
    pub fn newest_bytes(&self) -> u64 {
        self.current().as_ref().map_or(0, |current| current.bytes)
    }

    /// Sets the newest snapshot aside if it is this one: it was found damaged. The state that it holds
    /// is in memory, and written anew when it is asked for.
    pub fn set_aside(&self, id: &str) {
        let mut current = self.current();
        let Some(damaged) = current.take_if(|current| current.meta.snapshot_id == id) else {
            return;
        };
        let aside = damaged.path.with_extension("damaged");
        match fs::rename(&damaged.path, &aside) {
            Ok(()) => {
                tracing::error!(file = %aside.display(), "a snapshot is damaged, and set aside")
            }
            Err(error) => tracing::error!(%error, "a snapshot is damaged, and cannot be set aside"),
        }
    }

    fn load(&self, path: &Path) -> Result<(SnapshotMeta, State), OpenError> {
        let file = File::open(path).map_err(OpenError::io(path))?;
        match snapshot_codec::read(&mut BufReader::with_capacity(BUFFER_BYTES, file)) {
            Ok(snapshot) => Ok(snapshot),
            Err(SnapshotError::Io(source)) => Err(OpenError::io(path)(source)),
            Err(SnapshotError::NewerFormat(found)) => Err(OpenError::NewerFormat {
                dir: self.dir.clone(),
                found,
            }),
            Err(error) => {
                let aside = path.with_extension("damaged");
                fs::rename(path, &aside).map_err(OpenError::io(path))?;
                files::sync_dir(&self.dir).map_err(OpenError::io(&self.dir))?;
                Err(OpenError::Corrupt {
                    path: aside,
                    reason: error.to_string(),
                })
            }
        }
    }

    /// Writes a snapshot and makes it the newest. If a newer one has come in the meantime, that one
    /// stays. Returns the newest. Blocks.
    ///
    /// # Errors
    /// When the file system refuses; what was there before stays.
    pub fn write(&self, meta: &SnapshotMeta, state: &State) -> io::Result<(SnapshotMeta, File)> {
        let began = Instant::now();
        let written = self.try_write(meta, state);
        match &written {
            Ok(_) => self.written.note(began.elapsed()),
            Err(_) => drop(self.failures.fetch_add(1, Relaxed)),
        }
        written
    }

    fn try_write(&self, meta: &SnapshotMeta, state: &State) -> io::Result<(SnapshotMeta, File)> {
        let (path, file) = self.temporary("building")?;
        let mut writer = BufWriter::with_capacity(BUFFER_BYTES, Paced::new(file));
        let written = snapshot_codec::write(&mut writer, meta, state)
            .and_then(|()| writer.flush())
            .and_then(|()| self.keep(&path, &writer.get_ref().file, meta));
        written.inspect_err(|_| self.discard(&path))
    }

    /// A new file to receive a snapshot into. An earlier one that was not installed is dropped.
    ///
    /// # Errors
    /// When the file system refuses.
    pub fn receive(&self) -> io::Result<File> {
        let (path, file) = self.temporary("incoming")?;
        let earlier = self.incoming().replace(path);
        if let Some(earlier) = earlier {
            self.discard(&earlier);
        }
        Ok(file)
    }

    /// Checks a received snapshot against what it was announced as, and makes it the newest. Blocks.
    ///
    /// # Errors
    /// See [`SnapshotError`]; what was there before stays.
    pub fn install(&self, file: File, meta: &SnapshotMeta) -> Result<State, SnapshotError> {
        let installed = self.try_install(file, meta);
        let counter = match &installed {
            Ok(_) => &self.installed,
            Err(_) => &self.failures,
        };
        counter.fetch_add(1, Relaxed);
        if installed.is_err() {
            // Who waits for it to purge the log must not wait for ever.
            self.kept.send_modify(|kept| kept.failed = true);
        }
        installed
    }

    fn try_install(&self, mut file: File, meta: &SnapshotMeta) -> Result<State, SnapshotError> {
        let (found, state) = verify(&mut file)?;
        if found != *meta {
            return Err(SnapshotError::Mislabelled);
        }
        let path = match self.incoming().take_if(|path| same_file(path, &file)) {
            Some(path) => path,
            // Not the file we gave out last: keep a copy of what was checked.
            None => {
                let (path, mut copy) = self.temporary("copy")?;
                file.rewind()?;
                io::copy(&mut file, &mut copy)?;
                copy.sync_all()?;
                path
            }
        };
        self.keep(&path, &file, meta)
            .inspect_err(|_| self.discard(&path))?;
        Ok(state)
    }

    /// The newest snapshot, to be read from its beginning.
    ///
    /// # Errors
    /// When the file system refuses.
    pub fn newest(&self) -> io::Result<Option<(SnapshotMeta, File)>> {
        let current = self.current();
        let Some(current) = current.as_ref() else {
            return Ok(None);
        };
        Ok(Some((current.meta.clone(), File::open(&current.path)?)))
    }

    /// Makes a whole file durable and the newest: contents, then name, and then the older go.
    fn keep(
        &self,
        temporary: &Path,
        file: &File,
        meta: &SnapshotMeta,
    ) -> io::Result<(SnapshotMeta, File)> {
        file.sync_all()?;
        let mut current = self.current();
        if let Some(newer) = current
            .as_ref()
            .filter(|c| c.meta.last_log_id > meta.last_log_id)
        {
            self.discard(temporary);
            return Ok((newer.meta.clone(), File::open(&newer.path)?));
        }
        let index = meta.last_log_id.map_or(0, |id| id.index);
        let path = self
            .dir
            .join(format!("{index:020}-{:016x}.{SUFFIX}", random()?));
        fs::rename(temporary, &path)?;
        files::sync_dir(&self.dir)?;
        self.note_kept(meta);
        let file = File::open(&path)?;
        let bytes = file.metadata()?.len();
        if let Some(older) = current.replace(Current {
            meta: meta.clone(),
            path,
            bytes,
        }) {
            self.discard(&older.path);
        }
        Ok((meta.clone(), file))
    }

    fn temporary(&self, what: &str) -> io::Result<(PathBuf, File)> {
        let path = self
            .dir
            .join(format!("{what}-{:016x}.{TEMPORARY}", random()?));
        let file = File::options()
            .read(true)
            .write(true)
            .create_new(true)
            .open(&path)?;
        Ok((path, file))
    }

    /// Removes a file that nothing needs. If that fails, the next start tries again.
    fn discard(&self, path: &Path) {
        if let Err(error) = fs::remove_file(path) {
            tracing::warn!(path = %path.display(), %error, "a file was left behind");
        }
    }

    fn current(&self) -> MutexGuard<'_, Option<Current>> {
        self.current.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn incoming(&self) -> MutexGuard<'_, Option<PathBuf>> {
        self.incoming.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Reads a snapshot from its beginning and checks it. Whoever sends or receives one calls this first:
/// one that does not install is the end of the node that takes it. Blocks.
///
/// # Errors
/// See [`SnapshotError`].
pub fn verify(mut file: impl io::Read + Seek) -> Result<(SnapshotMeta, State), SnapshotError> {
    file.rewind()?;
    snapshot_codec::read(&mut BufReader::with_capacity(BUFFER_BYTES, file))
}

fn same_file(path: &Path, file: &File) -> bool {
    let (Ok(a), Ok(b)) = (fs::metadata(path), file.metadata()) else {
        return false;
    };
    (a.dev(), a.ino()) == (b.dev(), b.ino())
}

fn random() -> io::Result<u64> {
    getrandom::u64().map_err(|e| io::Error::other(e.to_string()))
}
