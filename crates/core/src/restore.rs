//! A restore: the commands that it takes, and what the state gathers of it until that replaces it.

use bytes::Bytes;
use imbl::Vector;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::{Command, LogTime, State, TokenName, backup::frame, codec::encode_content, limits};

/// Names one restore: 128 random bits.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct RestoreId(pub [u8; 16]);

/// What has come of a restore.
#[derive(Clone, PartialEq, Debug)]
pub(crate) struct Staged {
    pub(crate) id: RestoreId,
    /// When its last part came.
    pub(crate) since: LogTime,
    pub(crate) parts: Vector<Bytes>,
    /// Bytes of all parts.
    pub(crate) bytes: u64,
}

impl Staged {
    pub(crate) fn new(id: RestoreId, since: LogTime) -> Self {
        Self {
            id,
            since,
            parts: Vector::new(),
            bytes: 0,
        }
    }

    /// Whether nothing has come for so long that it counts as given up.
    pub(crate) fn is_given_up(&self, now: LogTime) -> bool {
        self.gone_at() <= now
    }

    /// When it is taken away.
    pub(crate) fn gone_at(&self) -> LogTime {
        self.since.plus_secs(limits::RESTORE_PAUSE_SECS)
    }
}

/// The commands that replace what a cluster holds by what `backup` holds, in their order. The last of
/// them does it. `force`: also if the backup is of another cluster, and this one holds secrets. `keep`:
/// the token that stays good.
pub fn commands(
    backup: &State,
    id: RestoreId,
    force: bool,
    keep: Option<TokenName>,
) -> impl Iterator<Item = Command> + '_ {
    let mut records = encode_content(backup).map(|record| frame(&record)).fuse();
    let (mut waiting, mut hash, mut number) = (Vec::new(), Sha256::new(), 0);
    let mut last = Some((force, keep));
    let rest = std::iter::from_fn(move || {
        while waiting.len() < limits::RESTORE_PART_BYTES
            && let Some(record) = records.next()
        {
            waiting.extend_from_slice(&record);
        }
        if waiting.is_empty() {
            let (force, keep) = last.take()?;
            return Some(Command::EndRestore {
                id,
                parts: number,
                sha256: hash.clone().finalize().into(),
                force,
                keep,
            });
        }
        let later = waiting.split_off(waiting.len().min(limits::RESTORE_PART_BYTES));
        let bytes = Bytes::from(std::mem::replace(&mut waiting, later));
        hash.update(&bytes);
        number += 1;
        Some(Command::RestorePart {
            id,
            number: number - 1,
            bytes,
        })
    });
    std::iter::once(Command::BeginRestore { id }).chain(rest)
}
