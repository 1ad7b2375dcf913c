//! Backups: everything that is replicated, sealed as it is; and their way back. [`schedule`] takes them
//! without being asked.

mod name;
mod pieces;
mod progress;
mod schedule;
pub mod store;
#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::indexing_slicing)]
mod tests;
mod turn;

pub use pieces::{BrokeOff, Pieces, pieces};
pub use progress::BackupReading;
pub(crate) use progress::Progress;
pub use schedule::Backups;
pub(crate) use schedule::worker;

use std::{sync::Arc, time::Duration};

use strongroom_core::{
    ClusterId, Command, Effect, LogPosition, LogTime, RestoreId, State, TokenName, restore,
};

use crate::{
    authorize::Authorized,
    context::RequestContext,
    error::VaultError,
    operation::{Restore, TakeBackup},
    vault::Vault,
};

/// Before a part is handed over again of which it is not known whether it came.
const AGAIN: Duration = Duration::from_millis(200);

/// What was restored.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Restored {
    /// The cluster that the backup is of.
    pub cluster_id: Option<ClusterId>,
    /// Where its log was.
    pub position: Option<LogPosition>,
    /// Its time then.
    pub time: LogTime,
    /// Secrets in it.
    pub secrets: usize,
}

impl Vault {
    /// The state to be backed up: everything acknowledged anywhere before this was asked.
    ///
    /// # Errors
    /// [`VaultError::AuditUnavailable`].
    pub async fn take_backup(
        &self,
        permit: Authorized<TakeBackup>,
    ) -> Result<Arc<State>, VaultError> {
        self.audited_look(&permit, true).await?;
        Ok(permit.state)
    }

    /// Replaces mounts, roles, tokens and secrets on all nodes by what a backup holds, at one place of
    /// the log. The token that asks stays good. `force`: also if the backup is of another cluster, and
    /// this one holds secrets.
    ///
    /// # Errors
    /// [`VaultError::InUse`] without `force`, or while another restore is under way;
    /// [`VaultError::UpgradePending`] for a backup of a newer format than the cluster's; the replica's
    /// errors; [`VaultError::AuditUnavailable`]. Nothing has changed then, unless the outcome is
    /// unknown.
    pub async fn restore(
        &self,
        permit: Authorized<Restore>,
        backup: State,
        force: bool,
    ) -> Result<Restored, VaultError> {
        let restored = Restored {
            cluster_id: backup.cluster_id(),
            position: backup.position(),
            time: backup.time(),
            secrets: backup.secret_count(),
        };
        let done = async {
            let of_another = backup.cluster_id() != permit.state.cluster_id();
            if of_another && permit.state.secret_count() > 0 && !force {
                return Err(VaultError::InUse);
            }
            if backup.format() > permit.state.format() {
                return Err(VaultError::UpgradePending);
            }
            self.replace_all(&permit, &backup, force).await
        };
        self.audited(&permit, 200, done).await?;
        tracing::warn!(
            secrets = restored.secrets,
            "everything was replaced by a backup"
        );
        Ok(restored)
    }

    async fn replace_all(
        &self,
        permit: &Authorized<Restore>,
        backup: &State,
        force: bool,
    ) -> Result<(), VaultError> {
        let mut drawn = [0; 16];
        getrandom::fill(&mut drawn)
            .map_err(|error| VaultError::bug("drawing a restore's id", &error))?;
        let (id, context) = (RestoreId(drawn), &permit.context);
        let keep = TokenName::parse(&permit.actor).ok();
        for command in restore::commands(backup, id, force, keep) {
            match command {
                // What happened is said once: this one cannot come twice.
                end @ Command::EndRestore { .. } => self.submit(context, end).await?,
                part => self.hand_over_again(context, part).await?,
            };
        }
        Ok(())
    }

    /// For commands that can come twice.
    async fn hand_over_again(
        &self,
        context: &RequestContext,
        command: Command,
    ) -> Result<Effect, VaultError> {
        loop {
            match self.submit(context, command.clone()).await {
                Err(VaultError::OutcomeUnknown) if !context.left().is_zero() => {
                    tokio::time::sleep(AGAIN).await;
                }
                done => return done,
            }
        }
    }
}
