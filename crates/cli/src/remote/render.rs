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

/// One line for people.
pub(crate) fn line(text: &str) -> Result<(), Failure> {
    write(format!("{}\n", printable(text)).as_bytes())
}

/// Without what a terminal takes for a command, or for another direction: names and descriptions were
/// written by others.
pub(crate) fn printable(text: &str) -> String {
    let turns = |c: char| matches!(c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    text.chars()
        .map(|c| match c.is_control() || turns(c) {
            true => char::REPLACEMENT_CHARACTER,
            false => c,
        })
        .collect()
}

/// One line of JSON. Not for what holds a value.
pub(crate) fn json<T: Serialize>(of: &T) -> Result<(), Failure> {
    match serde_json::to_string(of) {
        Ok(text) => write(format!("{text}\n").as_bytes()),
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
            shown.push_str(&format!("{:<width$}  ", printable(cell)));
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
        let (name, fact) = (printable(&format!("{name}:")), printable(fact));
        text.push_str(&format!("{name:<width$}  {fact}\n"));
    }
    write(text.as_bytes())
}

pub(crate) fn or_dash<T: ToString>(value: Option<&T>) -> String {
    value.map_or_else(|| "-".to_owned(), ToString::to_string)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_a_command_to_a_terminal() {
        assert_eq!(
            printable("a\u{1b}[2Jb\nc\u{9b}d\u{202e}e"),
            "a\u{fffd}[2Jb\u{fffd}c\u{fffd}d\u{fffd}e"
        );
        assert_eq!(printable("grün \u{1f511}"), "grün \u{1f511}");
    }
}
