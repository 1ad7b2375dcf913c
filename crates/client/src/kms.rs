//! The key service, and moving wrapped keys onto another key.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::{Client, ClientError, call::Call};

/// A node's key service, since the node's start.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct KmsStatus {
    /// `aws` or `local`.
    pub mode: String,
    /// The key.
    pub key: String,
    /// Where it is.
    pub region: Option<String>,
    /// The cache of data keys.
    pub cache: KmsCache,
    /// `closed`, `open` or `half_open`.
    pub breaker: String,
    /// When the key's material was last rotated, as far as it was looked.
    pub last_rotation_at: Option<String>,
}

/// A node's cache of data keys.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct KmsCache {
    /// Keys in it.
    pub entries: u64,
    /// Reads that it served.
    pub hits: u64,
    /// Reads that asked KMS.
    pub misses: u64,
    /// Reads that waited for another's question to KMS.
    pub coalesced: u64,
    /// Reads that it served past its time, since KMS was away.
    pub stale: u64,
}

/// A pass that was begun.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct RewrapBegun {
    /// Its number.
    pub pass_id: u64,
    /// Versions that it has to move.
    pub pending: u64,
}

/// The running pass, or the one that ended last.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct RewrapStatus {
    /// Whether the node begins one by itself after a rotation.
    pub enabled: bool,
    /// Whether one runs.
    pub running: bool,
    /// Its number.
    pub pass_id: Option<u64>,
    /// Versions that it has still to move, or has left behind.
    pub pending: u64,
    /// Versions that it has moved.
    pub rewrapped: u64,
    /// Versions that could not be moved.
    pub failed: u64,
    /// Those, with the reason.
    pub failures: Value,
    /// Versions by the KMS key that wraps their data key.
    pub versions_by_key: BTreeMap<String, u64>,
    /// What every version has been moved to.
    pub watermark: Option<Watermark>,
    /// What the pass moves to.
    pub target: Option<Watermark>,
    /// What keeps it from going on.
    pub last_error: Option<String>,
    /// How rotations are noticed.
    pub method: Option<String>,
    /// When it began.
    pub started_at: Option<String>,
    /// When it ended.
    pub finished_at: Option<String>,
}

/// A key and its material.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Watermark {
    /// The KMS key.
    pub key: String,
    /// The rotation that made the material current.
    pub rotation_at: Option<String>,
    /// The material.
    pub material_id: Option<String>,
}

impl Client {
    /// The key service of the node that is asked.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn kms(&self) -> Result<KmsStatus, ClientError> {
        self.ask(Call::get("/v1/admin/kms")).await
    }

    /// Begins a pass that moves every wrapped data key onto the key and material in use. One that runs
    /// already answers for itself.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn rewrap(&self) -> Result<RewrapBegun, ClientError> {
        self.ask(Call::post("/v1/admin/kms/rewrap")).await
    }

    /// How far the pass has come.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn rewrap_status(&self) -> Result<RewrapStatus, ClientError> {
        self.ask(Call::get("/v1/admin/kms/rewrap/status")).await
    }
}
