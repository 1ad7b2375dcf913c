//! A disk that fails under the trail, and a file that disappears.

use super::*;

pub(super) fn open(dir: &Path, sync: SyncPolicy) -> (Audit, FaultyDisk) {
    let disk = FaultyDisk::default();
    let audit = Audit::open_on(
        AuditConfig {
            sync,
            ..config(dir)
        },
        disk.clone(),
    )
    .unwrap();
    (audit, disk)
}

const POLICIES: [SyncPolicy; 2] = [
    SyncPolicy::Always,
    SyncPolicy::Within(Duration::from_secs(1)),
];

#[tokio::test]
async fn a_full_disk_refuses_and_heals() {
    for sync in POLICIES {
        // The line that does not fit is cut at various places.
        for room in [0, 1, 100, 300] {
            let dir = tempfile::tempdir().unwrap();
            let (audit, disk) = open(dir.path(), sync);
            assert_eq!(audit.write(entry(0)).await, Ok(Seq(1)));
            disk.set(|faults| faults.room = Some(room));
            assert_eq!(audit.write(entry(1)).await, Err(AuditUnavailable));
            assert!(!audit.healthy());
            let before = std::time::Instant::now();
            assert_eq!(audit.write(entry(2)).await, Err(AuditUnavailable));
            assert!(
                before.elapsed() < Duration::from_secs(3),
                "a refusal must be quick"
            );
            // Retries that find no space change nothing.
            eventually("a retry failed", || audit.stats().failures >= 2).await;
            assert!(!audit.healthy());
            disk.set(|faults| faults.room = None);
            eventually("healed", || audit.healthy()).await;
            audit.write(entry(3)).await.unwrap();
            drop(audit);
            assert_eq!(verify(dir.path()).unwrap().head, HeadCheck::Matches);
            assert_eq!(
                actions(dir.path()),
                ["secret.read", "audit.recovered", "secret.read"]
            );
        }
    }
}

#[tokio::test]
async fn a_failed_sync_loses_no_answered_record() {
    for sync in POLICIES {
        let dir = tempfile::tempdir().unwrap();
        let (audit, disk) = open(dir.path(), sync);
        assert_eq!(audit.write(entry(0)).await, Ok(Seq(1)));
        disk.set(|faults| faults.sync = true);
        // Within the policy's time a record may be answered before its sync fails.
        let answered = audit.write(entry(1)).await;
        assert_eq!(answered.is_ok(), sync != SyncPolicy::Always);
        eventually("unavailable", || !audit.healthy()).await;
        // What a failed sync leaves in the file cannot be relied upon.
        let path = paths(dir.path()).remove(0);
        let kept = fs::read_to_string(&path).unwrap();
        let first = kept.find('\n').unwrap() + 1;
        let file = fs::OpenOptions::new().write(true).open(&path).unwrap();
        file.set_len(first as u64).unwrap();
        disk.set(|faults| faults.sync = false);
        eventually("healed", || audit.healthy()).await;
        audit.write(entry(2)).await.unwrap();
        drop(audit);
        let report = verify(dir.path()).unwrap();
        assert_eq!(report.records, 3 + u64::from(answered.is_ok()));
        let text: String = paths(dir.path())
            .iter()
            .map(|p| fs::read_to_string(p).unwrap())
            .collect();
        assert_eq!(text.contains("number/1"), answered.is_ok());
        assert!(text.contains("audit.recovered"));
    }
}

#[tokio::test]
async fn a_trail_closed_while_it_fails_keeps_its_answered_records() {
    let dir = tempfile::tempdir().unwrap();
    let sync = SyncPolicy::Within(Duration::from_secs(60));
    let (audit, disk) = open(dir.path(), sync);
    assert_eq!(audit.write(entry(0)).await, Ok(Seq(1)));
    disk.set(|faults| faults.room = Some(100));
    assert_eq!(audit.write(entry(1)).await, Err(AuditUnavailable));
    disk.set(|faults| faults.room = None);
    drop(audit);
    let report = verify(dir.path()).unwrap();
    assert_eq!(
        (report.files, report.records, report.head),
        (1, 2, HeadCheck::Matches)
    );
    assert_eq!(actions(dir.path()), ["secret.read", "audit.recovered"]);
}

