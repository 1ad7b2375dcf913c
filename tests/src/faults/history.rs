//! What clients asked for and what they were told, in the order in which it happened.

use std::sync::{
    Mutex,
    atomic::{AtomicU64, Ordering},
};

/// A secret as one observer saw it: version and value.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub struct Seen {
    /// The version, from 1.
    pub version: u64,
    /// Its value; no two writes of a run have the same.
    pub value: String,
}

/// What a client asked for.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Call {
    /// Make the secret, which must not exist.
    Create(String),
    /// A new version.
    Put(String),
    /// A new version, if this is the current one.
    PutIf(String, u64),
    /// The current version, linearizable.
    Read,
    /// The current version as the node has it.
    ReadLocal,
    /// The same, with all that the cluster had applied at this log index.
    ReadByIndex(u64),
}

impl Call {
    /// The value that it writes, if it writes.
    pub fn value(&self) -> Option<&str> {
        match self {
            Self::Create(value) | Self::Put(value) | Self::PutIf(value, _) => Some(value),
            Self::Read | Self::ReadLocal | Self::ReadByIndex(_) => None,
        }
    }
}

/// What came of it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Outcome {
    /// Written, as this version.
    Written(u64),
    /// Not written: the version asked for is not the current one.
    Mismatch,
    /// Not made: it exists.
    Exists,
    /// Not there.
    Missing,
    /// Read.
    Found(Seen),
    /// Nothing happened: the cluster said so, or no connection was made.
    Refused,
    /// It may have happened, or may still.
    Unknown,
}

/// One call.
#[derive(Clone, Debug)]
pub struct Op {
    /// Who asked.
    pub client: usize,
    /// Which node, by place.
    pub node: usize,
    /// Which start of that node, by count.
    pub start: u32,
    /// About which secret.
    pub name: String,
    /// What.
    pub call: Call,
    /// What came of it.
    pub outcome: Outcome,
    /// Before it was sent. Numbers rise through a run, so they order what did not overlap.
    pub began: u64,
    /// After it was answered, or given up.
    pub ended: u64,
}

/// Takes down a run. Shared by all clients.
#[derive(Default, Debug)]
pub struct History {
    clock: AtomicU64,
    ops: Mutex<Vec<Op>>,
}

impl History {
    /// The next number.
    pub fn now(&self) -> u64 {
        self.clock.fetch_add(1, Ordering::SeqCst)
    }

    /// Adds a call that has ended.
    pub fn add(&self, op: Op) {
        self.ops.lock().expect("no panic while it is held").push(op);
    }

    /// What was taken down since this was asked last, by its beginning.
    pub fn take(&self) -> Vec<Op> {
        let mut ops = std::mem::take(&mut *self.ops.lock().expect("no panic while it is held"));
        ops.sort_by_key(|op| op.began);
        ops
    }
}
