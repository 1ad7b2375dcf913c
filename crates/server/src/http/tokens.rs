//! `/v1/tokens`.

use std::sync::Arc;

use http::StatusCode;
use serde::Deserialize;
use serde_json::{Value, json};
use strongroom_core::{Allowlist, LogTime, RoleName, TokenName, limits};
use strongroom_service::{
    VaultError,
    operation::{CreateToken, ListTokens, RevokeToken},
    tokens::{ListedToken, NewToken},
};
use zeroize::Zeroizing;

use super::{
    App,
    answer::{self, Answer},
    call::Call,
    empty,
    json::{self, Bounded},
};

const PATH: &str = "/v1/tokens/";

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct CreateRequest {
    name: String,
    role: String,
    ttl_secs: Option<u64>,
    bound_cidrs: Option<Bounded<String, { limits::BOUND_CIDRS }>>,
    num_uses: Option<u64>,
}

pub(super) async fn create(app: Arc<App>, call: Box<Call>) -> Answer {
    let request: CreateRequest = json::parse(&call.body)?;
    let name = TokenName::parse(&request.name)?;
    let Bounded(cidrs) = request.bound_cidrs.unwrap_or_default();
    let new = NewToken {
        role: RoleName::parse(&request.role)?,
        ttl_secs: request.ttl_secs,
        bound_cidrs: Allowlist::parse_entries(cidrs.iter().map(String::as_str))
            .map_err(|_| VaultError::invalid("bound_cidrs must hold addresses and CIDRs"))?,
        num_uses: request.num_uses,
    };
    let permit = app
        .vault
        .authorize::<CreateToken>(call.context, &call.token, name)
        .await?;
    let created = app.vault.create_token(permit, new).await?;
    // Names and tokens hold nothing that JSON would escape.
    let expires_at = created
        .expires_at
        .map_or("null".to_owned(), |at| format!("\"{}\"", at.rfc3339()));
    let text = Zeroizing::new(format!(
        r#"{{"name":"{}","role":"{}","token":"{}","expires_at":{expires_at}}}"#,
        created.name,
        created.role,
        created.token.expose(),
    ));
    Ok(answer::secret_json(
        StatusCode::CREATED,
        Zeroizing::new(text.as_bytes().to_vec()),
    ))
}

pub(super) async fn list(app: Arc<App>, call: Box<Call>) -> Answer {
    let prefix = call.query("prefix")?.unwrap_or_default();
    let after = call
        .query("after")?
        .map(|after| TokenName::parse(&after))
        .transpose()?;
    let limit = call.limit()?;
    let permit = app
        .vault
        .authorize::<ListTokens>(call.context, &call.token, ())
        .await?;
    let page = app
        .vault
        .list_tokens(permit, &prefix, after.as_ref(), limit)
        .await?;
    let rows: Vec<Value> = page.rows.iter().map(show).collect();
    Ok(answer::json(
        StatusCode::OK,
        &json!({"tokens": rows, "next_after": page.next_after}),
    ))
}

fn show(token: &ListedToken) -> Value {
    let grant = &token.grant;
    json!({
        "name": token.name.as_str(),
        "role": grant.role.as_str(),
        "created_at": grant.created_at.rfc3339(),
        "expires_at": grant.expires_at.map(LogTime::rfc3339),
        "last_used_at": token.last_used.map(LogTime::rfc3339),
        "revoked": grant.revoked,
        "ended_at": grant.ended_at.map(LogTime::rfc3339),
        "bound_cidrs": grant.bound_cidrs.nets(),
        "uses_left": grant.uses_left,
    })
}

pub(super) async fn revoke(app: Arc<App>, call: Box<Call>) -> Answer {
    let name = TokenName::parse(&call.tail(PATH)?)?;
    let permit = app
        .vault
        .authorize::<RevokeToken>(call.context, &call.token, name)
        .await?;
    app.vault.revoke_token(permit).await?;
    Ok(empty(StatusCode::NO_CONTENT))
}
