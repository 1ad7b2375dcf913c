//! Tokens: absolute expiry, uses, revocation, and the bootstrap that closes for ever.

use super::*;
use crate::limits;

fn grant(name: &str, tag: u8, ttl_secs: Option<u64>, num_uses: Option<u64>) -> Command {
    Command::CreateToken {
        name: token(name),
        fingerprint: print(tag),
        role: role("dev"),
        ttl_secs,
        bound_cidrs: Allowlist::default(),
        num_uses,
    }
}

fn use_it(tag: u8) -> Command {
    Command::UseToken {
        fingerprint: print(tag),
    }
}

fn revoke(name: &str) -> Command {
    Command::RevokeToken { name: token(name) }
}

fn with_dev() -> Sut {
    let mut sut = Sut::new();
    sut.ok(Command::CreateRole {
        name: role("dev"),
        description: String::new(),
        is_admin: false,
        permissions: vec![],
        rules: vec![],
    });
    sut
}

fn live(sut: &Sut, tag: u8) -> bool {
    sut.state.grant(&print(tag), sut.now()).is_some()
}

#[test]
fn expiry_is_absolute_and_needs_no_tick() {
    let mut sut = with_dev();
    let expires_at = Some(sut.now().plus_secs(10));
    assert_eq!(
        sut.ok(grant("t", 1, Some(10), None)),
        Effect::Token { expires_at }
    );
    assert_eq!(sut.state.next_deadline(), expires_at);
    sut.pass(5);
    sut.ok(use_it(1));
    sut.ok(use_it(1));
    assert_eq!(sut.state.token(&token("t")).unwrap().expires_at, expires_at);
    assert!(live(&sut, 1));
    sut.pass(5);
    // The asking node's clock alone is enough, and so is the log's.
    assert!(sut.state.time() < sut.now() && !live(&sut, 1));
    sut.refused(use_it(1), Rejection::TokenSpent);
    assert!(sut.state.grant(&print(1), LogTime(0)).is_none());
    sut.tick();
    let ended = sut.state.token(&token("t")).unwrap();
    assert_eq!((ended.ended_at, ended.revoked), (Some(sut.now()), false));
    assert_eq!(
        sut.state.next_deadline(),
        Some(sut.now().plus_secs(7 * DAY))
    );
    sut.pass(7 * DAY);
    sut.tick();
    assert!(sut.state.token(&token("t")).is_none());
    assert_eq!(sut.state.next_deadline(), None);
}

#[test]
fn a_token_without_ttl_lives_until_it_is_revoked() {
    let mut sut = with_dev();
    assert_eq!(
        sut.ok(grant("t", 1, None, None)),
        Effect::Token { expires_at: None }
    );
    sut.pass(limits::MAX_PERIOD_SECS);
    sut.tick();
    assert!(live(&sut, 1));
    assert_eq!(sut.ok(revoke("t")), Effect::Done);
    assert!(!live(&sut, 1));
    assert!(sut.state.token(&token("t")).unwrap().revoked);
    sut.refused(revoke("t"), Rejection::NotFound);
    sut.refused(revoke("u"), Rejection::NotFound);
    sut.refused(use_it(1), Rejection::TokenSpent);
    sut.refused(use_it(2), Rejection::TokenSpent);
    let names: Vec<_> = sut
        .state
        .tokens_after(None)
        .map(|(n, _)| n.as_str())
        .collect();
    assert_eq!(names, ["t"]);
    assert_eq!(sut.state.tokens_after(Some(&token("t"))).count(), 0);
}

#[test]
fn uses_run_out() {
    let mut sut = with_dev();
    sut.ok(grant("t", 1, Some(100), Some(2)));
    sut.ok(use_it(1));
    assert_eq!(sut.state.token(&token("t")).unwrap().uses_left, Some(1));
    assert!(live(&sut, 1));
    sut.ok(use_it(1));
    assert!(!live(&sut, 1));
    sut.refused(use_it(1), Rejection::TokenSpent);
    // Its expiry is no deadline any more; leaving the list is.
    assert_eq!(
        sut.state.next_deadline(),
        Some(sut.now().plus_secs(7 * DAY))
    );
    // Revoking it later changes what the list says, and not when it goes.
    sut.pass(50);
    sut.ok(revoke("t"));
    assert!(sut.state.token(&token("t")).unwrap().revoked);
    assert_eq!(
        sut.state.next_deadline(),
        Some(LogTime(START).plus_secs(7 * DAY))
    );
}

