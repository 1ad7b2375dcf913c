//! Instructions of one piece of work, counted by valgrind's callgrind: figures that come out the same on
//! a busy machine and on an idle one, where times do not.
//!
//! Each run is done with N and with 2N repetitions. The difference over N is what one takes: start, end
//! and warm-up drop out. Callgrind counts what a process does outside of the kernel, on a processor of
//! its own making: with AVX2, without instructions for SHA.
//!
//! What Raft and its store do meanwhile goes by the clock and is no part of the work, so it is left out:
//! threads are counted one by one, and theirs are those that run nothing of the service's, of which
//! `strongroom-raft` knows nothing.

use std::{
    collections::HashMap,
    path::Path,
    process::{Command, Stdio},
};

use anyhow::{Context, Result, ensure};
use clap::ValueEnum;

use crate::counted::Work;

/// How far two runs may be apart, in per cent of the first. By function, what differs is the heap's own work.
const AGREE_WITHIN: f64 = 2.0;

/// What stands in the names of all that the service does.
const SERVICE: &str = "strongroom_service::";
/// The thread that a process begins with, as callgrind ends the names of its files.
const FIRST_THREAD: &str = "-01";

/// Instructions by function, its own and not those of what it calls.
type Costs = HashMap<String, u64>;

/// Counts each of `works` in two runs and prints what came out.
pub(crate) fn run(works: &[Work], functions: usize) -> Result<()> {
    let dir = tempfile::tempdir()?;
    println!("| work | instructions | second run | apart |");
    println!("|---|---|---|---|");
    let mut shown = Vec::new();
    for work in works {
        let (first, costs) = one(*work, dir.path())?;
        let (second, _) = one(*work, dir.path())?;
        let apart = (second - first).abs() / first * 100.0;
        println!(
            "| {} | {first:.0} | {second:.0} | {apart:.2} % |",
            work.what()
        );
        ensure!(
            apart <= AGREE_WITHIN,
            "two runs are {apart:.2} % apart: neither figure is worth anything"
        );
        shown.push((*work, first, costs));
    }
    for (work, total, costs) in shown.iter().filter(|_| functions > 0) {
        println!("\n{}: most instructions of their own", work.what());
        for (name, cost) in costs.iter().take(functions) {
            println!("{cost:>9.0} {:>5.1} %  {name}", cost / total * 100.0);
        }
    }
    Ok(())
}

/// Instructions of one repetition, altogether and by function, the dearest first.
fn one(work: Work, dir: &Path) -> Result<(f64, Vec<(String, f64)>)> {
    let once = count(work, work.times(), dir)?;
    let twice = count(work, 2 * work.times(), dir)?;
    let per = |more: u64, less: u64| (more as f64 - less as f64) / work.times() as f64;
    let total = per(twice.values().sum(), once.values().sum());
    let mut costs: Vec<(String, f64)> = twice
        .into_iter()
        .map(|(name, more)| {
            let less = once.get(&name).copied().unwrap_or_default();
            (name, per(more, less))
        })
        .collect();
    costs.sort_by(|(_, a), (_, b)| b.total_cmp(a));
    Ok((total, costs))
}

/// Runs this program under callgrind and reads what it cost.
fn count(work: Work, times: u64, dir: &Path) -> Result<Costs> {
    let dir = tempfile::tempdir_in(dir)?;
    let out = dir.path().join("callgrind.out");
    let name = work.to_possible_value().context("work without a name")?;
    let ended = Command::new("valgrind")
        .args(["--tool=callgrind", "--separate-threads=yes"])
        .args(["--fair-sched=yes", "--quiet"])
        .arg(format!("--callgrind-out-file={}", out.display()))
        .arg(std::env::current_exe()?)
        .args(["counted", name.get_name(), &times.to_string()])
        .stdout(Stdio::null())
        .status()
        .context("valgrind does not start: is it installed?")?;
    ensure!(ended.success(), "the counted run of {work:?} failed");
    let mut all = Costs::new();
    for file in std::fs::read_dir(dir.path())? {
        let path = file?.path();
        let profile = std::fs::read_to_string(&path)?;
        let first = path.to_string_lossy().ends_with(FIRST_THREAD);
        if first || profile.contains(SERVICE) {
            for (name, cost) in costs(&profile)? {
                *all.entry(name).or_default() += cost;
            }
        }
    }
    ensure!(!all.is_empty(), "callgrind has written nothing");
    Ok(all)
}

/// Sums up each function's own costs in callgrind's format, "Callgrind Format Specification" in
/// valgrind's manual: `fn=` says whose the lines are that follow, and the line after `calls=` is what
/// the called function cost, which is counted where it is.
fn costs(profile: &str) -> Result<Costs> {
    let mut names: HashMap<&str, &str> = HashMap::new();
    let (mut costs, mut current) = (Costs::new(), "");
    let mut of_a_call = false;
    for line in profile.lines() {
        if let Some((key, text)) = line.split_once('=').filter(|_| !starts_as_cost(line)) {
            if ["fn", "cfn"].contains(&key) {
                // A name is written out where it comes first, and is its number from then on.
                let (number, name) = text.split_once(' ').unwrap_or((text, ""));
                if !name.is_empty() {
                    names.insert(number, name);
                }
                if key == "fn" {
                    current = names.get(number).copied().unwrap_or(number);
                }
            }
            of_a_call = key == "calls";
        } else if starts_as_cost(line) {
            let cost = line.split_whitespace().nth(1);
            if !std::mem::take(&mut of_a_call)
                && let Some(cost) = cost.and_then(|cost| cost.parse::<u64>().ok())
            {
                *costs.entry(current.to_owned()).or_default() += cost;
            }
        }
    }
    let sum: u64 = costs.values().sum();
    let said = profile
        .lines()
        .find_map(|line| line.strip_prefix("totals: "))
        .and_then(|said| said.trim().parse::<u64>().ok());
    ensure!(
        said == Some(sum),
        "callgrind says {said:?} and its lines say {sum}"
    );
    Ok(costs)
}

/// Whether a line holds a position and a cost. Positions may be relative to the one before.
fn starts_as_cost(line: &str) -> bool {
    line.starts_with(|c: char| c.is_ascii_digit() || "+-*".contains(c))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::costs;

    const PROFILE: &str = "version: 1\npositions: line\nevents: Ir\n\nfl=(1) a.rs\nfn=(1) outer\n\
                           16 400\n+2 3\ncfn=(2) inner=2\ncalls=1 5\n16 70\n\nfn=(2)\n* 70\n\
                           \nfn=(1)\n20 7\n\ntotals: 480\n";

    #[test]
    fn own_costs_are_summed_and_those_of_calls_are_not() {
        let costs = costs(PROFILE).unwrap();
        assert_eq!(costs.get("outer"), Some(&410));
        assert_eq!(costs.get("inner=2"), Some(&70));
        assert_eq!(costs.len(), 2);
    }

    #[test]
    fn a_profile_that_is_not_understood_is_refused() {
        assert!(costs(&PROFILE.replace("480", "481")).is_err());
    }
}
