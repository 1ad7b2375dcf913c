//! Requests that write their record themselves.

use std::io::Read;

use super::{faults::open, *};

/// Long beside what a busy machine and its disk stop for: who meets a sync that takes longer has to wait.
const LIMIT: Duration = Duration::from_millis(500);
/// For as long as no sync comes in between.
const NO_SYNC: Duration = Duration::from_secs(600);

fn within(limit: Duration) -> SyncPolicy {
    SyncPolicy::Within(limit)
}

/// What a write says without waiting for anybody; `None`: it waits for the thread.
fn at_once(audit: &Audit, number: usize) -> Option<Result<Seq, AuditUnavailable>> {
    audit.write_of_request(entry(number)).now_or_never()
}

async fn syncing(audit: &Audit) {
    let since = &audit.handle.desk.shared.syncing_since;
    eventually("a sync began", || since.load(Ordering::Acquire) > 0).await;
}

fn text(dir: &Path) -> String {
    paths(dir)
        .iter()
        .map(|path| fs::read_to_string(path).unwrap())
        .collect()
}

#[tokio::test]
async fn who_is_alone_waits_for_no_thread() {
    let dir = tempfile::tempdir().unwrap();
    let (audit, _) = open(dir.path(), within(NO_SYNC));
    for number in 0..100 {
        assert_eq!(at_once(&audit, number), Some(Ok(Seq(number as u64 + 1))));
        assert_eq!(actions(dir.path()).len(), number + 1);
    }
    assert_eq!((audit.stats().records, audit.stats().last_seq), (100, 100));
    drop(audit);
    assert_eq!(verify(dir.path()).unwrap().head, HeadCheck::Matches);

    let (audit, _) = open(dir.path(), within(LIMIT));
    assert_eq!(at_once(&audit, 100), Some(Ok(Seq(101))));
    let before = audit.stats().syncs;
    eventually("synced", || audit.stats().syncs > before).await;
    drop(audit);
    assert_eq!(verify(dir.path()).unwrap().head, HeadCheck::Matches);
}

#[tokio::test]
async fn a_sync_or_another_file_is_left_to_the_thread() {
    let dir = tempfile::tempdir().unwrap();
    let (audit, _) = open(dir.path(), SyncPolicy::Always);
    assert_eq!(at_once(&audit, 0), None);
    drop(audit);

    let dir = tempfile::tempdir().unwrap();
    let audit = Audit::open(AuditConfig {
        file_bytes: 1_000,
        ..config(dir.path())
    });
    let audit = audit.unwrap();
    let waited = (0..10).filter(|number| at_once(&audit, *number).is_none());
    assert!(waited.count() > 0);
    drop(audit);
    assert_eq!(verify(dir.path()).unwrap().records, 10);
}

#[tokio::test]
async fn a_record_that_comes_in_beside_a_sync_gets_one_of_its_own() {
    let dir = tempfile::tempdir().unwrap();
    let (audit, disk) = open(dir.path(), within(LIMIT));
    disk.set(|faults| faults.slow = 2 * LIMIT);
    assert_eq!(at_once(&audit, 0), Some(Ok(Seq(1))));
    syncing(&audit).await;
    assert_eq!(at_once(&audit, 1), Some(Ok(Seq(2))));
    assert_eq!(audit.stats().syncs, 1);
    eventually("synced", || audit.stats().syncs == 3).await;
    let report = verify(dir.path()).unwrap();
    assert_eq!((report.records, report.head), (2, HeadCheck::Matches));
}

#[tokio::test]
async fn who_comes_while_a_sync_takes_too_long_waits_for_it() {
    let dir = tempfile::tempdir().unwrap();
    let (audit, disk) = open(dir.path(), within(LIMIT));
    disk.set(|faults| faults.slow = 8 * LIMIT);
    assert_eq!(at_once(&audit, 0), Some(Ok(Seq(1))));
    syncing(&audit).await;
    tokio::time::sleep(2 * LIMIT).await;
    assert_eq!(audit.stats().syncs, 1);
    assert_eq!(at_once(&audit, 1), None);
    assert_eq!(audit.write(entry(2)).await, Ok(Seq(3)));
    assert!(audit.stats().syncs > 1);
}

#[tokio::test]
async fn a_sync_that_fails_loses_no_record_that_came_in_beside_it() {
    let dir = tempfile::tempdir().unwrap();
    let (audit, disk) = open(dir.path(), within(LIMIT));
    assert_eq!(at_once(&audit, 0), Some(Ok(Seq(1))));
    eventually("synced", || audit.stats().syncs > 1).await;
    disk.set(|faults| (faults.slow, faults.sync) = (2 * LIMIT, true));
    assert_eq!(at_once(&audit, 1), Some(Ok(Seq(2))));
    syncing(&audit).await;
    assert_eq!(at_once(&audit, 2), Some(Ok(Seq(3))));
    eventually("unavailable", || !audit.healthy()).await;
    assert_eq!(at_once(&audit, 3), Some(Err(AuditUnavailable)));
    // What a failed sync leaves in the file cannot be relied upon.
    let path = paths(dir.path()).remove(0);
    let first = fs::read_to_string(&path).unwrap().find('\n').unwrap() + 1;
    let file = fs::OpenOptions::new().write(true).open(&path).unwrap();
    file.set_len(first as u64).unwrap();
    disk.set(|faults| *faults = Faults::default());
    eventually("healed", || audit.healthy()).await;
    audit.write(entry(4)).await.unwrap();
    drop(audit);
    assert_eq!(verify(dir.path()).unwrap().records, 5);
    let text = text(dir.path());
    let is_there = [0, 1, 2, 3, 4].map(|number| text.contains(&format!("number/{number}")));
    assert_eq!(is_there, [true, true, true, false, true]);
}

