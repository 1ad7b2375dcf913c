//! What happens to single versions while a pass runs, and between passes.

use super::{rewrap::three, *};

fn m(n: u8) -> Watermark {
    watermark("key", Some(&format!("m{n}")))
}

fn other() -> Watermark {
    watermark("other", None)
}

fn destroy(name: &str, number: u64) -> Command {
    Command::DestroyVersions {
        name: secret(name),
        versions: vec![number],
    }
}

#[test]
fn a_rewrap_changes_the_wrapping_and_nothing_else() {
    let mut sut = three();
    sut.ok(create("secret/auto", automatic(10), Some(1)));
    sut.pass(1);
    sut.ok(put("secret/auto", 2, None));
    sut.ok(Command::DeleteVersions {
        name: secret("secret/auto"),
        versions: vec![2],
    });
    let before = sut.get("secret/auto");
    let (deadline, rotation) = (sut.state.next_deadline(), sut.state.next_rotation());
    sut.begin(watermark("other", Some("o1")));
    sut.pass(3);
    for number in [1, 2] {
        let command = sut.rewrap("secret/auto", number);
        assert_eq!(sut.ok(command), Effect::Done);
    }
    let after = sut.get("secret/auto");
    for (old, new) in before.versions.iter().zip(&after.versions) {
        let (Material::Sealed(was), Material::Sealed(is)) = (&old.material, &new.material) else {
            panic!("both are there");
        };
        assert_eq!((&was.ciphertext, was.nonce), (&is.ciphertext, is.nonce));
        assert_ne!(was.wrapped_dek, is.wrapped_dek);
        assert_eq!(is.kms_key_id, KmsKeyId("other".into()));
        assert_eq!(is.material_id.as_deref(), Some("o1"));
        assert_eq!(new.pass, 1);
        let mut reverted = new.clone();
        reverted.pass = old.pass;
        reverted.material = old.material.clone();
        assert_eq!(reverted, *old, "number, times and deletion");
    }
    let mut reverted = Secret::clone(&after);
    reverted.versions = before.versions.clone();
    assert_eq!(reverted, *before, "updated_at, the schedule, the settings");
    assert_eq!(sut.state.next_deadline(), deadline);
    assert_eq!(sut.state.next_rotation(), rotation);
}

#[test]
fn a_wrapped_key_that_is_not_what_kms_was_given_stays() {
    let mut sut = three();
    sut.begin(m(2));
    // Somebody else was faster.
    let (late, first) = (sut.rewrap("secret/a", 1), sut.rewrap("secret/a", 1));
    sut.ok(first);
    let moved = sut.sealed("secret/a", 1);
    sut.refused(late, Rejection::AlreadyExists);
    assert_eq!(sut.sealed("secret/a", 1), moved);
    // Made again under the same name.
    let late = sut.rewrap("secret/b", 1);
    sut.ok(Command::DeleteSecret {
        name: secret("secret/b"),
    });
    sut.refused(late.clone(), Rejection::NotFound);
    sut.ok(put_sealed(
        "secret/b",
        1,
        None,
        sealed_by(77, "key", Some("m2")),
    ));
    sut.refused(late, Rejection::AlreadyExists);
    assert_eq!(sut.read("secret/b", 1), Some(77));
    assert_eq!(*sut.sealed("secret/b", 1), sealed_by(77, "key", Some("m2")));
}

#[test]
fn a_version_that_vanished_stays_so() {
    let mut sut = three();
    sut.begin(m(2));
    let late = sut.rewrap("secret/a", 1);
    sut.ok(destroy("secret/a", 1));
    sut.refused(late, Rejection::NotFound);
    assert!(sut.destroyed("secret/a", 1));
    // Trimmed by a write.
    let late = sut.rewrap("secret/a", 2);
    let one = SettingsChange {
        max_versions: Some(1),
        ..SettingsChange::default()
    };
    sut.ok(tune("secret/a", one));
    sut.ok(put_sealed(
        "secret/a",
        3,
        None,
        sealed_by(3, "key", Some("m2")),
    ));
    sut.refused(late, Rejection::NotFound);
    assert_eq!(sut.kept("secret/a"), [3]);
    assert_eq!(sut.pending(), ["secret/b:1"]);
}

