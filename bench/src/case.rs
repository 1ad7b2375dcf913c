//! The cases.

mod disk;
mod failover;
mod growth;
mod mixed;
mod reads;
mod restart;
mod rewrap;
mod slow;
mod writes;

use std::{future::Future, pin::Pin, time::Duration};

use anyhow::{Context, Result, bail};

use crate::{
    budget::Figure,
    control::Control,
    plan::Plan,
    subject::Subject,
    usage,
    wrk::{self, Sample},
};

type Running<'a> = Pin<Box<dyn Future<Output = Result<Vec<Figure>>> + 'a>>;

/// Something to be measured.
pub(crate) struct Case {
    pub(crate) name: &'static str,
    pub(crate) what: &'static str,
    pub(crate) run: fn(&Plan) -> Running<'_>,
}

macro_rules! cases {
    ($($name:literal $what:literal $run:path;)*) => {
        &[$(Case { name: $name, what: $what, run: |plan| Box::pin($run(plan)) }),*]
    };
}

/// All of them, in the order in which they run.
pub(crate) const ALL: &[Case] = cases! {
    "reads"    "one secret of 32 bytes, one node, beside a bare route"            reads::one;
    "random"   "reads over 100,000 secrets, one node, beside a bare route"        reads::random;
    "writes"   "updates, three nodes, beside etcd"                                writes::run;
    "slow"     "the same with 2 ms added to every sync"                           slow::run;
    "mixed"    "reads while 64 writers write"                                     mixed::run;
    "rewrap"   "a pass over 10,000 versions, unpaced, local KMS"                  rewrap::run;
    "restart"  "ready after a restart, and memory, with 100,000 secrets"          restart::run;
    "disk"     "what 1,000,000 updates of 1,000 secrets leave on the disk"        disk::run;
    "failover" "kill -9 of the leader to the next accepted write, beside etcd"    failover::run;
    "growth"   "from 1,000 to 1,000,000 secrets, reads beside a bare route"          growth::run;
};

/// Those of these names; all if there are none.
pub(crate) fn chosen(names: &[String]) -> Result<Vec<&'static Case>> {
    if names.is_empty() {
        return Ok(ALL.iter().collect());
    }
    let of_name = |name: &String| ALL.iter().find(|case| case.name == name);
    names
        .iter()
        .map(|name| of_name(name).with_context(|| format!("no case {name}")))
        .collect()
}

/// What was measured of one subject, a sample a round.
pub(crate) struct Taken {
    pub(crate) name: String,
    pub(crate) samples: Vec<Sample>,
}

/// Measures the subjects in turn, round by round, after a moment of warming up.
pub(crate) async fn in_turn(
    plan: &Plan,
    subjects: &[Subject],
    connections: usize,
) -> Result<Vec<Taken>> {
    let scratch = tempfile::tempdir()?;
    for subject in subjects {
        wrk::run(
            &subject.traffic,
            connections,
            Duration::from_secs(1),
            scratch.path(),
        )
        .await?;
    }
    let taken = subjects.iter().map(|s| Taken {
        name: s.name.clone(),
        samples: Vec::new(),
    });
    let mut taken: Vec<Taken> = taken.collect();
    let mut control = Control::start(scratch.path())?;
    for _ in 0..plan.rounds {
        for (subject, taken) in subjects.iter().zip(&mut taken) {
            control.look()?;
            let mut sample = measured(plan, subject, connections, scratch.path()).await?;
            sample.control_micros = control.look()?.sync.as_secs_f64() * 1e6;
            eprintln!(
                "   {:<24} {connections:>3} connections {:>9.0}/s  p50 {:>7.0} us  p99 {:>7.0} us  cpu {:>6.1} us  \
                 a sync by itself, at most {:>7.0} us",
                taken.name,
                sample.rate,
                sample.p50_micros,
                sample.p99_micros,
                sample.cpu_micros,
                sample.control_micros
            );
            taken.samples.push(sample);
        }
    }
    Ok(taken)
}

/// One sample of one subject.
pub(crate) async fn measured(
    plan: &Plan,
    subject: &Subject,
    connections: usize,
    scratch: &std::path::Path,
) -> Result<Sample> {
    let time = Duration::from_secs(plan.seconds);
    let before = usage::cpu(&subject.pids)?;
    let mut sample = wrk::run(&subject.traffic, connections, time, scratch).await?;
    let used = usage::cpu(&subject.pids)?.saturating_sub(before);
    sample.cpu_micros = used.as_secs_f64() * 1e6 / (sample.rate * time.as_secs_f64());
    Ok(sample)
}

/// The figures of each subject by itself.
pub(crate) fn details(what: &str, taken: &[Taken]) -> Vec<Figure> {
    let of = |taken: &Taken, what: &str, unit, f: fn(&Sample) -> f64| {
        Figure::of(
            format!("{what}, {}", taken.name),
            unit,
            taken.samples.iter().map(f),
        )
    };
    let all = taken.iter().flat_map(|taken| {
        let cpu = of(taken, &format!("{what}: processor time"), "us", |sample| {
            sample.cpu_micros
        });
        [
            Some(of(taken, what, "/s", |sample| sample.rate)),
            Some(of(taken, &format!("{what}: p50"), "us", |sample| {
                sample.p50_micros
            })),
            Some(of(taken, &format!("{what}: p99"), "us", |sample| {
                sample.p99_micros
            })),
            Some(cpu).filter(|cpu| cpu.spread.most > 0.0),
            Some(of(
                taken,
                &format!("{what}: longest sync by itself"),
                "us",
                |sample| sample.control_micros,
            )),
        ]
    });
    all.flatten().collect()
}

/// One figure of a subject in parts of another's, round by round.
pub(crate) fn ratio(what: &str, (of, to): (&Taken, &Taken), figure: fn(&Sample) -> f64) -> Figure {
    let pairs = of.samples.iter().zip(&to.samples);
    Figure::of(what, "x", pairs.map(|(of, to)| figure(of) / figure(to)))
}

pub(crate) fn rate(sample: &Sample) -> f64 {
    sample.rate
}

pub(crate) fn p99(sample: &Sample) -> f64 {
    sample.p99_micros
}

/// The first two of what was taken: Strongroom, and what it is compared with.
pub(crate) fn pair(taken: &[Taken]) -> Result<(&Taken, &Taken)> {
    match taken {
        [ours, theirs, ..] => Ok((ours, theirs)),
        _ => bail!("there are no two subjects"),
    }
}