#[tokio::test]
async fn a_deleted_file_is_noticed_and_takes_no_fresh_record_with_it() {
    for sync in POLICIES {
        let dir = tempfile::tempdir().unwrap();
        let (audit, _) = open(dir.path(), sync);
        audit.write(entry(0)).await.unwrap();
        eventually("synced", || {
            verify(dir.path()).is_ok_and(|report| report.head == HeadCheck::Matches)
        })
        .await;
        fs::remove_file(paths(dir.path()).remove(0)).unwrap();
        audit.write(entry(1)).await.unwrap();
        eventually("replaced", || paths(dir.path()).len() == 1).await;
        eventually("recorded", || {
            actions(dir.path()).contains(&"audit.file_replaced".into())
        })
        .await;
        audit.write(entry(2)).await.unwrap();
        drop(audit);
        assert!(paths(dir.path())[0].ends_with("audit-00000002.jsonl"));
        assert_eq!(
            actions(dir.path()),
            ["secret.read", "audit.file_replaced", "secret.read"]
        );
        // The deleted record is missed, and nothing else.
        assert_eq!(
            verify(dir.path()).unwrap_err().reason,
            Reason::Missing { from: 1, to: 1 }
        );
        assert_eq!(
            verify_from(dir.path(), Beginning::MayBeArchived)
                .unwrap()
                .first_seq,
            2
        );
    }
}

#[tokio::test]
async fn a_file_moved_away_or_written_by_others_is_noticed() {
    let dir = tempfile::tempdir().unwrap();
    let (audit, _) = open(dir.path(), SyncPolicy::Always);
    audit.write(entry(0)).await.unwrap();
    let first = paths(dir.path()).remove(0);
    let aside = dir.path().join("aside");
    fs::rename(&first, &aside).unwrap();
    fs::write(&first, "").unwrap();
    audit.write(entry(1)).await.unwrap();
    // Brought back, the moved file fits: its records are in no other.
    fs::rename(&aside, &first).unwrap();
    assert_eq!(verify(dir.path()).unwrap().records, 3);
    assert_eq!(actions(dir.path())[2], "audit.file_replaced");

    let second = paths(dir.path()).remove(1);
    let mut file = fs::OpenOptions::new().append(true).open(&second).unwrap();
    file.write_all(b"junk\n").unwrap();
    audit.write(entry(2)).await.unwrap();
    assert_eq!(paths(dir.path()).len(), 3);
    assert_eq!(verify(dir.path()).unwrap_err().reason, Reason::Malformed);
}

#[tokio::test]
async fn a_hanging_disk_costs_refusals_and_not_requests_without_end() {
    let dir = tempfile::tempdir().unwrap();
    let (audit, disk) = open(dir.path(), SyncPolicy::Always);
    disk.set(|faults| faults.slow = STALL + Duration::from_secs(1));
    let before = std::time::Instant::now();
    assert_eq!(audit.write(entry(0)).await, Err(AuditUnavailable));
    assert!(before.elapsed() < STALL + Duration::from_millis(900));
    disk.set(|faults| faults.slow = Duration::ZERO);
    eventually("unavailable while it hangs", || !audit.healthy()).await;
    eventually("available again", || audit.healthy()).await;
    audit.write(entry(1)).await.unwrap();
    assert_eq!(verify(dir.path()).unwrap().records, 2);
}

/// The same on a real disk that is full: a small tmpfs that CI or a developer mounts and names.
#[ignore = "needs a small file system to itself: scripts/test mounts one and runs this"]
#[tokio::test]
async fn a_really_full_disk_refuses_and_heals() {
    let dir = PathBuf::from(std::env::var_os("STRONGROOM_TEST_SMALL_DISK").unwrap());
    let audit = Audit::open(config(&dir.join("audit"))).unwrap();
    audit.write(entry(0)).await.unwrap();
    let ballast = dir.join("ballast");
    let mut file = File::create(&ballast).unwrap();
    while file.write_all(&[0; 512]).is_ok() {}
    let mut written = 1;
    while audit.write(entry(written)).await.is_ok() {
        written += 1;
    }
    eventually("a retry failed", || audit.stats().failures >= 2).await;
    assert_eq!(audit.write(entry(0)).await, Err(AuditUnavailable));
    drop(file);
    fs::remove_file(&ballast).unwrap();
    eventually("healed", || audit.healthy()).await;
    audit.write(entry(0)).await.unwrap();
    drop(audit);
    assert_eq!(
        verify(&dir.join("audit")).unwrap().records,
        written as u64 + 2
    );
}
