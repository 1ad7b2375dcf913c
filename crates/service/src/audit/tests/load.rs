//! Many writers, rotation, reading pages.

use std::os::unix::fs::PermissionsExt;

use futures_util::future::join_all;

use super::*;

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_thousand_tasks_share_writes() {
    for sync in [
        SyncPolicy::Within(Duration::from_millis(100)),
        SyncPolicy::Always,
    ] {
        let dir = tempfile::tempdir().unwrap();
        let audit = Audit::open(AuditConfig {
            sync,
            ..config(dir.path())
        })
        .unwrap();
        let tasks: Vec<_> = (0..1_000)
            .map(|number| {
                let audit = audit.clone();
                tokio::spawn(async move { audit.write_of_request(entry(number)).await.unwrap() })
            })
            .collect();
        let mut seqs = Vec::new();
        for task in tasks {
            seqs.push(task.await.unwrap().0);
        }
        seqs.sort_unstable();
        assert_eq!(seqs, (1..=1_000).collect::<Vec<_>>());
        let stats = audit.stats();
        assert_eq!(
            (stats.records, stats.last_seq, stats.failures),
            (1_000, 1_000, 0)
        );
        // Without a sync of its own, each may find the trail free.
        if sync == SyncPolicy::Always {
            assert!(stats.batches < 1_000, "{stats:?}");
        }
        drop(audit);
        let report = verify(dir.path()).unwrap();
        assert_eq!((report.records, report.last_seq), (1_000, 1_000));
        assert_eq!(report.head, HeadCheck::Matches);
    }
}

#[tokio::test]
async fn a_written_record_is_in_the_file_and_soon_on_the_disk() {
    let dir = tempfile::tempdir().unwrap();
    let sync = SyncPolicy::Within(Duration::from_millis(50));
    let audit = Audit::open(AuditConfig {
        sync,
        ..config(dir.path())
    })
    .unwrap();
    let before = audit.stats().syncs;
    assert_eq!(audit.write(entry(0)).await.unwrap(), Seq(1));
    assert_eq!(actions(dir.path()), ["secret.read"]);
    eventually("synced", || audit.stats().syncs > before).await;
    eventually("the head names it", || {
        verify(dir.path()).is_ok_and(|report| report.head == HeadCheck::Matches)
    })
    .await;
}

#[tokio::test]
async fn always_means_synced_before_the_answer() {
    let dir = tempfile::tempdir().unwrap();
    let always = AuditConfig {
        sync: SyncPolicy::Always,
        ..config(dir.path())
    };
    let audit = Audit::open(always).unwrap();
    let before = audit.stats().syncs;
    audit.write(entry(0)).await.unwrap();
    assert_eq!(audit.stats().syncs, before + 1);
    assert_eq!(verify(dir.path()).unwrap().head, HeadCheck::Matches);
}

#[tokio::test]
async fn files_are_rotated_and_private_and_the_chain_goes_on() {
    let dir = tempfile::tempdir().unwrap();
    trail(dir.path(), 50, 4_096).await;
    trail(dir.path(), 50, 4_096).await;
    let files = paths(dir.path());
    assert!(files.len() > 5, "{files:?}");
    assert!(files[0].ends_with("audit-00000001.jsonl"));
    for path in &files {
        let metadata = fs::metadata(path).unwrap();
        assert!(metadata.len() <= 4_096);
        assert_eq!(metadata.permissions().mode() & 0o777, 0o600);
    }
    let report = verify(dir.path()).unwrap();
    assert_eq!((report.records, report.files), (100, files.len()));
    // Archived files are missed, unless that is allowed.
    fs::remove_file(&files[0]).unwrap();
    assert!(matches!(
        verify(dir.path()).unwrap_err().reason,
        Reason::Missing { from: 1, .. }
    ));
    let rest = verify_from(dir.path(), Beginning::MayBeArchived).unwrap();
    assert!(rest.first_seq > 1 && rest.last_seq == 100);
}

