//! KV v2: versions that are deleted, undeleted, destroyed, trimmed, or die of age.

use super::*;

#[test]
fn soft_delete_hides_the_newest_or_the_listed_and_undelete_brings_back() {
    let name = || secret("secret/a");
    let mut sut = Sut::new();
    for number in 1..=4 {
        sut.ok(put("secret/a", number, None));
    }
    sut.pass(1);
    sut.ok(Command::DeleteVersions {
        name: name(),
        versions: vec![],
    });
    assert_eq!(
        (sut.read("secret/a", 4), sut.read("secret/a", 3)),
        (None, Some(3))
    );
    assert_eq!(sut.get("secret/a").current_version, 4);
    let deleted_at = sut.get("secret/a").version(4).unwrap().deleted_at;
    assert_eq!(deleted_at, Some(LogTime(START + 1_000)));

    sut.pass(1);
    sut.ok(Command::DeleteVersions {
        name: name(),
        versions: vec![1, 4, 77, 0, 1],
    });
    assert_eq!(
        sut.get("secret/a").version(4).unwrap().deleted_at,
        deleted_at
    );
    assert_eq!(
        (sut.read("secret/a", 1), sut.read("secret/a", 2)),
        (None, Some(2))
    );

    sut.ok(Command::UndeleteVersions {
        name: name(),
        versions: vec![1, 4, 77],
    });
    assert_eq!(
        (sut.read("secret/a", 1), sut.read("secret/a", 4)),
        (Some(1), Some(4))
    );
    // An empty list means the newest for a deletion alone.
    sut.ok(Command::DeleteVersions {
        name: name(),
        versions: vec![],
    });
    sut.ok(Command::UndeleteVersions {
        name: name(),
        versions: vec![],
    });
    sut.ok(Command::DestroyVersions {
        name: name(),
        versions: vec![],
    });
    assert_eq!(
        (sut.read("secret/a", 4), sut.destroyed("secret/a", 4)),
        (None, false)
    );
}

#[test]
fn destroyed_is_for_good() {
    let name = || secret("secret/a");
    let mut sut = Sut::new();
    sut.ok(put("secret/a", 1, None));
    sut.ok(put("secret/a", 2, None));
    sut.ok(Command::DestroyVersions {
        name: name(),
        versions: vec![1, 9],
    });
    assert!(sut.destroyed("secret/a", 1) && !sut.destroyed("secret/a", 2));
    sut.ok(Command::DeleteVersions {
        name: name(),
        versions: vec![1],
    });
    assert_eq!(sut.get("secret/a").version(1).unwrap().deleted_at, None);
    sut.ok(Command::UndeleteVersions {
        name: name(),
        versions: vec![1],
    });
    assert_eq!(sut.read("secret/a", 1), None);
    assert_eq!(sut.kept("secret/a"), [1, 2]);
    // What was deleted before it was destroyed stays deleted, too.
    for command in [
        Command::DeleteVersions {
            name: name(),
            versions: vec![2],
        },
        Command::DestroyVersions {
            name: name(),
            versions: vec![2],
        },
        Command::UndeleteVersions {
            name: name(),
            versions: vec![2],
        },
    ] {
        sut.ok(command);
    }
    let deleted_at = sut.get("secret/a").version(2).unwrap().deleted_at;
    assert_eq!(deleted_at, Some(sut.now()));
}

#[test]
fn commands_on_versions_want_a_secret_and_a_bounded_list() {
    let many = vec![1; crate::limits::VERSIONS_PER_COMMAND + 1];
    let mut sut = Sut::new();
    for (versions, name, why) in [
        (vec![1], "secret/none", Rejection::NotFound),
        (many, "secret/a", Rejection::Invalid),
    ] {
        sut.run(put("secret/a", 1, Some(0))).ok();
        let (name, list) = (|| secret(name), || versions.clone());
        sut.refused(
            Command::DeleteVersions {
                name: name(),
                versions: list(),
            },
            why,
        );
        sut.refused(
            Command::UndeleteVersions {
                name: name(),
                versions: list(),
            },
            why,
        );
        sut.refused(
            Command::DestroyVersions {
                name: name(),
                versions: list(),
            },
            why,
        );
    }
    sut.ok(tune("secret/empty", SettingsChange::default()));
    let name = secret("secret/empty");
    sut.ok(Command::DeleteVersions {
        name,
        versions: vec![],
    });
}

