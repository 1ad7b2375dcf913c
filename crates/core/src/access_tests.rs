//! The access engine against examples and against a slower model of itself.

use proptest::prelude::*;

use super::*;

fn name(text: &str) -> SecretName {
    SecretName::parse(text).unwrap()
}

fn role(permissions: &[(Action, &str)], rules: &[(&str, &[Capability], bool)]) -> Role {
    Role {
        description: String::new(),
        is_admin: false,
        permissions: permissions
            .iter()
            .map(|(action, path)| Permission {
                action: *action,
                path: PathPattern::parse(path).unwrap(),
            })
            .collect(),
        rules: rules
            .iter()
            .map(|(path, capabilities, deny)| Rule {
                path: PathPattern::parse(path).unwrap(),
                capabilities: capabilities.to_vec(),
                deny: *deny,
            })
            .collect(),
    }
}

#[test]
fn a_permission_covers_its_paths_and_no_others() {
    let role = role(
        &[(Action::Update, "app/*"), (Action::Read, "db/password")],
        &[],
    );
    assert!(role.may(Action::Update, &name("secret/app/x")));
    assert!(role.may(Action::Update, &name("secret/app/x/y")));
    assert!(!role.may(Action::Update, &name("secret/app")));
    assert!(!role.may(Action::Update, &name("secret/application")));
    assert!(!role.may(Action::Delete, &name("secret/app/x")));
    assert!(!role.may(Action::Update, &name("other/app/x")));
    assert!(role.may(Action::Read, &name("secret/db/password")));
    assert!(!role.may(Action::Read, &name("secret/db/password2")));
    assert!(role.may_act_on(&name("secret/db/password")));
    assert!(!role.may_act_on(&name("secret/db/passwor")));
}

#[test]
fn any_action_is_every_action_and_nothing_sees_without_a_permission() {
    let all = role(&[(Action::Any, "*")], &[]);
    let none = role(&[], &[]);
    for action in Action::SINGLE {
        assert!(all.may(action, &name("secret/x")));
        assert!(!none.may(action, &name("secret/x")));
    }
    assert!(!none.may_act_on(&name("secret/x")));
}

#[test]
fn deny_wins_over_both_spellings() {
    let role = role(
        &[(Action::Any, "*")],
        &[
            ("secret/data/app/*", &[Capability::Read], false),
            ("secret/data/app/root", &[], true),
            ("secret/metadata/app/*", &[], true),
        ],
    );
    assert!(role.may(Action::Read, &name("secret/app/x")));
    assert!(!role.may(Action::Read, &name("secret/app/root")));
    assert!(!role.may(Action::List, &name("secret/app/x")));
    assert!(!role.may(Action::Delete, &name("secret/app/x")));
}

#[test]
fn patterns_with_another_meaning_are_refused() {
    for bad in [
        "",
        "a/*/b",
        "**",
        "a/../b",
        "a//b",
        "/a",
        "a/",
        "a b",
        "../*",
        "a/%2e%2e/*",
    ] {
        assert!(PathPattern::parse(bad).is_err(), "{bad:?}");
    }
    for good in ["*", "a", "a/b", "a/*", "a*", "a/b*"] {
        assert!(PathPattern::parse(good).is_ok(), "{good:?}");
    }
}

fn any_path() -> impl Strategy<Value = String> {
    proptest::collection::vec("[ab]{1,2}", 1..4).prop_map(|segments| segments.join("/"))
}

fn any_rule() -> impl Strategy<Value = (String, bool, bool, bool)> {
    (
        any_path(),
        0usize..3,
        any::<bool>(),
        proptest::bool::weighted(0.3),
        any::<bool>(),
    )
        .prop_map(|(path, resource, star, deny, read)| {
            let resource = ["data", "metadata", "*"][resource];
            let text = match resource {
                "*" => "secret/*".to_owned(),
                _ => format!("secret/{resource}/{path}{}", if star { "*" } else { "" }),
            };
            (text, deny, read, star)
        })
}

proptest! {
    /// What a list shows is what some access is allowed to.
    #[test]
    fn may_act_on_is_any_access(
        permissions in proptest::collection::vec((0usize..7, any_path(), any::<bool>()), 0..4),
        rules in proptest::collection::vec(any_rule(), 0..6),
        path in any_path(),
    ) {
        let actions = [Action::Create, Action::Update, Action::Delete, Action::Rotate, Action::Read, Action::List, Action::Any];
        let role = Role {
            description: String::new(),
            is_admin: false,
            permissions: permissions.iter().map(|(action, path, star)| Permission {
                action: actions[*action],
                path: PathPattern::parse(&format!("{path}{}", if *star { "*" } else { "" })).unwrap(),
            }).collect(),
            rules: rules.iter().map(|(text, deny, read, _)| Rule {
                path: PathPattern::parse(text).unwrap(),
                capabilities: if *read { vec![Capability::Read] } else { vec![] },
                deny: *deny,
            }).collect(),
        };
        let name = SecretName::in_mount("secret", &path).unwrap();
        let slow = Resource::ALL.into_iter().any(|resource| {
            Capability::ALL.into_iter().any(|capability| role.allows(Access { capability, resource }, &name))
        });
        prop_assert_eq!(role.may_act_on(&name), slow);
    }

    /// The engine agrees with a model that joins the path and compares text.
    #[test]
    fn agrees_with_the_model(
        rules in proptest::collection::vec(any_rule(), 0..6),
        path in any_path(),
        metadata in any::<bool>(),
    ) {
        let role = Role {
            description: String::new(),
            is_admin: false,
            permissions: vec![],
            rules: rules.iter().map(|(text, deny, read, _)| Rule {
                path: PathPattern::parse(text).unwrap(),
                capabilities: if *read { vec![Capability::Read] } else { vec![Capability::Update] },
                deny: *deny,
            }).collect(),
        };
        let resource = if metadata { Resource::Metadata } else { Resource::Data };
        let joined = format!("secret/{}/{path}", resource.as_str());
        let hit = |text: &str| match text.strip_suffix('*') {
            Some(prefix) => joined.starts_with(prefix),
            None => joined == text,
        };
        let denied = rules.iter().any(|(text, deny, _, _)| *deny && hit(text));
        let allowed = rules.iter().any(|(text, _, read, _)| *read && hit(text));
        let access = Access { capability: Capability::Read, resource };
        prop_assert_eq!(
            role.allows(access, &SecretName::in_mount("secret", &path).unwrap()),
            allowed && !denied
        );
    }
}