#[test]
fn the_same_entry_again_moves_nothing_and_counts_nothing() {
    let mut sut = three();
    sut.begin(m(2));
    let command = sut.rewrap("secret/a", 1);
    sut.ok(command.clone());
    let once = sut.state.clone();
    sut.refused(command, Rejection::AlreadyExists);
    assert_eq!(moved(once, &sut.state), sut.state);
    assert_eq!(sut.state.rewrap().running.as_ref().unwrap().rewrapped, 1);
}

/// A leader of the past, whose pass is over.
#[test]
fn only_the_running_pass_moves_versions() {
    let mut sut = three();
    let pass_of = |command: &Command, id| {
        let mut command = command.clone();
        if let Command::RewrapVersion { pass, .. } = &mut command {
            *pass = id;
        }
        command
    };
    sut.begin(m(2));
    let late = sut.rewrap("secret/a", 1);
    for id in [0, 2, u64::MAX] {
        sut.refused(pass_of(&late, id), Rejection::NotFound);
    }
    sut.end(1, 3);
    sut.refused(late.clone(), Rejection::NotFound);
    assert_eq!(sut.begin(other()), 2);
    sut.refused(late, Rejection::NotFound);
    assert_eq!(sut.pending().len(), 3);
}

/// A node configured with another key leads by now: what it wraps is not what the pass is for.
#[test]
fn a_pass_moves_versions_onto_its_key_alone() {
    let mut sut = three();
    sut.begin(other());
    let mut command = sut.rewrap("secret/a", 1);
    if let Command::RewrapVersion { kms_key_id, .. } = &mut command {
        *kms_key_id = KmsKeyId("key".into());
    }
    sut.refused(command, Rejection::Invalid);
    assert_eq!(sut.pending().len(), 3);
}

#[test]
fn a_rewrap_keeps_to_the_limits() {
    use crate::limits;
    let spoils: [fn(&mut WrappedDek, &mut Option<SharedText>); 2] = [
        |dek, _| dek.0 = vec![0; limits::WRAPPED_DEK_BYTES + 1].into(),
        |_, id| *id = Some("m".repeat(limits::LABEL_BYTES + 1).into()),
    ];
    let mut sut = three();
    sut.begin(m(2));
    for spoil in spoils {
        let mut command = sut.rewrap("secret/a", 1);
        if let Command::RewrapVersion {
            wrapped,
            material_id,
            ..
        } = &mut command
        {
            spoil(wrapped, material_id);
        }
        sut.refused(command, Rejection::Invalid);
    }
    assert_eq!(sut.pending().len(), 3);
}

#[test]
fn versions_written_meanwhile_are_pending_unless_by_the_target() {
    let mut sut = three();
    sut.begin(m(2));
    sut.sweep();
    for (name, key, material, pending) in [
        ("secret/target", "key", Some("m2"), false),
        ("secret/unnamed", "key", None, false),
        // Sealed before the rotation, or after another one.
        ("secret/stale", "key", Some("m1"), true),
        ("secret/other", "other", Some("m2"), true),
    ] {
        sut.ok(put_sealed(name, 1, None, sealed_by(1, key, material)));
        let expected = [format!("{name}:1")];
        assert_eq!(sut.pending(), if pending { &expected[..] } else { &[] });
        if pending {
            sut.refused(super::rewrap::end(1, 0), Rejection::InUse);
            sut.sweep();
        }
    }
    sut.end(1, 0);
}

/// KMS is rotated during a pass: each version is moved once, whichever material it comes to.
#[test]
fn a_rotation_meanwhile_does_not_keep_a_pass_from_its_end() {
    let mut sut = three();
    sut.begin(m(2));
    for name in ["secret/a", "secret/n"] {
        let number = if name == "secret/n" { 1 } else { 3 };
        sut.ok(put_sealed(
            name,
            number,
            None,
            sealed_by(5, "key", Some("m3")),
        ));
    }
    assert_eq!(sut.pending().len(), 5);
    for pending in sut.pending() {
        let (name, number) = pending.rsplit_once(':').unwrap();
        let mut command = sut.rewrap(name, number.parse().unwrap());
        if let Command::RewrapVersion { material_id, .. } = &mut command {
            *material_id = Some("m3".into());
        }
        sut.ok(command);
    }
    assert!(sut.pending().is_empty());
    sut.end(1, 0);
    assert!(
        sut.state
            .rewrap()
            .watermark
            .as_ref()
            .unwrap()
            .is_behind(&m(3))
    );
    sut.begin(m(3));
    assert!(sut.pending().is_empty(), "all came to that material before");
}

