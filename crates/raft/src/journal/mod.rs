//! The journal: what makes a write durable before sled has it (decision 0031).
//!
//! sled's own way to the disk wakes all of its threads and makes its file longer, so that each sync is the
//! file system's journal's too. So changes are first written here: two files of a fixed size, filled with zeroes
//! when they are made, each written from its beginning to its end in turn. A sync changes no length and no
//! block. From here they are carried over to sled ([`crate::keeper`]); a start carries over what is left.
//!
//! What holds it together (invariant 29):
//!
//! - A change goes to sled only once the journal has it durably. So sled never has what the journal lacks, but for a
//!   change larger than a file: that goes to sled alone, with nothing on its way, and is waited for.
//! - A file is written over only once sled has all of it durably.
//! - sled says in [`Key::JOURNAL`] up to which record it has them, written after them: sled keeps the order of
//!   what it is given. So nothing is made twice that something later has undone.
//! - Opening syncs both files before it reads them, carries over, and draws another salt: from then on no record
//!   that was left there counts.

mod blocks;
mod record;
#[cfg(test)]
mod tests;

use std::{
    fs::{self, File},
    io::{self, Read},
    os::unix::fs::{FileExt, OpenOptionsExt},
    path::Path,
};

use crate::{
    change::{Change, Making},
    durable::{Barrier, Disk, DiskError, OpenError},
    files,
    keys::Key,
};
use blocks::{BLOCK, Blocks};
use record::Salt;

/// Size of each of the two files.
pub(crate) const FILE_BYTES: usize = 2 * 1024 * 1024;
/// The smallest that a file may be: less was cut off.
const LEAST_BYTES: usize = BLOCK;
const NAMES: [&str; 2] = ["journal.0", "journal.1"];

/// Up to which record of which run sled has them.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Kept {
    salt: Salt,
    number: u64,
}

impl Kept {
    /// The same run, up to another record.
    pub(crate) fn upto(self, number: u64) -> Self {
        Self { number, ..self }
    }

    /// Writes it down in sled, after the changes that it speaks of.
    pub(crate) fn note(self, disk: &Disk) -> Result<(), DiskError> {
        let mut bytes = self.salt.to_vec();
        bytes.extend_from_slice(&self.number.to_le_bytes());
        disk.put(&Key::JOURNAL, Some(&bytes))
    }

    fn decode(bytes: &[u8]) -> Option<Self> {
        let (salt, number) = bytes.split_first_chunk()?;
        let number = u64::from_le_bytes(number.try_into().ok()?);
        Some(Self {
            salt: *salt,
            number,
        })
    }
}

/// The journal as a start found it, or made it. sled has all that it held.
pub(crate) struct Left {
    files: [File; 2],
    /// How large each of them is.
    size: usize,
}

impl Left {
    /// Opens the journal in the store's directory, or makes one with files of this size, and has sled take over
    /// what is left in it.
    ///
    /// # Errors
    /// See [`OpenError`].
    pub(crate) fn carry_over(disk: &Disk, size: usize) -> Result<Self, OpenError> {
        let dir = disk.path();
        let [first, second] = NAMES;
        let Some(kept) = disk.get(&Key::JOURNAL).map_err(|e| disk.unusable(e))? else {
            disk.check_has_no_journal()?;
            let size = in_blocks(size);
            let files = [made(disk, first, size)?, made(disk, second, size)?];
            files::sync_dir(dir).map_err(OpenError::io(dir))?;
            return Ok(Self { files, size });
        };
        let kept = Kept::decode(&kept)
            .ok_or_else(|| disk.corrupt("how far its journal went".to_owned()))?;
        let (first, second) = (found(disk, first)?, found(disk, second)?);
        give_to_sled(disk, [&first.1, &second.1], kept)?;
        Ok(Self {
            size: in_blocks(first.1.len().min(second.1.len())),
            files: [first.0, second.0],
        })
    }

    /// Begins it anew: no record that is in it counts from now on.
    ///
    /// # Errors
    /// See [`OpenError`].
    pub(crate) fn begin(self, disk: &Disk, barrier: Barrier) -> Result<Journal, OpenError> {
        let mut salt = Salt::default();
        getrandom::fill(&mut salt)
            .map_err(|error| OpenError::io(disk.path())(io::Error::other(error.to_string())))?;
        let kept = Kept { salt, number: 0 };
        kept.note(disk)
            .and_then(|()| disk.note_format())
            .and_then(|()| disk.barrier())
            .map_err(|error| disk.unusable(error))?;
        let [file, other] = self.files;
        // What they held counts no more.
        blocks::pass_cache(&file)
            .and_then(|()| blocks::pass_cache(&other))
            .map_err(OpenError::io(disk.path()))?;
        Ok(Journal {
            file,
            other,
            size: self.size,
            at: 0,
            number: 0,
            kept,
            barrier,
            records: Vec::new(),
            written: 0,
            blocks: Blocks::default(),
        })
    }
}

/// The journal of an open store.
pub(crate) struct Journal {
    /// The file that is written now.
    file: File,
    other: File,
    /// How large each of them is.
    size: usize,
    /// The first block that is not full: where `records` begins.
    at: usize,
    /// The last record's number.
    number: u64,
    kept: Kept,
    barrier: Barrier,
    /// What that block holds, and records that are not in the file yet.
    records: Vec<u8>,
    /// How much of `records` is in the file.
    written: usize,
    blocks: Blocks,
}

