//! What is measured.

pub(crate) mod ceiling;
pub(crate) mod etcd;
pub(crate) mod strongroom;
pub(crate) mod vault;

use crate::wrk::Traffic;

/// How many names updates are spread over.
pub(crate) const NAMES: u64 = 1_000;

/// Something that answers, and what is sent to it.
pub(crate) struct Subject {
    pub(crate) name: String,
    pub(crate) traffic: Traffic,
    /// Its processes, for their processor time; none where they are not ours.
    pub(crate) pids: Vec<u32>,
}
