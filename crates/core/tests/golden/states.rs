//! States, of which `values` has the parts.

use strongroom_core::{
    Allowlist, Command, LogPosition, LogTime, SecretSettings, State, TokenFingerprint, TokenName,
    command::NewVersion, secret::SettingsChange,
};

use super::values::*;

/// A state with every kind of record, and each optional part both there and not.
pub(crate) fn state() -> State {
    let mut state = State::default();
    let mut index = 0;
    let mut run = |secs: u64, command: Command| {
        index += 1;
        let at = LogPosition { term: 2, index };
        let time = LogTime(1_767_323_045_678).plus_secs(secs);
        state.apply(at, time, command).into_result().unwrap();
    };
    let write = |text: &str, number: u64| Command::PutSecret {
        name: name(text),
        cas: None,
        change: SettingsChange::default(),
        version: Some(NewVersion {
            number,
            sealed: sealed(number as u8),
        }),
        upsert: true,
    };
    let mut all = commands();
    let form = all.remove(0);
    run(0, form);
    run(
        0,
        Command::Bootstrap {
            fingerprint: TokenFingerprint([5; 32]),
        },
    );
    run(
        1,
        Command::CreateMount {
            mount: mount(),
            settings: mount_settings(),
        },
    );
    run(
        1,
        Command::CreateRole {
            name: role(),
            description: "deploys".into(),
            is_admin: false,
            permissions: permissions(),
            rules: rules(),
        },
    );
    for (tag, text, uses) in [(1, "live", None), (2, "revoked", Some(4))] {
        run(
            2,
            Command::CreateToken {
                name: TokenName::parse(text).unwrap(),
                fingerprint: TokenFingerprint([tag; 32]),
                role: role(),
                ttl_secs: Some(3_600),
                bound_cidrs: Allowlist::parse("10.0.0.0/8,2001:db8::/32").unwrap(),
                num_uses: uses,
            },
        );
    }
    run(
        3,
        Command::RevokeToken {
            name: TokenName::parse("revoked").unwrap(),
        },
    );
    run(
        4,
        Command::CreateSecret {
            name: name("secret/db/password"),
            settings: automatic(),
            sealed: Some(sealed(1)),
        },
    );
    run(5, write("secret/db/password", 2));
    run(6, write("secret/db/password", 3));
    run(305, Command::Tick);
    run(306, write("kv/app", 1));
    run(307, write("kv/app", 2));
    run(
        308,
        Command::DeleteVersions {
            name: name("kv/app"),
            versions: vec![],
        },
    );
    run(
        308,
        Command::UndeleteVersions {
            name: name("kv/app"),
            versions: vec![1],
        },
    );
    run(
        309,
        Command::CreateSecret {
            name: name("kv/empty"),
            settings: SecretSettings::manual(),
            sealed: None,
        },
    );
    // A pass that left a failure behind, and another that runs.
    for (secs, command) in [
        (309, Command::RaiseFormat { to: 2 }),
        (
            310,
            Command::AdoptWatermark {
                watermark: watermark(1),
            },
        ),
        (
            311,
            Command::BeginPass {
                target: watermark(2),
            },
        ),
        (312, rewrap("kv/app", 1, 1, Some(material(2)))),
        (313, rewrap("kv/app", 2, 1, None)),
        (
            314,
            Command::EndPass {
                id: 1,
                failed: 1,
                last_error: Some("the key is disabled".into()),
            },
        ),
        (
            315,
            Command::BeginPass {
                target: bare_watermark(),
            },
        ),
        (316, rewrap("secret/db/password", 3, 2, None)),
        (
            317,
            Command::CreateSecret {
                name: name("secret/orders"),
                settings: targeted(),
                sealed: Some(sealed(1)),
            },
        ),
        (
            318,
            Command::BeginRotation {
                name: name("secret/orders"),
                cas: 1,
                version: NewVersion {
                    number: 2,
                    sealed: sealed(2),
                },
            },
        ),
        (
            319,
            Command::MarkRotation {
                name: name("secret/orders"),
                nonce: sealed(2).nonce,
                applying: true,
            },
        ),
        (
            320,
            Command::CreateSecret {
                name: name("secret/payments"),
                settings: targeted(),
                sealed: Some(sealed(1)),
            },
        ),
        (
            321,
            Command::BeginRotation {
                name: name("secret/payments"),
                cas: 1,
                version: NewVersion {
                    number: 2,
                    sealed: sealed(2),
                },
            },
        ),
    ] {
        run(secs, command);
    }
    state
}

/// A state that has just been formed: everything that may be missing is.
pub(crate) fn formed_state() -> State {
    let mut state = State::default();
    let form = commands().remove(0);
    let at = LogPosition { term: 1, index: 1 };
    let applied = state.apply(at, LogTime(1_767_323_045_678), form);
    applied.into_result().unwrap();
    state
}

/// A state that knows what requests did.
pub(crate) fn tried_state() -> State {
    let mut state = formed_state();
    let attempts = crate::variants::attempts(4).into_iter();
    let create = |text: &str| Command::CreateSecret {
        name: name(text),
        settings: SecretSettings::manual(),
        sealed: None,
    };
    let commands = [
        create("kv/none"),
        Command::Tick,
        create("secret/tried"),
        Command::CreateMount {
            mount: mount(),
            settings: mount_settings(),
        },
    ];
    for (n, (command, attempt)) in commands.into_iter().zip(attempts).enumerate() {
        let at = LogPosition {
            term: 1,
            index: n as u64 + 2_000_000,
        };
        state.apply_attempt(at, LogTime(1_767_323_045_678), attempt, command);
    }
    state
}

/// A state in which a restore is under way.
pub(crate) fn restoring_state() -> State {
    let mut state = formed_state();
    for (n, command) in crate::variants::restore_commands().into_iter().enumerate() {
        let command = match command {
            Command::RestorePart { id, bytes, .. } => {
                let number = 0;
                Command::RestorePart { id, number, bytes }
            }
            begin @ Command::BeginRestore { .. } => begin,
            _ => continue,
        };
        let at = LogPosition {
            term: 1,
            index: n as u64 + 2,
        };
        let applied = state.apply(at, LogTime(1_767_323_045_678), command);
        applied.into_result().unwrap();
    }
    state
}
