//! Every variant of everything that is stored or sent.
//!
//! A new variant does not compile until it has a line in one of the matches here. Give it a value in
//! `values.rs` too, and a file by `UPDATE_GOLDEN=1 cargo test -p strongroom-core --test golden`.

use bytes::Bytes;
use strongroom_core::{
    Action, Applied, Attempt, Capability, Command, Effect, Rejection, RequestId, RestoreId,
    TokenName,
};

/// The names of all commands' files; `command_file` has the same.
pub(crate) const COMMANDS: [&str; 32] = [
    "form",
    "bootstrap",
    "tick",
    "create_mount",
    "tune_mount",
    "delete_mount",
    "create_secret",
    "put_secret",
    "delete_secret",
    "delete_versions",
    "undelete_versions",
    "destroy_versions",
    "create_role",
    "set_permissions",
    "set_rules",
    "delete_role",
    "create_token",
    "revoke_token",
    "use_token",
    "adopt_watermark",
    "begin_pass",
    "rewrap_version",
    "end_pass",
    "begin_rotation",
    "mark_rotation",
    "end_rotation",
    "raise_format",
    "begin_restore",
    "restore_part",
    "end_restore",
    "admit_node",
    "put_value",
];

pub(crate) fn command_file(command: &Command) -> &'static str {
    match command {
        Command::Form { .. } => "form",
        Command::Bootstrap { .. } => "bootstrap",
        Command::Tick => "tick",
        Command::CreateMount { .. } => "create_mount",
        Command::TuneMount { .. } => "tune_mount",
        Command::DeleteMount { .. } => "delete_mount",
        Command::CreateSecret { .. } => "create_secret",
        Command::PutSecret { .. } => "put_secret",
        Command::DeleteSecret { .. } => "delete_secret",
        Command::DeleteVersions { .. } => "delete_versions",
        Command::UndeleteVersions { .. } => "undelete_versions",
        Command::DestroyVersions { .. } => "destroy_versions",
        Command::CreateRole { .. } => "create_role",
        Command::SetPermissions { .. } => "set_permissions",
        Command::SetRules { .. } => "set_rules",
        Command::DeleteRole { .. } => "delete_role",
        Command::CreateToken { .. } => "create_token",
        Command::RevokeToken { .. } => "revoke_token",
        Command::UseToken { .. } => "use_token",
        Command::AdoptWatermark { .. } => "adopt_watermark",
        Command::BeginPass { .. } => "begin_pass",
        Command::RewrapVersion { .. } => "rewrap_version",
        Command::EndPass { .. } => "end_pass",
        Command::BeginRotation { .. } => "begin_rotation",
        Command::MarkRotation { .. } => "mark_rotation",
        Command::EndRotation { .. } => "end_rotation",
        Command::RaiseFormat { .. } => "raise_format",
        Command::BeginRestore { .. } => "begin_restore",
        Command::RestorePart { .. } => "restore_part",
        Command::EndRestore { .. } => "end_restore",
        Command::AdmitNode { .. } => "admit_node",
        Command::PutValue { .. } => "put_value",
    }
}

/// The names of all results' files; `applied_file` has the same.
pub(crate) const APPLIED: [&str; 17] = [
    "done",
    "secret",
    "token",
    "pass",
    "already_exists",
    "not_found",
    "cas_mismatch",
    "cas_required",
    "version_taken",
    "in_use",
    "protected",
    "invalid",
    "bootstrap_closed",
    "token_spent",
    "formation",
    "outcome_forgotten",
    "access_changed",
];

pub(crate) fn applied_file(applied: &Applied) -> &'static str {
    match applied {
        Applied::Effect(effect) => match effect {
            Effect::Done => "done",
            Effect::Secret(_) => "secret",
            Effect::Token { .. } => "token",
            Effect::Pass { .. } => "pass",
        },
        Applied::Rejected(rejection) => match rejection {
            Rejection::AlreadyExists => "already_exists",
            Rejection::NotFound => "not_found",
            Rejection::CasMismatch { .. } => "cas_mismatch",
            Rejection::CasRequired => "cas_required",
            Rejection::VersionTaken { .. } => "version_taken",
            Rejection::InUse => "in_use",
            Rejection::Protected => "protected",
            Rejection::Invalid => "invalid",
            Rejection::BootstrapClosed => "bootstrap_closed",
            Rejection::TokenSpent => "token_spent",
            Rejection::Formation => "formation",
            Rejection::OutcomeForgotten => "outcome_forgotten",
            Rejection::AccessChanged => "access_changed",
        },
    }
}

/// Every action and every capability: they stand in roles, so a new one must be in a file as well.
pub(crate) fn all_actions() -> Vec<Action> {
    use Action as A;
    let _: fn(A) = |action| match action {
        A::Create | A::Update | A::Delete | A::Rotate | A::Read | A::List | A::Any => (),
    };
    vec![
        A::Create,
        A::Update,
        A::Delete,
        A::Rotate,
        A::Read,
        A::List,
        A::Any,
    ]
}

pub(crate) fn all_capabilities() -> Vec<Capability> {
    use Capability as C;
    let _: fn(C) = |capability| match capability {
        C::Create | C::Read | C::Update | C::Patch | C::Delete | C::List | C::Rotate => (),
    };
    vec![
        C::Create,
        C::Read,
        C::Update,
        C::Patch,
        C::Delete,
        C::List,
        C::Rotate,
    ]
}

/// Attempts for so many commands, and one command that is none.
pub(crate) fn attempts(count: usize) -> Vec<Option<Attempt>> {
    let attempt = |n: usize| Attempt {
        request: RequestId([n as u8; 16]),
        since: 1_000_000 + n as u64,
    };
    (0..count).map(|n| (n != 1).then(|| attempt(n))).collect()
}

/// The commands of a restore.
pub(crate) fn restore_commands() -> Vec<Command> {
    let id = RestoreId(std::array::from_fn(|at| at as u8));
    let end = |force, keep: Option<&str>| Command::EndRestore {
        id,
        parts: 300,
        sha256: [0xab; 32],
        force,
        keep: keep.map(|name| TokenName::parse(name).unwrap()),
    };
    vec![
        Command::BeginRestore { id },
        Command::RestorePart {
            id,
            number: 299,
            bytes: Bytes::from_static(b"records"),
        },
        end(false, None),
        end(true, Some("bootstrap-admin")),
    ]
}
