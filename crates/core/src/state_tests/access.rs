//! Writes that say on which access they were allowed.

use super::*;
use crate::{Applied, codec::ACCESS, command::NewVersion};

fn value(state: &State, access: u64) -> Command {
    value_until(state, access, None)
}

fn value_until(state: &State, access: u64, until: Option<LogTime>) -> Command {
    let name = secret("secret/a");
    let number = state.secret(&name).unwrap().current_version + 1;
    Command::PutValue {
        name,
        version: NewVersion {
            number,
            sealed: sealed(number),
        },
        access,
        until,
    }
}

/// What tokens may do, by all of them: uses that are left and taken change nothing of it.
fn may(state: &State) -> Vec<(TokenName, crate::TokenGrant)> {
    let all = state.tokens.iter();
    all.map(|(name, grant)| {
        let uses_left = grant.uses_left.map(|_| 1);
        let grant = crate::TokenGrant::clone(grant);
        (name.clone(), crate::TokenGrant { uses_left, ..grant })
    })
    .collect()
}

/// Of any command: access moves when a role or a token does, and when it is kept from the first time.
pub(super) fn check(before: &State, command: &Command, after: &State, applied: &Applied) {
    let same = before.roles == after.roles && may(before) == may(after);
    let kept = after.format() >= ACCESS;
    assert_eq!(after.access().is_some(), kept);
    let moved = kept && (!same || before.access().is_none());
    let now = after.position().unwrap().index;
    let expected = if moved { Some(now) } else { before.access() };
    assert_eq!(after.access(), expected, "{command:?}");
    if let Command::PutValue {
        access,
        until,
        name,
        ..
    } = command
    {
        let refused = *applied == Applied::Rejected(Rejection::AccessChanged);
        let target = before
            .secret(name)
            .and_then(|found| found.settings.kind.target());
        let lives = until.is_none_or(|until| after.time() < until);
        let holds = lives && before.access() == Some(*access) && target.is_none();
        assert_eq!(refused, before.cluster_id().is_some() && !holds);
    }
}

/// A formed state with a secret, a role and a token, whose access is kept.
fn kept() -> Sut {
    let mut sut = Sut::new();
    sut.ok(Command::RaiseFormat { to: ACCESS });
    sut.ok(create("secret/a", SecretSettings::manual(), Some(1)));
    sut.ok(new_role("dev"));
    sut.ok(new_token("t", 1));
    sut
}

fn new_role(name: &str) -> Command {
    Command::CreateRole {
        name: role(name),
        description: String::new(),
        is_admin: false,
        permissions: vec![],
        rules: vec![],
    }
}

fn new_token(name: &str, tag: u8) -> Command {
    Command::CreateToken {
        name: token(name),
        fingerprint: print(tag),
        role: role("dev"),
        ttl_secs: Some(10),
        bound_cidrs: Allowlist::default(),
        num_uses: Some(2),
    }
}

#[test]
fn a_write_takes_effect_as_long_as_nothing_changes_what_tokens_may_do() {
    let mut sut = kept();
    let access = sut.state.access().unwrap();
    sut.ok(put("secret/b", 1, None));
    sut.ok(value(&sut.state, access));
    sut.ok(value(&sut.state, access));
    assert_eq!(sut.state.access(), Some(access));
    let changes = [
        new_role("ops"),
        Command::SetPermissions {
            name: role("dev"),
            permissions: vec![crate::Permission {
                action: crate::Action::Read,
                path: crate::PathPattern::parse("a").unwrap(),
            }],
        },
        Command::SetRules {
            name: role("dev"),
            rules: vec![crate::Rule {
                path: crate::PathPattern::parse("a").unwrap(),
                capabilities: vec![crate::Capability::Read],
                deny: true,
            }],
        },
        Command::DeleteRole { name: role("ops") },
        new_token("u", 2),
        Command::RevokeToken { name: token("t") },
    ];
    for change in changes {
        let access = sut.state.access().unwrap();
        sut.ok(value(&sut.state, access));
        sut.ok(change.clone());
        let now = sut.state.access().unwrap();
        assert!(now > access, "{change:?}");
        sut.refused(value(&sut.state, access), Rejection::AccessChanged);
        sut.ok(value(&sut.state, now));
    }
    // What falls due is a change as well: the token `u` ends.
    let access = sut.state.access().unwrap();
    sut.pass(10);
    sut.ok(Command::Tick);
    sut.refused(value(&sut.state, access), Rejection::AccessChanged);
}

/// Whoever counts uses does so before the effect; what others may do is as before, until the last is taken.
#[test]
fn a_use_changes_nothing_for_others_and_the_end_of_a_token_does() {
    let mut sut = kept();
    let access = sut.state.access().unwrap();
    let fingerprint = print(1);
    sut.ok(Command::UseToken { fingerprint });
    assert_eq!(sut.state.access(), Some(access));
    sut.ok(Command::UseToken { fingerprint });
    sut.refused(value(&sut.state, access), Rejection::AccessChanged);
}

/// By the time of the log: a leader whose clock is behind may have decided that it lives.
#[test]
fn a_token_that_has_expired_writes_nothing() {
    let mut sut = kept();
    let access = sut.state.access().unwrap();
    let until = Some(sut.now().plus_secs(5));
    sut.pass(4);
    sut.ok(value_until(&sut.state, access, until));
    sut.pass(1);
    let late = value_until(&sut.state, access, until);
    sut.refused(late, Rejection::AccessChanged);
    sut.ok(value(&sut.state, access));
}

#[test]
fn a_secret_that_has_got_a_target_takes_no_value_that_was_not_tried_there() {
    let mut sut = kept();
    let access = sut.state.access().unwrap();
    let put = value(&sut.state, access);
    let name = secret("secret/a");
    sut.ok(Command::DeleteSecret { name });
    let targeted = SecretSettings {
        kind: with_target(automatic(10).kind),
        ..automatic(10)
    };
    sut.ok(create("secret/a", targeted, Some(1)));
    assert_eq!(sut.state.access(), Some(access));
    sut.refused(put, Rejection::AccessChanged);
}

#[test]
fn nothing_is_allowed_on_an_access_that_not_every_node_keeps() {
    let mut sut = Sut::new();
    sut.ok(create("secret/a", SecretSettings::manual(), Some(1)));
    sut.ok(new_role("dev"));
    assert_eq!(sut.state.access(), None);
    for access in [0, 1, sut.state.position().unwrap().index] {
        sut.refused(value(&sut.state, access), Rejection::AccessChanged);
    }
    sut.ok(Command::RaiseFormat { to: ACCESS });
    let raised = sut.state.position().unwrap().index;
    assert_eq!(sut.state.access(), Some(raised));
    sut.ok(value(&sut.state, raised));
}

#[test]
fn access_outlives_snapshots_and_is_no_part_of_a_backup() {
    let sut = kept();
    assert_eq!(rebuilt(&sut.state).access(), sut.state.access());
    let mut decoder = StateDecoder::default();
    for record in crate::codec::encode_content(&sut.state) {
        decoder.push(&record).unwrap();
    }
    assert_eq!(decoder.finish().unwrap().access(), None);
}
