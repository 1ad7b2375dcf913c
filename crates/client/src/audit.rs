//! Audit records of the node that is asked.

use serde::{Deserialize, Serialize};

use crate::{Client, ClientError, call::Call};

/// A record. What it holds beyond these fields is passed over.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct AuditRecord {
    /// Its number.
    pub seq: u64,
    /// When it was written.
    pub time: String,
    /// The id that the answer carried.
    pub request_id: String,
    /// The node.
    pub node: String,
    /// Who.
    pub actor: String,
    /// From where, proxies considered.
    pub client_ip: Option<String>,
    /// The address of the connection.
    pub peer_ip: Option<String>,
    /// What was asked for.
    pub action: String,
    /// On what.
    pub target: String,
    /// How it went.
    pub outcome: String,
    /// The HTTP status, if there was one yet.
    pub status: Option<u16>,
    /// The hash of the record before.
    pub prev: String,
    /// Its own.
    pub hash: String,
}

/// Records, oldest first.
#[derive(Clone, PartialEq, Eq, Debug, Deserialize)]
pub struct AuditPage {
    /// The records.
    pub records: Vec<AuditRecord>,
    /// What to ask after for more, if the page was full.
    pub next_after: Option<u64>,
}

impl Client {
    /// The records of a node's trail that follow `after`, or its newest.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn audit(&self, after: Option<u64>, limit: u32) -> Result<AuditPage, ClientError> {
        let after = after.map_or_else(String::new, |after| format!("after={after}&"));
        self.ask(Call::get(format!("/v1/audit?{after}limit={limit}")))
            .await
    }
}
