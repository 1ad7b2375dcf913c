//! Requests that are tried again.

use super::*;
use crate::{Applied, Attempt, RequestId, limits};

fn attempt(n: u64, since: u64) -> Attempt {
    let mut request = [0; 16];
    request[..8].copy_from_slice(&n.to_be_bytes());
    Attempt {
        request: RequestId(request),
        since,
    }
}

fn formed() -> State {
    let mut state = State::default();
    let cluster_id = ClusterId([1; 16]);
    let applied = run(&mut state, 0, None, Command::Form { cluster_id });
    assert!(matches!(applied, Applied::Effect(_)));
    state
}

fn run(state: &mut State, index: u64, attempt: Option<Attempt>, command: Command) -> Applied {
    let at = LogPosition { term: 1, index };
    state.apply_attempt(at, LogTime(START + index), attempt, command)
}

fn decoded(state: &State) -> State {
    let mut decoder = StateDecoder::default();
    for record in encode_state(state) {
        decoder.push(&record).unwrap();
    }
    decoder.finish().unwrap()
}

#[test]
fn a_request_that_took_effect_does_nothing_more() {
    let mut state = formed();
    let make = || create("kv/a", SecretSettings::manual(), Some(1));
    run(
        &mut state,
        1,
        None,
        Command::CreateMount {
            mount: mount("kv"),
            settings: MountSettings::default(),
        },
    );
    let first = run(&mut state, 2, Some(attempt(1, 1)), make());
    assert!(matches!(first, Applied::Effect(Effect::Secret(_))));
    // Without saying which request it is, it is another one.
    let other = run(&mut state, 3, None, make());
    assert_eq!(other, Applied::Rejected(Rejection::AlreadyExists));
    let other = run(&mut state, 3, Some(attempt(2, 1)), make());
    assert_eq!(other, Applied::Rejected(Rejection::AlreadyExists));
    // A second version after it: the first write's effect is said as it was.
    let second = run(&mut state, 4, Some(attempt(3, 1)), put("kv/a", 2, Some(1)));
    assert!(matches!(second, Applied::Effect(_)));
    let mut state = decoded(&state);
    let before = state.clone();
    assert_eq!(run(&mut state, 5, Some(attempt(1, 1)), make()), first);
    assert_eq!(
        run(&mut state, 5, Some(attempt(3, 1)), put("kv/a", 2, Some(1))),
        second
    );
    assert_eq!(
        state.secret(&secret("kv/a")),
        before.secret(&secret("kv/a"))
    );
    assert_eq!(
        state.outcome(&attempt(3, 1).request).cloned(),
        second.into_result().ok()
    );
    // Position and time go on, as with a rejected command.
    assert_eq!(state.position().unwrap().index, 5);
    assert_eq!(state.time(), LogTime(START + 5));
}

#[test]
fn a_request_that_was_refused_may_be_tried_again() {
    let mut state = formed();
    let role_it = || Command::DeleteRole { name: role("r") };
    let refused = run(&mut state, 1, Some(attempt(1, 0)), role_it());
    assert_eq!(refused, Applied::Rejected(Rejection::NotFound));
    assert_eq!(state.outcome(&attempt(1, 0).request), None);
    let made = Command::CreateRole {
        name: role("r"),
        description: String::new(),
        is_admin: false,
        permissions: Vec::new(),
        rules: Vec::new(),
    };
    run(&mut state, 2, None, made);
    let done = run(&mut state, 3, Some(attempt(1, 0)), role_it());
    assert_eq!(done, Applied::Effect(Effect::Done));
}

/// The oldest are forgotten first, and then nobody is told that a request of their time has not
/// happened.
#[test]
fn what_is_forgotten_is_not_done_again_unknowingly() {
    let mut state = formed();
    let tune = || Command::TuneMount {
        mount: mount("secret"),
        settings: MountSettings::default(),
    };
    let most = limits::OUTCOMES as u64;
    for n in 1..=most {
        run(&mut state, n, Some(attempt(n, n - 1)), tune());
    }
    assert!(state.outcome(&attempt(1, 0).request).is_some());
    // One more than is kept.
    run(&mut state, most + 1, Some(attempt(most + 1, most)), tune());
    assert!(state.outcome(&attempt(1, 0).request).is_none());
    assert!(state.outcome(&attempt(2, 0).request).is_some());
    let mut state = decoded(&state);
    let next = most + 2;
    let again = run(&mut state, next, Some(attempt(1, 0)), tune());
    assert_eq!(again, Applied::Rejected(Rejection::OutcomeForgotten));
    // Begun after what was forgotten: it cannot be among it.
    let later = run(&mut state, next, Some(attempt(next, 1)), tune());
    assert_eq!(later, Applied::Effect(Effect::Done));
    // Still known: said again, however long ago it began.
    let known = run(&mut state, next, Some(attempt(9, 0)), tune());
    assert_eq!(known, Applied::Effect(Effect::Done));
}
