//! What the native API promises: automatic secrets, grace, limits.

use super::*;
use crate::limits;

#[test]
fn a_name_is_created_once() {
    let mut sut = Sut::new();
    let summary = sut.summary(create("secret/a", SecretSettings::manual(), Some(1)));
    assert_eq!((summary.version, summary.next_rotation_at), (1, None));
    sut.refused(
        create("secret/a", SecretSettings::manual(), Some(2)),
        Rejection::AlreadyExists,
    );
    assert_eq!(sut.read("secret/a", 1), Some(1));
    let empty = sut.summary(create("secret/b", SecretSettings::manual(), None));
    assert_eq!((empty.version, empty.version_created_at), (0, None));
    sut.refused(
        create("nowhere/a", SecretSettings::manual(), None),
        Rejection::NotFound,
    );
    sut.refused(put("nowhere/a", 1, None), Rejection::NotFound);
}

#[test]
fn an_automatic_secret_says_when_it_turns() {
    let mut sut = Sut::new();
    let summary = sut.summary(create("secret/a", automatic(10), Some(1)));
    assert!(summary.automatic);
    assert_eq!(summary.rotation_interval_secs, Some(100));
    assert_eq!(summary.next_rotation_at, Some(sut.now().plus_secs(100)));
    sut.pass(70);
    // A new interval counts from the newest version; a new version from now.
    let interval = SettingsChange {
        rotation_interval_secs: Some(200),
        ..SettingsChange::default()
    };
    let tuned = sut.summary(tune("secret/a", interval));
    assert_eq!(tuned.next_rotation_at, Some(LogTime(START).plus_secs(200)));
    let turned = sut.summary(put("secret/a", 2, Some(1)));
    assert_eq!(turned.next_rotation_at, Some(sut.now().plus_secs(200)));
    let described = SettingsChange {
        description: Some("words".into()),
        ..SettingsChange::default()
    };
    sut.pass(1);
    assert_eq!(
        sut.summary(tune("secret/a", described)).next_rotation_at,
        turned.next_rotation_at
    );
}

#[test]
fn an_automatic_secret_without_a_version_is_scheduled_too() {
    let mut sut = Sut::new();
    let summary = sut.summary(create("secret/a", automatic(10), None));
    assert_eq!(summary.next_rotation_at, Some(sut.now().plus_secs(100)));
}

#[test]
fn grace_is_counted_from_the_moment_of_supersession() {
    let settings = SecretSettings {
        grace_period_secs: 10,
        ..SecretSettings::manual()
    };
    let mut sut = Sut::new();
    sut.ok(create("secret/a", settings, Some(1)));
    sut.ok(put("secret/none", 1, None));
    sut.pass(1_000);
    let valid = |sut: &Sut, name: &str, number| {
        let secret = sut.get(name);
        secret.version(number).unwrap().valid(sut.now()).is_some()
    };
    assert!(valid(&sut, "secret/a", 1));
    sut.ok(put("secret/a", 2, None));
    sut.ok(put("secret/none", 2, None));
    assert!(valid(&sut, "secret/a", 1) && valid(&sut, "secret/a", 2));
    assert!(!valid(&sut, "secret/none", 1), "no grace unless asked");
    sut.pass(9);
    assert!(valid(&sut, "secret/a", 1));
    sut.pass(1);
    assert!(!valid(&sut, "secret/a", 1) && valid(&sut, "secret/a", 2));
    // Of manual secrets the material stays.
    sut.tick();
    assert_eq!(sut.read("secret/a", 1), Some(1));
    assert_eq!(sut.state.next_deadline(), None);
    // Deleted is not valid, grace or not.
    sut.ok(Command::DeleteVersions {
        name: secret("secret/a"),
        versions: vec![],
    });
    assert!(!valid(&sut, "secret/a", 2));
}

#[test]
fn superseded_material_of_an_automatic_secret_goes_when_its_grace_ends() {
    let mut sut = Sut::new();
    sut.ok(create("secret/a", automatic(10), Some(1)));
    assert_eq!(sut.state.next_deadline(), None);
    sut.ok(put("secret/a", 2, None));
    assert_eq!(sut.state.next_deadline(), Some(sut.now().plus_secs(10)));
    sut.pass(9);
    sut.tick();
    assert_eq!(sut.read("secret/a", 1), Some(1));
    sut.pass(1);
    sut.tick();
    assert!(sut.destroyed("secret/a", 1) && !sut.destroyed("secret/a", 2));
    assert_eq!(sut.state.next_deadline(), None);
}