/// A node that still has the old key writes when the pass has ended, before it is taken up again.
#[test]
fn a_version_written_between_attempts_is_pending_unless_by_the_target() {
    let mut sut = three();
    sut.begin(other());
    for (name, number) in [("secret/a", 1), ("secret/a", 2)] {
        let command = sut.rewrap(name, number);
        sut.ok(command);
    }
    sut.end(1, 1);
    sut.ok(put("secret/old", 1, None));
    let new = sealed_by(1, "other", Some("o1"));
    sut.ok(put_sealed("secret/new", 1, None, new));
    assert_eq!(sut.begin(other()), 1);
    assert_eq!(sut.pending(), ["secret/b:1", "secret/old:1"]);
    sut.refused(super::rewrap::end(1, 0), Rejection::InUse);
    sut.sweep();
    sut.end(1, 0);
}

#[test]
fn versions_written_when_no_pass_has_run_or_all_went_well_are_for_the_next_one() {
    let mut sut = Sut::new();
    sut.ok(put("secret/first", 1, None));
    assert_eq!(sut.get("secret/first").versions[0].pass, 0);
    assert_eq!(sut.begin(other()), 1);
    assert_eq!(sut.pending(), ["secret/first:1"]);
    sut.ok(put("secret/meanwhile", 1, None));
    assert_eq!(sut.pending(), ["secret/first:1", "secret/meanwhile:1"]);
    sut.sweep();
    sut.end(1, 0);
    sut.ok(put("secret/old", 1, None));
    sut.ok(put_sealed(
        "secret/new",
        1,
        None,
        sealed_by(1, "other", None),
    ));
    assert!(sut.pending().is_empty(), "no pass runs");
    assert_eq!(sut.begin(other()), 2);
    assert_eq!(sut.pending().len(), 4);
}

#[test]
fn deleted_versions_are_pending_and_destroyed_ones_are_not() {
    let mut sut = three();
    sut.ok(Command::DeleteVersions {
        name: secret("secret/a"),
        versions: vec![1],
    });
    sut.ok(destroy("secret/a", 2));
    sut.begin(m(2));
    assert_eq!(sut.pending(), ["secret/a:1", "secret/b:1"]);
    sut.ok(destroy("secret/b", 1));
    assert_eq!(sut.pending(), ["secret/a:1"]);
    sut.sweep();
    sut.end(1, 0);
    sut.ok(Command::UndeleteVersions {
        name: secret("secret/a"),
        versions: vec![1],
    });
    assert_eq!(sut.read("secret/a", 1), Some(1));
    assert_eq!(sut.sealed("secret/a", 1).material_id.as_deref(), Some("m2"));
}

/// The leader changes by way of a snapshot: the next one goes on where the pass was.
#[test]
fn a_pass_goes_on_from_a_snapshot_at_every_step() {
    let mut sut = three();
    sut.ok(Command::AdoptWatermark { watermark: m(1) });
    sut.begin(m(2));
    for (left, (name, number)) in [("secret/b", 1), ("secret/a", 1), ("secret/a", 2)]
        .into_iter()
        .enumerate()
        .map(|(n, which)| (2 - n, which))
    {
        sut.state = rebuilt(&sut.state);
        let command = sut.rewrap(name, number);
        sut.ok(command);
        sut.state = rebuilt(&sut.state);
        assert_eq!(sut.pending().len(), left);
        assert_eq!(sut.begin(m(2)), 1);
    }
    sut.end(1, 0);
    let after = rebuilt(&sut.state);
    assert_eq!(after.rewrap(), sut.state.rewrap());
    assert_eq!(after.rewrap().watermark, Some(m(2)));
    assert_eq!(after.rewrap().ended.as_ref().unwrap().pass.rewrapped, 3);
}
