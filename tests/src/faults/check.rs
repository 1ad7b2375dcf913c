//! Holds a history against what the cluster has in the end.
//!
//! Linearizability is judged by `todc-utils`' checker (Wing and Gong's search with Lowe's cache), one
//! name at a time. Writes of unknown fate would make that search exponential; but no two writes have
//! the same value, and the versions that a name has in the end tell which of them happened and as
//! what. So one that happened may take effect at any time after it was sent, as that version, and one
//! that did not is left out: whoever saw its value anyhow is a violation of its own.

use std::collections::{BTreeMap, BTreeSet};

use todc_utils::{
    linearizability::{WGLChecker, history},
    specifications::Specification,
};

use super::history::{Call, Op, Outcome, Seen};

/// Calls shown with a violation of linearizability: the last ones before it shows.
const EXCERPT: usize = 14;

/// Something that must not be.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Violation {
    /// Of which kind.
    pub kind: Kind,
    /// In words, with what was seen.
    pub what: String,
}

/// Kinds of violations.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Kind {
    /// An acknowledged write is not there.
    LostWrite,
    /// A version had two values, or a value two versions.
    ChangedVersion,
    /// A value was seen that never came to be, or a write that was refused took effect.
    NeverWritten,
    /// No order of the calls explains what they saw.
    NotLinearizable,
    /// A client's local reads at one node went back.
    WentBack,
    /// A client was told of a version, and a later read by its index, at whichever node, did not show it.
    Behind,
    /// With every fault over, a node did not become ready, took no write, or answered no read.
    NotRecovered,
    /// Two nodes that have applied the same hold different things.
    Diverged,
}

/// A register of version and value, which starts as version 0.
struct Register;

/// What a call did to the register, or saw of it.
#[derive(Clone, Debug)]
enum Step {
    Write(Seen),
    Read(Seen),
    /// It exists.
    Some,
    /// It does not.
    None,
    /// Its version is not this one.
    Not(u64),
}

impl Specification for Register {
    type State = Seen;
    type Operation = Step;

    fn init() -> Seen {
        Seen {
            version: 0,
            value: String::new(),
        }
    }

    fn apply(step: &Step, state: &Seen) -> (bool, Seen) {
        let holds = match step {
            Step::Write(new) if new.version == state.version + 1 => return (true, new.clone()),
            Step::Write(_) => false,
            Step::Read(seen) => seen == state,
            Step::Some => state.version > 0,
            Step::None => state.version == 0,
            Step::Not(version) => *version != state.version,
        };
        (holds, state.clone())
    }
}

/// The versions of one name in the end, from 1 without a gap.
pub type Chain = Vec<String>;

/// All that is wrong with the calls about one name, whose versions in the end are `chain`. `ops` must
/// hold every call that may have written to it.
pub fn check(ops: &[Op], chain: &Chain) -> Vec<Violation> {
    let mut found = BTreeSet::new();
    let versions = versions(chain, &mut found);
    for op in ops {
        against_chain(op, chain, &versions, &mut found);
    }
    never_back(ops, &mut found);
    never_behind(ops, &mut found);
    let spans = spans(ops, chain, &versions);
    if !linearizable(&spans) {
        found.insert(Violation {
            kind: Kind::NotLinearizable,
            what: shortest(&spans),
        });
    }
    found.into_iter().collect()
}

fn versions(chain: &Chain, found: &mut BTreeSet<Violation>) -> BTreeMap<String, u64> {
    let mut versions = BTreeMap::new();
    for (version, value) in (1..).zip(chain) {
        if let Some(before) = versions.insert(value.clone(), version) {
            found.insert(Violation {
                kind: Kind::ChangedVersion,
                what: format!("{value} is version {before} and version {version}"),
            });
        }
    }
    versions
}

fn against_chain(
    op: &Op,
    chain: &Chain,
    versions: &BTreeMap<String, u64>,
    found: &mut BTreeSet<Violation>,
) {
    let at = |version: u64| {
        let place = usize::try_from(version).ok()?.checked_sub(1)?;
        chain.get(place)
    };
    let mut wrong = |kind, said: &str| {
        let what = format!("{said}: {op:?}");
        found.insert(Violation { kind, what });
    };
    match (&op.outcome, op.call.value()) {
        (Outcome::Written(version), Some(value)) => {
            if at(*version).is_none_or(|there| there != value) {
                wrong(Kind::LostWrite, "acknowledged, and not there");
            }
        }
        (Outcome::Found(seen), _) => match at(seen.version) {
            Some(there) if *there == seen.value => {}
            Some(_) if versions.contains_key(&seen.value) => {
                wrong(Kind::ChangedVersion, "seen as another version");
            }
            _ => wrong(Kind::NeverWritten, "seen, and not there"),
        },
        (Outcome::Unknown, _) | (_, None) => {}
        (_, Some(value)) => {
            if versions.contains_key(value) {
                wrong(Kind::NeverWritten, "refused, and there");
            }
        }
    }
}

/// A client's local reads at one node since its start, one after the other.
fn never_back(ops: &[Op], found: &mut BTreeSet<Violation>) {
    let mut last: BTreeMap<(usize, usize, u32), (u64, &Op)> = BTreeMap::new();
    let mut by_end: Vec<&Op> = ops.iter().filter(|op| op.call == Call::ReadLocal).collect();
    by_end.sort_by_key(|op| op.ended);
    for op in by_end {
        let version = match &op.outcome {
            Outcome::Found(seen) => seen.version,
            Outcome::Missing => 0,
            _ => continue,
        };
        let before = last.insert((op.client, op.node, op.start), (version, op));
        if let Some((_, before)) = before.filter(|(before, _)| *before > version) {
            found.insert(Violation {
                kind: Kind::WentBack,
                what: format!("{before:?}, then {op:?}"),
            });
        }
    }
}

