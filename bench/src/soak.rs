//! Mixed load for a while: what is flat, and what is not.

use std::{
    fs,
    path::Path,
    time::{Duration, Instant},
};

use anyhow::Result;
use serde::Serialize;

use crate::{
    control::Control,
    load,
    plot::{self, Line},
    subject::{NAMES, strongroom},
    usage, wrk,
};

/// Between two looks, each of which is a run of the load generator.
const STEP: Duration = Duration::from_secs(10);
const MIB: f64 = 1024.0 * 1024.0;

/// What was seen at one moment.
#[derive(Serialize)]
struct Look {
    minutes: f64,
    memory_mib: f64,
    store_mib: f64,
    handles: f64,
    reads_per_sec: f64,
    read_p99_ms: f64,
    writes_per_sec: f64,
    write_p99_ms: f64,
    /// The longest sync of a program that has nothing to do with the servers.
    control_sync_ms: f64,
    /// Processor time that the host gave to others.
    steal_percent: f64,
}

/// Three nodes; reads at a follower and writes at the leader, paced well below what they can do, for so
/// many minutes.
pub(crate) async fn run(minutes: u64, out: &Path) -> Result<()> {
    // What building left to be written would be written beside the first looks.
    rustix::fs::sync();
    let cluster = strongroom::start(3, &[], None).await;
    let leader = cluster.leader().await;
    load::create(&cluster.admin(leader), "bench", 0, NAMES).await?;
    let follower = (leader + 1) % 3;
    let reads = strongroom::read_any(&cluster, follower, NAMES)
        .traffic
        .paced(4_000.0, 32);
    let writes = strongroom::update(&cluster, leader)
        .traffic
        .paced(400.0, 16);
    let scratch = tempfile::tempdir()?;
    let mut control = Control::start(scratch.path())?;
    let (began, length) = (Instant::now(), Duration::from_secs(minutes * 60));
    let mut looks = Vec::new();
    while began.elapsed() < length {
        let (read, written) = tokio::join!(
            wrk::run(&reads, 32, STEP, scratch.path()),
            wrk::run(&writes, 16, STEP, scratch.path())
        );
        let (read, written) = (read?, written?);
        let seen = control.look()?;
        let mut look = Look {
            minutes: began.elapsed().as_secs_f64() / 60.0,
            memory_mib: 0.0,
            store_mib: 0.0,
            handles: 0.0,
            reads_per_sec: read.rate,
            read_p99_ms: read.p99_micros / 1e3,
            writes_per_sec: written.rate,
            write_p99_ms: written.p99_micros / 1e3,
            control_sync_ms: seen.sync.as_secs_f64() * 1e3,
            steal_percent: seen.steal * 100.0,
        };
        for node in &cluster.nodes {
            look.memory_mib += usage::memory(node.pid())? as f64 / MIB;
            look.handles += usage::handles(node.pid())? as f64;
            let trail = usage::disk(&node.data_dir.join("audit"))?;
            look.store_mib += (usage::disk(&node.data_dir)? - trail) as f64 / MIB;
        }
        eprintln!("{}", serde_json::to_string(&look)?);
        looks.push(look);
    }
    fs::create_dir_all(out)?;
    fs::write(out.join("soak.json"), serde_json::to_string_pretty(&looks)?)?;
    let line = |what, of: fn(&Look) -> f64| Line {
        what,
        points: looks.iter().map(|look| (look.minutes, of(look))).collect(),
    };
    let lines = [
        line("memory of three nodes, MiB", |look| look.memory_mib),
        line("disk of three stores, MiB", |look| look.store_mib),
        line("file handles of three nodes", |look| look.handles),
        line("reads, p99, ms", |look| look.read_p99_ms),
        line("writes, p99, ms", |look| look.write_p99_ms),
        line("reads a second", |look| look.reads_per_sec),
        line("writes a second", |look| look.writes_per_sec),
        line("a sync by itself, longest of a look, ms", |look| {
            look.control_sync_ms
        }),
        line("processor time of others, %", |look| look.steal_percent),
    ];
    plot::draw(&out.join("soak.svg"), &lines)?;
    println!(
        "{} looks; the plot is {}",
        looks.len(),
        out.join("soak.svg").display()
    );
    Ok(())
}
