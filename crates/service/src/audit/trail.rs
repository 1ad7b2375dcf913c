//! The open trail: appending, syncing, rotating, and getting back on its feet after a failure.
//!
//! What was written since the last sync is kept in memory. So after a failed write or sync the file
//! is cut back to its last synced byte and the kept records are written again: no answered record
//! is lost to half a line, to a page the kernel dropped, or to a file somebody deleted.

use std::{
    fs::{self, File},
    io::{self, Write},
    path::PathBuf,
    sync::Arc,
    time::Instant,
};

use time::OffsetDateTime;

use super::{
    chain::Link,
    files::{self, Identity, TrailFile},
    record::{Entry, Pen},
    recover::{self, Start},
    timed::Timed,
};

/// Written bytes after which a sync does not wait for its time. Bounds the memory they occupy.
const UNSYNCED_BYTES: usize = 4 * 1024 * 1024;
/// Room for a record, unless its names are long.
const RECORD_BYTES: usize = 640;

/// The two operations that a disk can refuse. The seam where tests inject failures.
pub(super) trait Disk: Send + Sync + 'static {
    /// Appends to the file, in one write if the system lets it.
    fn append(&self, file: &File, bytes: &[u8]) -> io::Result<()>;
    /// Makes the file's data durable.
    fn sync(&self, file: &File) -> io::Result<()>;
}

/// The real thing.
pub(super) struct RealDisk;

impl Disk for RealDisk {
    fn append(&self, mut file: &File, bytes: &[u8]) -> io::Result<()> {
        file.write_all(bytes)
    }
    fn sync(&self, file: &File) -> io::Result<()> {
        file.sync_data()
    }
}

/// Records that were put into the chain but not into the file yet.
#[derive(Default)]
pub(super) struct Batch {
    pub(super) bytes: Vec<u8>,
    link: Option<Link>,
}

impl Batch {
    /// With room for one record.
    pub(super) fn of_one() -> Self {
        Self {
            bytes: Vec::with_capacity(RECORD_BYTES),
            link: None,
        }
    }

    fn length(&self) -> u64 {
        u64::try_from(self.bytes.len()).unwrap_or(u64::MAX)
    }
}

/// A sync under way, and what it makes durable.
pub(super) struct Syncing {
    handle: Arc<File>,
    began: Instant,
    written: u64,
    /// Bytes of what was unsynced when it began.
    unsynced: usize,
    link: Link,
}

/// The trail, in the hands of whoever writes it now.
pub(super) struct Trail {
    dir: PathBuf,
    pen: Pen,
    file_bytes: u64,
    disk: Arc<Timed>,
    file: TrailFile,
    handle: Arc<File>,
    /// The file's length.
    written: u64,
    /// How much of it is durable.
    synced: u64,
    /// What lies between the two.
    unsynced: Vec<u8>,
    unsynced_since: Option<Instant>,
    /// The last record in the file.
    link: Link,
    pub(super) syncs: u64,
}

impl Syncing {
    pub(super) fn sync(&self, disk: &impl Disk) -> io::Result<()> {
        disk.sync(&self.handle)
    }
}

impl Trail {
    pub(super) fn open(
        dir: PathBuf,
        node: String,
        file_bytes: u64,
        disk: Arc<Timed>,
    ) -> io::Result<Self> {
        let Start {
            file,
            handle,
            length,
            link,
        } = recover::start(&dir)?;
        let mut trail = Self {
            dir,
            pen: Pen::new(&node)?,
            file_bytes,
            disk,
            file,
            handle: Arc::new(handle),
            written: length,
            synced: length,
            unsynced: Vec::new(),
            unsynced_since: None,
            link,
            syncs: 0,
        };
        // What a crash left unsynced is about to be built upon.
        trail.disk.sync(&trail.handle)?;
        if link != Link::GENESIS {
            files::write_head(&trail.dir, link)?;
        }
        trail.syncs = 1;
        Ok(trail)
    }

    /// The number of the last record in the file.
    pub(super) fn last_seq(&self) -> u64 {
        self.link.seq
    }

    /// Since when there has been something to sync.
    pub(super) fn unsynced_since(&self) -> Option<Instant> {
        self.unsynced_since
    }

    /// Whether so much is unsynced that the sync is due whatever the time.
    pub(super) fn must_sync(&self) -> bool {
        self.unsynced.len() >= UNSYNCED_BYTES
    }

    /// Whether the batch goes into the current file. Without, its append begins another, with syncs.
    pub(super) fn has_room(&self, batch: &Batch) -> bool {
        self.written == 0 || self.written.saturating_add(batch.length()) <= self.file_bytes
    }

    /// Puts an entry into the chain, behind the batch's last one. Returns its number.
    pub(super) fn chain(&mut self, batch: &mut Batch, entry: &Entry) -> io::Result<u64> {
        let after = batch.link.unwrap_or(self.link);
        let now = OffsetDateTime::now_utc();
        let link = self.pen.render(after, now, entry, &mut batch.bytes)?;
        batch.link = Some(link);
        Ok(link.seq)
    }

    /// Appends the batch, and syncs it if told to. After an error the trail must be
    /// [repaired](Self::repair); whether the batch is in it is then open.
    pub(super) fn append(&mut self, batch: &Batch, sync: bool) -> io::Result<()> {
        let Some(link) = batch.link else {
            return Ok(());
        };
        if !self.has_room(batch) {
            let before = self.link;
            self.rotate()?;
            if self.link != before {
                // A record of the node's own has come between, and the batch follows another.
                return Err(io::Error::other("the full audit file was not what it was"));
            }
        }
        let length = batch.length();
        self.disk.append(&self.handle, &batch.bytes)?;
        if sync {
            // Nothing of the batch is taken over before this: the repair then forgets it.
            self.disk.sync(&self.handle)?;
        }
        self.written = self.written.saturating_add(length);
        self.unsynced.extend_from_slice(&batch.bytes);
        self.unsynced_since.get_or_insert_with(Instant::now);
        self.link = link;
        if sync { self.after_sync() } else { Ok(()) }
    }

