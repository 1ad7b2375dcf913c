//! A restore under way: the records of a backup, gathered in the state until they replace it.

use bytes::Bytes;
use imbl::Vector;
use serde::{Deserialize, Serialize};

use crate::{LogTime, limits};

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
