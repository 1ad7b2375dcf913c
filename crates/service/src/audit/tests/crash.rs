//! What a crash or a power cut leaves behind, and what starting again makes of it.

use super::*;

/// Starts again, writes one record, and stops.
async fn restart(dir: &Path) {
    let audit = Audit::open(config(dir)).unwrap();
    audit
        .write(Entry::of_node("audit.start", ""))
        .await
        .unwrap();
}

fn head_back_to(dir: &Path, line: &str) {
    let link = chain::Checked::parse(line.trim_end().as_bytes())
        .unwrap()
        .link;
    files::write_head(dir, link).unwrap();
}

#[tokio::test]
async fn a_torn_end_is_set_aside_and_the_chain_goes_on() {
    let made = tempfile::tempdir().unwrap();
    trail(made.path(), 4, 1 << 20).await;
    let whole = fs::read_to_string(&paths(made.path())[0]).unwrap();
    let lines: Vec<_> = whole.split_inclusive('\n').collect();
    let synced = lines[0].len() + lines[1].len();
    // Records 3 and 4 were written but not synced when the power went.
    for length in (synced..=whole.len()).step_by(7) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("audit-00000001.jsonl");
        fs::write(&path, &whole[..length]).unwrap();
        head_back_to(dir.path(), lines[1]);
        restart(dir.path()).await;
        let kept = whole[..length].matches('\n').count();
        let report = verify(dir.path()).unwrap();
        assert_eq!(report.records, kept as u64 + 1, "cut at {length}");
        let line_end = whole[..length].rfind('\n').unwrap() + 1;
        let torn = &whole[line_end..length];
        assert_eq!(report.torn.len(), usize::from(!torn.is_empty()));
        if let Some(side) = report.torn.first() {
            assert_eq!(fs::read_to_string(side).unwrap(), torn);
        }
    }
}

#[tokio::test]
async fn pages_a_power_cut_lost_are_set_aside_with_what_follows() {
    let dir = tempfile::tempdir().unwrap();
    trail(dir.path(), 6, 1 << 20).await;
    let path = paths(dir.path()).remove(0);
    let mut bytes = fs::read(&path).unwrap();
    let text = String::from_utf8(bytes.clone()).unwrap();
    let lines: Vec<_> = text.split_inclusive('\n').collect();
    head_back_to(dir.path(), lines[2]);
    let third = lines[..3].concat().len();
    bytes[third + 10..third + 200].fill(0);
    fs::write(&path, &bytes).unwrap();
    restart(dir.path()).await;
    let report = verify(dir.path()).unwrap();
    assert_eq!((report.records, report.torn.len()), (4, 1));
    // Torn again at the same place, the first side file stays.
    let again = fs::read(&path).unwrap();
    fs::write(&path, &again[..again.len() - 5]).unwrap();
    head_back_to(dir.path(), lines[2]);
    restart(dir.path()).await;
    assert_eq!(verify(dir.path()).unwrap().torn.len(), 2);
}

#[tokio::test]
async fn a_cut_of_synced_records_stays_visible_after_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    trail(dir.path(), 6, 1 << 20).await;
    let path = paths(dir.path()).remove(0);
    let text = fs::read_to_string(&path).unwrap();
    let lines: Vec<_> = text.split_inclusive('\n').collect();
    for kept in [
        lines[..4].concat(),
        lines[..4].concat() + &lines[4][..50],
        String::new(),
    ] {
        let dir_again = tempfile::tempdir().unwrap();
        fs::write(dir_again.path().join("audit-00000001.jsonl"), &kept).unwrap();
        fs::copy(dir.path().join("head"), dir_again.path().join("head")).unwrap();
        restart(dir_again.path()).await;
        restart(dir_again.path()).await;
        let bad = verify(dir_again.path()).unwrap_err();
        let expected = matches!(bad.reason, Reason::Missing { to: 6, .. } | Reason::Torn);
        assert!(expected, "{bad}");
        // What was there is still there.
        let left = fs::read_to_string(dir_again.path().join("audit-00000001.jsonl")).unwrap();
        assert_eq!(left, kept);
    }
    // All of it gone, but for the head.
    fs::remove_file(&path).unwrap();
    restart(dir.path()).await;
    assert_eq!(
        verify(dir.path()).unwrap_err().reason,
        Reason::Missing { from: 1, to: 6 }
    );
}

#[tokio::test]
async fn an_edit_is_not_taken_for_a_tear() {
    for with_head in [true, false] {
        let dir = tempfile::tempdir().unwrap();
        trail(dir.path(), 6, 1 << 20).await;
        let path = paths(dir.path()).remove(0);
        let text = fs::read_to_string(&path)
            .unwrap()
            .replace("number/3", "number/9");
        fs::write(&path, &text).unwrap();
        if !with_head {
            fs::remove_file(dir.path().join("head")).unwrap();
        }
        restart(dir.path()).await;
        assert_eq!(fs::read_to_string(&path).unwrap(), text);
        assert_eq!(verify(dir.path()).unwrap_err().line, 4);
    }
}

#[tokio::test]
async fn a_start_right_after_a_rotation_finds_the_end_in_the_file_before() {
    let dir = tempfile::tempdir().unwrap();
    trail(dir.path(), 3, 1 << 20).await;
    fs::write(dir.path().join("audit-00000002.jsonl"), "").unwrap();
    restart(dir.path()).await;
    let report = verify(dir.path()).unwrap();
    assert_eq!((report.files, report.records), (2, 4));
    assert!(fs::metadata(&paths(dir.path())[1]).unwrap().len() > 0);
}

#[tokio::test]
async fn a_long_file_is_read_from_its_end_only() {
    let dir = tempfile::tempdir().unwrap();
    let audit = Audit::open(AuditConfig {
        file_bytes: 1 << 30,
        ..config(dir.path())
    })
    .unwrap();
    let padded = |number| Entry {
        target: "x".repeat(1_000),
        ..entry(number)
    };
    let tasks: Vec<_> = (0..8_000)
        .map(|number| {
            let audit = audit.clone();
            tokio::spawn(async move { audit.write(padded(number)).await.unwrap() })
        })
        .collect();
    for task in tasks {
        task.await.unwrap();
    }
    drop(audit);
    assert!(fs::metadata(&paths(dir.path())[0]).unwrap().len() > 9 << 20);
    restart(dir.path()).await;
    assert_eq!(verify(dir.path()).unwrap().records, 8_001);
}
