//! Measures Strongroom beside other servers, in one run, on one machine: what counts are the ratios.
//!
//! Everything listens on loopback, has a temporary directory, and ends with this process.
#![allow(
    clippy::indexing_slicing,
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a tool that prints, and that may end with a panic"
)]

mod budget;
mod case;
mod control;
mod counted;
mod instructions;
mod load;
mod plan;
mod plot;
mod report;
mod server;
mod soak;
mod spread;
mod subject;
mod usage;
mod wrk;

use std::{path::PathBuf, process::Command};

use anyhow::{Context, Result, bail, ensure};
use clap::{Parser, Subcommand};
use tokio::signal::unix::{SignalKind, signal};

use counted::Work;
use plan::Plan;

/// Strongroom's benchmarks.
#[derive(Parser)]
#[command(name = "cargo xtask")]
struct Arguments {
    #[command(subcommand)]
    command: What,
}

#[derive(Subcommand)]
enum What {
    /// Runs the cases and prints the table of budgets.
    Bench(BenchArguments),
    /// Mixed load for a while: memory, disk, file handles and latency over time, as a plot.
    Soak {
        /// How many minutes.
        #[arg(long, default_value_t = 30)]
        minutes: u64,
        /// Where the plot and its figures go.
        #[arg(long, default_value = "target/bench")]
        out: PathBuf,
    },
    /// Counts the instructions of a read, and of its parts, under valgrind: the same on every machine.
    Instructions {
        /// What to count; all if nothing is given.
        works: Vec<Work>,
        /// How many functions to show of each, those with most instructions of their own.
        #[arg(long, default_value_t = 10)]
        functions: usize,
    },
    /// Does what `instructions` counts. Started by it, under valgrind.
    #[command(hide = true)]
    Counted {
        /// What to do.
        work: Work,
        /// How often.
        times: u64,
    },
    /// Answers every request with the same bytes: the ceiling for reads. Started by `bench`.
    #[command(hide = true)]
    Ceiling {
        /// The port on 127.0.0.1.
        port: u16,
        /// A file with the answer: its head in JSON on the first line, then the body.
        answer: PathBuf,
    },
}

/// What `bench` takes.
#[derive(clap::Args)]
struct BenchArguments {
    /// Cases to run, by name; all if none is given.
    cases: Vec<String>,
    /// How often each figure is taken, the subjects in turn.
    #[arg(long, default_value_t = 5)]
    rounds: usize,
    /// How many seconds each takes.
    #[arg(long, default_value_t = 5)]
    seconds: u64,
    /// Up to how many secrets the growth case goes.
    #[arg(long, default_value_t = 1_000_000)]
    most_secrets: u64,
    /// A Vault-compatible server to be measured beside the others, by URL; its token in `VAULT_TOKEN`.
    #[arg(long)]
    vault: Option<String>,
    /// Where the figures go as JSON.
    #[arg(long, default_value = "target/bench/bench.json")]
    json: PathBuf,
    /// Lists the cases and ends.
    #[arg(long)]
    list: bool,
}

fn main() -> Result<()> {
    match Arguments::parse().command {
        // Both without a runtime around them: what is counted has its own.
        What::Instructions { works, functions } => {
            let works = match works.is_empty() {
                true => Work::ALL.to_vec(),
                false => works,
            };
            instructions::run(&works, functions)
        }
        What::Counted { work, times } => work.run(times),
        other => measure(other),
    }
}

/// Measures until it is done or told to end: either way, what was started is ended and its files are removed.
#[tokio::main]
async fn measure(what: What) -> Result<()> {
    let mut told = signal(SignalKind::terminate())?;
    tokio::select! {
        measured = measure_all(what) => measured,
        _ = tokio::signal::ctrl_c() => bail!("interrupted"),
        _ = told.recv() => bail!("told to end"),
    }
}

async fn measure_all(what: What) -> Result<()> {
    match what {
        What::Bench(arguments) => bench(arguments).await,
        What::Soak { minutes, out } => {
            build()?;
            soak::run(minutes, &out).await
        }
        What::Ceiling { port, answer } => subject::ceiling::serve(port, &answer).await,
        What::Instructions { .. } | What::Counted { .. } => Ok(()),
    }
}

async fn bench(arguments: BenchArguments) -> Result<()> {
    if arguments.list {
        for case in case::ALL {
            println!("{:<12} {}", case.name, case.what);
        }
        return Ok(());
    }
    let chosen = case::chosen(&arguments.cases)?;
    ensure!(
        arguments.rounds > 0 && arguments.seconds > 0,
        "nothing to measure"
    );
    build()?;
    let plan = Plan {
        rounds: arguments.rounds,
        seconds: arguments.seconds,
        most_secrets: arguments.most_secrets,
        vault: arguments.vault,
    };
    let mut report = report::Report::begin();
    for case in chosen {
        eprintln!("\n== {}: {}", case.name, case.what);
        // What a build or the last case has left to be written would be written while this one's subjects sync, and
        // hit some of them.
        rustix::fs::sync();
        let figures = (case.run)(&plan).await;
        report.add(
            case.name,
            figures.with_context(|| format!("the case {}", case.name))?,
        );
        report.write(&arguments.json)?;
    }
    report.print();
    Ok(())
}

/// Builds the server that is measured, which lies beside this program afterwards.
fn build() -> Result<()> {
    let built = Command::new("cargo")
        .args(["build", "--release", "--locked", "--package", "strongroom"])
        .status()
        .context("cargo does not start")?;
    ensure!(built.success(), "the server does not build");
    Ok(())
}