/// A trail whose disk filled up, but for this room, while its one record was being synced.
async fn full_beside_a_sync(dir: &Path, room: usize) -> (Audit, FaultyDisk) {
    let (audit, disk) = open(dir, within(LIMIT));
    disk.set(|faults| faults.slow = 2 * LIMIT);
    assert_eq!(at_once(&audit, 0), Some(Ok(Seq(1))));
    syncing(&audit).await;
    disk.set(|faults| faults.room = Some(room));
    assert_eq!(at_once(&audit, 1), Some(Err(AuditUnavailable)));
    (audit, disk)
}

#[tokio::test]
async fn a_write_that_fails_beside_a_sync_is_repaired_after_it() {
    let dir = tempfile::tempdir().unwrap();
    let (audit, disk) = full_beside_a_sync(dir.path(), 0).await;
    assert!(!audit.healthy());
    eventually("a retry failed", || audit.stats().failures >= 2).await;
    assert!(!audit.healthy(), "the sync made nothing good");
    disk.set(|faults| *faults = Faults::default());
    eventually("healed", || audit.healthy()).await;
    audit.write(entry(2)).await.unwrap();
    drop(audit);
    assert_eq!(
        actions(dir.path()),
        ["secret.read", "audit.recovered", "secret.read"]
    );
    assert_eq!(verify(dir.path()).unwrap().head, HeadCheck::Matches);
}