impl Journal {
    /// Whether a change fits into a file at all.
    pub(crate) fn takes(&self, change: &Change) -> bool {
        record::length(change) <= self.size
    }

    /// Whether a change fits into what is left of this file.
    pub(crate) fn has_room(&self, change: &Change) -> bool {
        self.at + self.records.len() + record::length(change) <= self.size
    }

    /// Adds a change for which there is room. Durable after the next [`Journal::sync`].
    pub(crate) fn push(&mut self, change: &Change) {
        self.number += 1;
        record::encode(&mut self.records, &self.kept.salt, self.number, change);
    }

    /// Makes durable what was added.
    pub(crate) fn sync(&mut self) -> io::Result<()> {
        if self.records.len() == self.written {
            return Ok(());
        }
        self.blocks
            .write(&self.file, &self.records, self.at as u64)?;
        let full = self.records.len() - self.records.len() % BLOCK;
        self.records.drain(..full);
        self.written = self.records.len();
        self.at += full;
        match self.barrier {
            Barrier::Full => self.file.sync_data(),
            Barrier::FlushOnly => Ok(()),
        }
    }

    /// How far the journal goes, once what was added is durable.
    pub(crate) fn synced(&self) -> Kept {
        self.kept.upto(self.number)
    }

    /// Goes on at the beginning of the other file. All that was added is durable, and sled has all that the other
    /// file holds.
    pub(crate) fn turn(&mut self) {
        std::mem::swap(&mut self.file, &mut self.other);
        self.records.clear();
        (self.at, self.written) = (0, 0);
    }
}

/// So much of a file is written: whole blocks.
fn in_blocks(size: usize) -> usize {
    size - size % BLOCK
}

/// Bytes of both files in a store's directory.
pub(crate) fn size_on_disk(dir: &Path) -> io::Result<u64> {
    NAMES
        .iter()
        .map(|name| Ok(dir.join(name).metadata()?.len()))
        .sum()
}

/// Makes a file full of zeroes: blocks that were never written would be the file system's to note at a sync. One that
/// is there from an earlier attempt has nothing else in it, or sled has lost that there is a journal.
fn made(disk: &Disk, name: &str, size: usize) -> Result<File, OpenError> {
    let path = disk.path().join(name);
    let make = || {
        let mut file = File::options()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(&path)?;
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes)?;
        if bytes.iter().any(|byte| *byte != 0) {
            return Ok(None);
        }
        file.set_len(size as u64)?;
        file.write_all_at(&vec![0; size], 0)?;
        file.sync_all()?;
        Ok(Some(file))
    };
    match make().map_err(OpenError::io(&path))? {
        Some(file) => Ok(file),
        None => Err(disk.corrupt("how far its journal went is missing".to_owned())),
    }
}

/// Opens a file that must be there, and reads it. A process that was killed may have left what is in no sync:
/// it is synced first, or what is made of it might outlive it.
fn found(disk: &Disk, name: &str) -> Result<(File, Vec<u8>), OpenError> {
    let path = disk.path().join(name);
    let opened = File::options().read(true).write(true).open(&path);
    let file = match opened {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            return Err(disk.corrupt(format!("{name} is missing")));
        }
        opened => opened.map_err(OpenError::io(&path))?,
    };
    let read = || {
        file.sync_all()?;
        fs::read(&path)
    };
    let bytes = read().map_err(OpenError::io(&path))?;
    if bytes.len() < LEAST_BYTES {
        return Err(disk.corrupt(format!("{name} was cut short")));
    }
    Ok((file, bytes))
}

/// Gives sled the records that it has not, in order.
fn give_to_sled(disk: &Disk, files: [&[u8]; 2], kept: Kept) -> Result<(), OpenError> {
    let left = left_over(files, kept).ok_or_else(|| {
        disk.corrupt("its journal goes on after a part that cannot be read".to_owned())
    })?;
    // A store that turns out to be damaged stays as it was found, as far as this goes.
    if left.is_empty() {
        return Ok(());
    }
    let mut making = Making::new(disk);
    let upto = kept.number + left.len() as u64;
    left.into_iter()
        .try_for_each(|change| making.make(change))
        .and_then(|()| making.finish())
        .and_then(|()| kept.upto(upto).note(disk))
        .and_then(|()| disk.barrier())
        .map_err(|error| disk.unusable(error))
}

/// The changes after what sled has, as far as each follows the one before. `None`: a file begins later than that. It
/// was begun only when all before it was durable, so that is damage.
fn left_over(files: [&[u8]; 2], kept: Kept) -> Option<Vec<Change>> {
    let mut runs = files.map(|bytes| run(bytes, &kept.salt));
    runs.sort_by_key(|run| run.first().map(|(number, _)| *number));
    let mut next = kept.number + 1;
    let mut left = Vec::new();
    for (number, change) in runs.into_iter().flatten() {
        if number > next {
            return None;
        }
        if number == next {
            left.push(change);
            next += 1;
        }
    }
    Some(left)
}

/// The records that a file begins with, as far as each follows the one before.
fn run(mut bytes: &[u8], salt: &Salt) -> Vec<(u64, Change)> {
    let mut run: Vec<(u64, Change)> = Vec::new();
    while let Some((number, change, after)) = record::decode(bytes, salt) {
        if run.last().is_some_and(|(last, _)| last + 1 != number) {
            break;
        }
        run.push((number, change));
        bytes = after;
    }
    run
}
