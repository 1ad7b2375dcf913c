//! The table, and the figures as JSON.

use std::{fs, path::Path, process::Command, thread};

use anyhow::{Context, Result};
use serde::Serialize;

use crate::budget::{Figure, Verdict};

/// A run's figures, with where they were taken.
#[derive(Serialize)]
pub(crate) struct Report {
    machine: String,
    began: String,
    commit: String,
    cases: Vec<Measured>,
}

#[derive(Serialize)]
struct Measured {
    case: &'static str,
    figures: Vec<Figure>,
}

fn said_by(program: &str, arguments: &[&str]) -> String {
    let said = Command::new(program).args(arguments).output();
    said.map(|said| String::from_utf8_lossy(&said.stdout).trim().to_owned())
        .unwrap_or_default()
}

fn machine() -> String {
    let cores = thread::available_parallelism().map_or(0, std::num::NonZero::get);
    let cpu = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = cpu.lines().find_map(|line| line.strip_prefix("model name"));
    let model = model.unwrap_or("?").trim_start_matches([' ', '\t', ':']);
    format!("{cores} x {model}, Linux {}", said_by("uname", &["-r"]))
}

impl Report {
    /// Of a run that begins now.
    pub(crate) fn begin() -> Self {
        Self {
            machine: machine(),
            began: said_by("date", &["-u", "+%FT%TZ"]),
            commit: said_by("git", &["rev-parse", "--short", "HEAD"]),
            cases: Vec::new(),
        }
    }

    pub(crate) fn add(&mut self, case: &'static str, figures: Vec<Figure>) {
        self.cases.push(Measured { case, figures });
    }

    /// Writes what there is so far.
    pub(crate) fn write(&self, path: &Path) -> Result<()> {
        if let Some(folder) = path.parent() {
            fs::create_dir_all(folder)?;
        }
        let text = serde_json::to_string_pretty(self)?;
        fs::write(path, text).with_context(|| path.display().to_string())
    }

    /// Prints the budgets, then all figures, as tables in Markdown.
    pub(crate) fn print(&self) {
        println!("{}; {}; commit {}\n", self.machine, self.began, self.commit);
        println!("| case | measured (least to most) | must reach | aim | |\n|---|---|---|---|---|");
        let all = || self.cases.iter().flat_map(|case| &case.figures);
        for figure in all() {
            let Some(budget) = figure.budget else {
                continue;
            };
            let verdict = match budget.verdict(&figure.spread) {
                Verdict::Aim => "aim reached",
                Verdict::Reached => "reached",
                Verdict::Missed => "**missed**",
            };
            let (must, aim) = (shown(budget.must), shown(budget.aim));
            println!(
                "| {} | {} | {must} | {aim} | {verdict} |",
                figure.what,
                measured(figure)
            );
        }
        println!("\n| figure | median (least to most) |\n|---|---|");
        for figure in all().filter(|figure| figure.budget.is_none()) {
            println!("| {} | {} |", figure.what, measured(figure));
        }
    }
}

fn measured(figure: &Figure) -> String {
    let (spread, unit) = (figure.spread, figure.unit);
    let median = shown(spread.median);
    if spread.least == spread.most {
        return format!("{median} {unit}");
    }
    format!(
        "{median} {unit} ({} to {})",
        shown(spread.least),
        shown(spread.most)
    )
}

/// Three figures that count.
fn shown(figure: f64) -> String {
    match figure.abs() {
        size if size >= 100.0 => format!("{figure:.0}"),
        size if size >= 10.0 => format!("{figure:.1}"),
        _ => format!("{figure:.2}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_are_shown_as_far_as_they_count() {
        assert_eq!(shown(0.876), "0.88");
        assert_eq!(shown(45.67), "45.7");
        assert_eq!(shown(51_234.5), "51234");
        let one = Figure::of("a", "s", [1.0]);
        assert_eq!(measured(&one), "1.00 s");
        let more = Figure::of("a", "x", [1.0, 2.0, 3.0]);
        assert_eq!(measured(&more), "2.00 x (1.00 to 3.00)");
    }
}
