//! What a run came to, in figures.

use std::{collections::BTreeMap, fmt, time::Duration};

use super::{
    check::Violation,
    fault::Kind,
    history::{Call, Op, Outcome},
};

/// Violations of a kind that are shown; all are counted.
const SHOWN: usize = 10;

/// The figures of a run.
#[derive(Default, Debug)]
pub struct Report {
    /// Decides every draw.
    pub seed: u64,
    /// How long it took.
    pub took: Duration,
    /// Faults done, by kind.
    pub faults: BTreeMap<Kind, u64>,
    /// Calls, by what was asked for and what came of it.
    pub calls: BTreeMap<(&'static str, &'static str), u64>,
    /// Names whose history was checked.
    pub names: u64,
    /// Versions that those have.
    pub versions: u64,
    /// How far the term went up: elections, those without a winner included.
    pub terms: u64,
    /// Snapshots that nodes took over from others.
    pub snapshots: usize,
    /// From the end of a fault to a write and a linearizable read at every node, at the longest.
    pub slowest_recovery: Duration,
    /// Time spent in the checker.
    pub checking: Duration,
    /// What must not be, and how long the run had taken when it was found.
    pub violations: Vec<(Violation, Duration)>,
    /// Answers that no client may get.
    pub unexpected: Vec<String>,
}

impl Report {
    /// Counts these calls.
    pub fn count(&mut self, ops: &[Op]) {
        for op in ops {
            let call = match op.call {
                Call::Create(_) => "create",
                Call::Put(_) => "put",
                Call::PutIf(..) => "check-and-set",
                Call::Read => "linearizable read",
                Call::ReadLocal => "local read",
                Call::ReadByIndex(_) => "read by index",
            };
            let outcome = match op.outcome {
                Outcome::Written(_) | Outcome::Found(_) => "ok",
                Outcome::Mismatch | Outcome::Exists => "conflict",
                Outcome::Missing => "missing",
                Outcome::Refused => "refused",
                Outcome::Unknown => "unknown",
            };
            *self.calls.entry((call, outcome)).or_default() += 1;
        }
    }

    /// Whether nothing was found that must not be.
    pub fn is_clean(&self) -> bool {
        self.violations.is_empty() && self.unexpected.is_empty()
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let calls: u64 = self.calls.values().sum();
        writeln!(f, "FAULTS_SEED={}, {:.0?}", self.seed, self.took)?;
        let faults: Vec<String> = self
            .faults
            .iter()
            .map(|(kind, count)| format!("{kind:?} {count}"))
            .collect();
        let count: u64 = self.faults.values().sum();
        writeln!(f, "{count} faults: {}", faults.join(", "))?;
        writeln!(f, "{calls} calls:")?;
        for ((call, outcome), count) in &self.calls {
            writeln!(f, "  {call}, {outcome}: {count}")?;
        }
        writeln!(
            f,
            "terms went up by {}; {} snapshots sent; slowest recovery {:.1?}",
            self.terms, self.snapshots, self.slowest_recovery
        )?;
        writeln!(
            f,
            "checked: {} names with {} versions, in {:.1?}",
            self.names, self.versions, self.checking
        )?;
        let mut shown: BTreeMap<_, usize> = BTreeMap::new();
        for (violation, after) in &self.violations {
            let Violation { kind, what } = violation;
            let shown = shown.entry(*kind).or_default();
            *shown += 1;
            if *shown <= SHOWN {
                writeln!(f, "{kind:?} after {after:.0?}: {what}")?;
            }
        }
        for answer in &self.unexpected {
            writeln!(f, "an unexpected answer: {answer}")?;
        }
        let (violations, unexpected) = (self.violations.len(), self.unexpected.len());
        write!(
            f,
            "{violations} violations, {unexpected} unexpected answers"
        )
    }
}