#[tokio::test]
async fn slow_writes_are_left_to_the_thread_for_a_while() {
    let dir = tempfile::tempdir().unwrap();
    let (audit, disk) = open(dir.path(), within(LIMIT));
    disk.set(|faults| faults.slow_writes = Duration::from_millis(5));
    assert_eq!(at_once(&audit, 0), Some(Ok(Seq(1))));
    assert_eq!(at_once(&audit, 1), None);
    disk.set(|faults| faults.slow_writes = Duration::ZERO);
    let until = Instant::now() + Duration::from_secs(60);
    while at_once(&audit, 2).is_none() && Instant::now() < until {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert!(Instant::now() < until);
}

#[tokio::test]
async fn a_disk_that_fills_up_beside_a_sync_costs_nothing_that_was_synced() {
    let dir = tempfile::tempdir().unwrap();
    let (audit, _) = full_beside_a_sync(dir.path(), 10).await;
    eventually("a retry failed", || audit.stats().failures >= 2).await;
    // It ends before there is room again.
    drop(audit);
    assert!(text(dir.path()).contains("number/0"));
    let again = Audit::open(config(dir.path())).unwrap();
    assert_eq!(again.stats().last_seq, 1);
}

#[tokio::test]
async fn a_full_file_that_was_deleted_breaks_no_chain() {
    let dir = tempfile::tempdir().unwrap();
    let audit = Audit::open(AuditConfig {
        file_bytes: 4_096,
        sync: within(Duration::from_secs(60)),
        ..config(dir.path())
    });
    let audit = audit.unwrap();
    let mut written = 0;
    while audit.stats().syncs == 1 {
        audit.write(entry(written)).await.unwrap();
        written += 1;
    }
    for _ in 0..2 {
        fs::remove_file(paths(dir.path()).pop().unwrap()).unwrap();
        // Refused, or in the next file: whatever is answered stays.
        for number in 0..30 {
            if audit.write(entry(number)).await.is_err() {
                eventually("healed", || audit.healthy()).await;
            }
        }
    }
    drop(audit);
    assert_eq!(verify(dir.path()).unwrap().head, HeadCheck::Matches);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_repair_with_records_in_the_queue_is_followed_by_others() {
    let dir = tempfile::tempdir().unwrap();
    let (audit, _) = open(dir.path(), within(LIMIT));
    audit.write(entry(0)).await.unwrap();
    eventually("synced", || audit.stats().syncs == 2).await;
    thread::sleep(LIMIT);
    let mut queued = Vec::new();
    {
        let mut seat = audit.handle.desk.sit_down().unwrap();
        for number in 1..3 {
            let own = audit.clone();
            queued.push(tokio::spawn(async move { own.write(entry(number)).await }));
            thread::sleep(LIMIT);
        }
        // The thread waits with the first, and the second is in its queue.
        seat.retry_at = Some(Instant::now());
    }
    let second = queued.pop().unwrap().await.unwrap();
    let first = queued.pop().unwrap().await.unwrap();
    assert_eq!((first, second), (Err(AuditUnavailable), Ok(Seq(3))));
    assert_eq!(audit.write(entry(3)).await, Ok(Seq(4)));
    drop(audit);
    assert_eq!(
        actions(dir.path()),
        [
            "secret.read",
            "audit.recovered",
            "secret.read",
            "secret.read"
        ]
    );
}

/// A sync that takes between once and twice as long as the policy gives finds the next one due when it is done.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whoever_waits_in_the_queue_is_not_passed_by_syncs() {
    let dir = tempfile::tempdir().unwrap();
    let (audit, disk) = open(dir.path(), within(LIMIT));
    disk.set(|faults| faults.slow = LIMIT * 3 / 2);
    let mut all = Vec::new();
    for number in 0..1_000 {
        let own = audit.clone();
        all.push(tokio::spawn(async move {
            let began = Instant::now();
            let written = own.write_of_request(entry(number)).await;
            (written, began.elapsed())
        }));
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    for one in all {
        let (written, took) = one.await.unwrap();
        assert!(written.is_ok() && took < 20 * LIMIT, "{took:?}");
    }
}

/// The request that met it waits for the disk; all others are refused, and come as far as that: the thread that
/// hangs may have been the one that hears the network.
#[test]
fn a_write_that_hangs_leaves_the_others_their_network_and_their_clock() {
    let runtime = |threads| {
        tokio::runtime::Builder::new_multi_thread()
            .worker_threads(threads)
            .enable_all()
            .build()
            .unwrap()
    };
    let (requests, other) = (runtime(2), runtime(1));
    let dir = tempfile::tempdir().unwrap();
    let (audit, disk) = open(dir.path(), within(LIMIT));
    other.spawn(audit.relief(requests.handle().clone()));
    let listener = requests
        .block_on(tokio::net::TcpListener::bind("127.0.0.1:0"))
        .unwrap();
    let address = listener.local_addr().unwrap();
    let own = audit.clone();
    requests.spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let own = own.clone();
            tokio::spawn(async move {
                while stream.readable().await.is_ok() {
                    match stream.try_read(&mut [0]) {
                        Ok(1) => {}
                        Err(error) if error.kind() == io::ErrorKind::WouldBlock => continue,
                        _ => return,
                    }
                    let written = own.write_of_request(entry(0)).await;
                    stream.try_write(&[u8::from(written.is_ok())]).unwrap();
                }
            });
        }
    });
    let ask = |stream: &mut std::net::TcpStream| {
        stream.write_all(&[0]).unwrap();
        let mut answer = [0];
        stream.read_exact(&mut answer).map(|()| answer[0])
    };
    let connect = || std::net::TcpStream::connect(address).unwrap();
    let mut first = connect();
    assert_eq!(ask(&mut first).unwrap(), 1);
    let mut idle = connect();
    assert_eq!(ask(&mut idle).unwrap(), 1);
    disk.set(|faults| faults.slow_writes = STALL + Duration::from_secs(4));
    let hangs = thread::spawn(move || ask(&mut first));
    let busy = &audit.handle.desk.shared.busy_since;
    while busy.load(Ordering::Acquire) == 0 {
        thread::sleep(Duration::from_millis(1));
    }
    disk.set(|faults| faults.slow_writes = Duration::ZERO);
    let began = Instant::now();
    for mut stream in [idle, connect()] {
        let patience = Some(STALL + Duration::from_secs(2));
        stream.set_read_timeout(patience).unwrap();
        assert_eq!(ask(&mut stream).unwrap(), 0);
    }
    assert!(began.elapsed() < 2 * STALL);
    assert_eq!(hangs.join().unwrap().unwrap(), 1);
}

/// The request that met it waits for the disk; all others are refused.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_write_that_hangs_costs_one_request_and_refusals() {
    let dir = tempfile::tempdir().unwrap();
    let (audit, disk) = open(dir.path(), within(LIMIT));
    audit.write(entry(0)).await.unwrap();
    disk.set(|faults| faults.slow_writes = STALL + Duration::from_secs(2));
    let own = audit.clone();
    let hangs = tokio::spawn(async move { own.write_of_request(entry(1)).await });
    let busy = &audit.handle.desk.shared.busy_since;
    eventually("it hangs", || busy.load(Ordering::Acquire) > 0).await;
    let began = Instant::now();
    assert_eq!(audit.write(entry(2)).await, Err(AuditUnavailable));
    assert!(began.elapsed() < STALL + Duration::from_millis(900));
    eventually("unavailable while it hangs", || !audit.healthy()).await;
    disk.set(|faults| faults.slow_writes = Duration::ZERO);
    assert_eq!(hangs.await.unwrap(), Ok(Seq(2)));
    eventually("available again", || audit.healthy()).await;
    audit.write(entry(3)).await.unwrap();
}
