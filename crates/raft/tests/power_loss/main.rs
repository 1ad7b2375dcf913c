//! The power-loss test: every write and sync of the real store is recorded, the files are rebuilt as
//! a power cut might leave them, and the store must open with all that it acknowledged. Its control
//! is the same without the barrier, which must fail.
//!
//! `POWER_LOSS_STATES` sets how many states with the barrier, `POWER_LOSS_SEED` repeats a run.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic
)]
#![allow(clippy::print_stdout, unreachable_pub)]

#[path = "../common/mod.rs"]
mod common;
mod expect;
mod rebuild;
mod recover;
mod segments;
mod trace;
mod workload;

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::Mutex,
    thread,
    time::{Duration, Instant},
};

use expect::Expect;
use rebuild::{Disk, Random};
use segments::Headers;
use strongroom_raft::durable::Barrier;
use trace::Event;

/// Crash states with the barrier, unless set otherwise, and in its control.
const STATES: u64 = 300;
const CONTROL_STATES: u64 = 30;
/// Rounds, each starting from a state that a crash of the round before left.
const ROUNDS: u64 = 3;
/// Steps of the workload before it is killed, and after it was started again.
const STEPS: u64 = 80;
/// A recovery that takes longer hangs.
const RECOVERY_DEADLINE: Duration = Duration::from_secs(60);

fn test_binary(child: &str) -> Command {
    let mut command = Command::new(env::current_exe().unwrap());
    command.args(["--exact", child, "--ignored", "--nocapture"]);
    command.stdout(Stdio::null()).stderr(Stdio::null());
    command
}

fn setting(name: &str) -> Option<u64> {
    env::var(name).ok().map(|text| text.parse().unwrap())
}

/// The traced process.
#[test]
#[ignore = "started by the power-loss test"]
fn child_workload() {
    let (root, barrier) = told();
    let seed = setting("POWER_LOSS_SEED").unwrap();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .build()
        .unwrap();
    runtime.block_on(workload::run(&root, barrier, STEPS, seed));
}

/// The same, with much between two barriers.
#[test]
#[ignore = "started by the test of segments"]
fn child_flood() {
    let (root, barrier) = told();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .build()
        .unwrap();
    runtime.block_on(workload::flood(&root, barrier));
}

/// What a traced process is told.
fn told() -> (PathBuf, Barrier) {
    let root = PathBuf::from(env::var("POWER_LOSS_ROOT").unwrap());
    let barrier = match env::var("POWER_LOSS_BARRIER").unwrap().as_str() {
        "full" => Barrier::Full,
        _ => Barrier::FlushOnly,
    };
    (root, barrier)
}

/// The recovering process.
#[test]
#[ignore = "started by the power-loss test"]
fn child_recover() {
    let root = PathBuf::from(env::var("POWER_LOSS_ROOT").unwrap());
    let expect = Expect::from_text(&fs::read_to_string(root.join("expect")).unwrap());
    let runtime = tokio::runtime::Builder::new_current_thread()
        .build()
        .unwrap();
    let verdict = match runtime.block_on(recover::check(&root, &expect)) {
        Ok(found) => {
            fs::write(root.join("expect"), found.to_text()).unwrap();
            "intact".to_owned()
        }
        Err(missing) => missing,
    };
    fs::write(root.join("verdict"), verdict).unwrap();
}

/// The process whose disk dies under it.
#[test]
#[ignore = "started by the dying-disk test"]
fn child_dying_disk() {
    let root = PathBuf::from(env::var("POWER_LOSS_ROOT").unwrap());
    let runtime = tokio::runtime::Builder::new_current_thread()
        .build()
        .unwrap();
    let verdict = runtime.block_on(workload::until_the_disk_dies(&root));
    fs::write(
        root.join("verdict"),
        verdict.err().unwrap_or_else(|| "stopped".to_owned()),
    )
    .unwrap();
}

fn build_shim(dir: &Path) -> PathBuf {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/shim/io_trace.c");
    let shim = dir.join("io_trace.so");
    let status = Command::new("cc")
        .args(["-shared", "-fPIC", "-O1", "-o"])
        .args([&shim, &source])
        .args(["-ldl", "-lpthread"])
        .status()
        .expect("the power-loss test needs a C compiler, cc");
    assert!(status.success(), "the shim does not compile");
    shim
}

