//! Rotations that are applied to a target: intent, effect, confirmation.

use super::*;
use crate::limits;

const NAME: &str = "secret/db";

fn targeted(grace_secs: u64) -> SecretSettings {
    let plain = automatic(grace_secs);
    SecretSettings {
        kind: with_target(plain.kind.clone()),
        ..plain
    }
}

fn begin(cas: u64, tag: u64) -> Command {
    Command::BeginRotation {
        name: secret(NAME),
        cas,
        version: NewVersion {
            number: cas + 1,
            sealed: sealed(tag),
        },
    }
}

fn mark(tag: u64, applying: bool) -> Command {
    Command::MarkRotation {
        name: secret(NAME),
        nonce: nonce(tag),
        applying,
    }
}

fn end(tag: u64) -> Command {
    Command::EndRotation {
        name: secret(NAME),
        nonce: nonce(tag),
    }
}

fn pending(sut: &Sut) -> Vec<String> {
    sut.state
        .pending_rotations()
        .map(ToString::to_string)
        .collect()
}

/// One that has been offered `tag` as its version 2.
fn offered(tag: u64) -> Sut {
    let mut sut = Sut::new();
    sut.ok(create(NAME, targeted(10), Some(1)));
    sut.pass(100);
    sut.ok(begin(1, tag));
    sut.ok(mark(tag, true));
    sut
}

#[test]
fn a_pending_value_is_held_and_current_only_at_the_end() {
    let mut sut = Sut::new();
    sut.ok(create(NAME, targeted(10), Some(1)));
    sut.pass(100);
    let due = |sut: &Sut| sut.state.due_rotations(sut.now()).count();
    assert_eq!(due(&sut), 1);
    let begun = sut.summary(begin(1, 20));
    assert_eq!((begun.version, begun.rotation_pending), (1, true));
    assert_eq!(due(&sut), 0, "it is under way");
    assert_eq!(pending(&sut), [NAME]);
    assert!(!sut.get(NAME).is_unsettled());
    assert_eq!((sut.read(NAME, 1), sut.read(NAME, 2)), (Some(1), None));

    sut.ok(mark(20, true));
    assert!(sut.get(NAME).is_unsettled());
    assert_eq!((sut.read(NAME, 1), sut.read(NAME, 2)), (Some(1), None));

    sut.pass(1);
    let ended = sut.summary(end(20));
    assert_eq!((ended.version, ended.rotation_pending), (2, false));
    assert_eq!(ended.version_created_at, Some(sut.now()));
    assert_eq!(ended.next_rotation_at, Some(sut.now().plus_secs(100)));
    assert_eq!((sut.read(NAME, 1), sut.read(NAME, 2)), (Some(1), Some(20)));
    assert!(pending(&sut).is_empty());
    // The superseded one has its grace, and is kept until it is no longer the last one that worked.
    sut.pass(10);
    sut.tick();
    let v1 = |sut: &Sut| {
        let secret = sut.get(NAME);
        let version = secret.version(1).unwrap();
        (
            secret.disclosable(version, sut.now()).is_some(),
            version.readable(sut.now()).is_some(),
        )
    };
    assert_eq!(v1(&sut), (false, true));
    sut.ok(begin(2, 30));
    sut.ok(mark(30, true));
    sut.ok(end(30));
    assert_eq!(v1(&sut), (false, true));
    sut.tick();
    assert!(sut.destroyed(NAME, 1) && !sut.destroyed(NAME, 2));
}

#[test]
fn a_step_of_another_rotation_is_refused() {
    let mut sut = offered(20);
    for stray in [mark(21, true), mark(21, false), end(21)] {
        sut.refused(stray, Rejection::NotFound);
    }
    sut.refused(begin(1, 22), Rejection::InUse);
    sut.ok(end(20));
    for late in [mark(20, true), end(20)] {
        sut.refused(late, Rejection::NotFound);
    }
    sut.refused(begin(1, 22), Rejection::CasMismatch { current: 2 });
    let skipping = Command::BeginRotation {
        name: secret(NAME),
        cas: 2,
        version: NewVersion {
            number: 4,
            sealed: sealed(22),
        },
    };
    sut.refused(skipping, Rejection::VersionTaken { current: 2 });
    // The name is used anew, by a secret whose rotation has the same number.
    sut.ok(begin(2, 23));
    sut.ok(Command::DeleteSecret { name: secret(NAME) });
    assert!(pending(&sut).is_empty());
    sut.ok(create(NAME, targeted(10), Some(1)));
    sut.refused(end(23), Rejection::NotFound);
    sut.ok(begin(1, 24));
    sut.refused(end(23), Rejection::NotFound);
}