fn keep(max_versions: u32) -> SettingsChange {
    SettingsChange {
        max_versions: Some(max_versions),
        ..SettingsChange::default()
    }
}

#[test]
fn versions_beyond_the_maximum_go_and_their_numbers_never_return() {
    let mut sut = Sut::new();
    for number in 1..=12 {
        sut.ok(put("secret/a", number, None));
    }
    assert_eq!(sut.kept("secret/a"), (3..=12).collect::<Vec<_>>());
    assert_eq!(
        (sut.read("secret/a", 2), sut.read("secret/a", 3)),
        (None, Some(3))
    );

    sut.ok(tune("secret/a", keep(2)));
    assert_eq!(sut.kept("secret/a"), [11, 12]);
    sut.ok(tune("secret/a", keep(4)));
    for number in 13..=16 {
        sut.ok(put("secret/a", number, None));
    }
    assert_eq!(sut.kept("secret/a"), [13, 14, 15, 16]);
    sut.ok(tune("secret/a", keep(1)));
    sut.ok(put("secret/a", 17, None));
    assert_eq!(sut.kept("secret/a"), [17]);
}

#[test]
fn the_mount_says_how_many_versions_where_the_secret_does_not() {
    let mut sut = Sut::new();
    let settings = MountSettings {
        max_versions: 3,
        ..MountSettings::default()
    };
    sut.ok(Command::TuneMount {
        mount: mount("secret"),
        settings,
    });
    for number in 1..=5 {
        sut.ok(put("secret/a", number, None));
        let mut own = put("secret/b", number, None);
        if let Command::PutSecret { change, .. } = &mut own {
            *change = keep(4);
        }
        sut.ok(own);
    }
    assert_eq!(sut.kept("secret/a"), [3, 4, 5]);
    assert_eq!(sut.kept("secret/b"), [2, 3, 4, 5]);
}

#[test]
fn a_version_counts_as_deleted_when_its_time_has_come() {
    let after = |secs| SettingsChange {
        delete_version_after_secs: Some(secs),
        ..SettingsChange::default()
    };
    let mut sut = Sut::new();
    sut.ok(tune("secret/a", after(10)));
    sut.ok(put("secret/a", 1, None));
    sut.ok(tune("secret/a", after(0)));
    sut.ok(put("secret/a", 2, None));
    sut.pass(9);
    assert_eq!(sut.read("secret/a", 1), Some(1));
    sut.pass(1);
    assert_eq!(
        (sut.read("secret/a", 1), sut.read("secret/a", 2)),
        (None, Some(2))
    );
    // A deletion after that keeps the time; undeletion clears it.
    sut.pass(1);
    sut.ok(Command::DeleteVersions {
        name: secret("secret/a"),
        versions: vec![1],
    });
    let deleted_at = sut.get("secret/a").version(1).unwrap().deleted_at;
    assert_eq!(deleted_at, Some(LogTime(START + 10_000)));
    sut.ok(Command::UndeleteVersions {
        name: secret("secret/a"),
        versions: vec![1],
    });
    assert_eq!(sut.read("secret/a", 1), Some(1));

    let settings = MountSettings {
        delete_version_after_secs: 5,
        ..MountSettings::default()
    };
    sut.ok(Command::TuneMount {
        mount: mount("secret"),
        settings,
    });
    sut.ok(put("secret/a", 3, None));
    // A deletion before that is now.
    sut.ok(put("secret/a", 4, None));
    sut.ok(Command::DeleteVersions {
        name: secret("secret/a"),
        versions: vec![],
    });
    assert_eq!(sut.read("secret/a", 4), None);
    sut.pass(5);
    assert_eq!(sut.read("secret/a", 3), None);
}
