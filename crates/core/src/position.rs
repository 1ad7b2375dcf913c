//! Where in the replicated log something happened.

use std::fmt;

use serde::{Deserialize, Serialize};

/// A position in the replicated log. Ordered by term, then index.
#[derive(
    Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default, Serialize, Deserialize,
)]
pub struct LogPosition {
    /// The term of the leader that wrote the entry.
    pub term: u64,
    /// The entry's index, counted from 0.
    pub index: u64,
}

/// A cluster's identity: drawn at random when it forms, and the same for its whole life.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
pub struct ClusterId(pub [u8; 16]);

impl fmt::Display for ClusterId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}
