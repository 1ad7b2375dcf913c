//! The disk of the data directory: whether it takes files, has room, and how long a sync takes.

use std::{
    io::{self, Write},
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use super::{Finding, Verdict};

/// Syncs that are measured, each of one page.
const SYNCS: usize = 20;
const PAGE: [u8; 4096] = [0x5a; 4096];
/// A write waits for one at least: a disk above this makes all of them slow.
const SLOW: Duration = Duration::from_millis(20);
/// Log, snapshots and an audit file need some room, in bytes.
const ROOM: u64 = 1 << 30;

pub(super) fn look(data_dir: &Path) -> Vec<Finding> {
    let check = "VAULT_DATA_DIR";
    let shown = data_dir.display();
    let Some(dir) = existing(data_dir) else {
        let said = format!("{shown} is no directory: name another, or move it aside");
        return vec![Finding::new(check, Verdict::Wrong, said)];
    };
    let measured = match measure(&dir) {
        Ok(measured) => measured,
        Err(error) => {
            let said = format!("{shown}: {error}: let the server's user write there");
            return vec![Finding::new(check, Verdict::Wrong, said)];
        }
    };
    let will = if dir == data_dir {
        "is there"
    } else {
        "will be made"
    };
    vec![
        Finding::new(check, Verdict::Ok, format!("{shown} {will}")),
        speed(measured),
        room(&dir),
    ]
}

/// The directory itself, or the nearest one above it that is there.
fn existing(path: &Path) -> Option<PathBuf> {
    let path = std::path::absolute(path).ok()?;
    let found = path.ancestors().find(|path| path.exists())?;
    found.is_dir().then(|| found.to_owned())
}

/// How long each sync took, the shortest first.
fn measure(dir: &Path) -> io::Result<Vec<Duration>> {
    let mut file = tempfile::tempfile_in(dir)?;
    let mut took = Vec::with_capacity(SYNCS);
    for _ in 0..SYNCS {
        file.write_all(&PAGE)?;
        let began = Instant::now();
        file.sync_data()?;
        took.push(began.elapsed());
    }
    took.sort_unstable();
    Ok(took)
}

fn speed(took: Vec<Duration>) -> Finding {
    let median = took.get(SYNCS / 2).copied().unwrap_or_default();
    let worst = took.last().copied().unwrap_or_default();
    let said = format!("{median:.1?} at the median of {SYNCS}, {worst:.1?} at worst");
    match median > SLOW {
        false => Finding::new("disk sync", Verdict::Ok, said),
        true => {
            let said = format!("{said}: each write waits for one at two nodes; use a faster disk");
            Finding::new("disk sync", Verdict::Warning, said)
        }
    }
}

fn room(dir: &Path) -> Finding {
    match rustix::fs::statvfs(dir) {
        Ok(found) => {
            let free = found.f_bavail.saturating_mul(found.f_frsize);
            let said = format!("{} MiB free", free >> 20);
            match free < ROOM {
                false => Finding::new("disk room", Verdict::Ok, said),
                true => {
                    let said = format!("{said}: make room for log, snapshots and the audit trail");
                    Finding::new("disk room", Verdict::Warning, said)
                }
            }
        }
        Err(error) => Finding::new("disk room", Verdict::Skipped, error.to_string()),
    }
}
