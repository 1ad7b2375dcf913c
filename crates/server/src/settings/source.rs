//! Where values come from, and everything that is wrong with them: one place that reads the
//! environment, remembers the effective text of each setting, and collects problems.

use std::collections::{BTreeMap, BTreeSet};

use zeroize::{Zeroize, Zeroizing};

use super::{
    Problem,
    secrets::read_file,
    shapes::Shape,
    table::{Fallback, Row},
};

/// What a sensitive setting looks like wherever settings are shown.
pub(super) const REDACTED: &str = "(set)";

/// The environment while it is being read.
pub(super) struct Source {
    environment: BTreeMap<String, String>,
    problems: Vec<Problem>,
    bad: BTreeSet<&'static str>,
    given: BTreeSet<&'static str>,
    effective: Vec<(&'static str, String)>,
}

impl Source {
    pub(super) fn new(environment: BTreeMap<String, String>) -> Self {
        Self {
            environment,
            problems: Vec::new(),
            bad: BTreeSet::new(),
            given: BTreeSet::new(),
            effective: Vec::new(),
        }
    }

    /// The value of one row: given, or the row's default, or nothing. What is wrong with it is
    /// collected, and then there is nothing as well.
    pub(super) fn read<S: Shape>(&mut self, row: &Row, shape: &S) -> Option<S::Out> {
        let text = match self.text(row) {
            Ok(text) => text,
            Err(message) => {
                self.problem(row.key, message);
                None
            }
        };
        if text.is_some() {
            self.given.insert(row.key);
        }
        let text = text.or_else(|| match row.fallback {
            // A bad value is not replaced by the default: it may have been meant as stricter.
            Fallback::Value(default) if !self.is_bad(row.key) && !default.is_empty() => {
                Some(Zeroizing::new(default.to_owned()))
            }
            _ => None,
        });
        let shown = match &text {
            Some(_) if row.sensitive => REDACTED.to_owned(),
            Some(text) => text.to_string(),
            None => String::new(),
        };
        self.effective.push((row.key, shown));
        match shape.parse(text.as_deref()?) {
            Ok(value) => Some(value),
            Err(messages) => {
                messages
                    .into_iter()
                    .for_each(|message| self.problem(row.key, message));
                None
            }
        }
    }

    /// The text given for a row, inline or by file. Empty means not given.
    fn text(&mut self, row: &Row) -> Result<Option<Zeroizing<String>>, String> {
        let inline = self
            .environment
            .get_mut(row.key)
            .map(std::mem::take)
            .map(Zeroizing::new);
        let inline = inline.filter(|text| !text.is_empty());
        if !row.sensitive {
            return Ok(inline);
        }
        let file = self
            .environment
            .get(&row.file_key())
            .filter(|path| !path.is_empty());
        match (inline, file) {
            (Some(_), Some(_)) => Err(format!("is given twice: inline and by {}", row.file_key())),
            (None, Some(path)) => read_file(path)
                .map(Some)
                .map_err(|why| format!("(from {}) {why}", row.file_key())),
            (inline, None) => Ok(inline),
        }
    }

    /// Collects a problem with `key`.
    pub(super) fn problem(&mut self, key: &'static str, message: impl Into<String>) {
        self.bad.insert(key);
        self.problems.push(Problem {
            key: key.to_owned(),
            message: message.into(),
        });
    }

    /// Whether `key` already has a problem, so that rules over several keys stay silent about it.
    pub(super) fn is_bad(&self, key: &str) -> bool {
        self.bad.contains(key)
    }

    /// Whether the operator set `key`.
    pub(super) fn is_given(&self, key: &str) -> bool {
        self.given.contains(key)
    }

    /// Replaces what is shown for `key`, for values derived from others.
    pub(super) fn show(&mut self, key: &str, value: impl Into<String>) {
        if let Some(entry) = self.effective.iter_mut().find(|(known, _)| *known == key) {
            entry.1 = value.into();
        }
    }

    /// The names in the environment.
    pub(super) fn names(&self) -> impl Iterator<Item = &str> {
        self.environment.keys().map(String::as_str)
    }

    /// The effective settings and every problem.
    pub(super) fn finish(mut self) -> (Vec<(&'static str, String)>, Vec<Problem>) {
        (
            std::mem::take(&mut self.effective),
            std::mem::take(&mut self.problems),
        )
    }
}

impl Drop for Source {
    /// Values this reader has no row for may be secrets under a misspelt name.
    fn drop(&mut self) {
        self.environment.values_mut().for_each(Zeroize::zeroize);
    }
}
