//! What the log holds, in memory: every entry's length, and the newest entries themselves.

use std::{collections::VecDeque, ops::Range, thread, time::Duration};

use openraft::AnyError;

use crate::{
    rows::Found,
    types::{Entry, LogId},
};

/// Bytes of entries kept in memory. Entries that sled does not have yet are kept beyond it.
const CACHE_BYTES: u64 = 32 * 1024 * 1024;

struct Cached {
    entry: Entry,
    length: u32,
    /// The number of the append that brought it.
    append: u64,
}

/// Entries that the log no longer holds.
#[derive(Default)]
pub(super) struct Purged(VecDeque<Cached>);

impl Purged {
    /// Lets go of them a few at a time: all are some 10 ms of work, with zeroizing, that nobody waits for.
    /// Blocks.
    pub(super) fn let_go(mut self) {
        const AT_ONCE: usize = 64;
        const PAUSE: Duration = Duration::from_millis(1);
        while !self.0.is_empty() {
            self.0.drain(..self.0.len().min(AT_ONCE));
            thread::sleep(PAUSE);
        }
    }
}

/// Which entries the log holds. The newest are at hand; the others are read from disk.
pub(super) struct Window {
    purged: Option<LogId>,
    last: Option<LogId>,
    /// Index of the first entry held, or of the next one if none is.
    first: u64,
    /// For each entry held: bytes of all entries up to and with it, since the window was made.
    ends: VecDeque<u64>,
    /// Bytes before the first entry held.
    before: u64,
    /// The newest entries, without a gap up to the last.
    cache: VecDeque<Cached>,
    cache_bytes: u64,
}

impl Window {
    pub(super) fn recovered(purged: Option<LogId>, last: Option<LogId>, found: &[Found]) -> Self {
        let first = found
            .first()
            .map(|(index, _)| *index)
            .unwrap_or_else(|| purged.map_or(0, |id| id.index + 1));
        let ends = found.iter().scan(0, |sum, (_, length)| {
            *sum += u64::from(*length);
            Some(*sum)
        });
        Self {
            purged,
            last,
            first,
            ends: ends.collect(),
            before: 0,
            cache: VecDeque::new(),
            cache_bytes: 0,
        }
    }

    pub(super) fn purged(&self) -> Option<LogId> {
        self.purged
    }

    pub(super) fn last(&self) -> Option<LogId> {
        self.last
    }

    fn next(&self) -> u64 {
        self.first + self.ends.len() as u64
    }

    pub(super) fn holds(&self, index: u64) -> bool {
        (self.first..self.next()).contains(&index)
    }

    /// Whether an entry is needed no more: it was purged, so a snapshot holds what it did.
    pub(super) fn is_purged(&self, index: u64) -> bool {
        self.purged.is_some_and(|purged| index <= purged.index)
    }

    /// Takes an entry at the end. A hole would be found only when it is too late, so it is refused.
    pub(super) fn push(&mut self, entry: Entry, length: u32, append: u64) -> Result<(), AnyError> {
        let index = entry.log_id.index;
        if self.ends.is_empty() && self.purged.is_none() {
            // A log may begin anywhere: what came before is in a snapshot.
            self.first = index;
        }
        if index != self.next() {
            let next = self.next();
            return Err(AnyError::error(format!(
                "entry {index} appended where {next} is next"
            )));
        }
        self.ends.push_back(self.end() + u64::from(length));
        self.last = Some(entry.log_id);
        self.cache_bytes += u64::from(length);
        self.cache.push_back(Cached {
            entry,
            length,
            append,
        });
        Ok(())
    }

    /// The number of the append that brought an entry, unless that has long been durable.
    pub(super) fn append_of(&self, index: u64) -> Option<u64> {
        let first_cached = self.next() - self.cache.len() as u64;
        let place = usize::try_from(index.checked_sub(first_cached)?).ok()?;
        self.cache.get(place).map(|cached| cached.append)
    }

