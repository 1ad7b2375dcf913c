//! What can be asked of a vault by somebody with a token: one type an operation, so that a proof for
//! one cannot be taken for another.

use strongroom_core::{Action, NodeName, Role, RoleName, SecretName, TokenName};

/// Something a token may or may not be allowed to do.
pub trait Operation: Send + 'static {
    /// Its word in the audit trail.
    const AUDIT: &'static str;
    /// What it is done to.
    type Target: Clone + Send + Sync + 'static;
    /// Whether a role may do it to this target.
    fn permits(role: &Role, target: &Self::Target) -> bool;
    /// The target, as the audit trail writes it.
    fn describe(target: &Self::Target) -> String;
}

macro_rules! secret_operation {
    ($(#[$doc:meta])* $name:ident, $audit:literal, $action:expr) => {
        $(#[$doc])*
        pub enum $name {}
        impl Operation for $name {
            const AUDIT: &'static str = $audit;
            type Target = SecretName;
            fn permits(role: &Role, target: &SecretName) -> bool {
                role.may($action, target)
            }
            fn describe(target: &SecretName) -> String {
                target.to_string()
            }
        }
    };
}

macro_rules! admin_operation {
    ($(#[$doc:meta])* $name:ident, $audit:literal, $target:ty, $describe:expr) => {
        $(#[$doc])*
        pub enum $name {}
        impl Operation for $name {
            const AUDIT: &'static str = $audit;
            type Target = $target;
            fn permits(role: &Role, _: &$target) -> bool {
                role.is_admin
            }
            fn describe(target: &$target) -> String {
                let describe: fn(&$target) -> String = $describe;
                describe(target)
            }
        }
    };
}

secret_operation!(
    /// Create a secret.
    Create, "secret.create", Action::Create
);
secret_operation!(
    /// Change a secret's value or settings.
    Update, "secret.update", Action::Update
);
secret_operation!(
    /// Delete a secret with all its versions.
    Delete, "secret.delete", Action::Delete
);

secret_operation!(
    /// Rotate an automatic secret.
    Rotate, "secret.rotate", Action::Rotate
);

secret_operation!(
    /// Apply the pending value of a secret to its target.
    ApplyToTarget, "target.apply", Action::Rotate
);

/// List secrets: open to every role, which sees what it may act on.
pub enum ListSecrets {}
impl Operation for ListSecrets {
    const AUDIT: &'static str = "secret.list";
    type Target = ();
    fn permits(_: &Role, (): &()) -> bool {
        true
    }
    fn describe((): &()) -> String {
        String::new()
    }
}

admin_operation!(
    /// Make a role.
    CreateRole, "role.create", RoleName, ToString::to_string
);
admin_operation!(
    /// Look at roles.
    ReadRoles, "role.read", Option<RoleName>, |name| name.as_ref().map(ToString::to_string).unwrap_or_default()
);
admin_operation!(
    /// Change what a role may do.
    ChangeRole, "role.update", RoleName, ToString::to_string
);
admin_operation!(
    /// Take a role away.
    DeleteRole, "role.delete", RoleName, ToString::to_string
);
admin_operation!(
    /// Make a token.
    CreateToken, "token.create", TokenName, ToString::to_string
);
admin_operation!(
    /// Look at tokens.
    ListTokens, "token.list", (), |()| String::new()
);
admin_operation!(
    /// End a token.
    RevokeToken, "token.revoke", TokenName, ToString::to_string
);
admin_operation!(
    /// Look at the cluster.
    ViewCluster, "cluster.read", (), |()| String::new()
);
admin_operation!(
    /// Pass leadership on, to a node or to whoever is fit.
    HandOver, "cluster.handover", Option<NodeName>, |to| to.as_ref().map(ToString::to_string).unwrap_or_default()
);
admin_operation!(
    /// Let nodes of a name into the cluster.
    AddNode, "cluster.add", NodeName, ToString::to_string
);
admin_operation!(
    /// Remove a node from the cluster, and keep it out.
    RemoveNode, "cluster.remove", NodeName, ToString::to_string
);
admin_operation!(
    /// Take a voter that has long been silent out of the membership.
    DropDeadNode, "cluster.drop_dead", String, String::clone
);
admin_operation!(
    /// Look at the key service.
    ViewKms, "kms.read", (), |()| String::new()
);
admin_operation!(
    /// Take a backup.
    TakeBackup, "backup.read", (), |()| String::new()
);
admin_operation!(
    /// Replace everything by a backup.
    Restore, "backup.restore", (), |()| String::new()
);
admin_operation!(
    /// Read the audit trail.
    ReadAudit, "audit.read", (), |()| String::new()
);
admin_operation!(
    /// Begin or end a re-wrap pass.
    Rewrap,
    "kms.rewrap",
    (),
    |()| String::new()
);
admin_operation!(
    /// Look at how re-wrapping stands.
    ViewRewrap,
    "kms.rewrap_status",
    (),
    |()| String::new()
);