/// Runs the workload twice on `root`: killed, started again, killed again.
fn record(shim: &Path, root: &Path, barrier: &str, seed: u64) -> Vec<Event> {
    let trace = root.with_extension("trace");
    for run in 0..2 {
        trace_child("child_workload", shim, root, barrier, seed + run);
    }
    take_trace(&trace)
}

/// Runs such a process until it is killed. Its trace is appended to the file beside `root`.
fn trace_child(child: &str, shim: &Path, root: &Path, barrier: &str, seed: u64) {
    let status = test_binary(child)
        .env("LD_PRELOAD", shim)
        .env("IO_TRACE_DIR", root)
        .env("IO_TRACE_FILE", root.with_extension("trace"))
        .env("POWER_LOSS_ROOT", root)
        .env("POWER_LOSS_BARRIER", barrier)
        .env("POWER_LOSS_SEED", seed.to_string())
        .status()
        .unwrap();
    assert!(status.code().is_none(), "the workload failed: {status}");
}

fn take_trace(file: &Path) -> Vec<Event> {
    let events = trace::read(&fs::read(file).unwrap());
    fs::remove_file(file).unwrap();
    events
}

/// Takes the events up to a cut, keeping what the workload noted down apart.
struct Replay {
    disk: Disk,
    expect: Expect,
    marks: Option<u64>,
    marks_path: PathBuf,
}

impl Replay {
    fn take(&mut self, event: Event) {
        match event {
            Event::Create { inode, path } if path == self.marks_path => self.marks = Some(inode),
            Event::Write { inode, data, .. } if self.marks == Some(inode) => {
                let text = String::from_utf8(data).unwrap();
                text.lines().for_each(|line| self.expect.mark(line));
            }
            event => self.disk.replay(event),
        }
    }
}

/// Opens one state in a process of its own and says what it found.
fn recover(root: &Path) -> String {
    let mut child = test_binary("child_recover")
        .env("POWER_LOSS_ROOT", root)
        .spawn()
        .unwrap();
    let start = Instant::now();
    loop {
        if child.try_wait().unwrap().is_some() {
            break;
        }
        if start.elapsed() > RECOVERY_DEADLINE {
            child.kill().unwrap();
            child.wait().unwrap();
            return "recovery hangs".to_owned();
        }
        thread::sleep(Duration::from_millis(5));
    }
    fs::read_to_string(root.join("verdict")).unwrap_or_else(|_| "recovery panicked".to_owned())
}

/// What a round came to.
#[derive(Default)]
struct Outcome {
    failures: Vec<String>,
    headers: Headers,
}

/// One recorded run cut at `states` random points. Leaves one state that recovered as the start of
/// the next round.
fn round(shim: &Path, root: &Path, barrier: &str, states: u64, seed: u64, next: &Path) -> Outcome {
    let data = root.join("data");
    fs::create_dir_all(&data).unwrap();
    let expect = match fs::read_to_string(root.join("expect")) {
        Ok(text) => Expect::from_text(&text),
        Err(_) => Expect::default(),
    };
    let disk = Disk::holding(root);
    let events = record(shim, root, barrier, seed);
    fs::remove_dir_all(root).unwrap();
    let mut random = Random(seed);
    let mut cuts: Vec<u64> = (0..states)
        .map(|_| random.below(events.len() as u64 + 1))
        .collect();
    cuts.sort_unstable();
    let marks_path = root.join("marks");
    let mut replay = Replay {
        disk,
        expect,
        marks: None,
        marks_path,
    };
    let failures = Mutex::new(Vec::new());
    let failed = |number: usize, state: &Path| {
        let verdict = recover(state);
        if verdict != "intact" {
            let cut = cuts[number];
            failures
                .lock()
                .unwrap()
                .push(format!("seed {seed} cut {cut}: {verdict}"));
            return true;
        }
        false
    };
    let mut events = events.into_iter();
    let mut taken = 0;
    let keep = states * 2 / 3;
    thread::scope(|scope| {
        let workers: Mutex<Vec<thread::ScopedJoinHandle<'_, ()>>> = Mutex::new(Vec::new());
        let parallel = thread::available_parallelism().map_or(2, usize::from);
        for (number, cut) in cuts.iter().enumerate() {
            while taken < *cut {
                replay.take(events.next().unwrap());
                taken += 1;
            }
            let state = root.with_extension(format!("state{number}"));
            replay.disk.cut_power(&state, &mut random);
            fs::write(state.join("expect"), replay.expect.to_text()).unwrap();
            let (failed, next) = (&failed, next.to_owned());
            let keeps = number as u64 >= keep && !next.exists();
            let work = move || {
                let lost = failed(number, &state);
                if keeps && !lost && !next.exists() {
                    fs::remove_file(state.join("verdict")).unwrap();
                    let _ = fs::rename(&state, next);
                } else {
                    fs::remove_dir_all(&state).unwrap();
                }
            };
            let mut workers = workers.lock().unwrap();
            workers.push(scope.spawn(work));
            if workers.len() >= parallel {
                workers.remove(0).join().unwrap();
            }
        }
    });
    events.for_each(|event| replay.take(event));
    Outcome {
        failures: failures.into_inner().unwrap(),
        headers: replay.disk.headers(),
    }
}

