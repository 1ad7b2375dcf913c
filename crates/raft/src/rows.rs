//! The log's entries as rows of the store: each in chunks small enough for sled, the head last.

use crate::{
    durable::{CHUNK_BYTES, Disk, DiskError, OpenError},
    keys::Key,
};

/// The head chunk begins with the entry's length.
const HEAD_BYTES: usize = size_of::<u32>();

/// An entry's index and length, as found when opening.
pub(crate) type Found = (u64, u32);

/// Writes an entry. It is there once its head is, which is written after the rest.
pub(crate) fn write(disk: &Disk, index: u64, entry: &[u8]) -> Result<(), DiskError> {
    let length = u32::try_from(entry.len())
        .map_err(|_| DiskError::new(format!("entry {index} is over 4 GiB")))?;
    let (first, rest) = entry.split_at(entry.len().min(CHUNK_BYTES - HEAD_BYTES));
    for (chunk, bytes) in (1..=u16::MAX).zip(rest.chunks(CHUNK_BYTES)) {
        disk.put(&Key::chunk(index, chunk), Some(bytes))?;
    }
    let mut head = Vec::with_capacity(HEAD_BYTES + first.len());
    head.extend_from_slice(&length.to_le_bytes());
    head.extend_from_slice(first);
    disk.put(&Key::chunk(index, 0), Some(&head))
}

/// Reads an entry, if it is there.
pub(crate) fn read(disk: &Disk, index: u64) -> Result<Option<Vec<u8>>, DiskError> {
    let Some(head) = disk.get(&Key::chunk(index, 0))? else {
        return Ok(None);
    };
    let (length, first) = split_head(&head).ok_or_else(|| broken(index))?;
    let mut entry = Vec::with_capacity(length);
    entry.extend_from_slice(first);
    if entry.len() < length {
        for row in disk.range(Key::chunk(index, 1), Key::after(index)) {
            let (_, bytes) = row?;
            entry.extend_from_slice(&bytes);
            if entry.len() >= length {
                break;
            }
        }
    }
    // Purging and truncating go chunk by chunk: an entry cut short under the reader is gone, and
    // one that is cut short for good is found when the store is opened.
    if entry.len() == length || disk.get(&Key::chunk(index, 0))?.is_none() {
        return Ok((entry.len() == length).then_some(entry));
    }
    Err(broken(index))
}

/// Removes every row of the entries from `from` on, the last entry first and of each its head first:
/// what a crash leaves has no hole and no entry in part.
pub(crate) fn truncate(disk: &Disk, from: u64) -> Result<(), DiskError> {
    let mut headless = None;
    for row in disk.range(Key::chunk(from, 0), Key::after(u64::MAX)).rev() {
        let (key, _) = row?;
        let index = key.entry().map(|(index, _)| index);
        if let Some(index) = index.filter(|_| headless != index) {
            disk.put(&Key::chunk(index, 0), None)?;
            headless = Some(index);
        }
        disk.put(&key, None)?;
    }
    Ok(())
}

/// Removes at most `limit` rows of the entries from `from` to `upto`, the first entry first. Returns
/// how many those were, and where to go on, if more may be left.
pub(crate) fn purge(
    disk: &Disk,
    from: u64,
    upto: u64,
    limit: usize,
) -> Result<(usize, Option<u64>), DiskError> {
    let mut removed = 0;
    let mut reached = from;
    for row in disk
        .range(Key::chunk(from, 0), Key::after(upto))
        .take(limit)
    {
        let (key, _) = row?;
        disk.put(&key, None)?;
        removed += 1;
        reached = key.entry().map_or(reached, |(index, _)| index);
    }
    Ok((removed, (removed == limit).then_some(reached)))
}

/// What is there after `purged`, checked: every entry whole, and none missing in between. Rows
/// without a head are of an entry that a crash cut short before anyone was told of it; they are
/// removed.
pub(crate) fn scan(disk: &Disk, purged: Option<u64>) -> Result<Vec<Found>, OpenError> {
    let corrupt = |e: DiskError| disk.unusable(e);
    let start = purged.map_or(Key::chunk(0, 0), Key::after);
    let mut found: Vec<Found> = Vec::new();
    let mut headless = Vec::new();
    let mut missing = 0_usize;
    for row in disk.range(start, Key::after(u64::MAX)) {
        let (key, bytes) = row.map_err(corrupt)?;
        let Some((index, chunk)) = key.entry() else {
            continue;
        };
        if chunk == 0 {
            check_next(disk, purged, found.last(), index, missing)?;
            let (length, first) =
                split_head(&bytes).ok_or_else(|| disk.corrupt(broken(index).reason))?;
            missing = length.saturating_sub(first.len());
            found.push((index, u32::try_from(length).unwrap_or(u32::MAX)));
        } else if found.last().is_some_and(|(last, _)| *last == index) {
            missing = missing.saturating_sub(bytes.len());
        } else {
            headless.push(key);
        }
    }
    if let (Some((index, _)), true) = (found.last(), missing > 0) {
        return Err(disk.corrupt(broken(*index).reason));
    }
    for key in headless {
        disk.put(&key, None).map_err(corrupt)?;
    }
    Ok(found)
}

fn check_next(
    disk: &Disk,
    purged: Option<u64>,
    last: Option<&Found>,
    index: u64,
    missing: usize,
) -> Result<(), OpenError> {
    let before = last.map(|(index, _)| *index).or(purged);
    if let (Some((last, _)), true) = (last, missing > 0) {
        return Err(disk.corrupt(broken(*last).reason));
    }
    match before {
        Some(before) if before.checked_add(1) != Some(index) => {
            Err(disk.corrupt(format!("entry {index} follows entry {before}")))
        }
        _ => Ok(()),
    }
}

fn split_head(head: &[u8]) -> Option<(usize, &[u8])> {
    let (length, first) = head.split_first_chunk::<HEAD_BYTES>()?;
    Some((usize::try_from(u32::from_le_bytes(*length)).ok()?, first))
}

fn broken(index: u64) -> DiskError {
    DiskError::new(format!("entry {index} is incomplete"))
}