#[test]
fn settings_decide_which_graces_are_deadlines() {
    let keep = |keep| SettingsChange {
        keep_superseded: Some(keep),
        ..SettingsChange::default()
    };
    let mut sut = Sut::new();
    sut.ok(create("secret/a", automatic(10), Some(1)));
    sut.ok(put("secret/a", 2, None));
    sut.ok(tune("secret/a", keep(true)));
    assert_eq!(sut.state.next_deadline(), None);
    sut.pass(20);
    sut.tick();
    assert_eq!(sut.read("secret/a", 1), Some(1));
    sut.ok(put("secret/a", 3, None));
    // Taken back: what is past its grace is due at once.
    sut.ok(tune("secret/a", keep(false)));
    assert_eq!(
        sut.state.next_deadline(),
        Some(LogTime(START).plus_secs(10))
    );
    sut.tick();
    assert!(sut.destroyed("secret/a", 1) && !sut.destroyed("secret/a", 2));
    assert_eq!(sut.state.next_deadline(), Some(sut.now().plus_secs(10)));
    // A new grace period holds for the next supersession, not for past ones.
    let longer = SettingsChange {
        grace_period_secs: Some(500),
        ..SettingsChange::default()
    };
    sut.ok(tune("secret/a", longer));
    assert_eq!(sut.state.next_deadline(), Some(sut.now().plus_secs(10)));
}

#[test]
fn what_is_gone_has_no_deadline() {
    let mut sut = Sut::new();
    let rotated = |sut: &mut Sut| {
        sut.ok(create("secret/a", automatic(10), Some(1)));
        sut.ok(put("secret/a", 2, None));
        assert!(sut.state.next_deadline().is_some());
    };
    rotated(&mut sut);
    sut.ok(Command::DestroyVersions {
        name: secret("secret/a"),
        versions: vec![1],
    });
    assert_eq!(sut.state.next_deadline(), None, "destroyed");
    sut.ok(Command::DeleteSecret {
        name: secret("secret/a"),
    });
    rotated(&mut sut);
    sut.ok(Command::DeleteSecret {
        name: secret("secret/a"),
    });
    assert_eq!(sut.state.next_deadline(), None, "deleted as a whole");
    rotated(&mut sut);
    let one = SettingsChange {
        max_versions: Some(1),
        ..SettingsChange::default()
    };
    sut.ok(tune("secret/a", one));
    assert_eq!(sut.state.next_deadline(), None, "trimmed");
    sut.ok(put("secret/a", 3, None));
    assert_eq!(sut.state.next_deadline(), None, "trimmed by a write");
}

#[test]
fn one_tick_handles_a_bounded_number_of_deadlines() {
    let mut sut = Sut::new();
    let name = |n: usize| format!("secret/{n}");
    let all = limits::TICK_DEADLINES + 5;
    for n in 0..all {
        let at = LogPosition {
            term: 1,
            index: sut.index,
        };
        for command in [
            create(&name(n), automatic(1), Some(1)),
            put(&name(n), 2, None),
        ] {
            sut.state
                .apply(at, LogTime(START), command)
                .into_result()
                .unwrap();
        }
    }
    sut.pass(1);
    let left = |sut: &Sut| (0..all).filter(|n| !sut.destroyed(&name(*n), 1)).count();
    sut.tick();
    assert_eq!(left(&sut), 5);
    assert_eq!(sut.state.next_deadline(), Some(sut.now()));
    sut.tick();
    assert_eq!(left(&sut), 0);
    assert_eq!(sut.state.next_deadline(), None);
}

#[test]
fn a_manual_secret_does_not_rotate() {
    let mut sut = Sut::new();
    sut.ok(put("secret/a", 1, None));
    let none = SettingsChange::default;
    let SecretSettings {
        kind: Kind::Automatic { generator, .. },
        ..
    } = automatic(0)
    else {
        unreachable!()
    };
    for change in [
        SettingsChange {
            rotation_interval_secs: Some(5),
            ..none()
        },
        SettingsChange {
            generator: Some(generator),
            ..none()
        },
        SettingsChange {
            keep_superseded: Some(true),
            ..none()
        },
    ] {
        sut.refused(tune("secret/a", change.clone()), Rejection::Invalid);
        sut.refused(tune("secret/new", change), Rejection::Invalid);
    }
}

