//! Reading a page of the trail back.

use std::{
    fs::File,
    io::{self, BufRead, BufReader, Read, Seek, SeekFrom},
    path::Path,
};

use super::{
    chain::seq_of,
    files::{self, TrailFile},
    record::LINE_BYTES,
};

/// Records in one page.
pub const PAGE_RECORDS: usize = 1_000;
/// Bytes in one page.
const PAGE_BYTES: usize = 4 * 1024 * 1024;
/// Below this distance reading on is cheaper than jumping.
const NEAR_BYTES: u64 = 64 * 1024;

/// The records with numbers above `after` and up to `last`, `limit` at most.
pub(super) fn page(
    dir: &Path,
    after: u64,
    last: u64,
    limit: usize,
) -> io::Result<Vec<serde_json::Value>> {
    let (mut records, mut bytes) = (Vec::new(), 0);
    for file in relevant(dir, after)? {
        let mut handle = File::open(&file.path)?;
        seek(&mut handle, after)?;
        let mut lines = BufReader::new(handle);
        let mut line = Vec::new();
        loop {
            line.clear();
            let limit_bytes = u64::try_from(LINE_BYTES).unwrap_or(u64::MAX);
            lines
                .by_ref()
                .take(limit_bytes)
                .read_until(b'\n', &mut line)?;
            // A line without an end is being written, or is not a record.
            let Some(text) = line.strip_suffix(b"\n") else {
                break;
            };
            let Some(seq) = seq_of(text) else { continue };
            if seq <= after {
                continue;
            }
            // What was not answered yet may still be taken back.
            bytes += text.len();
            if seq > last || records.len() >= limit || bytes > PAGE_BYTES {
                return Ok(records);
            }
            if let Ok(record) = serde_json::from_slice(text) {
                records.push(record);
            }
        }
    }
    Ok(records)
}

/// The files that may hold records above `after`, oldest first.
fn relevant(dir: &Path, after: u64) -> io::Result<Vec<TrailFile>> {
    let mut files = files::list(dir)?;
    let mut from = files.len();
    while let Some(before) = from.checked_sub(1) {
        from = before;
        let Some(file) = files.get(from) else { break };
        if first_seq(&file.path)?.is_some_and(|first| first <= after.saturating_add(1)) {
            break;
        }
    }
    Ok(files.split_off(from))
}

fn first_seq(path: &Path) -> io::Result<Option<u64>> {
    let mut start = Vec::new();
    File::open(path)?.take(32).read_to_end(&mut start)?;
    Ok(seq_of(&start))
}

/// Moves to the beginning of a line at or before the first record above `after`: the numbers rise
/// along the file, so half of what is left can be ruled out each time.
fn seek(file: &mut File, after: u64) -> io::Result<()> {
    let (mut low, mut high) = (0, file.metadata()?.len());
    while high - low > NEAR_BYTES {
        let middle = low + (high - low) / 2;
        match line_behind(file, middle)? {
            Some((start, seq)) if seq <= after => low = start,
            _ => high = middle,
        }
    }
    file.seek(SeekFrom::Start(low)).map(|_| ())
}

/// The first line that begins behind `at`: where, and its number.
fn line_behind(file: &mut File, at: u64) -> io::Result<Option<(u64, u64)>> {
    file.seek(SeekFrom::Start(at))?;
    let mut bytes = Vec::new();
    let limit = u64::try_from(LINE_BYTES + 32).unwrap_or(u64::MAX);
    file.by_ref().take(limit).read_to_end(&mut bytes)?;
    let Some(end) = bytes.iter().position(|c| *c == b'\n') else {
        return Ok(None);
    };
    let seq = bytes.get(end + 1..).and_then(seq_of);
    let start = at + u64::try_from(end + 1).unwrap_or(u64::MAX);
    Ok(seq.map(|seq| (start, seq)))
}
