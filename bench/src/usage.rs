//! What processes use: processor time, memory, disk, file handles, as the kernel counts them.

use std::{fs, io, os::unix::fs::MetadataExt, path::Path, time::Duration};

use anyhow::{Context, Result};

/// Processor time of the processes so far, their children left out.
pub(crate) fn cpu(pids: &[u32]) -> Result<Duration> {
    let mut ticks = 0;
    for pid in pids {
        let text = fs::read_to_string(format!("/proc/{pid}/stat"))?;
        // The name, in brackets, may hold spaces.
        let (_, rest) = text.rsplit_once(')').context("no process")?;
        let mut fields = rest.split_whitespace().skip(11);
        for _ in 0..2 {
            ticks += fields.next().context("no time")?.parse::<u64>()?;
        }
    }
    // The unit of this file is a hundredth of a second on Linux.
    Ok(Duration::from_millis(ticks * 10))
}

/// Time of all processors so far, in hundredths of a second.
pub(crate) struct Times {
    all: u64,
    /// In which the host ran others.
    steal: u64,
}

impl Times {
    /// The share of the time since `before` in which the host ran others, 0 to 1.
    pub(crate) fn steal_since(&self, before: &Self) -> f64 {
        let all = self.all.saturating_sub(before.all).max(1);
        self.steal.saturating_sub(before.steal) as f64 / all as f64
    }
}

/// Reads it.
pub(crate) fn times() -> Result<Times> {
    let text = fs::read_to_string("/proc/stat")?;
    let line = text.lines().find_map(|line| line.strip_prefix("cpu "));
    let line = line.context("no processors")?;
    // User, nice, system, idle, iowait, irq, softirq, steal; a guest's time after them is in the first two already.
    let fields: Result<Vec<u64>, _> = line.split_whitespace().take(8).map(str::parse).collect();
    let fields = fields?;
    Ok(Times {
        all: fields.iter().sum(),
        steal: *fields.get(7).context("no steal")?,
    })
}

/// Bytes of a process in memory.
pub(crate) fn memory(pid: u32) -> Result<u64> {
    let text = fs::read_to_string(format!("/proc/{pid}/status"))?;
    let line = text.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kib = line.and_then(|line| line.split_whitespace().next());
    Ok(kib.context("no memory")?.parse::<u64>()? * 1024)
}

/// Open file handles of a process.
pub(crate) fn handles(pid: u32) -> Result<u64> {
    Ok(fs::read_dir(format!("/proc/{pid}/fd"))?.count() as u64)
}

/// Bytes that the files below a directory occupy. A file that goes meanwhile counts nothing.
pub(crate) fn disk(dir: &Path) -> Result<u64> {
    let mut bytes = 0;
    for entry in fs::read_dir(dir)? {
        let entry = entry?;
        let found = match entry.metadata() {
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            found => found?,
        };
        bytes += match found.is_dir() {
            true => disk(&entry.path())?,
            false => found.blocks() * 512,
        };
    }
    Ok(bytes)
}