type Spoil = fn(&mut SecretSettings);

fn generator(settings: &mut SecretSettings) -> &mut Generator {
    match &mut settings.kind {
        Kind::Automatic { generator, .. } => generator,
        Kind::Manual => unreachable!(),
    }
}

fn interval(settings: &mut SecretSettings, secs: u64) {
    if let Kind::Automatic {
        rotation_interval_secs,
        ..
    } = &mut settings.kind
    {
        *rotation_interval_secs = secs;
    }
}

fn pairs(count: usize, key: usize, value: usize) -> std::collections::BTreeMap<String, String> {
    (0..count)
        .map(|n| (format!("{n:0key$}"), "v".repeat(value)))
        .collect()
}

#[test]
fn settings_have_limits() {
    let good: [Spoil; 6] = [
        |s| s.description = "d".repeat(limits::DESCRIPTION_BYTES),
        |s| s.grace_period_secs = limits::MAX_PERIOD_SECS,
        |s| s.max_versions = limits::MAX_VERSIONS,
        |s| s.delete_version_after_secs = limits::MAX_PERIOD_SECS,
        |s| s.custom_metadata = pairs(64, 128, 512),
        |s| interval(s, limits::MAX_PERIOD_SECS),
    ];
    let bad: [Spoil; 14] = [
        |s| s.description = "d".repeat(limits::DESCRIPTION_BYTES + 1),
        |s| s.grace_period_secs = limits::MAX_PERIOD_SECS + 1,
        |s| s.max_versions = limits::MAX_VERSIONS + 1,
        |s| s.delete_version_after_secs = u64::MAX,
        |s| s.custom_metadata = pairs(65, 3, 1),
        |s| s.custom_metadata = pairs(1, 129, 1),
        |s| s.custom_metadata = pairs(1, 1, 513),
        |s| interval(s, 0),
        |s| interval(s, u64::MAX),
        |s| generator(s).length = 0,
        |s| generator(s).length = limits::GENERATED_CHARS + 1,
        |s| generator(s).charset = String::new(),
        |s| generator(s).field = String::new(),
        |s| generator(s).field = "f".repeat(limits::LABEL_BYTES + 1),
    ];
    let mut sut = Sut::new();
    for (n, change) in good.into_iter().enumerate() {
        let mut settings = automatic(0);
        change(&mut settings);
        sut.ok(create(&format!("secret/{n}"), settings, Some(1)));
    }
    for change in bad {
        let mut settings = automatic(0);
        change(&mut settings);
        sut.refused(create("secret/bad", settings, Some(1)), Rejection::Invalid);
    }
}

#[test]
fn sealed_versions_have_limits() {
    let bad: [fn(&mut SealedVersion); 4] = [
        |s| s.ciphertext = vec![0; limits::CIPHERTEXT_BYTES + 1].into(),
        |s| s.wrapped_dek.0 = vec![0; limits::WRAPPED_DEK_BYTES + 1].into(),
        |s| s.kms_key_id.0 = "k".repeat(limits::KMS_KEY_ID_BYTES + 1).into(),
        |s| s.material_id = Some("m".repeat(limits::LABEL_BYTES + 1).into()),
    ];
    let mut sut = Sut::new();
    sut.ok(put("secret/a", 1, None));
    for spoil in bad {
        let mut sealed = sealed(2);
        spoil(&mut sealed);
        sut.refused(
            Command::CreateSecret {
                name: secret("secret/b"),
                settings: SecretSettings::manual(),
                sealed: Some(sealed.clone()),
            },
            Rejection::Invalid,
        );
        let mut command = put("secret/a", 2, None);
        if let Command::PutSecret {
            version: Some(version),
            ..
        } = &mut command
        {
            version.sealed = sealed;
        }
        sut.refused(command, Rejection::Invalid);
    }
    let mut largest = sealed(1);
    largest.ciphertext = vec![0; limits::CIPHERTEXT_BYTES].into();
    sut.ok(Command::CreateSecret {
        name: secret("secret/b"),
        settings: SecretSettings::manual(),
        sealed: Some(largest),
    });
}
