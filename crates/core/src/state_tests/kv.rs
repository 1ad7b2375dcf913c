//! KV v2: writes, check-and-set, metadata.

use super::*;

#[test]
fn a_first_write_makes_the_secret_and_later_ones_add_versions() {
    let mut sut = Sut::new();
    let first = sut.summary(put("secret/a", 1, None));
    assert_eq!((first.version, first.automatic), (1, false));
    sut.pass(1);
    let second = sut.summary(put("secret/a", 2, None));
    assert_eq!(second.version, 2);
    assert_eq!(second.created_at, LogTime(START));
    assert_eq!(second.updated_at, LogTime(START + 1_000));
    assert_eq!(second.version_created_at, Some(LogTime(START + 1_000)));
    assert_eq!(
        (sut.read("secret/a", 1), sut.read("secret/a", 2)),
        (Some(1), Some(2))
    );
    assert_eq!(sut.get("secret/a").oldest_version(), 1);
}

#[test]
fn without_upsert_an_absent_secret_is_not_found() {
    let mut sut = Sut::new();
    let Command::PutSecret {
        name,
        cas,
        change,
        version,
        ..
    } = put("secret/a", 1, None)
    else {
        unreachable!()
    };
    let upsert = false;
    sut.refused(
        Command::PutSecret {
            name,
            cas,
            change,
            version,
            upsert,
        },
        Rejection::NotFound,
    );
}

#[test]
fn cas_zero_means_no_version_yet() {
    let mut sut = Sut::new();
    sut.ok(tune("secret/a", SettingsChange::default()));
    sut.ok(put("secret/a", 1, Some(0)));
    sut.refused(
        put("secret/a", 2, Some(0)),
        Rejection::CasMismatch { current: 1 },
    );
    sut.refused(
        put("secret/b", 1, Some(1)),
        Rejection::CasMismatch { current: 0 },
    );
    assert!(sut.state.secret(&secret("secret/b")).is_none());
    sut.ok(put("secret/b", 1, Some(0)));
}

#[test]
fn cas_compares_with_the_current_version_even_when_that_is_deleted_or_destroyed() {
    let mut sut = Sut::new();
    sut.ok(put("secret/a", 1, None));
    sut.ok(put("secret/a", 2, Some(1)));
    sut.refused(
        put("secret/a", 3, Some(1)),
        Rejection::CasMismatch { current: 2 },
    );
    sut.ok(Command::DeleteVersions {
        name: secret("secret/a"),
        versions: vec![],
    });
    sut.refused(
        put("secret/a", 3, Some(0)),
        Rejection::CasMismatch { current: 2 },
    );
    sut.ok(put("secret/a", 3, Some(2)));
    sut.ok(Command::DestroyVersions {
        name: secret("secret/a"),
        versions: vec![3],
    });
    sut.ok(put("secret/a", 4, Some(3)));
}

#[test]
fn cas_can_be_required_by_the_secret_or_the_mount_for_values_alone() {
    let required = SettingsChange {
        cas_required: Some(true),
        ..SettingsChange::default()
    };
    let mut sut = Sut::new();
    sut.ok(tune("secret/a", required));
    sut.refused(put("secret/a", 1, None), Rejection::CasRequired);
    sut.ok(put("secret/a", 1, Some(0)));
    sut.ok(tune("secret/a", SettingsChange::default()));
    sut.ok(put("secret/b", 1, None));

    let settings = MountSettings {
        cas_required: true,
        ..MountSettings::default()
    };
    sut.ok(Command::TuneMount {
        mount: mount("secret"),
        settings,
    });
    sut.refused(put("secret/b", 2, None), Rejection::CasRequired);
    sut.refused(put("secret/c", 1, None), Rejection::CasRequired);
    sut.ok(put("secret/b", 2, Some(1)));
    // The secret cannot switch off what its mount asks for.
    let off = SettingsChange {
        cas_required: Some(false),
        ..SettingsChange::default()
    };
    sut.ok(tune("secret/b", off));
    sut.refused(put("secret/b", 3, None), Rejection::CasRequired);
}

#[test]
fn a_mismatch_is_told_before_a_number_that_is_taken() {
    let mut sut = Sut::new();
    sut.ok(put("secret/a", 1, None));
    sut.refused(
        put("secret/a", 1, Some(0)),
        Rejection::CasMismatch { current: 1 },
    );
    sut.refused(
        put("secret/a", 1, Some(1)),
        Rejection::VersionTaken { current: 1 },
    );
    sut.refused(
        put("secret/a", 3, None),
        Rejection::VersionTaken { current: 1 },
    );
    sut.refused(
        put("secret/a", 0, None),
        Rejection::VersionTaken { current: 1 },
    );
}

#[test]
fn metadata_can_come_first_and_pairs_are_replaced_as_a_whole() {
    let pairs = |text: &str| SettingsChange {
        custom_metadata: Some([(text.to_owned(), "v".to_owned())].into()),
        ..SettingsChange::default()
    };
    let mut sut = Sut::new();
    let summary = sut.summary(tune("secret/a", pairs("owner")));
    assert_eq!((summary.version, summary.version_created_at), (0, None));
    assert_eq!(sut.get("secret/a").oldest_version(), 0);
    sut.pass(1);
    sut.ok(put("secret/a", 1, Some(0)));
    assert!(
        sut.get("secret/a")
            .settings
            .custom_metadata
            .contains_key("owner")
    );
    sut.ok(tune("secret/a", pairs("team")));
    let kept = &sut.get("secret/a").settings.custom_metadata;
    assert_eq!(kept.keys().collect::<Vec<_>>(), ["team"]);
    assert_eq!(sut.get("secret/a").current_version, 1);
    assert_eq!(sut.get("secret/a").created_at, LogTime(START));
}

#[test]
fn a_secret_that_is_deleted_as_a_whole_is_gone_and_may_begin_again() {
    let mut sut = Sut::new();
    sut.ok(put("secret/a", 1, None));
    assert_eq!(
        sut.ok(Command::DeleteSecret {
            name: secret("secret/a")
        }),
        Effect::Done
    );
    assert_eq!(sut.state.secret_count(), 0);
    sut.refused(
        Command::DeleteSecret {
            name: secret("secret/a"),
        },
        Rejection::NotFound,
    );
    sut.refused(
        put("secret/a", 2, None),
        Rejection::VersionTaken { current: 0 },
    );
    sut.ok(put("secret/a", 1, Some(0)));
}
