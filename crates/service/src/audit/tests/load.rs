//! Many writers, rotation, reading pages.

use std::os::unix::fs::PermissionsExt;

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
                tokio::spawn(async move { audit.write(entry(number)).await.unwrap() })
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
        assert!(stats.batches < 1_000, "{stats:?}");
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
