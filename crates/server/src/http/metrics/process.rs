//! The process, under the names that Prometheus's own libraries use.

use std::{fs, sync::atomic::AtomicU64};

use prometheus_client::{
    metrics::{counter::Counter, gauge::Gauge},
    registry::Registry,
};
use rustix::process::{Resource, getrlimit};

/// Ticks in a second, as `/proc` counts on every architecture of Linux.
const TICKS: f64 = 100.0;

/// What `/proc/self/stat` says, as far as it is shown.
#[derive(Clone, Copy, PartialEq, Debug)]
struct Stat {
    cpu_secs: f64,
    threads: u64,
    started_after_boot_secs: f64,
    virtual_bytes: u64,
}

/// Takes a line of `/proc/self/stat` apart. The program's name is in parentheses, and may hold some.
fn stat(line: &str) -> Option<Stat> {
    let (_, rest) = line.rsplit_once(')')?;
    let fields: Vec<&str> = rest.split_whitespace().collect();
    // Fields are counted from 1 in proc(5), and the third is the first of these.
    let number = |field: usize| fields.get(field - 3)?.parse::<u64>().ok();
    let ticks = |field| Some(number(field)? as f64 / TICKS);
    Some(Stat {
        cpu_secs: ticks(14)? + ticks(15)?,
        threads: number(20)?,
        started_after_boot_secs: ticks(22)?,
        virtual_bytes: number(23)?,
    })
}

/// The number after a word at the beginning of a line.
fn number_after(text: &str, word: &str) -> Option<u64> {
    let mut lines = text.lines();
    let rest = lines.find_map(|line| line.strip_prefix(word))?;
    rest.split_whitespace().next()?.parse().ok()
}

fn float(registry: &mut Registry, name: &str, help: &str, value: f64) {
    let gauge = Gauge::<f64, AtomicU64>::default();
    gauge.set(value);
    registry.register(name, help, gauge);
}

/// What cannot be read is left out.
pub(super) fn register(registry: &mut Registry) {
    let read = |path| fs::read_to_string(path).unwrap_or_default();
    if let Some(stat) = stat(&read("/proc/self/stat")) {
        let cpu = Counter::<f64, AtomicU64>::default();
        cpu.inc_by(stat.cpu_secs);
        registry.register("process_cpu_seconds", "CPU time, user and system", cpu);
        let threads = stat.threads as f64;
        float(registry, "process_threads", "Threads", threads);
        let bytes = stat.virtual_bytes as f64;
        let help = "Virtual memory";
        float(registry, "process_virtual_memory_bytes", help, bytes);
        if let Some(boot) = number_after(&read("/proc/stat"), "btime ") {
            let started = boot as f64 + stat.started_after_boot_secs;
            let help = "When the process started, in seconds since 1970";
            float(registry, "process_start_time_seconds", help, started);
        }
    }
    if let Some(kib) = number_after(&read("/proc/self/status"), "VmRSS:") {
        let bytes = (kib * 1_024) as f64;
        let help = "Resident memory";
        float(registry, "process_resident_memory_bytes", help, bytes);
    }
    if let Ok(open) = fs::read_dir("/proc/self/fd") {
        // The one that lists them is among them.
        let open = open.count().saturating_sub(1) as f64;
        let help = "Open files and connections";
        float(registry, "process_open_fds", help, open);
    }
    if let Some(most) = getrlimit(Resource::Nofile).current {
        let help = "How many may be open";
        float(registry, "process_max_fds", help, most as f64);
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_taken_apart_whatever_the_program_is_called() {
        let line = "7 (a) b (c) S 1 7 7 0 -1 4194560 9 8 7 6 150 50 3 2 20 0 12 0 4200 8192 77 1";
        let expected = Stat {
            cpu_secs: 2.0,
            threads: 12,
            started_after_boot_secs: 42.0,
            virtual_bytes: 8_192,
        };
        assert_eq!(stat(line), Some(expected));
        assert_eq!(stat("7 (a) S 1"), None);
        assert_eq!(number_after("a 1\nVmRSS:\t  77 kB\n", "VmRSS:"), Some(77));
    }

    #[test]
    fn this_process_is_told_truly() {
        let mut registry = Registry::default();
        register(&mut registry);
        let mut page = String::new();
        prometheus_client::encoding::text::encode(&mut page, &registry).unwrap();
        let value = |name: &str| -> f64 {
            let line = page.lines().find(|line| line.starts_with(name)).unwrap();
            line.split(' ').nth(1).unwrap().parse().unwrap()
        };
        let now = std::time::SystemTime::now();
        let now = now.duration_since(std::time::UNIX_EPOCH).unwrap();
        let age = now.as_secs_f64() - value("process_start_time_seconds ");
        assert!((-2.0..600.0).contains(&age), "{age}");
        assert!(value("process_resident_memory_bytes ") > 1e6);
        assert!(value("process_open_fds ") <= value("process_max_fds "));
        assert!(value("process_threads ") >= 1.0);
        assert!(page.contains("process_cpu_seconds_total "));
    }
}
