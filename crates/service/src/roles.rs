//! Roles: the use cases.

use std::sync::Arc;

use strongroom_core::{Command, Permission, Role, RoleName, limits};

use crate::{
    authorize::Authorized,
    error::VaultError,
    operation::{ChangeRole, CreateRole, DeleteRole, ReadRoles},
    page::Page,
    vault::Vault,
};

/// A role with its name.
#[derive(Clone, Debug)]
pub struct NamedRole {
    /// Its name.
    pub name: RoleName,
    /// What it may do.
    pub role: Arc<Role>,
}

impl Vault {
    /// Makes a role.
    ///
    /// # Errors
    /// [`VaultError::AlreadyExists`]; [`VaultError::Invalid`] for a name that looks like `admin` or
    /// too many permissions; the replica's errors; [`VaultError::AuditUnavailable`].
    pub async fn create_role(
        &self,
        permit: Authorized<CreateRole>,
        role: Role,
    ) -> Result<NamedRole, VaultError> {
        let Role {
            description,
            is_admin,
            permissions,
            rules,
        } = role.clone();
        let name = permit.target.clone();
        let command = Command::CreateRole {
            name: name.clone(),
            description,
            is_admin,
            permissions,
            rules,
        };
        let made_before = Self::done_before(&permit.context, &permit.state).is_some();
        self.audited(&permit, 201, self.submit(&permit.context, command))
            .await?;
        // What was made then, whatever is asked for now.
        let before = permit.state.role(&name).filter(|_| made_before);
        let role = before.map_or_else(|| Arc::new(role), Arc::clone);
        Ok(NamedRole { name, role })
    }

    /// One role.
    ///
    /// # Errors
    /// [`VaultError::NotFound`], [`VaultError::AuditUnavailable`].
    pub async fn read_role(
        &self,
        permit: Authorized<ReadRoles>,
        name: &RoleName,
    ) -> Result<NamedRole, VaultError> {
        let role = permit.state.role(name).cloned();
        self.audited_look(&permit, role.is_some()).await?;
        let role = role.ok_or(VaultError::NotFound)?;
        Ok(NamedRole {
            name: name.clone(),
            role,
        })
    }

    /// All roles, by page.
    ///
    /// # Errors
    /// [`VaultError::AuditUnavailable`].
    pub async fn list_roles(
        &self,
        permit: Authorized<ReadRoles>,
        prefix: &str,
        after: Option<&RoleName>,
        limit: usize,
    ) -> Result<Page<NamedRole>, VaultError> {
        let rows = permit
            .state
            .roles_after(after)
            .filter(|(name, _)| name.as_str().starts_with(prefix))
            .map(|(name, role)| NamedRole {
                name: name.clone(),
                role: Arc::clone(role),
            });
        let limit = limit.clamp(1, limits::PAGE_ROWS);
        let page = Page::take(rows, limit, |row| row.name.to_string());
        self.audited_look(&permit, true).await?;
        Ok(page)
    }

    /// Replaces what a role may do.
    ///
    /// # Errors
    /// [`VaultError::NotFound`]; [`VaultError::Invalid`] for the role `admin`; the replica's errors;
    /// [`VaultError::AuditUnavailable`].
    pub async fn set_permissions(
        &self,
        mut permit: Authorized<ChangeRole>,
        permissions: Vec<Permission>,
    ) -> Result<NamedRole, VaultError> {
        let name = permit.target.clone();
        // It replaces what is there: to do it again is to do it once, and the same key with other
        // permissions must not be taken for the first.
        permit.context.request = None;
        let command = Command::SetPermissions {
            name: name.clone(),
            permissions: permissions.clone(),
        };
        self.audited(&permit, 200, self.submit(&permit.context, command))
            .await?;
        // Not there when the caller was authorized, and there now: what else it says is not known.
        let known = permit.state.role(&name).ok_or(VaultError::OutcomeUnknown)?;
        let role = Arc::new(Role {
            permissions,
            ..Role::clone(known)
        });
        Ok(NamedRole { name, role })
    }

    /// Takes a role away.
    ///
    /// # Errors
    /// [`VaultError::NotFound`]; [`VaultError::InUse`] while a live token has it;
    /// [`VaultError::Invalid`] for the role `admin`; the replica's errors;
    /// [`VaultError::AuditUnavailable`].
    pub async fn delete_role(&self, permit: Authorized<DeleteRole>) -> Result<(), VaultError> {
        let command = Command::DeleteRole {
            name: permit.target.clone(),
        };
        self.audited(&permit, 204, self.submit(&permit.context, command))
            .await
            .map(|_| ())
    }
}
