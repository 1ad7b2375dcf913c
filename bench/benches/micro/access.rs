//! Whether a role of 1,000 permissions, or of as many rules, lets an action through.

use std::hint::black_box;

use criterion::Criterion;
use strongroom_core::{Action, Capability, PathPattern, Permission, Role, Rule, SecretName};

const RULES: usize = 1_000;

fn pattern(text: &str) -> PathPattern {
    PathPattern::parse(text).unwrap()
}

/// The native spelling.
fn permissions() -> Role {
    let permission = |number| Permission {
        action: Action::Read,
        path: pattern(&format!("team-{number:04}/service/*")),
    };
    Role {
        description: String::new(),
        is_admin: false,
        permissions: (0..RULES).map(permission).collect(),
        rules: Vec::new(),
    }
}

/// The Vault spelling.
fn rules() -> Role {
    let rule = |number| Rule {
        path: pattern(&format!("secret/data/team-{number:04}/service/*")),
        capabilities: vec![Capability::Read],
        deny: false,
    };
    Role {
        permissions: Vec::new(),
        rules: (0..RULES).map(rule).collect(),
        ..permissions()
    }
}

pub(crate) fn benches(criterion: &mut Criterion) {
    for (spelling, role) in [("permissions", permissions()), ("rules", rules())] {
        for (what, team, expected) in [
            ("first", 0, true),
            ("last", RULES - 1, true),
            ("none", RULES, false),
        ] {
            let name = SecretName::parse(&format!("secret/team-{team:04}/service/db")).unwrap();
            assert_eq!(role.may(Action::Read, &name), expected);
            criterion.bench_function(&format!("access/1000-{spelling}/{what}"), |bencher| {
                bencher.iter(|| role.may(Action::Read, black_box(&name)));
            });
        }
    }
}