#[tokio::test]
async fn pages_come_from_any_place_in_any_file() {
    let dir = tempfile::tempdir().unwrap();
    let audit = Audit::open(AuditConfig {
        file_bytes: 300_000,
        ..config(dir.path())
    })
    .unwrap();
    assert!(audit.read(None, 10).await.unwrap().is_empty());
    for number in 0..2_000 {
        audit.write(entry(number)).await.unwrap();
    }
    assert!(paths(dir.path()).len() > 2);
    let seqs = |page: Vec<serde_json::Value>| -> Vec<u64> {
        page.iter()
            .map(|record| record["seq"].as_u64().unwrap())
            .collect()
    };
    assert_eq!(
        seqs(audit.read(None, 3).await.unwrap()),
        [1_998, 1_999, 2_000]
    );
    for after in (0..2_000).step_by(37) {
        let page = seqs(audit.read(Some(after), 5).await.unwrap());
        assert_eq!(
            page,
            (after + 1..=2_000).take(5).collect::<Vec<_>>(),
            "after {after}"
        );
    }
    assert!(audit.read(Some(2_000), 5).await.unwrap().is_empty());
    assert!(audit.read(Some(u64::MAX), 5).await.unwrap().is_empty());
    assert_eq!(
        audit.read(Some(0), usize::MAX).await.unwrap().len(),
        PAGE_RECORDS
    );
    assert!(audit.read(Some(0), 0).await.unwrap().is_empty());
}

#[tokio::test]
async fn one_process_at_a_time() {
    let dir = tempfile::tempdir().unwrap();
    let audit = Audit::open(config(dir.path())).unwrap();
    assert!(matches!(
        Audit::open(config(dir.path())),
        Err(AuditError::InUse(_))
    ));
    drop(audit);
    assert!(Audit::open(config(dir.path())).is_ok());
}

#[tokio::test]
async fn what_is_ready_at_once_is_written_together() {
    let dir = tempfile::tempdir().unwrap();
    let audit = Audit::open(config(dir.path())).unwrap();
    // Somebody writes already.
    let seat = audit.handle.desk.sit_down();
    let write = |number| audit.write_of_request(entry(number));
    let mut together = join_all((0..50).map(write));
    assert!((&mut together).now_or_never().is_none());
    drop(seat);
    let seqs = together.await;
    let expected: Vec<_> = (1..=50).map(|seq| Ok(Seq(seq))).collect();
    assert_eq!(seqs, expected, "in the order of the requests");
    assert_eq!(audit.stats().batches, 1);

    let many = 2 * gathering::TOGETHER + 50;
    let seat = audit.handle.desk.sit_down();
    let mut together = join_all((50..50 + many).map(write));
    assert!((&mut together).now_or_never().is_none());
    drop(seat);
    let seqs = together.await;
    let expected: Vec<_> = (51..51 + many as u64).map(|seq| Ok(Seq(seq))).collect();
    assert_eq!(seqs, expected);
    let stats = audit.stats();
    assert_eq!(stats.records, 50 + many as u64);
    assert!((3..=4).contains(&stats.batches), "{stats:?}");
    let written = audit.read(None, 1).await.unwrap();
    assert_eq!(written[0]["request_id"], format!("r-{}", 49 + many));
}

/// Sent, and not handed over yet: that is done by what goes first, the runtime or the trail.
#[test]
fn what_was_sent_is_written_when_everything_ends() {
    let dir = tempfile::tempdir().unwrap();
    for (written, runtime_first) in [(1, true), (2, false)] {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .build()
            .unwrap();
        let audit = Audit::open(config(dir.path())).unwrap();
        let sent = AtomicBool::new(false);
        runtime.block_on(async {
            let note = || sent.store(true, Ordering::Release);
            let _seat = audit.handle.desk.sit_down();
            let _ = audit.write_noting(|| entry(written), note).now_or_never();
        });
        assert!(sent.load(Ordering::Acquire));
        assert_eq!(audit.stats().records, 0);
        if runtime_first {
            drop(runtime);
            let until = Instant::now() + Duration::from_secs(60);
            while audit.stats().records == 0 && Instant::now() < until {
                thread::sleep(Duration::from_millis(1));
            }
            assert_eq!(audit.stats().records, 1);
            drop(audit);
        } else {
            drop(audit);
            drop(runtime);
        }
        assert_eq!(verify(dir.path()).unwrap().records, written as u64);
    }
}
