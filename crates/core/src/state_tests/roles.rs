//! Roles: `admin` cannot be touched, imitated or lost.

use super::*;
use crate::{Action, Capability, PathPattern, Permission, Rule, limits};

fn make(name: &str, is_admin: bool) -> Command {
    Command::CreateRole {
        name: role(name),
        description: String::new(),
        is_admin,
        permissions: vec![],
        rules: vec![],
    }
}

fn permission() -> Permission {
    Permission {
        action: Action::Update,
        path: PathPattern::parse("app/*").unwrap(),
    }
}

fn rule(capabilities: usize) -> Rule {
    Rule {
        path: PathPattern::parse("secret/data/app/*").unwrap(),
        capabilities: vec![Capability::Read; capabilities],
        deny: false,
    }
}

fn grant(name: &str, to: &str, tag: u8, ttl_secs: Option<u64>) -> Command {
    Command::CreateToken {
        name: token(name),
        fingerprint: print(tag),
        role: role(to),
        ttl_secs,
        bound_cidrs: Allowlist::default(),
        num_uses: None,
    }
}

#[test]
fn a_role_is_made_once_changed_and_taken_away() {
    let mut sut = Sut::new();
    sut.ok(make("dev", false));
    sut.refused(make("dev", true), Rejection::AlreadyExists);
    assert!(!sut.state.role(&role("dev")).unwrap().is_admin);
    let (permissions, rules) = (vec![permission()], vec![rule(1)]);
    sut.ok(Command::SetPermissions {
        name: role("dev"),
        permissions: permissions.clone(),
    });
    sut.ok(Command::SetRules {
        name: role("dev"),
        rules: rules.clone(),
    });
    let dev = sut.state.role(&role("dev")).unwrap();
    assert_eq!((&dev.permissions, &dev.rules), (&permissions, &rules));
    let names: Vec<_> = sut
        .state
        .roles_after(None)
        .map(|(n, _)| n.as_str())
        .collect();
    assert_eq!(names, ["admin", "dev"]);
    assert_eq!(sut.state.roles_after(Some(&role("admin"))).count(), 1);
    sut.ok(Command::DeleteRole { name: role("dev") });
    sut.refused(
        Command::DeleteRole { name: role("dev") },
        Rejection::NotFound,
    );
    sut.refused(
        Command::SetPermissions {
            name: role("dev"),
            permissions,
        },
        Rejection::NotFound,
    );
    sut.refused(
        Command::SetRules {
            name: role("dev"),
            rules,
        },
        Rejection::NotFound,
    );
}

#[test]
fn admin_is_protected_and_so_are_names_that_look_like_it() {
    let mut sut = Sut::new();
    let name = || role("admin");
    sut.refused(Command::DeleteRole { name: name() }, Rejection::Protected);
    sut.refused(
        Command::SetPermissions {
            name: name(),
            permissions: vec![],
        },
        Rejection::Protected,
    );
    sut.refused(
        Command::SetRules {
            name: name(),
            rules: vec![],
        },
        Rejection::Protected,
    );
    sut.refused(make("admin", false), Rejection::AlreadyExists);
    for name in ["Admin", "ADMIN", "aDmIn"] {
        sut.refused(make(name, false), Rejection::Protected);
    }
    sut.ok(make("administrator", false));
    assert!(sut.state.role(&name()).unwrap().is_admin);
}

#[test]
fn a_role_with_a_live_token_stays() {
    let mut sut = Sut::new();
    let gone = || Command::DeleteRole { name: role("dev") };
    sut.ok(make("dev", false));
    sut.ok(grant("t", "dev", 1, Some(10)));
    sut.refused(gone(), Rejection::InUse);
    sut.pass(10);
    // Expired by the log's time, although no tick has come yet.
    sut.ok(gone());
    sut.ok(make("dev", false));
    assert!(sut.state.grant(&print(1), LogTime(0)).is_none());
    sut.ok(grant("u", "dev", 2, None));
    sut.refused(gone(), Rejection::InUse);
    sut.ok(Command::RevokeToken { name: token("u") });
    sut.ok(gone());
}

#[test]
fn roles_have_limits() {
    let mut sut = Sut::new();
    let with = |description: usize, permissions: usize, rules: usize, capabilities: usize| {
        Command::CreateRole {
            name: role("dev"),
            description: "d".repeat(description),
            is_admin: false,
            permissions: vec![permission(); permissions],
            rules: vec![rule(capabilities); rules],
        }
    };
    let (text, most) = (limits::DESCRIPTION_BYTES, limits::ROLE_RULES);
    sut.refused(with(text + 1, 0, 0, 0), Rejection::Invalid);
    sut.refused(with(0, most + 1, 0, 0), Rejection::Invalid);
    sut.refused(with(0, most, 1, 0), Rejection::Invalid);
    // There are seven capabilities; a rule that lists more could be of any size.
    sut.refused(with(0, 0, 1, 8), Rejection::Invalid);
    sut.ok(with(text, most - 1, 1, 7));
    let (name, rules) = (role("dev"), vec![rule(1); 2]);
    sut.refused(Command::SetRules { name, rules }, Rejection::Invalid);
    let (name, permissions) = (role("dev"), vec![permission(); most]);
    sut.refused(
        Command::SetPermissions { name, permissions },
        Rejection::Invalid,
    );
}
