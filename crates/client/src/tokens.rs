//! Tokens.

use serde::{Deserialize, Serialize};

use crate::{
    Client, ClientError, Listing, Page, Token,
    call::{Call, Repeat},
    names,
};

const TOKENS: &str = "/v1/tokens";

/// A token to be made.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize)]
pub struct NewToken {
    /// What people call it.
    pub name: String,
    /// Its role.
    pub role: String,
    /// How long it lasts; for ever if it is left out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ttl_secs: Option<u64>,
    /// Addresses and CIDRs that it may be used from; any if there are none.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub bound_cidrs: Vec<String>,
    /// How often it may be used.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub num_uses: Option<u64>,
}

/// A token that was made. Neither Debug nor Clone: it holds the token, which is never shown again.
#[derive(Deserialize)]
pub struct IssuedToken {
    /// What people call it.
    pub name: String,
    /// Its role.
    pub role: String,
    /// The token.
    pub token: Token,
    /// When it ends.
    pub expires_at: Option<String>,
}

/// A token in a list.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct TokenRow {
    /// What people call it.
    pub name: String,
    /// Its role.
    pub role: String,
    /// When it was made.
    pub created_at: String,
    /// When it ends.
    pub expires_at: Option<String>,
    /// The latest use that a node remembers.
    pub last_used_at: Option<String>,
    /// Whether it was revoked.
    pub revoked: bool,
    /// When it ended, if it has.
    pub ended_at: Option<String>,
    /// Where it may be used from; anywhere if this is empty.
    pub bound_cidrs: Vec<String>,
    /// How often it may still be used.
    pub uses_left: Option<u64>,
}

impl Client {
    /// Makes a token. It is never asked for twice: if the answer is lost, so is the token, and it can be
    /// revoked by its name.
    ///
    /// # Errors
    /// See [`ClientError`]; the code is `already_exists` while a live token has the name.
    pub async fn create_token(&self, token: &NewToken) -> Result<IssuedToken, ClientError> {
        let call = Call::post(TOKENS).repeat(Repeat::Never);
        self.ask(call.json(0, token)?).await
    }

    /// A page of the tokens, without what they are.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn tokens(&self, page: &Page) -> Result<Listing<TokenRow>, ClientError> {
        #[derive(Deserialize)]
        struct Rows {
            tokens: Vec<TokenRow>,
            next_after: Option<String>,
        }
        let rows: Rows = self.ask(Call::get(page.query(TOKENS))).await?;
        Ok(Listing {
            rows: rows.tokens,
            next_after: rows.next_after,
        })
    }

    /// Revokes a token: no node accepts it any more.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn revoke_token(&self, name: &str) -> Result<(), ClientError> {
        let call = Call::delete(names::label(TOKENS, name)?);
        self.send(call).await.map(drop)
    }
}
