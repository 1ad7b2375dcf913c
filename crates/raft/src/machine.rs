//! The state machine, as openraft wants it: in memory, published whole after every batch, and on disk
//! as the newest snapshot.

use std::{
    fs::File,
    io,
    path::Path,
    sync::Arc,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use arc_swap::ArcSwap;
use openraft::{
    AnyError, EntryPayload, OptionalSend, RaftSnapshotBuilder, StorageError as OpenraftError,
    storage::RaftStateMachine,
};
use strongroom_core::{Applied, LogTime, State};
use tokio::{sync::watch, task::spawn_blocking};

use crate::{
    durable::OpenError,
    log_store::LogStore,
    snapshot_codec::SnapshotError,
    snapshot_files::SnapshotFiles,
    types::{
        Entry, LogId, NodeId, Snapshot, SnapshotMeta, StorageError, StorageIoError,
        StoredMembership, TypeConfig, position,
    },
};

/// What has been applied: the state, the entry that brought it there, and the membership then. One
/// value, so that none of them can be newer than another.
#[derive(Clone, Default)]
pub struct Published {
    /// The state.
    pub state: Arc<State>,
    /// The last entry applied.
    pub last_applied: Option<LogId>,
    /// The last membership applied.
    pub membership: StoredMembership,
    /// When the state's time came to be what it is; `None`: at no entry's.
    time_since: Option<Instant>,
}

/// What a node reads by: a pointer load, never waiting for a writer.
#[derive(Clone)]
pub struct View {
    published: Arc<ArcSwap<Published>>,
    applied: watch::Receiver<Option<u64>>,
}

impl View {
    /// What has been applied by now.
    #[must_use]
    pub fn load(&self) -> Arc<Published> {
        self.published.load_full()
    }

    /// What time it is, by this node's clock or by the log. A clock before 1970 reads as 0.
    #[must_use]
    pub fn clock(&self) -> LogTime {
        let since_epoch = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default();
        let published = self.published.load();
        let passed = published
            .time_since
            .map_or(Duration::ZERO, |at| at.elapsed());
        let by_log = published.state.time().plus_millis(millis(passed));
        LogTime(millis(since_epoch)).max(by_log)
    }

    /// The index of the last entry applied. Changes after it can be [loaded](Self::load).
    #[must_use]
    pub fn applied(&self) -> watch::Receiver<Option<u64>> {
        self.applied.clone()
    }
}

/// The state machine.
pub struct Machine {
    published: Arc<ArcSwap<Published>>,
    applied: watch::Sender<Option<u64>>,
    files: Arc<SnapshotFiles>,
    /// The log whose entries are applied, if they may come before they are durable.
    log: Option<LogStore>,
}

impl Machine {
    /// Starts from the newest snapshot below `data_dir`. Blocks.
    ///
    /// # Errors
    /// See [`OpenError`].
    pub fn open(data_dir: &Path) -> Result<Self, OpenError> {
        let (files, snapshot) = SnapshotFiles::open(data_dir)?;
        let published = snapshot.map_or_else(Published::default, from_snapshot);
        let (applied, _) = watch::channel(published.last_applied.map(|id| id.index));
        Ok(Self {
            published: Arc::new(ArcSwap::from_pointee(published)),
            applied,
            files: Arc::new(files),
            log: None,
        })
    }

    /// The same, applying what this log holds, and nothing of it before it is durable (invariant 28).
    #[must_use]
    pub fn following(self, log: LogStore) -> Self {
        let log = Some(log);
        Self { log, ..self }
    }

    /// Checks that what the log purged is in the snapshot. If not, what it held is gone, and starting
    /// would serve the past as if it were the present.
    ///
    /// # Errors
    /// [`OpenError::Corrupt`].
    pub fn check_against(&self, purged: Option<LogId>, data_dir: &Path) -> Result<(), OpenError> {
        let applied = self.published.load().last_applied;
        if purged <= applied {
            return Ok(());
        }
        let index = purged.map_or(0, |id| id.index);
        Err(OpenError::Corrupt {
            path: data_dir.to_owned(),
            reason: format!("the log was purged to entry {index}, and no snapshot goes as far"),
        })
    }

    /// A way to read what has been applied.
    #[must_use]
    pub fn view(&self) -> View {
        View {
            published: Arc::clone(&self.published),
            applied: self.applied.subscribe(),
        }
    }

    /// The snapshots on disk.
    #[must_use]
    pub fn snapshots(&self) -> Arc<SnapshotFiles> {
        Arc::clone(&self.files)
    }

    fn publish(&self, mut published: Published) {
        let before = self.published.load();
        published.time_since = match before.time_since {
            Some(since) if before.state.time() == published.state.time() => Some(since),
            _ => Some(Instant::now()),
        };
        let index = published.last_applied.map(|id| id.index);
        self.published.store(Arc::new(published));
        self.applied.send_replace(index);
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

fn from_snapshot((meta, state): (SnapshotMeta, State)) -> Published {
    Published {
        state: Arc::new(state),
        last_applied: meta.last_log_id,
        membership: meta.last_membership,
        time_since: Some(Instant::now()),
    }
}

/// Writes snapshots of one published value: its label is what it holds, whatever is applied
/// meanwhile (invariant 10).
pub struct SnapshotBuilder {
    published: Arc<Published>,
    files: Arc<SnapshotFiles>,
}

impl RaftSnapshotBuilder<TypeConfig> for SnapshotBuilder {
    async fn build_snapshot(&mut self) -> Result<Snapshot, StorageError> {
        let published = Arc::clone(&self.published);
        let files = Arc::clone(&self.files);
        let build = move || {
            let random = getrandom::u64().map_err(|e| io::Error::other(e.to_string()))?;
            let at = published
                .last_applied
                .map(|id| position(&id))
                .unwrap_or_default();
            let meta = SnapshotMeta {
                last_log_id: published.last_applied,
                last_membership: published.membership.clone(),
                snapshot_id: format!("{}-{}-{random:016x}", at.term, at.index),
            };
            files.write(&meta, &published.state)
        };
        let (meta, file) = blocking(build).await.map_err(|e| {
            StorageError::from(StorageIoError::write_snapshot(None, AnyError::new(&e)))
        })?;
        Ok(snapshot(meta, file))
    }
}

fn snapshot(meta: SnapshotMeta, file: File) -> Snapshot {
    Snapshot {
        meta,
        snapshot: Box::new(tokio::fs::File::from_std(file)),
    }
}

/// Snapshots are written and read off the executor, which has heartbeats to send.
async fn blocking<T: Send + 'static, E: From<io::Error> + Send + 'static>(
    work: impl FnOnce() -> Result<T, E> + Send + 'static,
) -> Result<T, E> {
    spawn_blocking(work)
        .await
        .unwrap_or_else(|e| Err(io::Error::other(e).into()))
}

impl RaftStateMachine<TypeConfig> for Machine {
    type SnapshotBuilder = SnapshotBuilder;

    async fn applied_state(
        &mut self,
    ) -> Result<(Option<LogId>, StoredMembership), OpenraftError<NodeId>> {
        let published = self.published.load();
        Ok((published.last_applied, published.membership.clone()))
    }

    async fn apply<I>(&mut self, entries: I) -> Result<Vec<Vec<Applied>>, StorageError>
    where
        I: IntoIterator<Item = Entry> + OptionalSend,
        I::IntoIter: OptionalSend,
    {
        let entries: Vec<Entry> = entries.into_iter().collect();
        if let (Some(log), Some(last)) = (&self.log, entries.last()) {
            let durable = log.until_durable(last.log_id.index).await;
            durable.map_err(|e| StorageIoError::apply(last.log_id, AnyError::new(&e)))?;
        }
        let mut next = Published::clone(&self.published.load());
        // Persistent maps: a clone is cheap, and readers keep theirs.
        let mut state = State::clone(&next.state);
        let mut results = Vec::new();
        for entry in entries {
            let at = position(&entry.log_id);
            let applied = match entry.payload {
                EntryPayload::Blank => {
                    state.advance(at);
                    Vec::new()
                }
                EntryPayload::Membership(membership) => {
                    state.advance(at);
                    next.membership = StoredMembership::new(Some(entry.log_id), membership);
                    Vec::new()
                }
                EntryPayload::Normal(proposal) => {
                    let time = proposal.time;
                    // An entry is applied even if it holds no command.
                    state.advance(at);
                    proposal
                        .into_attempts()
                        .map(|(command, attempt)| state.apply_attempt(at, time, attempt, command))
                        .collect()
                }
            };
            next.last_applied = Some(entry.log_id);
            results.push(applied);
        }
        next.state = Arc::new(state);
        self.publish(next);
        Ok(results)
    }

    async fn get_snapshot_builder(&mut self) -> SnapshotBuilder {
        SnapshotBuilder {
            published: self.published.load_full(),
            files: Arc::clone(&self.files),
        }
    }

    async fn begin_receiving_snapshot(&mut self) -> Result<Box<tokio::fs::File>, StorageError> {
        let files = Arc::clone(&self.files);
        let file = blocking(move || files.receive())
            .await
            .map_err(|e: io::Error| {
                StorageError::from(StorageIoError::write_snapshot(None, AnyError::new(&e)))
            })?;
        Ok(Box::new(tokio::fs::File::from_std(file)))
    }

    async fn install_snapshot(
        &mut self,
        meta: &SnapshotMeta,
        snapshot: Box<tokio::fs::File>,
    ) -> Result<(), StorageError> {
        let file = snapshot.into_std().await;
        let files = Arc::clone(&self.files);
        let announced = meta.clone();
        let state = blocking(move || files.install(file, &announced))
            .await
            .map_err(|e: SnapshotError| {
                let signature = Some(meta.signature());
                StorageError::from(StorageIoError::write_snapshot(signature, AnyError::new(&e)))
            })?;
        self.publish(from_snapshot((meta.clone(), state)));
        let index = meta.last_log_id.map(|id| id.index);
        tracing::info!(index, "installed a snapshot");
        Ok(())
    }

    async fn get_current_snapshot(&mut self) -> Result<Option<Snapshot>, StorageError> {
        let files = Arc::clone(&self.files);
        let newest = blocking(move || files.newest())
            .await
            .map_err(|e: io::Error| {
                StorageError::from(StorageIoError::read_snapshot(None, AnyError::new(&e)))
            })?;
        let purged = self.files.kept().borrow().upto.is_some();
        match newest {
            Some((meta, file)) => Ok(Some(snapshot(meta, file))),
            // It was set aside, and openraft takes it for granted: what it held is in memory.
            None if purged => self
                .get_snapshot_builder()
                .await
                .build_snapshot()
                .await
                .map(Some),
            None => Ok(None),
        }
    }
}
