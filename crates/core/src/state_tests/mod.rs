//! The state machine: examples per command, properties over command lists, a reference model, and
//! several states over one log.

mod access;
mod attempts;
mod backups;
mod kv;
mod kv_versions;
mod mounts;
mod native;
mod nodes;
mod pending;
mod properties;
mod records;
mod reference;
mod replicas;
mod rewrap;
mod rewrap_versions;
mod roles;
mod rotations;
mod strategy;
mod tokens;

use std::sync::Arc;

use bytes::Bytes;

use crate::{
    Admission, Allowlist, ClusterId, Command, Effect, Generator, Kind, KmsKeyId, LogPosition,
    LogTime, Material, MountName, NodeName, Rejection, RoleName, SealedVersion, Secret, SecretName,
    SecretSettings, SecretSummary, SharedText, State, TargetName, TokenFingerprint, TokenName,
    WrappedDek,
    codec::{StateDecoder, encode_state},
    command::{MountSettings, NewVersion},
    rewrap::Watermark,
    secret::SettingsChange,
};

/// Milliseconds at which every example begins.
const START: u64 = 1_700_000_000_000;
const DAY: u64 = 86_400;

fn secret(name: &str) -> SecretName {
    SecretName::parse(name).unwrap()
}

fn mount(name: &str) -> MountName {
    MountName::parse(name).unwrap()
}

fn role(name: &str) -> RoleName {
    RoleName::parse(name).unwrap()
}

fn token(name: &str) -> TokenName {
    TokenName::parse(name).unwrap()
}

fn print(tag: u8) -> TokenFingerprint {
    TokenFingerprint([tag; 32])
}

/// A sealed version that can be told from others by `tag`.
fn sealed(tag: u64) -> SealedVersion {
    sealed_by(tag, "key", None)
}

/// One whose data key was wrapped by a key and, where that is known, by one of its materials.
fn sealed_by(tag: u64, key: &str, material: Option<&str>) -> SealedVersion {
    SealedVersion {
        ciphertext: Bytes::from(tag.to_be_bytes().to_vec()),
        nonce: nonce(tag),
        wrapped_dek: wrapped(&format!("{tag} by {key} {material:?}")),
        kms_key_id: KmsKeyId(key.into()),
        material_id: material.map(SharedText::from),
    }
}

fn nonce(tag: u64) -> [u8; 24] {
    let mut nonce = [7; 24];
    nonce[..8].copy_from_slice(&tag.to_be_bytes());
    nonce
}

fn wrapped(text: &str) -> WrappedDek {
    WrappedDek(Bytes::from(text.to_owned()))
}

fn watermark(key: &str, material: Option<&str>) -> Watermark {
    Watermark {
        key_id: KmsKeyId(key.into()),
        rotation_at: None,
        material_id: material.map(SharedText::from),
    }
}

fn tag_of(sealed: &SealedVersion) -> u64 {
    u64::from_be_bytes(sealed.ciphertext.as_ref().try_into().unwrap())
}

fn automatic(grace_secs: u64) -> SecretSettings {
    SecretSettings {
        kind: Kind::Automatic {
            rotation_interval_secs: 100,
            generator: Generator {
                field: "value".into(),
                length: 32,
                charset: "abc".into(),
            },
            keep_superseded: false,
            target: None,
        },
        grace_period_secs: grace_secs,
        ..SecretSettings::manual()
    }
}

fn target() -> TargetName {
    TargetName::parse("orders").unwrap()
}

/// The same kind, its values applied to [`target`].
fn with_target(mut kind: Kind) -> Kind {
    if let Kind::Automatic {
        generator, target, ..
    } = &mut kind
    {
        generator.field = "password".into();
        *target = Some(self::target());
    }
    kind
}

fn create(name: &str, settings: SecretSettings, tag: Option<u64>) -> Command {
    Command::CreateSecret {
        name: secret(name),
        settings,
        sealed: tag.map(sealed),
    }
}

/// A KV v2 write of version `number`, whose tag is its number.
fn put(name: &str, number: u64, cas: Option<u64>) -> Command {
    put_sealed(name, number, cas, sealed(number))
}

fn put_sealed(name: &str, number: u64, cas: Option<u64>, sealed: SealedVersion) -> Command {
    Command::PutSecret {
        name: secret(name),
        cas,
        change: SettingsChange::default(),
        version: Some(NewVersion { number, sealed }),
        upsert: true,
    }
}

/// A KV v2 write of metadata.
fn tune(name: &str, change: SettingsChange) -> Command {
    Command::PutSecret {
        name: secret(name),
        cas: None,
        change,
        version: None,
        upsert: true,
    }
}

/// What `codec` makes of the bytes it made of `state`.
fn rebuilt(state: &State) -> State {
    let mut decoder = StateDecoder::default();
    for record in encode_state(state) {
        decoder.push(&record).unwrap();
    }
    decoder.finish().unwrap()
}

/// `state` with another's position and time, which even a rejected command moves.
fn moved(mut state: State, to: &State) -> State {
    state.position = to.position;
    state.time = to.time;
    state
}

/// A state and the clock and log that feed it. Every command it runs is also checked for what holds
/// of all commands: a rejection changes nothing, and derived data is what a decoder derives.
struct Sut {
    state: State,
    index: u64,
    millis: u64,
}

impl Sut {
    fn unformed() -> Self {
        Self {
            state: State::default(),
            index: 0,
            millis: START,
        }
    }

    /// A state with its first command applied.
    fn new() -> Self {
        let mut sut = Self::unformed();
        sut.ok(Command::Form {
            cluster_id: ClusterId([1; 16]),
        });
        sut
    }

