//! Mounts, and lists of the secrets in them.

use super::*;
use crate::limits;

fn make(name: &str) -> Command {
    Command::CreateMount {
        mount: mount(name),
        settings: MountSettings::default(),
    }
}

#[test]
fn a_mount_comes_once_and_goes_with_its_secrets() {
    let mut sut = Sut::new();
    sut.ok(make("kv"));
    sut.refused(make("kv"), Rejection::AlreadyExists);
    sut.refused(make("secret"), Rejection::AlreadyExists);
    sut.ok(make("kv-2"));
    for name in ["kv/a", "kv/a/b", "kv-2/a", "secret/kv/a"] {
        sut.ok(create(name, automatic(10), Some(1)));
        sut.ok(put(name, 2, None));
    }
    assert_eq!(
        sut.ok(Command::DeleteMount { mount: mount("kv") }),
        Effect::Done
    );
    let left: Vec<_> = sut.state.secrets().map(|(name, _)| name.as_str()).collect();
    assert_eq!(left, ["kv-2/a", "secret/kv/a"]);
    sut.refused(
        Command::DeleteMount { mount: mount("kv") },
        Rejection::NotFound,
    );
    sut.refused(put("kv/a", 3, None), Rejection::NotFound);
    sut.ok(make("kv"));
    sut.ok(put("kv/a", 1, Some(0)));
}

#[test]
fn the_mount_secret_stays_and_nothing_looks_like_it() {
    let mut sut = Sut::new();
    let name = mount("secret");
    sut.refused(Command::DeleteMount { mount: name }, Rejection::Protected);
    for name in ["Secret", "SECRET"] {
        sut.refused(make(name), Rejection::Protected);
    }
}

#[test]
fn mount_settings_have_limits_and_hold_for_what_follows() {
    let max_versions = |max_versions| MountSettings {
        max_versions,
        ..MountSettings::default()
    };
    let delete_after = |delete_version_after_secs| MountSettings {
        delete_version_after_secs,
        ..MountSettings::default()
    };
    let mut sut = Sut::new();
    for settings in [
        max_versions(limits::MAX_VERSIONS + 1),
        delete_after(limits::MAX_PERIOD_SECS + 1),
    ] {
        let (create, tune) = (
            Command::CreateMount {
                mount: mount("kv"),
                settings,
            },
            Command::TuneMount {
                mount: mount("secret"),
                settings,
            },
        );
        sut.refused(create, Rejection::Invalid);
        sut.refused(tune, Rejection::Invalid);
    }
    let settings = max_versions(limits::MAX_VERSIONS);
    sut.refused(
        Command::TuneMount {
            mount: mount("kv"),
            settings,
        },
        Rejection::NotFound,
    );
    sut.ok(Command::TuneMount {
        mount: mount("secret"),
        settings,
    });
    assert_eq!(sut.state.mount(&mount("secret")), Some(&settings));
    for number in 1..=u64::from(limits::DEFAULT_MAX_VERSIONS) + 5 {
        sut.ok(put("secret/a", number, None));
    }
    assert_eq!(sut.kept("secret/a").len(), 15);
}

#[test]
fn lists_keep_to_mount_prefix_and_place() {
    let mut sut = Sut::new();
    sut.ok(make("a"));
    sut.ok(make("a-b"));
    let names = ["a/x", "a/x/1", "a/x/2", "a/x-y", "a/y", "a-b/x", "secret/x"];
    for name in names {
        sut.ok(put(name, 1, None));
    }
    let list = |mount: &str, prefix: &str, after: Option<&str>| -> Vec<String> {
        sut.state
            .secrets_in(mount, prefix, after)
            .map(|(name, _)| name.path().to_owned())
            .collect()
    };
    assert_eq!(list("a", "", None), ["x", "x-y", "x/1", "x/2", "y"]);
    assert_eq!(list("a", "x/", None), ["x/1", "x/2"]);
    assert_eq!(list("a", "x", Some("x")), ["x-y", "x/1", "x/2"]);
    assert_eq!(list("a", "x/", Some("x/1")), ["x/2"]);
    assert_eq!(list("a", "x/", Some("a")), ["x/1", "x/2"]);
    assert_eq!(list("a", "x/", Some("y")), [""; 0]);
    assert_eq!(list("a-b", "", Some("")), ["x"]);
    assert_eq!(list("a-", "", None), [""; 0]);
    assert_eq!(sut.state.secret_count(), names.len());
}
