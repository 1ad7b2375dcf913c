//! `/v1/roles`.

use std::sync::Arc;

use http::StatusCode;
use serde::Deserialize;
use serde_json::{Value, json};
use strongroom_core::{Action, PathPattern, Permission, Role, RoleName, limits};
use strongroom_service::{
    VaultError,
    operation::{ChangeRole, CreateRole, DeleteRole, ReadRoles},
    roles::NamedRole,
};

use super::{
    App,
    answer::{self, Answer},
    call::Call,
    empty,
    json::{self, Bounded},
};

const PATH: &str = "/v1/roles/";

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct PermissionRequest {
    action: Action,
    path: String,
}

type Permissions = Bounded<PermissionRequest, { limits::ROLE_RULES }>;

fn permissions(Bounded(requests): Permissions) -> Result<Vec<Permission>, VaultError> {
    requests
        .into_iter()
        .map(|request| {
            let path = PathPattern::parse(&request.path).map_err(|_| {
                VaultError::invalid("path must be a name, a prefix ending in *, or *")
            })?;
            Ok(Permission {
                action: request.action,
                path,
            })
        })
        .collect()
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct CreateRequest {
    name: String,
    #[serde(default)]
    description: String,
    #[serde(default)]
    is_admin: bool,
    #[serde(default)]
    permissions: Permissions,
}

pub(super) async fn create(app: Arc<App>, call: Box<Call>) -> Answer {
    let request: CreateRequest = json::parse(&call.body)?;
    let name = RoleName::parse(&request.name)?;
    if request.description.len() > limits::DESCRIPTION_BYTES {
        return Err(VaultError::invalid("the description is too long"));
    }
    let role = Role {
        description: request.description,
        is_admin: request.is_admin,
        permissions: permissions(request.permissions)?,
        rules: Vec::new(),
    };
    let permit = app
        .vault
        .authorize::<CreateRole>(call.context, &call.token, name)
        .await?;
    let created = app.vault.create_role(permit, role).await?;
    Ok(answer::json(StatusCode::CREATED, &show(&created)))
}

pub(super) async fn list(app: Arc<App>, call: Box<Call>) -> Answer {
    let prefix = call.query("prefix")?.unwrap_or_default();
    let after = call
        .query("after")?
        .map(|after| RoleName::parse(&after))
        .transpose()?;
    let limit = call.limit()?;
    let permit = app
        .vault
        .authorize::<ReadRoles>(call.context, &call.token, None)
        .await?;
    let page = app
        .vault
        .list_roles(permit, &prefix, after.as_ref(), limit)
        .await?;
    let rows: Vec<Value> = page.rows.iter().map(show).collect();
    Ok(answer::json(
        StatusCode::OK,
        &json!({"roles": rows, "next_after": page.next_after}),
    ))
}

pub(super) async fn read(app: Arc<App>, call: Box<Call>) -> Answer {
    let name = RoleName::parse(&call.tail(PATH)?)?;
    let target = Some(name.clone());
    let permit = app
        .vault
        .authorize::<ReadRoles>(call.context, &call.token, target)
        .await?;
    let role = app.vault.read_role(permit, &name).await?;
    Ok(answer::json(StatusCode::OK, &show(&role)))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct SetRequest {
    permissions: Permissions,
}

pub(super) async fn set_permissions(app: Arc<App>, call: Box<Call>) -> Answer {
    let tail = call.tail(PATH)?;
    let name = RoleName::parse(tail.strip_suffix("/permissions").unwrap_or(&tail))?;
    let request: SetRequest = json::parse(&call.body)?;
    let permissions = permissions(request.permissions)?;
    let permit = app
        .vault
        .authorize::<ChangeRole>(call.context, &call.token, name)
        .await?;
    let role = app.vault.set_permissions(permit, permissions).await?;
    Ok(answer::json(StatusCode::OK, &show(&role)))
}

pub(super) async fn delete(app: Arc<App>, call: Box<Call>) -> Answer {
    let name = RoleName::parse(&call.tail(PATH)?)?;
    let permit = app
        .vault
        .authorize::<DeleteRole>(call.context, &call.token, name)
        .await?;
    app.vault.delete_role(permit).await?;
    Ok(empty(StatusCode::NO_CONTENT))
}

fn show(named: &NamedRole) -> Value {
    json!({
        "name": named.name.as_str(),
        "description": named.role.description,
        "is_admin": named.role.is_admin,
        "permissions": named.role.permissions,
    })
}
