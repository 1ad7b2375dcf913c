//! Tables for people, JSON for programs.

use std::io::{self, ErrorKind, Write};

use serde::Serialize;

use super::exit::Failure;

/// Writes to standard output. A closed pipe ends the command quietly; a full disk does not.
pub(crate) fn write(bytes: &[u8]) -> Result<(), Failure> {
    let mut out = io::stdout().lock();
    match out.write_all(bytes).and_then(|()| out.flush()) {
        Ok(()) => Ok(()),
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Err(Failure::ClosedPipe),
        Err(error) => Err(Failure::Failed(format!("standard output: {error}"))),
    }
}

pub(crate) fn line(text: &str) -> Result<(), Failure> {
    write(format!("{text}\n").as_bytes())
}

/// One line of JSON. Not for what holds a value.
pub(crate) fn json<T: Serialize>(of: &T) -> Result<(), Failure> {
    match serde_json::to_string(of) {
        Ok(text) => line(&text),
        Err(error) => Err(Failure::Failed(error.to_string())),
    }
}

/// Columns as wide as their longest cell. The last one is not filled up.
pub(crate) fn table(head: &[&str], rows: &[Vec<String>]) -> Result<(), Failure> {
    let head: Vec<String> = head.iter().map(|cell| (*cell).to_owned()).collect();
    let mut widths = vec![0; head.len()];
    for row in rows.iter().chain([&head]) {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = cell.chars().count().max(*width);
        }
    }
    let mut text = String::new();
    for row in [&head].into_iter().chain(rows) {
        let mut shown = String::new();
        for (width, cell) in widths.iter().zip(row) {
            shown.push_str(&format!("{cell:<width$}  "));
        }
        text.push_str(shown.trim_end());
        text.push('\n');
    }
    write(text.as_bytes())
}

/// One fact on each line.
pub(crate) fn facts(facts: &[(&str, String)]) -> Result<(), Failure> {
    let width = facts.iter().map(|(name, _)| name.len() + 1).max();
    let width = width.unwrap_or_default();
    let mut text = String::new();
    for (name, fact) in facts {
        text.push_str(&format!("{:<width$}  {fact}\n", format!("{name}:")));
    }
    write(text.as_bytes())
}

pub(crate) fn or_dash<T: ToString>(value: Option<&T>) -> String {
    value.map_or_else(|| "-".to_owned(), ToString::to_string)
}
