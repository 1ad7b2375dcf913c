//! Requests that write their record themselves.

use super::{faults::open, *};

const LIMIT: Duration = Duration::from_millis(50);

fn within(limit: Duration) -> SyncPolicy {
    SyncPolicy::Within(limit)
}

/// What a write says without waiting for anybody; `None`: it waits for the thread.
fn at_once(audit: &Audit, number: usize) -> Option<Result<Seq, AuditUnavailable>> {
    audit.write(entry(number)).now_or_never()
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
    let (audit, _) = open(dir.path(), within(LIMIT));
    for number in 0..100 {
        assert_eq!(at_once(&audit, number), Some(Ok(Seq(number as u64 + 1))));
        assert_eq!(actions(dir.path()).len(), number + 1);
    }
    assert_eq!((audit.stats().records, audit.stats().last_seq), (100, 100));
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

#[tokio::test]
async fn a_write_that_fails_beside_a_sync_is_repaired_after_it() {
    let dir = tempfile::tempdir().unwrap();
    let (audit, disk) = open(dir.path(), within(LIMIT));
    disk.set(|faults| faults.slow = 2 * LIMIT);
    assert_eq!(at_once(&audit, 0), Some(Ok(Seq(1))));
    syncing(&audit).await;
    disk.set(|faults| faults.room = Some(0));
    assert_eq!(at_once(&audit, 1), Some(Err(AuditUnavailable)));
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

/// The request that met it waits for the disk; all others are refused.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_write_that_hangs_costs_one_request_and_refusals() {
    let dir = tempfile::tempdir().unwrap();
    let (audit, disk) = open(dir.path(), within(LIMIT));
    audit.write(entry(0)).await.unwrap();
    disk.set(|faults| faults.slow_writes = STALL + Duration::from_secs(2));
    let own = audit.clone();
    let hangs = tokio::spawn(async move { own.write(entry(1)).await });
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
