//! Command lists with few names, so that commands meet each other.

mod leader;
mod rewraps;
mod targets;
mod values;

pub(super) use leader::{Entry, Leader, apply};

use proptest::{collection::vec, prelude::*, sample::select};

use super::*;
use rewraps::{any_sealed, rewrap, rewrap_draft};
use targets::{Turn, turn_draft};
use values::{Value, value_draft};

pub(super) const SECRETS: [&str; 4] = ["secret/a", "secret/b", "kv/a", "no/mount"];
pub(super) const TOKENS: [&str; 3] = ["bootstrap-admin", "t", "u"];
pub(super) const PRINTS: u8 = 5;
const MOUNTS: [&str; 3] = ["secret", "kv", "Secret"];
const ROLES: [&str; 4] = ["admin", "dev", "ops", "ADMIN"];

/// A command, or one whose numbers are chosen when the state is known.
#[derive(Clone, Debug)]
pub(super) enum Draft {
    Fixed(Command),
    /// A rewrap of one of the versions there are; `stale`: of what it was wrapped as before.
    Rewrap {
        nth: usize,
        off: i8,
        stale: bool,
        new: SealedVersion,
    },
    EndPass {
        off: i8,
        failed: u64,
    },
    /// A step of a rotation that is applied to a target.
    Turn(Turn),
    /// A write that says on which access it was allowed.
    Value(Value),
    Put {
        name: &'static str,
        cas: Option<i8>,
        off: i8,
        sealed: SealedVersion,
        value: bool,
        change: SettingsChange,
        upsert: bool,
    },
}

impl Draft {
    pub(super) fn command(&self, state: &State) -> Command {
        match self {
            Self::Fixed(command) => command.clone(),
            Self::Rewrap {
                nth,
                off,
                stale,
                new,
            } => rewrap(state, *nth, *off, *stale, new),
            Self::Turn(turn) => turn.command(state),
            Self::Value(value) => value.command(state),
            Self::EndPass { off, failed } => Command::EndPass {
                id: state.rewrap().last_id.saturating_add_signed((*off).into()),
                failed: *failed,
                last_error: (*failed > 0).then(|| "no such key".to_owned()),
            },
            Self::Put {
                name,
                cas,
                off,
                sealed,
                value,
                change,
                upsert,
            } => {
                let name = secret(name);
                let current = state.secret(&name).map_or(0, |found| found.current_version);
                Command::PutSecret {
                    cas: cas.map(|off| current.saturating_add_signed(off.into())),
                    change: change.clone(),
                    version: value.then(|| NewVersion {
                        number: (current + 1).saturating_add_signed((*off).into()),
                        sealed: sealed.clone(),
                    }),
                    upsert: *upsert,
                    name,
                }
            }
        }
    }
}

/// One entry of the log: how far the leader's clock has moved, and what it proposes.
#[derive(Clone, Debug)]
pub(super) struct Draw {
    pub(super) clock: i64,
    pub(super) new_term: bool,
    pub(super) drafts: Vec<Draft>,
}

fn change() -> impl Strategy<Value = SettingsChange> {
    let plain = (
        proptest::option::weighted(0.3, select(vec![0u64, 5, 3_000, u64::MAX])),
        proptest::option::weighted(0.4, select(vec![0u32, 1, 2, 3, 1_001])),
        proptest::option::weighted(0.2, any::<bool>()),
        proptest::option::weighted(0.2, select(vec![0u64, 5, 3_000])),
        proptest::option::weighted(0.1, Just([("k".to_owned(), "v".to_owned())].into())),
        proptest::option::weighted(0.2, any::<bool>()),
        proptest::option::weighted(0.1, select(vec![0u64, 1, 3_600])),
        proptest::option::weighted(0.05, proptest::option::of(Just(target()))),
    );
    let plain =
        plain.prop_map(
            |(grace, max, cas, after, pairs, keep, interval, target)| SettingsChange {
                target,
                grace_period_secs: grace,
                max_versions: max,
                cas_required: cas,
                delete_version_after_secs: after,
                custom_metadata: pairs,
                keep_superseded: keep,
                rotation_interval_secs: interval,
                ..SettingsChange::default()
            },
        );
    prop_oneof![Just(SettingsChange::default()), plain]
}

fn settings() -> impl Strategy<Value = SecretSettings> {
    let grace = select(vec![0u64, 5, 3_000]);
    (
        grace,
        proptest::bool::weighted(0.3),
        proptest::bool::weighted(0.3),
        select(vec![0u32, 1, 3]),
        any::<bool>(),
    )
        .prop_map(|(grace, manual, keep, max_versions, targeted)| {
            let mut settings = SecretSettings {
                max_versions,
                ..automatic(grace)
            };
            if let Kind::Automatic {
                keep_superseded, ..
            } = &mut settings.kind
            {
                *keep_superseded = keep;
            }
            if targeted {
                settings.kind = with_target(settings.kind);
            }
            if manual {
                settings.kind = Kind::Manual;
            }
            settings
        })
}

fn mount_settings() -> impl Strategy<Value = MountSettings> {
    let max = select(vec![0u32, 0, 2, 4, 1_001]);
    let after = select(vec![0u64, 0, 5]);
    (max, after, proptest::bool::weighted(0.2)).prop_map(
        |(max_versions, delete_version_after_secs, cas_required)| MountSettings {
            max_versions,
            cas_required,
            delete_version_after_secs,
        },
    )
}

