//! Backups: everything that is replicated, sealed as it is; and their way back.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use sha2::{Digest, Sha256};
use strongroom_core::{
    ClusterId, Command, Effect, LogPosition, LogTime, RestoreId, State, TokenName, backup::frame,
    codec::encode_content, limits,
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
        self.hand_over_again(context, Command::BeginRestore { id })
            .await?;
        let (mut hash, mut number) = (Sha256::new(), 0);
        let mut waiting = Vec::with_capacity(limits::RESTORE_PART_BYTES);
        let mut records = encode_content(backup);
        loop {
            let record = records.next();
            if let Some(record) = &record {
                waiting.extend_from_slice(&frame(record));
            }
            let full = waiting.len() >= limits::RESTORE_PART_BYTES;
            if !full && (record.is_some() || waiting.is_empty()) {
                if record.is_none() {
                    break;
                }
                continue;
            }
            let rest = waiting.split_off(waiting.len().min(limits::RESTORE_PART_BYTES));
            let bytes = Bytes::from(std::mem::replace(&mut waiting, rest));
            hash.update(&bytes);
            let part = Command::RestorePart { id, number, bytes };
            self.hand_over_again(context, part).await?;
            number += 1;
        }
        let end = Command::EndRestore {
            id,
            parts: number,
            sha256: hash.finalize().into(),
            force,
            keep: TokenName::parse(&permit.actor).ok(),
        };
        self.submit(context, end).await.map(|_| ())
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
