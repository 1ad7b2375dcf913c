//! Finding the end of the trail at start: where to go on, and what a crash left half written.
//!
//! Only what lies behind the last synced record may be moved aside: a crash can tear nothing else.
//! Anything wrong before it is damage, and damage is left where it is, for `verify` to find.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Read, Seek, SeekFrom, Write},
    os::unix::fs::OpenOptionsExt,
    path::Path,
};

use super::{
    chain::{Checked, Link},
    files::{self, Head, TrailFile},
};

/// How much of the last file is looked at. More than can be written between two syncs, so that
/// whatever a crash tore lies inside.
const WINDOW_BYTES: u64 = 8 * 1024 * 1024;
/// Names tried for a side file.
const SIDE_FILES: u32 = 10_000;

/// Where the trail goes on.
#[derive(Debug)]
pub(super) struct Start {
    pub(super) file: TrailFile,
    pub(super) handle: File,
    pub(super) length: u64,
    pub(super) link: Link,
}

/// What the end of one file holds.
struct Scan {
    /// The last record that fits, if there is one.
    last: Option<Link>,
    /// Where it ends.
    good: u64,
    /// Where the file ends.
    length: u64,
    /// What lies between the two. Bounded by the window.
    rest: Vec<u8>,
    /// Whether the rest reaches back to the beginning of the window, which is not the file's.
    lost: bool,
}

/// Finds the end of the trail in `dir`, and repairs what a crash may have torn.
pub(super) fn start(dir: &Path) -> io::Result<Start> {
    let head = match files::read_head(dir)? {
        Head::At(link) => Some(link),
        Head::Absent => None,
        Head::Damaged => {
            tracing::error!(dir = %dir.display(), "the audit trail's head file is damaged");
            None
        }
    };
    let known = files::list(dir)?;
    let Some((newest, older)) = known.split_last() else {
        if let Some(head) = head {
            tracing::error!(head = head.seq, "all audit files are gone");
        }
        return fresh(dir, 1, head.unwrap_or(Link::GENESIS));
    };
    let scan = scan(&newest.path)?;
    if matches!(files::read_head(dir)?, Head::Absent) && scan.last.is_some() {
        tracing::error!(
            dir = %dir.display(),
            "the audit trail's head file is gone: whether the end was cut cannot be told"
        );
    }
    let last = match scan.last {
        Some(last) => last,
        None => last_of(older)?,
    };
    // Going on from the head, and not from what is left, keeps the loss visible for ever.
    let cut = head.filter(|head| head.seq > last.seq || (head.seq == last.seq && *head != last));
    if let Some(head) = cut {
        tracing::error!(
            found = last.seq,
            head = head.seq,
            "the audit trail ends before its last synced record: it was cut or damaged"
        );
        return fresh(dir, newest.number.saturating_add(1), head);
    }
    // Without a head there is no telling what was synced; what still is a record stays.
    let records_behind = head.is_none() && holds_records(&scan.rest);
    if scan.lost || records_behind {
        tracing::error!(file = %newest.path.display(), "the audit file's end is damaged");
        return fresh(dir, newest.number.saturating_add(1), last);
    }
    if scan.good < scan.length {
        set_aside(dir, newest, &scan)?;
    }
    let handle = files::reopen(&newest.path)?;
    Ok(Start {
        file: newest.clone(),
        handle,
        length: scan.good,
        link: last,
    })
}

fn fresh(dir: &Path, number: u64, link: Link) -> io::Result<Start> {
    let (file, handle) = files::create(dir, number)?;
    Ok(Start {
        file,
        handle,
        length: 0,
        link,
    })
}

/// The last record of the newest file that has one.
fn last_of(older: &[TrailFile]) -> io::Result<Link> {
    for file in older.iter().rev() {
        if let Some(last) = scan(&file.path)?.last {
            return Ok(last);
        }
    }
    Ok(Link::GENESIS)
}

fn scan(path: &Path) -> io::Result<Scan> {
    if !fs::symlink_metadata(path)?.is_file() {
        return Err(io::Error::new(
            io::ErrorKind::InvalidInput,
            "it is not a regular file",
        ));
    }
    let mut file = File::open(path)?;
    let length = file.metadata()?.len();
    let from = length.saturating_sub(WINDOW_BYTES);
    file.seek(SeekFrom::Start(from))?;
    let mut window = Vec::new();
    file.take(WINDOW_BYTES).read_to_end(&mut window)?;
    // A window that begins inside the file begins inside a line.
    let skipped = match window.iter().position(|c| *c == b'\n') {
        Some(end) if from > 0 => end + 1,
        None if from > 0 => window.len(),
        _ => 0,
    };
    let mut last: Option<Link> = None;
    let mut good = skipped;
    for line in window
        .get(skipped..)
        .unwrap_or_default()
        .split_inclusive(|c| *c == b'\n')
    {
        let Some(line_body) = line.strip_suffix(b"\n") else {
            break;
        };
        let Ok(checked) = Checked::parse(line_body) else {
            break;
        };
        if last.is_some_and(|last| checked.follows(last).is_err()) {
            break;
        }
        last = Some(checked.link);
        good += line.len();
    }
    let rest = window.get(good..).unwrap_or_default().to_vec();
    Ok(Scan {
        last,
        good: from + u64::try_from(good).unwrap_or(u64::MAX),
        length,
        rest,
        lost: from > 0 && last.is_none(),
    })
}

fn holds_records(rest: &[u8]) -> bool {
    rest.split(|c| *c == b'\n')
        .any(|line| Checked::parse(line).is_ok())
}

/// Moves a torn end into a side file, and only then cuts it off.
fn set_aside(dir: &Path, file: &TrailFile, scan: &Scan) -> io::Result<()> {
    let name = files::file_name(file.number);
    let mut tries = 0..SIDE_FILES;
    let (path, mut side) = loop {
        let Some(attempt) = tries.next() else {
            return Err(io::Error::other("there are too many *.torn files"));
        };
        let path = dir.join(format!("{name}.{attempt}.torn"));
        match OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&path)
        {
            Ok(side) => break (path, side),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            Err(error) => return Err(error),
        }
    };
    side.write_all(&scan.rest)?;
    side.sync_all()?;
    files::sync_dir(dir)?;
    let handle = files::reopen(&file.path)?;
    handle.set_len(scan.good)?;
    handle.sync_all()?;
    tracing::warn!(
        bytes = scan.rest.len(),
        side_file = %path.display(),
        "the audit trail's end was torn by a crash and has been moved aside"
    );
    Ok(())
}
