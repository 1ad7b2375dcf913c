//! Secrets: the use cases.

mod locks;
mod read;
mod write;

pub(crate) use locks::NameLocks;
pub use read::{DONE_STALE, Disclosed, READ, VERIFY, Verified};
pub(crate) use write::summary;
pub use write::{CreateSecret, Generated, UpdateSecret, Written};

use strongroom_core::{SecretName, SecretSummary, limits};

use crate::{
    authorize::Authorized, error::VaultError, operation::ListSecrets, page::Page, vault::Vault,
};

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
        let visible = permit
            .state
            .secrets_in(mount, prefix, after)
            .filter(|(name, _)| permit.role.may_act_on(name))
            .map(|(name, secret)| secret.summary(name));
        let page = Page::take(visible, limit, |row: &SecretSummary| {
            row.name.path().to_owned()
        });
        self.audited_look(&permit, true).await?;
        Ok(page)
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
