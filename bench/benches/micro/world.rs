//! A state to work on: secrets as they come from sealing with AWS KMS, in size if not in substance.

use std::sync::LazyLock;

use bytes::Bytes;
use strongroom_core::{
    Applied, ClusterId, Command, KmsKeyId, LogPosition, LogTime, SealedVersion, SecretName,
    SecretSettings, State, WrappedDek, command::NewVersion, secret::SettingsChange,
};

pub(crate) const SECRETS: u64 = 10_000;
/// When everything happens.
pub(crate) const NOW: LogTime = LogTime(1_750_000_000_000);

const KEY_ID: &str =
    "arn:aws:kms:eu-central-1:111122223333:key/1234abcd-12ab-34cd-56ef-1234567890ab";
/// As long as what AWS KMS makes of a data key.
static WRAPPED: LazyLock<Bytes> = LazyLock::new(|| vec![7; 184].into());

/// As long as what sealing `{"value":"…"}` with 32 characters gives.
pub(crate) fn sealed() -> SealedVersion {
    SealedVersion {
        ciphertext: vec![5; 44 + 16].into(),
        nonce: [3; 24],
        wrapped_dek: WrappedDek(WRAPPED.clone()),
        kms_key_id: KmsKeyId(KEY_ID.into()),
        material_id: None,
    }
}

pub(crate) fn name(number: u64) -> SecretName {
    SecretName::parse(&format!("secret/team-{}/service/{number}", number % 100)).unwrap()
}

pub(crate) fn create(number: u64) -> Command {
    Command::CreateSecret {
        name: name(number),
        settings: SecretSettings::manual(),
        sealed: Some(sealed()),
    }
}

/// The write of the version with this number.
pub(crate) fn update(number: u64, version: u64) -> Command {
    Command::PutSecret {
        name: name(number),
        cas: Some(version - 1),
        change: SettingsChange::default(),
        version: Some(NewVersion {
            number: version,
            sealed: sealed(),
        }),
        upsert: false,
    }
}

/// The position after the newest.
pub(crate) fn next(state: &State) -> LogPosition {
    let index = state.position().map_or(1, |position| position.index + 1);
    LogPosition { term: 1, index }
}

/// Applies a command that must take effect: a rejection would be the quicker thing to measure.
fn done(state: &mut State, command: Command) {
    let applied = state.apply(next(state), NOW, command);
    assert!(matches!(applied, Applied::Effect(_)), "{applied:?}");
}

/// A state of [`SECRETS`] secrets with so many versions each.
pub(crate) fn state(versions: u64) -> State {
    let mut state = State::default();
    let cluster_id = ClusterId([1; 16]);
    done(&mut state, Command::Form { cluster_id });
    for number in 0..SECRETS {
        done(&mut state, create(number));
        for version in 2..=versions {
            done(&mut state, update(number, version));
        }
    }
    state
}

/// Numbers from 0 to `below` in an order that no processor foresees, over and over; the same in every
/// run.
pub(crate) fn shuffled(below: usize) -> impl Iterator<Item = usize> {
    let mut numbers: Vec<usize> = (0..below).collect();
    fastrand::Rng::with_seed(11).shuffle(&mut numbers);
    numbers.into_iter().cycle()
}
