//! When automatic secrets are due.

use super::*;

fn due(sut: &Sut) -> Vec<String> {
    sut.state
        .due_rotations(sut.now())
        .map(ToString::to_string)
        .collect()
}

fn interval(secs: u64) -> SettingsChange {
    SettingsChange {
        rotation_interval_secs: Some(secs),
        ..SettingsChange::default()
    }
}

#[test]
fn the_longest_overdue_comes_first() {
    let mut sut = Sut::new();
    assert_eq!(sut.state.next_rotation(), None);
    sut.ok(create("secret/z", automatic(0), Some(1)));
    sut.pass(1);
    sut.ok(create("secret/a", automatic(0), Some(1)));
    sut.ok(create("secret/b", automatic(0), None));
    sut.ok(create("secret/manual", SecretSettings::manual(), Some(1)));
    assert_eq!(
        sut.state.next_rotation(),
        Some(LogTime(START).plus_secs(100))
    );
    sut.pass(98);
    assert!(due(&sut).is_empty());
    sut.pass(1);
    assert_eq!(due(&sut), ["secret/z"]);
    sut.pass(1);
    assert_eq!(due(&sut), ["secret/z", "secret/a", "secret/b"]);
    sut.ok(put("secret/z", 2, None));
    assert_eq!(due(&sut), ["secret/a", "secret/b"]);
}

#[test]
fn one_rotation_is_due_however_long_it_is_overdue() {
    let mut sut = Sut::new();
    sut.ok(create("secret/a", automatic(0), Some(1)));
    sut.pass(100 * 1_000 + 50);
    assert_eq!(due(&sut), ["secret/a"]);
    let turned = sut.summary(put("secret/a", 2, Some(1)));
    assert_eq!(turned.next_rotation_at, Some(sut.now().plus_secs(100)));
    assert!(due(&sut).is_empty());
    // A clock that jumped ahead and back: LogTime stays, and so does what counts from it.
    sut.millis -= 50_000;
    let turned = sut.summary(put("secret/a", 3, None));
    assert_eq!(
        turned.next_rotation_at,
        Some(sut.state.time().plus_secs(100))
    );
    assert!(due(&sut).is_empty());
}

#[test]
fn what_changes_the_schedule_moves_it() {
    let mut sut = Sut::new();
    sut.ok(create("secret/a", automatic(0), Some(1)));
    sut.pass(50);
    sut.ok(tune("secret/a", interval(10)));
    assert_eq!(due(&sut), ["secret/a"], "a shorter interval is over by now");
    sut.ok(tune("secret/a", interval(1_000)));
    assert!(due(&sut).is_empty());
    sut.refused(tune("secret/a", interval(0)), Rejection::Invalid);
    let at = LogTime(START).plus_secs(1_000);
    assert_eq!(sut.state.next_rotation(), Some(at));
    // What touches versions only, does not.
    for command in [
        Command::DeleteVersions {
            name: secret("secret/a"),
            versions: vec![],
        },
        Command::UndeleteVersions {
            name: secret("secret/a"),
            versions: vec![1],
        },
        Command::Tick,
    ] {
        sut.ok(command);
        assert_eq!(sut.state.next_rotation(), Some(at));
    }
}

#[test]
fn what_is_gone_is_not_due() {
    let mut sut = Sut::new();
    sut.ok(create("secret/a", automatic(0), Some(1)));
    sut.ok(Command::CreateMount {
        mount: mount("kv"),
        settings: MountSettings::default(),
    });
    sut.ok(create("kv/a", automatic(0), Some(1)));
    sut.pass(200);
    assert_eq!(due(&sut), ["kv/a", "secret/a"]);
    sut.ok(Command::DeleteSecret {
        name: secret("secret/a"),
    });
    assert_eq!(due(&sut), ["kv/a"]);
    sut.ok(Command::DeleteMount { mount: mount("kv") });
    assert_eq!(sut.state.next_rotation(), None);
    // The name is used again, by people.
    sut.ok(put("secret/a", 1, None));
    assert_eq!(sut.state.next_rotation(), None);
}

#[test]
fn a_snapshot_keeps_what_is_due() {
    let mut sut = Sut::new();
    sut.ok(create("secret/a", automatic(0), Some(1)));
    sut.ok(create("secret/b", automatic(0), None));
    sut.ok(tune("secret/b", interval(7)));
    sut.state = rebuilt(&sut.state);
    sut.pass(8);
    assert_eq!(due(&sut), ["secret/b"]);
    sut.pass(100);
    assert_eq!(due(&sut), ["secret/b", "secret/a"]);
}
