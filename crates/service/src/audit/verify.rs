//! Checking a trail from its first record to its last, with bounded memory.
//!
//! What this proves: whoever changed, removed or reordered a record without rewriting everything
//! behind it and the head file is found. Whoever may rewrite all of that is not; for this, keep a
//! copy of the head file (or the trail) elsewhere.

use std::{
    fmt,
    fs::File,
    io::{self, BufRead, BufReader, Read},
    path::{Path, PathBuf},
};

use super::{
    chain::{Checked, Link, Reason, seq_of},
    files::{self, Head},
    record::LINE_BYTES,
};

/// Whether the oldest files may be gone.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Beginning {
    /// The trail must begin with record 1.
    #[default]
    Required,
    /// The oldest files may have been archived; the first record found is believed.
    MayBeArchived,
}

/// How the head file relates to the trail's end.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum HeadCheck {
    /// It names the last record.
    Matches,
    /// It names an earlier one: later ones were not synced yet.
    Behind,
    /// There is none, so a cut of the trail's end would not show.
    Absent,
}

/// What a trail without fault holds.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct VerifyReport {
    /// Files read.
    pub files: usize,
    /// Records read.
    pub records: u64,
    /// The first record's number; 0: there is none.
    pub first_seq: u64,
    /// The last record's number; 0: there is none.
    pub last_seq: u64,
    /// What the head file says.
    pub head: HeadCheck,
    /// Side files with what crashes tore off.
    pub torn: Vec<PathBuf>,
}

/// The first record that does not fit.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct FirstBad {
    /// The file, or the directory if it is about the whole.
    pub file: PathBuf,
    /// The line in it, from 1; 0: it is about the file.
    pub line: u64,
    /// The number that the record bears, if it can be read.
    pub seq: Option<u64>,
    /// What is wrong.
    pub reason: Reason,
}

impl fmt::Display for FirstBad {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.file.display())?;
        if self.line > 0 {
            write!(f, ", line {}", self.line)?;
        }
        if let Some(seq) = self.seq {
            write!(f, ", record {seq}")?;
        }
        write!(f, ": {}", self.reason)
    }
}

impl std::error::Error for FirstBad {}

/// Checks the trail in `dir`, which must begin with record 1.
///
/// # Errors
/// The first record that does not fit.
pub fn verify(dir: &Path) -> Result<VerifyReport, FirstBad> {
    verify_from(dir, Beginning::Required)
}

/// Checks the trail in `dir`.
///
/// # Errors
/// The first record that does not fit.
pub fn verify_from(dir: &Path, beginning: Beginning) -> Result<VerifyReport, FirstBad> {
    // The head first: a node may be writing, and then the files may only be ahead of it.
    let unreadable = |error: io::Error| whole(dir, Reason::Unreadable(error.kind()));
    let head = match files::read_head(dir).map_err(unreadable)? {
        Head::At(link) => Some(link),
        Head::Absent => None,
        Head::Damaged => return Err(whole(&dir.join("head"), Reason::BadHead)),
    };
    let trail = files::list(dir).map_err(unreadable)?;
    let mut walk = Walk {
        head,
        beginning,
        last: Link::GENESIS,
        records: 0,
        first_seq: 0,
        line: 0,
    };
    for file in &trail {
        walk.file(&file.path)?;
    }
    if let Some(head) = head.filter(|head| head.seq > walk.last.seq) {
        let (file, line) = match trail.last() {
            Some(last) => (last.path.clone(), walk.line + 1),
            None => (dir.to_owned(), 0),
        };
        let seq = Some(walk.last.seq + 1);
        return Err(FirstBad {
            file,
            line,
            seq,
            reason: Reason::Cut { head: head.seq },
        });
    }
    Ok(VerifyReport {
        files: trail.len(),
        records: walk.records,
        first_seq: walk.first_seq,
        last_seq: walk.last.seq,
        head: match head {
            None => HeadCheck::Absent,
            Some(head) if head.seq == walk.last.seq => HeadCheck::Matches,
            Some(_) => HeadCheck::Behind,
        },
        torn: files::torn_files(dir).map_err(unreadable)?,
    })
}

fn whole(path: &Path, reason: Reason) -> FirstBad {
    FirstBad {
        file: path.to_owned(),
        line: 0,
        seq: None,
        reason,
    }
}

/// The way along the trail.
struct Walk {
    head: Option<Link>,
    beginning: Beginning,
    last: Link,
    records: u64,
    first_seq: u64,
    line: u64,
}

impl Walk {
    fn file(&mut self, path: &Path) -> Result<(), FirstBad> {
        let unreadable = |error: io::Error| whole(path, Reason::Unreadable(error.kind()));
        let mut lines = BufReader::with_capacity(256 * 1024, File::open(path).map_err(unreadable)?);
        let mut line = Vec::with_capacity(LINE_BYTES + 1);
        let limit = u64::try_from(LINE_BYTES + 1).unwrap_or(u64::MAX);
        self.line = 0;
        loop {
            line.clear();
            let read = lines.by_ref().take(limit).read_until(b'\n', &mut line);
            if read.map_err(unreadable)? == 0 {
                return Ok(());
            }
            self.line += 1;
            self.record(&line).map_err(|reason| FirstBad {
                file: path.to_owned(),
                line: self.line,
                seq: seq_of(&line),
                reason,
            })?;
        }
    }

    fn record(&mut self, line: &[u8]) -> Result<(), Reason> {
        let Some(text) = line.strip_suffix(b"\n") else {
            return Err(if line.len() > LINE_BYTES {
                Reason::TooLong
            } else {
                Reason::Torn
            });
        };
        let checked = Checked::parse(text)?;
        if self.records > 0 || self.beginning == Beginning::Required {
            checked.follows(self.last)?;
        }
        if self
            .head
            .is_some_and(|head| head.seq == checked.link.seq && head != checked.link)
        {
            return Err(Reason::NotTheHead);
        }
        if self.records == 0 {
            self.first_seq = checked.link.seq;
        }
        self.records += 1;
        self.last = checked.link;
        Ok(())
    }
}