#[test]
fn sled_relies_on_no_segment_that_is_not_durable() {
    let dir = tempfile::tempdir().unwrap();
    let shim = build_shim(dir.path());
    let headers = ["full", "flush"].map(|barrier| {
        let root = dir.path().join(barrier);
        fs::create_dir_all(root.join("data")).unwrap();
        let mut disk = Disk::holding(&root);
        trace_child("child_flood", &shim, &root, barrier, 0);
        let events = take_trace(&root.with_extension("trace"));
        events.into_iter().for_each(|event| disk.replay(event));
        let headers = disk.headers();
        println!(
            "{barrier}: {} segments begun, {} of them too early",
            headers.written, headers.early
        );
        headers
    });
    let [with_barrier, control] = headers;
    assert_eq!(
        with_barrier.early, 0,
        "a segment may be reused before what it was moved to is durable"
    );
    assert!(control.early > 0, "this test proves nothing");
}

#[test]
fn nothing_acknowledged_is_lost_in_a_power_cut() {
    let seed = setting("POWER_LOSS_SEED").unwrap_or_else(|| getrandom::u64().unwrap() >> 16);
    let states = setting("POWER_LOSS_STATES").unwrap_or(STATES);
    println!("power loss: POWER_LOSS_SEED={seed}");
    let dir = tempfile::tempdir().unwrap();
    let shim = build_shim(dir.path());
    let mut lost = Vec::new();
    let mut headers = Headers::default();
    let mut root = dir.path().join("round0");
    for number in 0..ROUNDS {
        let next = dir.path().join(format!("round{}", number + 1));
        let outcome = round(
            &shim,
            &root,
            "full",
            states / ROUNDS,
            seed + 1000 * number,
            &next,
        );
        lost.extend(outcome.failures);
        headers = headers.and(outcome.headers);
        root = next;
    }
    let control = dir.path().join("control");
    let unused = dir.path().join("unused");
    let control = round(&shim, &control, "flush", CONTROL_STATES, seed, &unused).failures;
    println!(
        "power loss: with barrier {} states, {} lost; control (flush only) {CONTROL_STATES} states, \
         {} lost",
        states / ROUNDS * ROUNDS,
        lost.len(),
        control.len()
    );
    println!(
        "  {} segments of sled's file begun, {} of them too early",
        headers.written, headers.early
    );
    for failure in lost.iter().take(20) {
        println!("  with barrier: {failure}");
    }
    for failure in control.iter().take(3) {
        println!("  control: {failure}");
    }
    assert!(headers.written > 0, "no segment was begun");
    assert_eq!(
        headers.early, 0,
        "a segment may be reused before what it was moved to is durable"
    );
    assert!(lost.is_empty(), "acknowledged writes were lost");
    assert!(
        !control.is_empty(),
        "the control lost nothing, so this test proves nothing"
    );
}

#[test]
fn a_dying_disk_stops_the_store_for_good() {
    let dir = tempfile::tempdir().unwrap();
    let shim = build_shim(dir.path());
    let root = dir.path().join("root");
    fs::create_dir_all(&root).unwrap();
    test_binary("child_dying_disk")
        .env("LD_PRELOAD", shim)
        .env("IO_TRACE_DIR", root.join("data"))
        .env("IO_TRACE_FILE", dir.path().join("trace"))
        .env("IO_TRACE_FAIL_SYNC", "20")
        .env("POWER_LOSS_ROOT", &root)
        .status()
        .unwrap();
    assert_eq!(fs::read_to_string(root.join("verdict")).unwrap(), "stopped");
}
