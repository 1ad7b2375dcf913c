//! The checker against histories made by hand.

use super::{
    check::{Kind, check},
    history::{Call, Op, Outcome, Seen},
};

/// Calls by different clients at different nodes, each with the times of its beginning and end.
fn ops(of: &[(u64, u64, Call, Outcome)]) -> Vec<Op> {
    let op = |(client, (began, ended, call, outcome)): (usize, &(u64, u64, Call, Outcome))| Op {
        client,
        node: client % 3,
        start: 1,
        name: "n".to_owned(),
        call: call.clone(),
        outcome: outcome.clone(),
        began: *began,
        ended: *ended,
    };
    of.iter().enumerate().map(op).collect()
}

fn chain(of: &[&str]) -> Vec<String> {
    of.iter().map(|value| (*value).to_owned()).collect()
}

fn put(value: &str) -> Call {
    Call::Put(value.to_owned())
}

fn found(version: u64, value: &str) -> Outcome {
    let value = value.to_owned();
    Outcome::Found(Seen { version, value })
}

fn made() -> (u64, u64, Call, Outcome) {
    (0, 1, Call::Create("a".to_owned()), Outcome::Written(1))
}

/// The kinds of what is wrong, each once.
fn kinds(of: &[(u64, u64, Call, Outcome)], end: &[&str]) -> Vec<Kind> {
    let mut kinds: Vec<Kind> = check(&ops(of), &chain(end))
        .into_iter()
        .map(|violation| violation.kind)
        .collect();
    kinds.dedup();
    kinds
}

#[test]
fn a_good_history_is_good() {
    let history = [
        (0, 3, Call::Read, Outcome::Missing),
        (1, 4, Call::Create("a".to_owned()), Outcome::Written(1)),
        (2, 5, Call::Create("x".to_owned()), Outcome::Exists),
        (6, 9, put("c"), Outcome::Written(3)),
        // Overlapping, and the other way round.
        (7, 10, Call::PutIf("b".to_owned(), 1), Outcome::Written(2)),
        (8, 11, Call::Read, found(2, "b")),
        (12, 13, Call::PutIf("y".to_owned(), 2), Outcome::Mismatch),
        (14, 15, Call::Read, found(3, "c")),
        (16, 17, put("z"), Outcome::Refused),
        // A local read may be behind.
        (18, 19, Call::ReadLocal, found(1, "a")),
    ];
    assert_eq!(kinds(&history, &["a", "b", "c"]), []);
}

#[test]
fn a_stale_read_is_found() {
    let history = [
        made(),
        (2, 3, put("b"), Outcome::Written(2)),
        (4, 5, Call::Read, found(1, "a")),
    ];
    assert_eq!(kinds(&history, &["a", "b"]), [Kind::NotLinearizable]);
    // As long as the write was under way it was none.
    let mut history = history;
    history[1].1 = 6;
    assert_eq!(kinds(&history, &["a", "b"]), []);
}

#[test]
fn the_excerpt_ends_with_what_cannot_be() {
    let mut history = vec![made()];
    for n in 0..40 {
        history.push((2 + 2 * n, 3 + 2 * n, Call::Read, found(1, "a")));
    }
    // Under way for long, and after another that is not sent yet.
    history.push((3, 99, put("d"), Outcome::Written(4)));
    history.push((90, 91, put("b"), Outcome::Written(2)));
    history.push((92, 93, Call::Read, found(1, "a")));
    history.push((94, 95, Call::Read, found(2, "b")));
    history.push((96, 97, put("c"), Outcome::Written(3)));
    let wrong = check(&ops(&history), &chain(&["a", "b", "c", "d"]));
    let last = wrong[0].what.lines().last().unwrap_or_default();
    assert!(last.contains("began: 92"), "{last}");
}

#[test]
fn a_refusal_by_version_is_an_observation() {
    let refused = |cas| (4, 5, Call::PutIf("c".to_owned(), cas), Outcome::Mismatch);
    let written = (2, 3, put("b"), Outcome::Written(2));
    let stale = [made(), written.clone(), refused(2)];
    assert_eq!(kinds(&stale, &["a", "b"]), [Kind::NotLinearizable]);
    assert_eq!(kinds(&[made(), written, refused(1)], &["a", "b"]), []);
}

#[test]
fn a_lost_write_is_found() {
    let history = [made(), (2, 3, put("b"), Outcome::Written(2))];
    let expected = [Kind::LostWrite, Kind::NotLinearizable];
    assert_eq!(kinds(&history, &["a"]), expected);
    assert_eq!(kinds(&history, &["a", "other"]), expected);
    assert_eq!(kinds(&[made()], &[]), expected);
}

#[test]
fn a_split_brain_is_found() {
    let history = [
        made(),
        (2, 8, put("b"), Outcome::Written(2)),
        (3, 9, put("c"), Outcome::Written(2)),
        (10, 11, Call::Read, found(2, "b")),
        (12, 13, Call::Read, found(2, "c")),
    ];
    let wrong = kinds(&history, &["a", "b"]);
    assert!(wrong.contains(&Kind::LostWrite), "{wrong:?}");
    assert!(wrong.contains(&Kind::NeverWritten), "{wrong:?}");
    assert!(wrong.contains(&Kind::NotLinearizable), "{wrong:?}");
}

