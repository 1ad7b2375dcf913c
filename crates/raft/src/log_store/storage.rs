//! openraft's two traits: each call checks or changes the window, and hands the change to the writer.

use std::{
    fmt::Debug,
    ops::{Bound, Range, RangeBounds},
    sync::{Arc, atomic::Ordering},
    time::Instant,
};

use openraft::{
    AnyError, LogState, OptionalSend, RaftLogReader,
    storage::{LogFlushed, RaftLogStorage},
};
use serde::Serialize;

use super::{LogStore, READ_BYTES, entry_codec, locked, read_entry};
use crate::{
    change::Change,
    failing::StoreFailed,
    keys::Key,
    types::{Entry, LogId, StorageError, StorageIoError, TypeConfig, Vote},
};

fn value<T: Serialize>(key: Key, value: &T) -> Result<Change, AnyError> {
    let value = postcard::to_stdvec(value).map_err(|e| AnyError::new(&e))?;
    Ok(Change::Value { key, value })
}

fn half_open(range: &impl RangeBounds<u64>) -> Range<u64> {
    let start = match range.start_bound() {
        Bound::Included(start) => *start,
        Bound::Excluded(start) => start.saturating_add(1),
        Bound::Unbounded => 0,
    };
    let end = match range.end_bound() {
        Bound::Included(end) => end.saturating_add(1),
        Bound::Excluded(end) => *end,
        Bound::Unbounded => u64::MAX,
    };
    start..end
}

impl RaftLogReader<TypeConfig> for LogStore {
    async fn try_get_log_entries<RB: RangeBounds<u64> + Clone + Debug + OptionalSend>(
        &mut self,
        range: RB,
    ) -> Result<Vec<Entry>, StorageError> {
        self.entries(half_open(&range)).await
    }

    async fn limited_get_log_entries(
        &mut self,
        start: u64,
        end: u64,
    ) -> Result<Vec<Entry>, StorageError> {
        let range = self.window().limited(start..end, READ_BYTES);
        let entries = self.entries(range).await?;
        // Purged while they were read: a later first entry would pass for the one at `start`.
        let begins = entries
            .first()
            .is_none_or(|first| first.log_id.index == start);
        Ok(if begins { entries } else { Vec::new() })
    }
}

impl RaftLogStorage<TypeConfig> for LogStore {
    type LogReader = Self;

    async fn get_log_state(&mut self) -> Result<LogState<TypeConfig>, StorageError> {
        Ok(self.ends())
    }

    async fn get_log_reader(&mut self) -> Self {
        self.clone()
    }

    async fn save_vote(&mut self, vote: &Vote) -> Result<(), StorageError> {
        let change = value(Key::VOTE, vote).map_err(StorageIoError::write_vote)?;
        self.write(vec![change])
            .await
            .map_err(|e| StorageIoError::write_vote(AnyError::new(&e)))?;
        *locked(&self.shared.voted) = Some(*vote);
        self.note_vote(vote);
        Ok(())
    }

    async fn read_vote(&mut self) -> Result<Option<Vote>, StorageError> {
        Ok(self.stored_vote())
    }

    /// Rides in the next sync: losing it costs a replay's length, never an entry.
    async fn save_committed(&mut self, committed: Option<LogId>) -> Result<(), StorageError> {
        let index = committed.map_or(0, |id| id.index);
        self.shared.committed.fetch_max(index, Ordering::Relaxed);
        *locked(&self.shared.committed_id) = committed;
        let committed = postcard::to_stdvec(&committed)
            .map_err(|e| StorageIoError::write_logs(AnyError::new(&e)))?;
        self.shared.writer.note_committed(committed);
        Ok(())
    }

    async fn read_committed(&mut self) -> Result<Option<LogId>, StorageError> {
        Ok(*locked(&self.shared.committed_id))
    }

    async fn append<I>(
        &mut self,
        entries: I,
        callback: LogFlushed<TypeConfig>,
    ) -> Result<(), StorageError>
    where
        I: IntoIterator<Item = Entry> + OptionalSend,
        I::IntoIter: OptionalSend,
    {
        let mut encoded = Vec::new();
        for entry in entries {
            let bytes = entry_codec::encode(&entry)
                .map_err(|e| StorageIoError::write_log_entry(entry.log_id, AnyError::new(&e)))?;
            let length = u32::try_from(bytes.len()).unwrap_or(u32::MAX);
            encoded.push((entry, length, bytes));
        }
        let ahead = self.are_own(encoded.iter().map(|(entry, _, _)| entry));
        let (at_once, in_the_end) = match ahead {
            true => (Some(callback), None),
            false => (None, Some(callback)),
        };
        let mut changes = Vec::new();
        // Under one lock: the writer must get appends in the order in which the window took them.
        let mut window = self.window();
        let number = self.shared.appends.fetch_add(1, Ordering::Relaxed) + 1;
        for (entry, length, bytes) in encoded {
            let index = entry.log_id.index;
            if window.is_purged(index) {
                continue;
            }
            changes.push(Change::Entry { index, bytes });
            window
                .push(entry, length, number)
                .map_err(StorageIoError::write_logs)?;
        }
        window.shrink(self.shared.carried.append());
        if ahead {
            self.shared.pending.begin(number);
        }
        let (durable, pending) = (
            Arc::clone(&self.shared.durable),
            Arc::clone(&self.shared.pending),
        );
        let (appended, began) = (Arc::clone(&self.shared.appended), Instant::now());
        let done = move |result: Result<(), StoreFailed>| {
            if result.is_ok() {
                appended.note(began.elapsed());
                // In the order in which they were handed over.
                durable.send_replace(number);
                pending.end(number);
            }
            if let Some(callback) = in_the_end {
                callback.log_io_completed(result.map_err(Into::into));
            }
        };
        self.shared.writer.append(changes, number, Box::new(done));
        drop(window);
        if let Some(callback) = at_once {
            // What fails from here on, the state machine and the node hear of.
            callback.log_io_completed(self.shared.writer.check().map_err(Into::into));
        }
        Ok(())
    }

    /// Ordered before every later append, whose sync covers it: until then nobody was told.
    async fn truncate(&mut self, since: LogId) -> Result<(), StorageError> {
        let mut window = self.window();
        let before = since.index.checked_sub(1);
        let last = match before.filter(|index| window.holds(*index)) {
            Some(index) => match window.cached_id(index) {
                Some(id) => Some(id),
                None => read_entry(&self.shared.disk, index)
                    .map_err(|e| StorageIoError::read_log_at_index(index, AnyError::new(&e)))?
                    .map(|entry| entry.log_id),
            },
            None => None,
        };
        window.truncate(since.index, last);
        self.shared
            .writer
            .submit_lazily(vec![Change::Truncate { from: since.index }]);
        Ok(())
    }

    /// The purge point is written before anything is removed, and removing goes on behind: neither
    /// holds up the log. Waits for the snapshot that holds what is purged.
    async fn purge(&mut self, upto: LogId) -> Result<(), StorageError> {
        self.until_kept(upto.index)
            .await
            .map_err(|e| StorageIoError::write_logs(AnyError::new(&e)))?;
        let point = postcard::to_stdvec(&upto)
            .map_err(|e| StorageIoError::write_logs(AnyError::new(&e)))?;
        let mut window = self.window();
        let purged = window.purge(upto);
        self.shared.writer.submit_lazily(vec![Change::Purge {
            upto: upto.index,
            point,
        }]);
        drop(window);
        tokio::task::spawn_blocking(move || purged.let_go());
        Ok(())
    }
}