fn secret_draft() -> BoxedStrategy<Draft> {
    let name = || {
        let [a, b, in_kv, unmounted] = SECRETS;
        prop_oneof![8 => Just(a), 4 => Just(b), 3 => Just(in_kv), 1 => Just(unmounted)]
    };
    let off = || prop_oneof![9 => Just(0i8), 1 => -1i8..=1];
    let cas = proptest::option::weighted(0.4, off());
    let put = (
        name(),
        cas,
        off(),
        any_sealed(),
        any::<bool>(),
        change(),
        any::<bool>(),
    )
        .prop_map(
            |(name, cas, off, sealed, value, change, upsert)| Draft::Put {
                name,
                cas,
                off,
                sealed,
                value,
                change,
                upsert,
            },
        );
    let on_versions = (
        name(),
        vec(prop_oneof![3 => 1u64..4, 1 => 0u64..9], 0..4),
        0..3,
    )
        .prop_map(|(name, versions, what)| {
            let name = secret(name);
            Draft::Fixed(match what {
                0 => Command::DeleteVersions { name, versions },
                1 => Command::UndeleteVersions { name, versions },
                _ => Command::DestroyVersions { name, versions },
            })
        });
    let create = (
        name(),
        settings(),
        proptest::option::weighted(0.8, any_sealed()),
    )
        .prop_map(|(name, settings, sealed)| {
            let name = secret(name);
            Draft::Fixed(Command::CreateSecret {
                name,
                settings,
                sealed,
            })
        });
    let delete = name().prop_map(|name| Draft::Fixed(Command::DeleteSecret { name: secret(name) }));
    prop_oneof![8 => put, 4 => on_versions, 4 => create, 1 => delete].boxed()
}

fn mount_command() -> impl Strategy<Value = Command> {
    (select(&MOUNTS[..]), mount_settings(), 0..5).prop_map(|(name, settings, what)| {
        let mount = mount(name);
        match what {
            0 => Command::DeleteMount { mount },
            1 | 2 => Command::TuneMount { mount, settings },
            _ => Command::CreateMount { mount, settings },
        }
    })
}

fn role_command() -> impl Strategy<Value = Command> {
    (select(&ROLES[..]), any::<bool>(), 0..6).prop_map(|(name, is_admin, what)| {
        let name = role(name);
        match what {
            0 => Command::DeleteRole { name },
            1 => Command::SetPermissions {
                name,
                permissions: vec![],
            },
            2 => Command::SetRules {
                name,
                rules: vec![],
            },
            _ => Command::CreateRole {
                name,
                description: String::new(),
                is_admin,
                permissions: vec![],
                rules: vec![],
            },
        }
    })
}

fn token_command() -> impl Strategy<Value = Command> {
    let ttl = proptest::option::of(select(vec![0u64, 1, 10, 4_000]));
    let uses = proptest::option::of(0u64..3);
    let create = (
        select(&TOKENS[..]),
        0..PRINTS,
        select(&ROLES[..]),
        ttl,
        uses,
    )
        .prop_map(|(name, tag, to, ttl_secs, num_uses)| Command::CreateToken {
            name: token(name),
            fingerprint: print(tag),
            role: role(to),
            ttl_secs,
            bound_cidrs: Allowlist::default(),
            num_uses,
        });
    prop_oneof![
        4 => create,
        2 => select(&TOKENS[..]).prop_map(|name| Command::RevokeToken { name: token(name) }),
        3 => (0..PRINTS).prop_map(|tag| Command::UseToken { fingerprint: print(tag) }),
        1 => (0..PRINTS).prop_map(|tag| Command::Bootstrap { fingerprint: print(tag) }),
    ]
}

fn draft() -> impl Strategy<Value = Draft> {
    prop_oneof![
        6 => secret_draft(),
        2 => Just(Draft::Fixed(Command::Tick)),
        1 => mount_command().prop_map(Draft::Fixed),
        1 => role_command().prop_map(Draft::Fixed),
        3 => token_command().prop_map(Draft::Fixed),
        3 => rewrap_draft(),
        3 => turn_draft().prop_map(Draft::Turn),
        2 => value_draft().prop_map(Draft::Value),
        1 => Just(Draft::Fixed(Command::Form { cluster_id: ClusterId([9; 16]) })),
        1 => super::nodes::node_command().prop_map(Draft::Fixed),
        1 => (0u8..6).prop_map(|to| Draft::Fixed(Command::RaiseFormat { to })),
    ]
}

/// One entry; none of its commands, sometimes, as Raft's own entries have none.
pub(super) fn draw() -> impl Strategy<Value = Draw> {
    let clock = prop_oneof![
        6 => 0i64..8_000,
        1 => -100_000i64..0,
        1 => Just(3_600_000),
        1 => Just(8 * 86_400_000),
    ];
    (clock, proptest::bool::weighted(0.1), vec(draft(), 0..4)).prop_map(
        |(clock, new_term, drafts)| Draw {
            clock,
            new_term,
            drafts,
        },
    )
}

/// Entries that begin, mostly, with the forming of the cluster and a second mount.
pub(super) fn draws(most: usize) -> impl Strategy<Value = Vec<Draw>> {
    let formed = Draw {
        clock: 0,
        new_term: false,
        drafts: vec![
            Draft::Fixed(Command::Form {
                cluster_id: ClusterId([1; 16]),
            }),
            Draft::Fixed(Command::CreateMount {
                mount: mount("kv"),
                settings: MountSettings::default(),
            }),
        ],
    };
    (proptest::bool::weighted(0.95), vec(draw(), 1..most)).prop_map(move |(form, mut draws)| {
        if form {
            draws.insert(0, formed.clone());
        }
        draws
    })
}
