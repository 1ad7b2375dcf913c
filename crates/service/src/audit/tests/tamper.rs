//! Every way to change a trail behind its back is found and named.

use super::*;

const RECORDS: usize = 8;

/// A trail in one file, and that file's lines with their ends.
async fn lines() -> (tempfile::TempDir, PathBuf, Vec<String>) {
    let dir = tempfile::tempdir().unwrap();
    trail(dir.path(), RECORDS, 1 << 20).await;
    let path = paths(dir.path()).remove(0);
    let text = fs::read_to_string(&path).unwrap();
    assert!(verify(dir.path()).is_ok());
    (
        dir,
        path,
        text.split_inclusive('\n').map(str::to_owned).collect(),
    )
}

#[tokio::test]
async fn any_edit_of_any_field_is_found_in_its_record() {
    let (dir, path, lines) = lines().await;
    let record: serde_json::Value = serde_json::from_str(&lines[0]).unwrap();
    let fields: Vec<String> = record.as_object().unwrap().keys().cloned().collect();
    assert_eq!(fields.len(), 13);
    for (index, line) in lines.iter().enumerate() {
        for field in &fields {
            let key = format!("\"{field}\":");
            let value = line.find(&key).unwrap() + key.len();
            let mut changed = line.clone().into_bytes();
            // The first character of the value itself.
            let at = if changed[value] == b'"' {
                value + 1
            } else {
                value
            };
            changed[at] = if changed[at] == b'1' { b'2' } else { b'1' };
            let mut edited = lines.clone();
            edited[index] = String::from_utf8(changed).unwrap();
            fs::write(&path, edited.concat()).unwrap();
            let bad = verify(dir.path()).unwrap_err();
            assert_eq!(
                (bad.line, &bad.file),
                (index as u64 + 1, &path),
                "{field}: {bad}"
            );
        }
    }
}

#[tokio::test]
async fn any_changed_byte_is_found_in_its_record() {
    let (dir, path, lines) = lines().await;
    let whole = lines.concat().into_bytes();
    let third = lines[0].len() + lines[1].len();
    for at in third..third + lines[2].len() {
        for flip in [0x01, 0x20, 0x80] {
            let mut bytes = whole.clone();
            bytes[at] ^= flip;
            fs::write(&path, bytes).unwrap();
            assert_eq!(verify(dir.path()).unwrap_err().line, 3, "byte {at}");
        }
    }
}

#[tokio::test]
async fn removed_swapped_and_repeated_lines_are_found() {
    let (dir, path, lines) = lines().await;
    for index in 0..RECORDS {
        let mut removed = lines.clone();
        removed.remove(index);
        fs::write(&path, removed.concat()).unwrap();
        let bad = verify(dir.path()).unwrap_err();
        assert_eq!(bad.line, index as u64 + 1);
        if index + 1 < RECORDS {
            let (from, to) = (index as u64 + 1, index as u64 + 1);
            assert_eq!(
                (bad.reason, bad.seq),
                (Reason::Missing { from, to }, Some(from + 1))
            );
        } else {
            assert_eq!(
                bad.reason,
                Reason::Cut {
                    head: RECORDS as u64
                }
            );
        }
        let mut repeated = lines.clone();
        repeated.insert(index, lines[index].clone());
        fs::write(&path, repeated.concat()).unwrap();
        assert_eq!(verify(dir.path()).unwrap_err().line, index as u64 + 2);
    }
    for left in 0..RECORDS {
        for right in left + 1..RECORDS {
            let mut swapped = lines.clone();
            swapped.swap(left, right);
            fs::write(&path, swapped.concat()).unwrap();
            assert_eq!(verify(dir.path()).unwrap_err().line, left as u64 + 1);
        }
    }
}

#[tokio::test]
async fn a_cut_at_any_byte_is_found() {
    let (dir, path, lines) = lines().await;
    let whole = lines.concat().into_bytes();
    for length in 0..whole.len() {
        fs::write(&path, &whole[..length]).unwrap();
        let bad = verify(dir.path()).unwrap_err();
        let full_lines = whole[..length].iter().filter(|c| **c == b'\n').count() as u64;
        assert_eq!(bad.line, full_lines + 1, "cut at {length}: {bad}");
    }
    fs::write(&path, &whole).unwrap();
    verify(dir.path()).unwrap();
    fs::remove_file(&path).unwrap();
    assert_eq!(
        verify(dir.path()).unwrap_err().reason,
        Reason::Cut {
            head: RECORDS as u64
        }
    );
}

#[tokio::test]
async fn a_record_replaced_with_its_hash_is_found() {
    let (dir, path, lines) = lines().await;
    let now = ::time::OffsetDateTime::now_utc();
    for index in [3, RECORDS - 1] {
        // Forged as if it had always been there: a right hash, and the right one before it.
        let before = chain::Checked::parse(lines[index - 1].trim_end().as_bytes())
            .unwrap()
            .link;
        let mut forged = Vec::new();
        let mut pen = record::Pen::new("n1").unwrap();
        pen.render(before, now, &entry(99), &mut forged).unwrap();
        let mut edited = lines.clone();
        edited[index] = String::from_utf8(forged).unwrap();
        fs::write(&path, edited.concat()).unwrap();
        let bad = verify(dir.path()).unwrap_err();
        if index + 1 < RECORDS {
            assert_eq!((bad.line, bad.reason), (index as u64 + 2, Reason::Unlinked));
        } else {
            assert_eq!(
                (bad.line, bad.reason),
                (index as u64 + 1, Reason::NotTheHead)
            );
        }
    }
}

#[tokio::test]
async fn what_is_not_a_record_is_found_whatever_its_size() {
    let (dir, path, lines) = lines().await;
    for (junk, reason) in [
        ("\n".to_owned(), Reason::Malformed),
        ("{}\n".to_owned(), Reason::Malformed),
        ("x".repeat(1 << 20) + "\n", Reason::TooLong),
    ] {
        fs::write(&path, lines.concat() + &junk).unwrap();
        let bad = verify(dir.path()).unwrap_err();
        assert_eq!((bad.line, bad.reason), (RECORDS as u64 + 1, reason));
    }
    fs::write(&path, lines.concat()).unwrap();
    fs::write(dir.path().join("head"), "{}").unwrap();
    assert_eq!(verify(dir.path()).unwrap_err().reason, Reason::BadHead);
    fs::remove_file(dir.path().join("head")).unwrap();
    assert_eq!(verify(dir.path()).unwrap().head, HeadCheck::Absent);
}

#[tokio::test]
async fn a_file_in_the_middle_is_missed() {
    let dir = tempfile::tempdir().unwrap();
    trail(dir.path(), 60, 4_096).await;
    let files = paths(dir.path());
    fs::remove_file(&files[2]).unwrap();
    let bad = verify(dir.path()).unwrap_err();
    assert_eq!((&bad.file, bad.line), (&files[3], 1));
    assert!(matches!(bad.reason, Reason::Missing { .. }));
}