    /// The last entry held, or purged, of which no part came with a later append than `durable_append`.
    /// `None` also where it is not at hand.
    pub(super) fn durable_end(&self, durable_append: u64) -> Option<LogId> {
        let durable = |cached: &&Cached| cached.append <= durable_append;
        match self.cache.iter().rev().find(durable) {
            Some(cached) => Some(cached.entry.log_id),
            None if self.cache.is_empty() => self.last.or(self.purged),
            None => self.purged,
        }
    }

    /// Lets go of the oldest entries in memory, of those that can be read back.
    pub(super) fn shrink(&mut self, carried_append: u64) {
        while self.cache_bytes > CACHE_BYTES
            && let Some(oldest) = self.cache.front()
            && oldest.append <= carried_append
        {
            self.cache_bytes -= u64::from(oldest.length);
            self.cache.pop_front();
        }
    }

    /// Removes the entries from `from` on; `last` is the entry before, where it is held.
    pub(super) fn truncate(&mut self, from: u64, last: Option<LogId>) {
        if from >= self.next() {
            return;
        }
        self.ends
            .truncate(usize::try_from(from.saturating_sub(self.first)).unwrap_or(0));
        while self
            .cache
            .back()
            .is_some_and(|cached| cached.entry.log_id.index >= from)
        {
            if let Some(cached) = self.cache.pop_back() {
                self.cache_bytes -= u64::from(cached.length);
            }
        }
        self.last = last;
    }

    /// Removes the entries up to `upto`, which need not be held. Gives back what was in memory of them:
    /// letting go of megabytes takes long, and need not be done while the log waits.
    #[must_use]
    pub(super) fn purge(&mut self, upto: LogId) -> Purged {
        if self.purged >= Some(upto) {
            return Purged::default();
        }
        self.purged = Some(upto);
        while self.first <= upto.index {
            let Some(end) = self.ends.pop_front() else {
                self.first = upto.index + 1;
                break;
            };
            self.before = end;
            self.first += 1;
        }
        let goes = |cached: &Cached| cached.entry.log_id.index <= upto.index;
        let kept = self.cache.split_off(self.cache.partition_point(goes));
        let gone = std::mem::replace(&mut self.cache, kept);
        self.cache_bytes -= gone.iter().map(|c| u64::from(c.length)).sum::<u64>();
        if self.ends.is_empty() {
            self.last = None;
        }
        Purged(gone)
    }

    /// The part of `range` that is held.
    pub(super) fn present(&self, range: Range<u64>) -> Range<u64> {
        let start = range.start.max(self.first);
        start..range.end.min(self.next()).max(start)
    }

    /// The longest beginning of `range` with at most `bytes`, and at least one entry.
    pub(super) fn limited(&self, range: Range<u64>, bytes: u64) -> Range<u64> {
        let range = self.present(range);
        let limit = self.end_before(range.start) + bytes;
        let fits = self.ends.partition_point(|end| *end <= limit) as u64;
        let end = (self.first + fits).max(range.start.saturating_add(1));
        range.start..end.min(range.end)
    }

    /// Splits a range that is held into what must be read from disk and what is at hand.
    pub(super) fn cached(&self, range: Range<u64>) -> (Range<u64>, Vec<Entry>) {
        let first_cached = self.next() - self.cache.len() as u64;
        let split = first_cached.clamp(range.start, range.end);
        let skip = usize::try_from(split.saturating_sub(first_cached)).unwrap_or(usize::MAX);
        let take = usize::try_from(range.end - split).unwrap_or(usize::MAX);
        let at_hand = self.cache.iter().skip(skip).take(take);
        (
            range.start..split,
            at_hand.map(|cached| cached.entry.clone()).collect(),
        )
    }

    pub(super) fn cached_id(&self, index: u64) -> Option<LogId> {
        let (_, entries) = self.cached(self.present(index..index.saturating_add(1)));
        entries.first().map(|entry| entry.log_id)
    }

    /// Bytes of the entries held from `index` on.
    pub(super) fn bytes_from(&self, index: u64) -> u64 {
        self.end() - self.end_before(index.clamp(self.first, self.next()))
    }

    fn end(&self) -> u64 {
        self.ends.back().copied().unwrap_or(self.before)
    }