    fn run(&mut self, command: Command) -> Result<Effect, Rejection> {
        self.index += 1;
        let at = LogPosition {
            term: 1,
            index: self.index,
        };
        let before = self.state.clone();
        let applied = self.state.apply(at, LogTime(self.millis), command);
        if let crate::Applied::Rejected(_) = applied {
            assert_eq!(moved(before, &self.state), self.state);
        }
        assert_eq!(self.state.position(), Some(at));
        assert_eq!(rebuilt(&self.state), self.state);
        applied.into_result()
    }

    #[track_caller]
    fn ok(&mut self, command: Command) -> Effect {
        self.run(command).unwrap()
    }

    #[track_caller]
    fn summary(&mut self, command: Command) -> SecretSummary {
        match self.ok(command) {
            Effect::Secret(summary) => summary,
            other => panic!("{other:?} is no summary"),
        }
    }

    #[track_caller]
    fn refused(&mut self, command: Command, why: Rejection) {
        assert_eq!(self.run(command), Err(why));
    }

    fn pass(&mut self, secs: u64) {
        self.millis += secs * 1_000;
    }

    fn tick(&mut self) {
        assert_eq!(self.ok(Command::Tick), Effect::Done);
    }

    fn get(&self, name: &str) -> Arc<Secret> {
        self.state.secret(&secret(name)).unwrap().clone()
    }

    /// The tag of a version that can be read now.
    fn read(&self, name: &str, number: u64) -> Option<u64> {
        self.get(name)
            .version(number)?
            .readable(LogTime(self.millis))
            .map(|sealed| tag_of(sealed))
    }

    /// The numbers of the versions that are kept.
    fn kept(&self, name: &str) -> Vec<u64> {
        self.get(name).versions.iter().map(|v| v.number).collect()
    }

    fn destroyed(&self, name: &str, number: u64) -> bool {
        self.get(name).version(number).unwrap().material == Material::Destroyed
    }

    fn now(&self) -> LogTime {
        LogTime(self.millis)
    }
}

#[test]
fn form_gives_identity_mount_and_admin_role_once() {
    let mut sut = Sut::new();
    assert_eq!(sut.state.cluster_id(), Some(ClusterId([1; 16])));
    assert_eq!(
        sut.state.mount(&mount("secret")),
        Some(&MountSettings::default())
    );
    assert!(sut.state.role(&role("admin")).unwrap().is_admin);
    sut.refused(
        Command::Form {
            cluster_id: ClusterId([2; 16]),
        },
        Rejection::Formation,
    );
    assert_eq!(sut.state.cluster_id(), Some(ClusterId([1; 16])));
}

#[test]
fn the_format_only_rises() {
    let mut sut = Sut::new();
    assert_eq!(sut.state.format(), 1);
    sut.refused(Command::RaiseFormat { to: 1 }, Rejection::AlreadyExists);
    sut.ok(Command::RaiseFormat { to: 3 });
    for to in [0, 1, 2, 3] {
        sut.refused(Command::RaiseFormat { to }, Rejection::AlreadyExists);
    }
    assert_eq!(sut.state.format(), 3);
}

#[test]
fn nothing_happens_before_the_cluster_is_formed() {
    for command in [
        Command::Tick,
        Command::Bootstrap {
            fingerprint: print(1),
        },
        create("secret/a", SecretSettings::manual(), None),
        Command::CreateMount {
            mount: mount("secret"),
            settings: MountSettings {
                cas_required: true,
                ..MountSettings::default()
            },
        },
        Command::CreateRole {
            name: role("admin"),
            description: "not the one".into(),
            is_admin: false,
            permissions: vec![],
            rules: vec![],
        },
    ] {
        let mut sut = Sut::unformed();
        sut.refused(command, Rejection::Formation);
        sut.ok(Command::Form {
            cluster_id: ClusterId([1; 16]),
        });
        assert!(sut.state.role(&role("admin")).unwrap().is_admin);
        assert_eq!(
            sut.state.mount(&mount("secret")),
            Some(&MountSettings::default())
        );
    }
}

#[test]
fn log_time_never_goes_back_and_positions_follow_the_log() {
    let mut sut = Sut::new();
    sut.pass(100);
    sut.ok(put("secret/a", 1, None));
    assert_eq!(sut.state.time(), LogTime(START + 100_000));
    sut.millis = START; // a new leader, whose clock lags
    sut.ok(put("secret/a", 2, None));
    assert_eq!(sut.state.time(), LogTime(START + 100_000));
    let stamped = sut.get("secret/a").version(2).unwrap().created_at;
    assert_eq!(stamped, LogTime(START + 100_000));
    sut.refused(
        put("secret/a", 2, None),
        Rejection::VersionTaken { current: 2 },
    );
    assert_eq!(sut.state.time(), LogTime(START + 100_000));

    let at = LogPosition { term: 3, index: 9 };
    let before = sut.state.clone();
    sut.state.advance(at);
    assert_eq!(sut.state.position(), Some(at));
    assert_eq!(moved(before, &sut.state), sut.state);
}

#[test]
fn the_end_of_time_is_survived() {
    let mut sut = Sut::new();
    sut.millis = u64::MAX;
    sut.ok(create("secret/a", automatic(1_000), Some(1)));
    sut.ok(put("secret/a", 2, None));
    sut.ok(Command::CreateToken {
        name: token("t"),
        fingerprint: print(1),
        role: role("admin"),
        ttl_secs: Some(1_000),
        bound_cidrs: Allowlist::default(),
        num_uses: None,
    });
    sut.tick();
    assert!(sut.state.grant(&print(1), sut.now()).is_none());
}
