//! Recovering from a lost quorum, for the command line: the raft crate's recovery, with its records in
//! the node's audit trail.

use std::path::{Path, PathBuf};

use strongroom_raft::recover::{RecoverError, Recovered, Recovery, Standing};
use strongroom_service::audit::{self, Audit, AuditConfig, Entry, SyncPolicy};

use crate::RunError;

/// Largest audit file here, in bytes: no file is begun anew for one record.
const AUDIT_FILE_BYTES: u64 = u64::MAX;
const ACTION: &str = "cluster.recover";

/// What the command came to.
pub enum Outcome {
    /// A cluster of one was made.
    Recovered(Recovered),
    /// One was made by an earlier run that a crash interrupted, and is in place now.
    Finished,
    /// The node is the only voter already, and needs nobody else.
    IsAlone,
}

/// What a node holds, and what can be made of it. Keeps other processes out.
pub struct Plan {
    recovery: Recovery,
}

impl Plan {
    /// Looks at a data directory that no process uses.
    ///
    /// # Errors
    /// [`RunError::Settings`] if it is none, [`RunError::Store`] if it cannot be opened.
    pub fn look(data_dir: &Path) -> Result<Self, RunError> {
        let recovery = runtime()?.block_on(Recovery::look(data_dir))?;
        Ok(Self { recovery })
    }

    /// What the node holds.
    #[must_use]
    pub fn standing(&self) -> &Standing {
        self.recovery.standing()
    }

    /// Makes a cluster of the node alone. The trail in `audit_dir` says so before it happens, and
    /// afterwards how it went.
    ///
    /// # Errors
    /// [`RunError::Settings`] if there is no trail, [`RunError::Failed`] otherwise.
    pub fn carry_out(self, audit_dir: &Path) -> Result<Outcome, RunError> {
        let standing = self.recovery.standing();
        let was_under_way = self.recovery.was_under_way();
        if standing.is_alone && !was_under_way {
            return Ok(Outcome::IsAlone);
        }
        // A trail of its own would be one that nobody looks at.
        if !audit_dir.join("head").exists() {
            return Err(RunError::Settings(format!(
                "{} holds no audit trail: name the node's with --audit-dir",
                audit_dir.display()
            )));
        }
        let (node, epoch) = (standing.node_id.clone(), standing.epoch);
        let (term, index) = standing.last;
        runtime()?.block_on(async {
            let audit = open_audit(audit_dir, &node)?;
            if was_under_way {
                let target = format!("epoch {epoch}");
                record(&audit, target, "done").await?;
                return Ok(Outcome::Finished);
            }
            let next = epoch.saturating_add(1);
            let target = format!("epoch {next}, after entry {index} of term {term}");
            record(&audit, target.clone(), "attempted").await?;
            match self.recovery.carry_out().await {
                Ok(recovered) => {
                    record(&audit, target, "done").await?;
                    Ok(Outcome::Recovered(recovered))
                }
                Err(error) => {
                    record(&audit, target, "failed").await?;
                    Err(error.into())
                }
            }
        })
    }
}

fn runtime() -> Result<tokio::runtime::Runtime, RunError> {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| RunError::Failed(format!("cannot start threads: {error}")))
}

fn open_audit(dir: &Path, node: &str) -> Result<Audit, RunError> {
    let config = AuditConfig {
        dir: dir.to_owned(),
        node: node.to_owned(),
        sync: SyncPolicy::Always,
        file_bytes: AUDIT_FILE_BYTES,
        slow_write: audit::SLOW_WRITE,
    };
    Audit::open(config).map_err(|error| RunError::Failed(error.to_string()))
}

async fn record(audit: &Audit, target: String, outcome: &'static str) -> Result<(), RunError> {
    let entry = Entry {
        outcome: outcome.into(),
        ..Entry::of_node(ACTION, target)
    };
    let written = audit.write(entry).await;
    written.map(|_| ()).map_err(|_| {
        RunError::Failed(format!(
            "the audit trail cannot be written ({outcome}): mend that, and run this again"
        ))
    })
}

impl From<RecoverError> for RunError {
    fn from(error: RecoverError) -> Self {
        match error {
            RecoverError::NoNode(_) | RecoverError::NoData(_) => Self::Settings(error.to_string()),
            RecoverError::Identity(error) => error.into(),
            RecoverError::Store(error) => Self::Store(error.to_string()),
            RecoverError::Failed(error) => Self::Failed(error),
        }
    }
}

/// Where a node keeps its audit trail unless it is told otherwise.
#[must_use]
pub fn default_audit_dir(data_dir: &Path) -> PathBuf {
    data_dir.join("audit")
}