/// A client's reads by index, after all that it was told before, at whichever nodes.
fn never_behind(ops: &[Op], found: &mut BTreeSet<Violation>) {
    let mut told: BTreeMap<usize, (u64, &Op)> = BTreeMap::new();
    // One client's calls do not overlap.
    let mut by_end: Vec<&Op> = ops.iter().collect();
    by_end.sort_by_key(|op| op.ended);
    for op in by_end {
        let version = match &op.outcome {
            Outcome::Found(seen) => seen.version,
            Outcome::Written(version) => *version,
            Outcome::Missing => 0,
            _ => continue,
        };
        let before = told.get(&op.client).copied();
        if let Some((known, before)) = before
            && matches!(op.call, Call::ReadByIndex(_))
            && version < known
        {
            found.insert(Violation {
                kind: Kind::Behind,
                what: format!("{before:?}, then {op:?}"),
            });
        }
        if before.is_none_or(|(known, _)| version > known) {
            told.insert(op.client, (version, op));
        }
    }
}

/// A step with the time in which it took effect, and the call that made it.
struct Span {
    from: u64,
    to: u64,
    step: Step,
    shown: String,
}

/// What the calls and the end say, for the checker. Local reads promise nothing to it.
fn spans(ops: &[Op], chain: &Chain, versions: &BTreeMap<String, u64>) -> Vec<Span> {
    let mut spans = Vec::new();
    for op in ops {
        let written = |version: u64| {
            let value = op.call.value().unwrap_or_default().to_owned();
            Step::Write(Seen { version, value })
        };
        let (to, step) = match (&op.outcome, &op.call) {
            (Outcome::Refused, _) | (_, Call::ReadLocal | Call::ReadByIndex(_)) => continue,
            (Outcome::Written(version), _) => (op.ended, written(*version)),
            (Outcome::Found(seen), _) => (op.ended, Step::Read(seen.clone())),
            (Outcome::Missing, _) => (op.ended, Step::None),
            (Outcome::Exists, _) => (op.ended, Step::Some),
            (Outcome::Mismatch, Call::PutIf(_, version)) => (op.ended, Step::Not(*version)),
            (Outcome::Mismatch, _) => continue,
            (Outcome::Unknown, call) => {
                let happened = call.value().and_then(|value| versions.get(value));
                let Some(version) = happened else { continue };
                (u64::MAX, written(*version))
            }
        };
        spans.push(Span {
            from: op.began,
            to,
            step,
            shown: format!("{op:?}"),
        });
    }
    let end = ops.iter().map(|op| op.ended).max().unwrap_or_default();
    let last = match chain.last() {
        Some(value) => Step::Read(Seen {
            version: chain.len() as u64,
            value: value.clone(),
        }),
        None => Step::None,
    };
    spans.push(Span {
        from: end + 1,
        to: end + 2,
        shown: format!("in the end: {last:?}"),
        step: last,
    });
    spans
}

fn linearizable<'a>(spans: impl IntoIterator<Item = &'a Span>) -> bool {
    let mut events = Vec::new();
    // Each call is a process of its own: what a client did one after the other stays so by its times.
    for (process, span) in spans.into_iter().enumerate() {
        let step = || span.step.clone();
        events.push((span.from, process, history::Action::Call(step())));
        events.push((span.to, process, history::Action::Response(step())));
    }
    events.sort_by_key(|(at, process, _)| (*at, *process));
    if events.is_empty() {
        return true;
    }
    let actions = events
        .into_iter()
        .map(|(_, process, action)| (process, action));
    WGLChecker::<Register>::is_linearizable(history::History::from_actions(actions.collect()))
}

/// The shortest part of the history that no order explains, in words: its last calls.
fn shortest(spans: &[Span]) -> String {
    let mut by_end: Vec<&Span> = spans.iter().collect();
    by_end.sort_by_key(|span| span.to);
    let explained = |ended: usize| linearizable(&part(&by_end, ended));
    let (mut fine, mut wrong) = (0, by_end.len());
    while fine + 1 < wrong {
        let middle = usize::midpoint(fine, wrong);
        if explained(middle) {
            fine = middle;
        } else {
            wrong = middle;
        }
    }
    let shown = by_end.iter().take(wrong).rev().take(EXCERPT);
    let mut lines: Vec<&str> = shown.map(|span| span.shown.as_str()).collect();
    lines.reverse();
    format!(
        "no order explains the last of these:\n    {}",
        lines.join("\n    ")
    )
}

/// What can be said of the history when so many of its calls had ended. Of those under way, reads say
/// nothing yet; and a write may have taken effect, if all versions before it can have as well.
fn part(by_end: &[&Span], ended: usize) -> Vec<Span> {
    let (ended, later) = by_end.split_at(ended);
    let until = ended.last().map_or(0, |span| span.to);
    let begun = || later.iter().filter(|span| span.from < until);
    let version = |span: &Span| match &span.step {
        Step::Write(new) => Some(new.version),
        _ => None,
    };
    let versions: BTreeSet<u64> = ended
        .iter()
        .chain(begun())
        .filter_map(|span| version(span))
        .collect();
    let reached = (1..).find(|next| !versions.contains(next)).unwrap_or(1);
    let open = begun().filter(|span| version(span).is_some_and(|version| version < reached));
    let open = open.map(|span| (u64::MAX, *span));
    let spans = ended.iter().map(|span| (span.to, *span)).chain(open);
    spans
        .map(|(to, span)| Span {
            from: span.from,
            to,
            step: span.step.clone(),
            shown: String::new(),
        })
        .collect()
}
