//! The trail as its users see it: written by many, read back, verified, and hurt.

use std::{
    fs::{self, File},
    io::{self, Write},
    path::{Path, PathBuf},
    sync::{Arc, Mutex, atomic::AtomicBool},
    time::Duration,
};

use futures_util::FutureExt;

use super::{trail::Disk, *};

mod alone;
mod crash;
mod faults;
mod load;
mod tamper;

fn config(dir: &Path) -> AuditConfig {
    AuditConfig {
        dir: dir.to_owned(),
        node: "n1".into(),
        sync: SyncPolicy::Within(Duration::from_millis(10)),
        file_bytes: 1 << 20,
        slow_write: SLOW_WRITE,
    }
}

fn entry(number: usize) -> Entry {
    Entry {
        request_id: format!("r-{number}").into(),
        actor: "reader".into(),
        client_ip: Some("10.0.0.1".parse().unwrap()),
        peer_ip: Some("10.0.0.2".parse().unwrap()),
        action: "secret.read".into(),
        target: format!("secret/number/{number}"),
        outcome: "allowed".into(),
        status: Some(200),
    }
}

/// A finished trail of so many records, in files of so many bytes.
async fn trail(dir: &Path, records: usize, file_bytes: u64) {
    let audit = Audit::open(AuditConfig {
        file_bytes,
        ..config(dir)
    })
    .unwrap();
    for number in 0..records {
        audit.write(entry(number)).await.unwrap();
    }
}

fn paths(dir: &Path) -> Vec<PathBuf> {
    files::list(dir)
        .unwrap()
        .into_iter()
        .map(|file| file.path)
        .collect()
}

fn actions(dir: &Path) -> Vec<String> {
    let lines = paths(dir)
        .into_iter()
        .map(|path| fs::read_to_string(path).unwrap());
    let lines: String = lines.collect();
    lines
        .lines()
        .map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap())
        .map(|record| record["action"].as_str().unwrap().to_owned())
        .collect()
}

/// Waits until `condition` holds, or fails the test.
async fn eventually(what: &str, condition: impl Fn() -> bool) {
    for _ in 0..1_000 {
        if condition() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("never: {what}");
}

/// What the disk refuses.
#[derive(Default)]
struct Faults {
    /// Bytes left on the disk. A write over it leaves its first part behind, as a full disk does.
    room: Option<usize>,
    /// Syncs fail.
    sync: bool,
    /// Syncs take this long.
    slow: Duration,
    /// Writes take this long.
    slow_writes: Duration,
}

/// A disk with faults that a test turns on and off.
#[derive(Clone, Default)]
struct FaultyDisk(Arc<Mutex<Faults>>);

impl FaultyDisk {
    fn set(&self, change: impl FnOnce(&mut Faults)) {
        change(&mut self.0.lock().unwrap());
    }
}

impl Disk for FaultyDisk {
    fn append(&self, mut file: &File, bytes: &[u8]) -> io::Result<()> {
        let slow = self.0.lock().unwrap().slow_writes;
        std::thread::sleep(slow);
        let mut faults = self.0.lock().unwrap();
        let room = faults.room.unwrap_or(usize::MAX);
        let part = &bytes[..bytes.len().min(room)];
        file.write_all(part)?;
        if let Some(room) = &mut faults.room {
            *room -= part.len();
        }
        if part.len() < bytes.len() {
            Err(io::ErrorKind::StorageFull.into())
        } else {
            Ok(())
        }
    }

    fn sync(&self, file: &File) -> io::Result<()> {
        let (fails, slow) = {
            let faults = self.0.lock().unwrap();
            (faults.sync, faults.slow)
        };
        std::thread::sleep(slow);
        if fails {
            Err(io::Error::other("injected"))
        } else {
            file.sync_data()
        }
    }
}

#[tokio::test]
async fn what_was_sent_is_written_though_nobody_waits() {
    let dir = tempfile::tempdir().unwrap();
    let audit = Audit::open(config(dir.path())).unwrap();
    let sent = AtomicBool::new(false);
    let note = || sent.store(true, Ordering::Release);
    // While there is no place in the queue it is not sent, and so not written when it is dropped.
    let all = u32::try_from(QUEUE).unwrap();
    let places = Arc::clone(&audit.handle.places);
    let places = places.acquire_many_owned(all).await.unwrap();
    let waits = audit.write_noting(|| entry(1), note).now_or_never();
    assert!(waits.is_none() && !sent.load(Ordering::Acquire));
    drop(places);
    // Dropped where it waits for the answer.
    let _ = audit.write_noting(|| entry(2), note).now_or_never();
    assert!(sent.load(Ordering::Acquire));
    while audit.stats().records == 0 {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    let written = audit.read(None, 10).await.unwrap();
    let ids: Vec<_> = written.iter().map(|record| &record["request_id"]).collect();
    assert_eq!(ids, ["r-2"]);
}