#[test]
fn an_unknown_write_may_take_effect_late_or_never() {
    let unknown = (2, 3, put("b"), Outcome::Unknown);
    let late = [
        made(),
        unknown.clone(),
        (4, 5, Call::Read, found(1, "a")),
        (6, 7, put("c"), Outcome::Written(2)),
        (8, 9, Call::Read, found(3, "b")),
    ];
    assert_eq!(kinds(&late, &["a", "c", "b"]), []);
    let never = [made(), unknown.clone(), (4, 5, Call::Read, found(1, "a"))];
    assert_eq!(kinds(&never, &["a"]), []);
    // Once it was seen it stays.
    let gone = [
        made(),
        unknown,
        (4, 5, Call::Read, found(2, "b")),
        (6, 7, Call::Read, found(1, "a")),
    ];
    assert_eq!(kinds(&gone, &["a", "b"]), [Kind::NotLinearizable]);
    let seen = [Kind::NeverWritten, Kind::NotLinearizable];
    assert_eq!(kinds(&gone, &["a"]), seen);
}

#[test]
fn an_unknown_write_takes_effect_once_and_not_before_it_is_sent() {
    let twice = [made(), (2, 3, put("b"), Outcome::Unknown)];
    let wrong = kinds(&twice, &["a", "b", "b"]);
    assert!(wrong.contains(&Kind::ChangedVersion), "{wrong:?}");
    let early = [
        made(),
        (2, 3, Call::Read, found(2, "b")),
        (4, 5, put("b"), Outcome::Unknown),
    ];
    assert_eq!(kinds(&early, &["a", "b"]), [Kind::NotLinearizable]);
}

#[test]
fn a_refused_write_that_happened_is_found() {
    let history = [made(), (2, 3, put("b"), Outcome::Refused)];
    let wrong = kinds(&history, &["a", "b"]);
    assert!(wrong.contains(&Kind::NeverWritten), "{wrong:?}");
}

#[test]
fn local_reads_of_a_client_at_a_node_do_not_go_back() {
    let history = [
        made(),
        (2, 3, put("b"), Outcome::Written(2)),
        (4, 5, Call::ReadLocal, found(2, "b")),
        (6, 7, Call::ReadLocal, found(1, "a")),
    ];
    // Of different clients, or at different nodes, they may.
    assert_eq!(kinds(&history, &["a", "b"]), []);
    let mut same = ops(&history);
    for op in &mut same {
        (op.client, op.node) = (0, 0);
    }
    let wrong = check(&same, &chain(&["a", "b"]));
    assert!(wrong.iter().all(|wrong| wrong.kind == Kind::WentBack));
    assert_eq!(wrong.len(), 1);
}

#[test]
fn a_read_by_index_shows_what_its_client_was_told_at_any_node() {
    let history = [
        made(),
        (2, 3, put("b"), Outcome::Written(2)),
        (4, 5, Call::ReadByIndex(7), found(1, "a")),
    ];
    assert_eq!(kinds(&history, &["a", "b"]), [], "of three clients");
    let mut same = ops(&history);
    same.iter_mut().for_each(|op| op.client = 0);
    let wrong = check(&same, &chain(&["a", "b"]));
    assert!(wrong.iter().all(|wrong| wrong.kind == Kind::Behind));
    assert_eq!(wrong.len(), 1);
    // What was in the answer to a read counts as much.
    let mut same = ops(&[
        made(),
        (2, 3, put("b"), Outcome::Written(2)),
        (4, 5, Call::Read, found(2, "b")),
        (6, 7, Call::ReadByIndex(7), found(1, "a")),
    ]);
    same[2].client = 3;
    assert_eq!(check(&same, &chain(&["a", "b"])).len(), 1);
    same[3].outcome = found(2, "b");
    assert_eq!(check(&same, &chain(&["a", "b"])), []);
}

#[test]
fn many_unknown_writes_do_not_hold_up_the_checker() {
    let (mut history, mut end) = (vec![made()], vec!["a".to_owned()]);
    for n in 0..400_u64 {
        let (at, value) = (2 + 4 * n, format!("v{n}"));
        let version = end.len() as u64 + 1;
        match n % 4 {
            0 => history.push((at, at + 1, put(&format!("never-{n}")), Outcome::Unknown)),
            1 => {
                history.push((at, at + 1, put(&value), Outcome::Unknown));
                end.push(value);
            }
            2 => {
                history.push((at, at + 3, put(&value), Outcome::Written(version)));
                end.push(value);
            }
            _ => history.push((
                at,
                at + 1,
                Call::Read,
                found(version - 1, &end[end.len() - 1]),
            )),
        }
    }
    assert_eq!(check(&ops(&history), &end), []);
}
