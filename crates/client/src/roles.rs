//! Roles.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::{Client, ClientError, Listing, Page, call::Call, names};

const ROLES: &str = "/v1/roles";

/// An action on a path.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Permission {
    /// `create`, `update`, `delete`, `rotate`, `read`, `list` or `*`.
    pub action: String,
    /// An exact name, a prefix that ends in `*`, or `*`.
    pub path: String,
}

/// A role.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Role {
    /// Its name.
    pub name: String,
    /// For people.
    pub description: String,
    /// Whether it may do everything.
    pub is_admin: bool,
    /// What it may do otherwise.
    pub permissions: Vec<Permission>,
}

/// A role to be made.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize)]
pub struct NewRole {
    /// Its name.
    pub name: String,
    /// For people.
    pub description: String,
    /// Whether it may do everything.
    pub is_admin: bool,
    /// What it may do otherwise.
    pub permissions: Vec<Permission>,
}

impl Client {
    /// Makes a role.
    ///
    /// # Errors
    /// See [`ClientError`]; the code is `already_exists` if it is there.
    pub async fn create_role(&self, role: &NewRole) -> Result<Role, ClientError> {
        self.ask(Call::post(ROLES).json(0, role)?).await
    }

    /// A page of the roles.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn roles(&self, page: &Page) -> Result<Listing<Role>, ClientError> {
        #[derive(Deserialize)]
        struct Rows {
            roles: Vec<Role>,
            next_after: Option<String>,
        }
        let rows: Rows = self.ask(Call::get(page.query(ROLES))).await?;
        Ok(Listing {
            rows: rows.roles,
            next_after: rows.next_after,
        })
    }

    /// One role.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn role(&self, name: &str) -> Result<Role, ClientError> {
        self.ask(Call::get(names::label(ROLES, name)?)).await
    }

    /// Replaces all permissions of a role.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn set_permissions(
        &self,
        name: &str,
        permissions: &[Permission],
    ) -> Result<Role, ClientError> {
        let path = format!("{}/permissions", names::label(ROLES, name)?);
        let body = BTreeMap::from([("permissions", permissions)]);
        self.ask(Call::put(path).json(0, &body)?).await
    }

    /// Deletes a role that no live token has.
    ///
    /// # Errors
    /// See [`ClientError`]; the code is `in_use` while one has it.
    pub async fn delete_role(&self, name: &str) -> Result<(), ClientError> {
        let call = Call::delete(names::label(ROLES, name)?);
        self.send(call).await.map(drop)
    }
}
