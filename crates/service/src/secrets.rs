//! Secrets: the use cases.

mod behind;
mod locks;
mod read;
mod value;
mod write;

pub(crate) use locks::NameLocks;
pub use read::{DONE_STALE, Disclosed, READ, VERIFY, Verified};
pub(crate) use write::summary;
pub use write::{CreateSecret, Generated, UpdateSecret, Written};

use strongroom_core::{SecretName, SecretSummary, limits};

use crate::{
    authorize::Authorized, error::VaultError, operation::ListSecrets, page::Page, vault::Vault,
};

/// Secrets looked at before others get a turn on the thread.
const AT_ONCE: usize = 256;

impl Vault {
    /// Lists the secrets in a mount that the caller's role may act on.
    ///
    /// # Errors
    /// [`VaultError::AuditUnavailable`].
    pub async fn list_secrets(
        &self,
        permit: Authorized<ListSecrets>,
        mount: &str,
        prefix: &str,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Page<SecretSummary>, VaultError> {
        let limit = limit.clamp(1, limits::PAGE_ROWS);
        let mut rows = Vec::new();
        let mut next_after = None;
        let mut last: Option<&SecretName> = None;
        // A page ends with a row and no earlier: `next_after` must not name what the role may not see.
        for (looked_at, (name, secret)) in permit.state.secrets_in(mount, prefix, after).enumerate()
        {
            if permit.role.may_act_on(name) {
                if rows.len() == limit {
                    next_after = last.map(|last| last.path().to_owned());
                    break;
                }
                rows.push(secret.summary(name));
                last = Some(name);
            }
            if looked_at % AT_ONCE == 0 {
                tokio::task::yield_now().await;
            }
        }
        self.audited_look(&permit, true).await?;
        Ok(Page { rows, next_after })
    }
}

/// The name of the secret at `path` in the mount that the native API shows.
///
/// # Errors
/// [`VaultError::Invalid`] for a path that is no name.
pub fn native_name(path: &str) -> Result<SecretName, VaultError> {
    Ok(SecretName::in_mount(
        strongroom_core::name::DEFAULT_MOUNT,
        path,
    )?)
}
