//! Tokens: the use cases.

use std::sync::Arc;

use strongroom_core::{
    Allowlist, Command, Effect, LogTime, RoleName, TokenGrant, TokenName, limits,
};
use strongroom_seal::AdminToken;

use crate::{
    audit::{NOBODY, NODE, READER},
    authorize::Authorized,
    error::VaultError,
    operation::{CreateToken, ListTokens, RevokeToken},
    page::Page,
    vault::Vault,
};

/// A token to be made.
pub struct NewToken {
    /// The role it acts as.
    pub role: RoleName,
    /// Seconds it lives; `None`: for ever.
    pub ttl_secs: Option<u64>,
    /// Addresses it may be used from; empty: any.
    pub bound_cidrs: Allowlist,
    /// How often it may be used; `None`: without limit.
    pub num_uses: Option<u64>,
}

/// A token that was made. Its value exists here and nowhere else.
pub struct CreatedToken {
    /// Its name.
    pub name: TokenName,
    /// The role it acts as.
    pub role: RoleName,
    /// The token.
    pub token: AdminToken,
    /// When it expires.
    pub expires_at: Option<LogTime>,
}

/// A token in a list.
#[derive(Clone, Debug)]
pub struct ListedToken {
    /// Its name.
    pub name: TokenName,
    /// What it grants.
    pub grant: Arc<TokenGrant>,
    /// When it was last used, as far as the nodes that answered know.
    pub last_used: Option<LogTime>,
}

impl Vault {
    /// Makes a token.
    ///
    /// # Errors
    /// [`VaultError::AlreadyExists`] while a live token has the name; [`VaultError::NotFound`] for
    /// an unknown role; [`VaultError::Invalid`]; the replica's errors;
    /// [`VaultError::AuditUnavailable`].
    pub async fn create_token(
        &self,
        permit: Authorized<CreateToken>,
        new: NewToken,
    ) -> Result<CreatedToken, VaultError> {
        Self::once_only(&permit.context)?;
        // The audit trail's own words for who acts.
        if [READER, NODE, NOBODY].contains(&permit.target.as_str()) {
            return Err(VaultError::invalid("this name is reserved"));
        }
        let token =
            AdminToken::generate().map_err(|error| VaultError::bug("drawing a token", &error))?;
        let (name, role) = (permit.target.clone(), new.role.clone());
        let command = Command::CreateToken {
            name: name.clone(),
            fingerprint: token.fingerprint(),
            role: new.role,
            ttl_secs: new.ttl_secs,
            bound_cidrs: new.bound_cidrs,
            num_uses: new.num_uses,
        };
        let effect = self
            .audited(&permit, 201, self.submit(&permit.context, command))
            .await?;
        let Effect::Token { expires_at } = effect else {
            return Err(VaultError::bug(
                "an effect of another kind",
                &"token expected",
            ));
        };
        Ok(CreatedToken {
            name,
            role,
            token,
            expires_at,
        })
    }

    /// All tokens, by page; ended ones stay in the list for a week.
    ///
    /// # Errors
    /// [`VaultError::AuditUnavailable`].
    pub async fn list_tokens(
        &self,
        permit: Authorized<ListTokens>,
        prefix: &str,
        after: Option<&TokenName>,
        limit: usize,
    ) -> Result<Page<ListedToken>, VaultError> {
        self.last_used.retain_known(&permit.state);
        let last_used = self.merged_last_uses().await;
        let rows = permit
            .state
            .tokens_after(after)
            .filter(|(name, _)| name.as_str().starts_with(prefix))
            .map(|(name, grant)| ListedToken {
                name: name.clone(),
                grant: Arc::clone(grant),
                last_used: last_used.get(name).copied(),
            });
        let limit = limit.clamp(1, limits::PAGE_ROWS);
        let page = Page::take(rows, limit, |row| row.name.to_string());
        self.audited_look(&permit, true).await?;
        Ok(page)
    }

    /// Ends a token. Once this returns, no node accepts it: every token check is linearizable.
    ///
    /// # Errors
    /// [`VaultError::NotFound`]; the replica's errors; [`VaultError::AuditUnavailable`].
    pub async fn revoke_token(&self, permit: Authorized<RevokeToken>) -> Result<(), VaultError> {
        let command = Command::RevokeToken {
            name: permit.target.clone(),
        };
        self.audited(&permit, 204, self.submit(&permit.context, command))
            .await
            .map(|_| ())
    }
}