#[test]
fn a_name_is_free_again_once_its_token_has_ended() {
    let mut sut = with_dev();
    sut.ok(grant("t", 1, Some(10), None));
    sut.refused(grant("t", 2, None, None), Rejection::AlreadyExists);
    sut.pass(10);
    sut.ok(grant("t", 2, Some(10), None));
    assert!(!live(&sut, 1) && live(&sut, 2));
    assert_eq!(sut.state.next_deadline(), Some(sut.now().plus_secs(10)));
    sut.ok(revoke("t"));
    sut.ok(grant("t", 3, None, None));
    assert!(!live(&sut, 2) && live(&sut, 3));
    assert_eq!(sut.state.next_deadline(), None);
    // The ended token's deadlines went with it: the new one is not forgotten in its stead.
    sut.pass(8 * DAY);
    sut.tick();
    assert!(live(&sut, 3));
}

#[test]
fn a_fingerprint_belongs_to_one_token_dead_or_alive() {
    let mut sut = with_dev();
    sut.ok(grant("t", 1, None, None));
    sut.refused(grant("u", 1, None, None), Rejection::AlreadyExists);
    sut.ok(revoke("t"));
    sut.refused(grant("u", 1, None, None), Rejection::AlreadyExists);
    sut.refused(grant("t", 1, None, None), Rejection::AlreadyExists);
    assert!(!live(&sut, 1));
    sut.pass(8 * DAY);
    sut.tick();
    sut.ok(grant("u", 1, None, None));
    sut.tick();
    assert!(live(&sut, 1));
}

#[test]
fn tokens_have_limits() {
    let mut sut = with_dev();
    for (ttl, uses) in [
        (Some(0), None),
        (Some(limits::MAX_TOKEN_TTL_SECS + 1), None),
        (Some(u64::MAX), None),
        (None, Some(0)),
    ] {
        sut.refused(grant("t", 1, ttl, uses), Rejection::Invalid);
    }
    let cidrs = |count: usize| {
        let list: Vec<_> = (0..count).map(|n| format!("10.0.0.{n}")).collect();
        Allowlist::parse(&list.join(",")).unwrap()
    };
    let bound = |tag, count| Command::CreateToken {
        name: token("t"),
        fingerprint: print(tag),
        role: role("dev"),
        ttl_secs: None,
        bound_cidrs: cidrs(count),
        num_uses: None,
    };
    sut.refused(bound(1, limits::BOUND_CIDRS + 1), Rejection::Invalid);
    sut.ok(bound(1, limits::BOUND_CIDRS));
    sut.ok(grant(
        "u",
        2,
        Some(limits::MAX_TOKEN_TTL_SECS),
        Some(u64::MAX),
    ));
    let unknown = Command::CreateToken {
        name: token("v"),
        fingerprint: print(3),
        role: role("nobody"),
        ttl_secs: None,
        bound_cidrs: Allowlist::default(),
        num_uses: None,
    };
    sut.refused(unknown, Rejection::NotFound);
}

fn bootstrap(tag: u8) -> Command {
    Command::Bootstrap {
        fingerprint: print(tag),
    }
}

#[test]
fn the_bootstrap_opens_once_and_stays_closed_when_its_token_is_gone() {
    let mut sut = Sut::new();
    assert!(!sut.state.bootstrap_closed());
    assert_eq!(sut.ok(bootstrap(1)), Effect::Token { expires_at: None });
    let grant = sut.state.token(&token("bootstrap-admin")).unwrap();
    assert!(grant.role.is_admin() && grant.bound_cidrs.is_empty());
    assert!(live(&sut, 1) && sut.state.bootstrap_closed());
    sut.refused(bootstrap(1), Rejection::BootstrapClosed);
    sut.refused(bootstrap(2), Rejection::BootstrapClosed);
    sut.ok(revoke("bootstrap-admin"));
    sut.refused(bootstrap(1), Rejection::BootstrapClosed);
    sut.pass(8 * DAY);
    sut.tick();
    assert!(sut.state.token(&token("bootstrap-admin")).is_none());
    sut.refused(bootstrap(1), Rejection::BootstrapClosed);
    sut.state = rebuilt(&sut.state);
    sut.refused(bootstrap(1), Rejection::BootstrapClosed);
    assert!(!live(&sut, 1));
}

#[test]
fn any_admin_token_closes_the_bootstrap_and_others_do_not() {
    let mut sut = with_dev();
    sut.ok(grant("t", 1, None, None));
    assert!(!sut.state.bootstrap_closed());
    sut.ok(Command::CreateRole {
        name: role("root"),
        description: String::new(),
        is_admin: true,
        permissions: vec![],
        rules: vec![],
    });
    sut.ok(Command::CreateToken {
        name: token("r"),
        fingerprint: print(2),
        role: role("root"),
        ttl_secs: Some(1),
        bound_cidrs: Allowlist::default(),
        num_uses: None,
    });
    sut.pass(1);
    sut.tick();
    sut.ok(Command::DeleteRole { name: role("root") });
    sut.refused(bootstrap(3), Rejection::BootstrapClosed);
}