#[test]
fn only_what_has_a_target_is_begun() {
    let mut sut = Sut::new();
    sut.refused(begin(0, 1), Rejection::NotFound);
    sut.ok(create(NAME, automatic(0), Some(1)));
    sut.refused(begin(1, 20), Rejection::Invalid);
    // A target takes a password, and the generator makes it.
    let change = SettingsChange {
        target: Some(Some(target())),
        ..SettingsChange::default()
    };
    sut.refused(tune(NAME, change), Rejection::Invalid);
    sut.ok(create("secret/manual", SecretSettings::manual(), Some(1)));
    let change = SettingsChange {
        target: Some(None),
        ..SettingsChange::default()
    };
    sut.refused(tune("secret/manual", change.clone()), Rejection::Invalid);
    sut.ok(tune(NAME, change));
}

#[test]
fn another_value_takes_the_place_of_one_that_was_not_offered() {
    let mut sut = Sut::new();
    sut.ok(create(NAME, targeted(10), Some(1)));
    sut.ok(begin(1, 20));
    sut.ok(put(NAME, 2, None));
    assert_eq!(sut.read(NAME, 2), Some(2));
    sut.refused(end(20), Rejection::NotFound);
    // One that was offered and is known to be refused is like one that was not.
    sut.ok(begin(2, 30));
    sut.ok(mark(30, true));
    sut.refused(put(NAME, 3, None), Rejection::InUse);
    sut.ok(mark(30, false));
    assert!(!sut.get(NAME).is_unsettled());
    sut.ok(put(NAME, 3, None));
    assert!(pending(&sut).is_empty());
}

#[test]
fn a_value_that_may_be_in_effect_is_given_up_after_a_time_only() {
    let mut sut = offered(20);
    let untarget = SettingsChange {
        target: Some(None),
        ..SettingsChange::default()
    };
    sut.pass(limits::UNSETTLED_SECS - 1);
    // Said again, it counts from the first time.
    sut.ok(mark(20, true));
    sut.refused(put(NAME, 2, None), Rejection::InUse);
    sut.refused(tune(NAME, untarget.clone()), Rejection::InUse);
    let described = SettingsChange {
        description: Some("orders".into()),
        ..SettingsChange::default()
    };
    sut.ok(tune(NAME, described));
    assert_eq!(pending(&sut), [NAME], "other settings leave it alone");
    sut.pass(1);
    // Without a value that works, the one that may work is kept for ever.
    sut.pass(1_000_000);
    sut.refused(tune(NAME, untarget), Rejection::InUse);
    sut.ok(put(NAME, 2, None));
    assert!(pending(&sut).is_empty());
}

#[test]
fn a_snapshot_and_a_pass_know_of_it() {
    let mut sut = offered(20);
    sut.state = rebuilt(&sut.state);
    assert!(sut.get(NAME).is_unsettled());
    let target = watermark("other", None);
    sut.ok(Command::BeginPass { target });
    let waiting: Vec<_> = sut
        .state
        .pending_rewraps()
        .map(|(_, version, _)| version.number)
        .collect();
    assert_eq!(waiting, [1, 2]);
    let rewrap = |version, replaces: WrappedDek| Command::RewrapVersion {
        name: secret(NAME),
        version,
        pass: 1,
        replaces,
        wrapped: wrapped("anew"),
        kms_key_id: KmsKeyId("other".into()),
        material_id: None,
    };
    sut.ok(rewrap(2, sealed(20).wrapped_dek));
    sut.ok(end(20));
    assert_eq!(sut.read(NAME, 2), Some(20));
    let waiting = sut.state.pending_rewraps().count();
    assert_eq!(waiting, 1, "moved before it was current, it stays moved");
    sut.ok(rewrap(1, sealed(1).wrapped_dek));
    assert_eq!(sut.state.pending_rewraps().count(), 0);
}