    /// Makes everything written durable.
    pub(super) fn sync(&mut self) -> io::Result<()> {
        self.disk.sync(&self.handle)?;
        self.after_sync()
    }

    /// What a sync would make durable now. Whoever does it ([`Syncing::sync`]) need not have the trail meanwhile,
    /// to which others may append.
    pub(super) fn begin_sync(&self) -> Syncing {
        Syncing {
            handle: Arc::clone(&self.handle),
            began: Instant::now(),
            written: self.written,
            unsynced: self.unsynced.len(),
            link: self.link,
        }
    }

    /// Takes note of a sync that was done. Meanwhile nothing but appending has been.
    pub(super) fn end_sync(&mut self, done: &Syncing) -> io::Result<()> {
        self.syncs += 1;
        match files::identity(&self.file.path, &self.handle, self.written)? {
            Identity::Intact => {
                self.settle_synced(done);
                files::write_head(&self.dir, done.link)
            }
            // What came meanwhile is in no sync.
            _ => self.sync(),
        }
    }

    /// Takes note of a sync beside which an append failed: what it made durable need not be written again.
    pub(super) fn end_sync_of_failed(&mut self, done: &Syncing) -> io::Result<()> {
        self.syncs += 1;
        match files::identity(&self.file.path, &self.handle, done.written)? {
            // The repair writes all of it.
            Identity::Lost => Ok(()),
            // Longer by a part of what failed, or moved away: what was synced is there.
            Identity::Intact | Identity::Moved => {
                self.settle_synced(done);
                files::write_head(&self.dir, done.link)
            }
        }
    }

    fn settle_synced(&mut self, done: &Syncing) {
        self.synced = done.written;
        self.unsynced.drain(..done.unsynced);
        self.unsynced_since = (!self.unsynced.is_empty()).then_some(done.began);
    }

    fn after_sync(&mut self) -> io::Result<()> {
        self.syncs += 1;
        match files::identity(&self.file.path, &self.handle, self.written)? {
            Identity::Intact => {
                self.settle();
                files::write_head(&self.dir, self.link)
            }
            // A file that was only moved still holds the records; one that is gone does not.
            changed => self.replace(changed == Identity::Lost),
        }
    }

    fn settle(&mut self) {
        self.synced = self.written;
        self.unsynced.clear();
        self.unsynced_since = None;
    }

    fn rotate(&mut self) -> io::Result<()> {
        let full = self.file.number;
        self.sync()?;
        if self.file.number == full {
            let (file, handle) = files::create(&self.dir, full.saturating_add(1))?;
            (self.file, self.handle, self.written, self.synced) = (file, Arc::new(handle), 0, 0);
        }
        Ok(())
    }

    /// Goes on in a new file because the old one is not what it was; `carry`: with what was
    /// unsynced in it.
    fn replace(&mut self, carry: bool) -> io::Result<()> {
        tracing::error!(
            file = %self.file.path.display(),
            "the audit file was deleted, replaced or changed by somebody else; going on in a new one"
        );
        let entry = Entry::of_node("audit.file_replaced", files::file_name(self.file.number));
        let (file, handle) = files::create(&self.dir, self.file.number.saturating_add(1))?;
        let made = file.path.clone();
        let done = self.rewrite(file, handle, 0, carry, &entry);
        if done.is_err() && self.file.path != made {
            // Left behind, one such file would appear with every retry.
            let _ = fs::remove_file(made);
        }
        done
    }

    /// Makes a trail that failed usable again, or says why it cannot. The record that this writes
    /// tells that the trail was unavailable, and proves that it no longer is.
    pub(super) fn repair(&mut self) -> io::Result<()> {
        let length = self.handle.metadata()?.len();
        let entry = Entry::of_node("audit.recovered", files::file_name(self.file.number));
        // Its length is unknown after a failure: only less than what was synced is a loss.
        match files::identity(&self.file.path, &self.handle, length.max(self.synced))? {
            Identity::Intact => {
                let handle = files::reopen(&self.file.path)?;
                handle.set_len(self.synced)?;
                self.rewrite(self.file.clone(), handle, self.synced, true, &entry)
            }
            // Whether a file that failed holds them is anybody's guess: rather twice than never.
            _ => self.replace(true),
        }
    }

    /// Writes what is unsynced (if it is to be carried over) and one more record behind the first
    /// `base` bytes of `file`, syncs, and makes that file the current one.
    fn rewrite(
        &mut self,
        file: TrailFile,
        handle: File,
        base: u64,
        carry: bool,
        entry: &Entry,
    ) -> io::Result<()> {
        let carried = if carry {
            self.unsynced.clone()
        } else {
            Vec::new()
        };
        let mut batch = Batch {
            bytes: carried,
            link: None,
        };
        self.chain(&mut batch, entry)?;
        self.disk.append(&handle, &batch.bytes)?;
        self.disk.sync(&handle)?;
        self.syncs += 1;
        self.written = base + u64::try_from(batch.bytes.len()).unwrap_or_default();
        self.link = batch.link.unwrap_or(self.link);
        (self.file, self.handle) = (file, Arc::new(handle));
        self.settle();
        files::write_head(&self.dir, self.link)
    }
}