    /// Bytes before the entry at `index`, which is held or next.
    fn end_before(&self, index: u64) -> u64 {
        usize::try_from(index.saturating_sub(self.first))
            .ok()
            .and_then(|offset| offset.checked_sub(1))
            .and_then(|offset| self.ends.get(offset).copied())
            .unwrap_or(self.before)
    }
}

#[cfg(test)]
mod tests {
    use openraft::testing::{blank_ent, log_id};

    use super::*;
    use crate::types::TypeConfig;

    fn window(range: Range<u64>) -> Window {
        let mut window = Window::recovered(None, None, &[]);
        for index in range {
            window
                .push(blank_ent::<TypeConfig>(1, 1, index), 100, index)
                .unwrap();
        }
        window
    }

    #[test]
    fn bytes_are_counted_through_purge_and_truncate() {
        let mut window = window(1..11);
        assert_eq!(
            (
                window.bytes_from(0),
                window.bytes_from(8),
                window.bytes_from(99)
            ),
            (1000, 300, 0)
        );
        drop(window.purge(log_id(1, 1, 4)));
        assert_eq!(
            (
                window.bytes_from(0),
                window.bytes_from(5),
                window.bytes_from(6)
            ),
            (600, 600, 500)
        );
        window.truncate(9, Some(log_id(1, 1, 8)));
        assert_eq!(window.bytes_from(0), 400);
        assert_eq!(window.last(), Some(log_id(1, 1, 8)));
        drop(window.purge(log_id(1, 1, 20)));
        assert_eq!(
            (window.bytes_from(0), window.last(), window.next()),
            (0, None, 21)
        );
        assert!(
            window
                .push(blank_ent::<TypeConfig>(1, 1, 20), 1, 1)
                .is_err()
        );
        window
            .push(blank_ent::<TypeConfig>(1, 1, 21), 7, 1)
            .unwrap();
        assert_eq!(window.bytes_from(0), 7);
    }

    #[test]
    fn a_limit_in_bytes_leaves_at_least_one_entry() {
        let window = window(1..11);
        assert_eq!(window.limited(2..9, 250), 2..4);
        assert_eq!(window.limited(2..9, 300), 2..5);
        assert_eq!(window.limited(2..9, 1), 2..3);
        assert_eq!(window.limited(2..4, 1000), 2..4);
        assert!(window.limited(20..30, 1000).is_empty());
    }

    #[test]
    fn what_cannot_be_read_back_stays_in_memory() {
        let mut window = Window::recovered(None, None, &[]);
        let length = u32::try_from(CACHE_BYTES / 4).unwrap();
        for index in 0..10 {
            window
                .push(blank_ent::<TypeConfig>(1, 1, index), length, index)
                .unwrap();
        }
        window.shrink(2);
        let (on_disk, at_hand) = window.cached(window.present(0..10));
        assert_eq!((on_disk, at_hand.len()), (0..3, 7));
        window.shrink(9);
        let (on_disk, at_hand) = window.cached(window.present(0..9));
        assert_eq!((on_disk, at_hand.len()), (0..6, 3));
        assert_eq!(window.cached(window.present(2..4)), (2..4, vec![]));
    }

    #[test]
    fn the_durable_end_follows_appends_and_cuts() {
        let mut window = window(1..6);
        let end = |window: &Window, upto| window.durable_end(upto).map(|id| id.index);
        assert_eq!(end(&window, 0), None);
        assert_eq!(end(&window, 3), Some(3));
        assert_eq!(end(&window, 9), Some(5));
        assert_eq!((window.append_of(4), window.append_of(6)), (Some(4), None));
        // What takes the place of what was cut off is durable with its own append.
        window.truncate(4, Some(log_id(1, 1, 3)));
        window
            .push(blank_ent::<TypeConfig>(2, 1, 4), 100, 6)
            .unwrap();
        assert_eq!(end(&window, 5), Some(3));
        assert_eq!(window.durable_end(6), Some(log_id(2, 1, 4)));
        drop(window.purge(log_id(2, 1, 4)));
        assert_eq!(end(&window, 0), Some(4));
    }
}
