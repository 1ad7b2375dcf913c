//! The trail's files: their names, how they are made, and the head file.

use std::{
    fs::{self, DirBuilder, File, OpenOptions},
    io,
    os::unix::fs::{DirBuilderExt, FileExt, MetadataExt, OpenOptionsExt},
    path::{Path, PathBuf},
};

use super::chain::{Hash, Link};

/// Only the process's user reads the trail.
const FILE_MODE: u32 = 0o600;
const DIR_MODE: u32 = 0o700;
const HEAD: &str = "head";
const LOCK: &str = "lock";

/// The name of the trail's file of this number.
pub(super) fn file_name(number: u64) -> String {
    format!("audit-{number:08}.jsonl")
}

/// A file of the trail.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) struct TrailFile {
    pub(super) number: u64,
    pub(super) path: PathBuf,
}

/// The trail's files, oldest first.
pub(super) fn list(dir: &Path) -> io::Result<Vec<TrailFile>> {
    let mut files = Vec::new();
    for entry in fs::read_dir(dir)? {
        let entry = entry?;
        let name = entry.file_name();
        let number = name.to_str().and_then(|name| {
            let number: u64 = name
                .strip_prefix("audit-")?
                .strip_suffix(".jsonl")?
                .parse()
                .ok()?;
            (file_name(number) == name).then_some(number)
        });
        if let Some(number) = number {
            files.push(TrailFile {
                number,
                path: entry.path(),
            });
        }
    }
    files.sort();
    Ok(files)
}

/// The side files into which torn ends were moved.
pub(super) fn torn_files(dir: &Path) -> io::Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for entry in fs::read_dir(dir)? {
        let path = entry?.path();
        if path
            .extension()
            .is_some_and(|extension| extension == "torn")
        {
            files.push(path);
        }
    }
    files.sort();
    Ok(files)
}

/// Makes the directory and takes it for this process. The lock lasts as long as the file is open.
pub(super) fn claim(dir: &Path) -> io::Result<Option<File>> {
    DirBuilder::new()
        .recursive(true)
        .mode(DIR_MODE)
        .create(dir)?;
    let lock = OpenOptions::new()
        .create(true)
        .truncate(false)
        .write(true)
        .mode(FILE_MODE)
        .open(dir.join(LOCK))?;
    match lock.try_lock() {
        Ok(()) => Ok(Some(lock)),
        Err(fs::TryLockError::WouldBlock) => Ok(None),
        Err(fs::TryLockError::Error(error)) => Err(error),
    }
}

/// Makes a new, empty file with the first free number from `number` on, durable in its directory.
pub(super) fn create(dir: &Path, number: u64) -> io::Result<(TrailFile, File)> {
    let mut number = number;
    loop {
        let path = dir.join(file_name(number));
        match OpenOptions::new()
            .append(true)
            .create_new(true)
            .mode(FILE_MODE)
            .open(&path)
        {
            Ok(file) => {
                if let Err(error) = sync_dir(dir) {
                    // Left behind, one such file would appear with every retry.
                    let _ = fs::remove_file(&path);
                    return Err(error);
                }
                return Ok((TrailFile { number, path }, file));
            }
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                number = number.checked_add(1).ok_or(error)?;
            }
            Err(error) => return Err(error),
        }
    }
}

/// Opens an existing file for appending.
pub(super) fn reopen(path: &Path) -> io::Result<File> {
    OpenOptions::new().append(true).open(path)
}

/// Makes the directory's entries durable.
pub(super) fn sync_dir(dir: &Path) -> io::Result<()> {
    File::open(dir)?.sync_all()
}

/// What became of the file behind an open handle.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Identity {
    /// Its path still leads to it, and it is as long as it was made.
    Intact,
    /// It is gone or shortened: what was written last may be nowhere.
    Lost,
    /// It was moved away or somebody else wrote to it: what was written is there.
    Moved,
}

/// Compares an open file with its path and with the length it should have.
pub(super) fn identity(path: &Path, file: &File, length: u64) -> io::Result<Identity> {
    let open = file.metadata()?;
    if open.nlink() == 0 || open.len() < length {
        return Ok(Identity::Lost);
    }
    match fs::symlink_metadata(path) {
        Ok(named) if (named.dev(), named.ino()) == (open.dev(), open.ino()) => {
            Ok(if open.len() == length {
                Identity::Intact
            } else {
                Identity::Moved
            })
        }
        Ok(_) => Ok(Identity::Moved),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Identity::Moved),
        Err(error) => Err(error),
    }
}

/// The head file's exact size: a fixed width lets it be overwritten in place, within one sector.
const HEAD_BYTES: usize = 103;

fn head_text(link: Link) -> String {
    format!("{{\"seq\":{:>20},\"hash\":\"{}\"}}\n", link.seq, link.hash)
}

/// Writes the last synced record into the head file. It is not synced itself: a head that lags
/// behind the trail claims nothing wrong.
pub(super) fn write_head(dir: &Path, link: Link) -> io::Result<()> {
    let file = OpenOptions::new()
        .create(true)
        .truncate(false)
        .write(true)
        .mode(FILE_MODE)
        .open(dir.join(HEAD))?;
    let text = head_text(link);
    file.write_all_at(text.as_bytes(), 0)?;
    // Opened anew each time, so a head somebody removed comes back, and one that grew is cut.
    file.set_len(u64::try_from(text.len()).unwrap_or_default())
}

/// What the head file says.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Head {
    /// There is none.
    Absent,
    /// There is something else.
    Damaged,
    /// The last synced record.
    At(Link),
}

/// Reads the head file.
pub(super) fn read_head(dir: &Path) -> io::Result<Head> {
    let file = match File::open(dir.join(HEAD)) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Head::Absent),
        Err(error) => return Err(error),
    };
    let mut bytes = [0; HEAD_BYTES];
    let whole = match file.read_exact_at(&mut bytes, 0) {
        Ok(()) => true,
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => false,
        Err(error) => return Err(error),
    };
    let link = std::str::from_utf8(&bytes)
        .ok()
        .filter(|_| whole)
        .and_then(|text| {
            let (seq, hash) = text.strip_prefix("{\"seq\":")?.split_once(",\"hash\":\"")?;
            let hash = Hash::parse(hash.strip_suffix("\"}\n")?)?;
            Some(Link {
                seq: seq.trim_start().parse().ok()?,
                hash,
            })
        });
    Ok(link.map_or(Head::Damaged, Head::At))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_head_file_reads_back_and_has_a_fixed_size() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(read_head(dir.path()).unwrap(), Head::Absent);
        for seq in [1, u64::MAX, 7] {
            let link = Link {
                seq,
                hash: Hash([0xab; 32]),
            };
            write_head(dir.path(), link).unwrap();
            assert_eq!(read_head(dir.path()).unwrap(), Head::At(link));
            assert_eq!(head_text(link).len(), HEAD_BYTES);
        }
        fs::write(dir.path().join(HEAD), "nonsense").unwrap();
        assert_eq!(read_head(dir.path()).unwrap(), Head::Damaged);
    }

    #[test]
    fn only_the_trails_own_names_are_listed() {
        let dir = tempfile::tempdir().unwrap();
        for name in [
            "audit-00000002.jsonl",
            "audit-00000001.jsonl",
            "audit-3.jsonl",
            "audit-x.jsonl",
            "head",
        ] {
            fs::write(dir.path().join(name), "").unwrap();
        }
        let numbers: Vec<_> = list(dir.path())
            .unwrap()
            .iter()
            .map(|file| file.number)
            .collect();
        assert_eq!(numbers, [1, 2]);
    }
}
