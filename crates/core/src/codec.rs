//! Bytes with a version in front. What a released version wrote is decoded for ever (invariant 6);
//! golden files in `tests/golden/` hold every released form.
//!
//! A proposal is one format byte and a postcard body. A state is a stream of records, each one
//! format byte and a postcard body, so that neither writing nor reading one needs memory for all of
//! it at once; every record is smaller than 1 MiB.

use std::sync::Arc;

use serde::{Deserialize, Serialize, de::DeserializeOwned};

use crate::{
    Admission, Applied, ClusterId, Command, Effect, LogPosition, LogTime, Material, MountName,
    NodeName, Pending, Proposal, Role, RoleName, SealedVersion, Secret, SecretName, SecretSettings,
    SecretVersion, State, TokenGrant, TokenName, command::MountSettings, rewrap::RewrapState,
};

/// The newest format of commands, results and state records that this version reads. Each value is
/// written in the oldest format that holds it, so that nodes which know no newer one can read it.
///
/// 1: sealing, roles and tokens. 2: re-wrap passes, and rotations that are applied to a target. 3: which
/// nodes may be members.
pub const FORMAT: u8 = 3;
/// The format that every version reads.
pub const FIRST: u8 = 1;
const SECOND: u8 = 2;
const THIRD: u8 = 3;

/// Why bytes could not be decoded.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum DecodeError {
    /// Written by a newer version.
    #[error("format {0} is newer than this version reads")]
    NewerFormat(u8),
    /// Not what an encoder wrote.
    #[error("malformed bytes")]
    Malformed,
    /// A state that ends before its end record, or goes on after it.
    #[error("the state is cut short or out of order")]
    Incomplete,
}

fn encode<T: Serialize>(format: u8, value: &T) -> Vec<u8> {
    #[expect(
        clippy::expect_used,
        reason = "an empty entry or record would be replicated and stop every node that reads it; \
                  a panic here stops one request, before anything is proposed"
    )]
    // Writing to a Vec fails only for values whose length is not known, and ours are.
    postcard::to_extend(value, vec![format]).expect("every value has an encoding")
}

fn decode<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, DecodeError> {
    match bytes.split_first() {
        Some((FIRST..=FORMAT, body)) => match postcard::take_from_bytes(body) {
            Ok((value, [])) => Ok(value),
            _ => Err(DecodeError::Malformed),
        },
        Some((&newer, _)) if newer > FORMAT => Err(DecodeError::NewerFormat(newer)),
        _ => Err(DecodeError::Malformed),
    }
}

/// Encodes a proposal.
#[must_use]
pub fn encode_proposal(proposal: &Proposal) -> Vec<u8> {
    let format = proposal.commands.iter().map(Command::since).max();
    encode(format.unwrap_or(FIRST), proposal)
}

/// Decodes a proposal.
///
/// # Errors
/// See [`DecodeError`].
pub fn decode_proposal(bytes: &[u8]) -> Result<Proposal, DecodeError> {
    decode(bytes)
}

/// Encodes what became of a command.
#[must_use]
pub fn encode_applied(applied: &Applied) -> Vec<u8> {
    let format = match applied {
        Applied::Effect(Effect::Pass { .. }) => SECOND,
        Applied::Effect(_) | Applied::Rejected(_) => FIRST,
    };
    encode(format, applied)
}

/// Decodes what became of a command.
///
/// # Errors
/// See [`DecodeError`].
pub fn decode_applied(bytes: &[u8]) -> Result<Applied, DecodeError> {
    decode(bytes)
}

/// What a state is stored as, piece by piece.
#[derive(Serialize, Deserialize)]
pub(crate) enum Record {
    Head {
        position: Option<LogPosition>,
        time: LogTime,
        cluster_id: Option<ClusterId>,
        admin_token_existed: bool,
        format: u8,
    },
    Mount(MountName, MountSettings),
    Role(RoleName, Role),
    Token(TokenName, TokenGrant),
    Secret {
        name: SecretName,
        settings: SecretSettings,
        created_at: LogTime,
        updated_at: LogTime,
        next_rotation_at: Option<LogTime>,
        current_version: u64,
    },
    /// Belongs to the last `Secret` before it.
    Version {
        number: u64,
        created_at: LogTime,
        superseded_until: Option<LogTime>,
        deleted_at: Option<LogTime>,
        sealed: Option<SealedVersion>,
        pass: u64,
    },
    End,
    Rewrap(RewrapState),
    /// Follows the versions of the last `Secret` before it.
    Pending {
        created_at: LogTime,
        sealed: SealedVersion,
        pass: u64,
        applying_since: Option<LogTime>,
    },
    Node(NodeName, Admission),
}

fn secret_record(name: &SecretName, secret: &Secret) -> Vec<u8> {
    encode(
        match secret.settings.kind.target() {
            None => FIRST,
            Some(_) => SECOND,
        },
        &Record::Secret {
            name: name.clone(),
            settings: secret.settings.clone(),
            created_at: secret.created_at,
            updated_at: secret.updated_at,
            next_rotation_at: secret.next_rotation_at,
            current_version: secret.current_version,
        },
    )
}

fn version_record(version: &SecretVersion) -> Vec<u8> {
    encode(
        FIRST,
        &Record::Version {
            number: version.number,
            created_at: version.created_at,
            superseded_until: version.superseded_until,
            deleted_at: version.deleted_at,
            sealed: match &version.material {
                Material::Sealed(sealed) => Some(SealedVersion::clone(sealed)),
                Material::Destroyed => None,
            },
            pass: version.pass,
        },
    )
}

fn pending_record(pending: &Pending) -> Option<Vec<u8>> {
    let record = Record::Pending {
        created_at: pending.version.created_at,
        sealed: SealedVersion::clone(pending.sealed()?),
        pass: pending.version.pass,
        applying_since: pending.applying_since,
    };
    Some(encode(SECOND, &record))
}

/// Encodes a state as a stream of records.
pub fn encode_state(state: &State) -> impl Iterator<Item = Vec<u8>> + '_ {
    let head = encode(
        FIRST,
        &Record::Head {
            position: state.position,
            time: state.time,
            cluster_id: state.cluster_id,
            admin_token_existed: state.admin_token_existed,
            format: state.format,
        },
    );
    let mounts = state
        .mounts
        .iter()
        .map(|(name, mount)| encode(FIRST, &Record::Mount(name.clone(), *mount)));
    let roles = state
        .roles
        .iter()
        .map(|(name, role)| encode(FIRST, &Record::Role(name.clone(), Role::clone(role))));
    let tokens = state.tokens.iter().map(|(name, grant)| {
        encode(
            FIRST,
            &Record::Token(name.clone(), TokenGrant::clone(grant)),
        )
    });
    let secrets = state.secrets.iter().flat_map(|(name, secret)| {
        std::iter::once(secret_record(name, secret))
            .chain(secret.versions.iter().map(version_record))
            .chain(secret.pending.iter().filter_map(pending_record))
    });
    let rewrap = (state.rewrap != RewrapState::default())
        .then(|| encode(SECOND, &Record::Rewrap(state.rewrap.clone())));
    std::iter::once(head)
        .chain(rewrap)
        .chain(mounts)
        .chain(roles)
        .chain(tokens)
        .chain(secrets)
        .chain(state.node_records().map(|record| encode(THIRD, &record)))
        .chain(std::iter::once(encode(FIRST, &Record::End)))
}

/// Puts a state together again, record by record.
#[derive(Default)]
pub struct StateDecoder {
    state: State,
    open: Option<(SecretName, Secret)>,
    begun: bool,
    rewrap_seen: bool,
    ended: bool,
}

impl StateDecoder {
    /// Takes the next record.
    ///
    /// # Errors
    /// See [`DecodeError`].
    pub fn push(&mut self, bytes: &[u8]) -> Result<(), DecodeError> {
        let record = decode::<Record>(bytes)?;
        let is_head = matches!(record, Record::Head { .. });
        if self.ended || is_head == self.begun {
            return Err(DecodeError::Incomplete);
        }
        if !matches!(record, Record::Version { .. } | Record::Pending { .. }) {
            self.close_secret()?;
        }
        match record {
            Record::Head {
                position,
                time,
                cluster_id,
                admin_token_existed,
                format,
            } => {
                self.begun = true;
                self.state = State {
                    position,
                    time,
                    cluster_id,
                    admin_token_existed,
                    format,
                    ..State::default()
                };
            }
            Record::Mount(name, mount) => {
                fresh(self.state.mounts.insert(name, mount))?;
            }
            Record::Role(name, role) => {
                fresh(self.state.roles.insert(name, Arc::new(role)))?;
            }
            Record::Token(name, grant) => {
                if !self.state.note_token(&name, &grant) {
                    return Err(DecodeError::Malformed);
                }
                fresh(self.state.tokens.insert(name, Arc::new(grant)))?;
            }
            Record::Secret {
                name,
                settings,
                created_at,
                updated_at,
                next_rotation_at,
                current_version,
            } => {
                let versions = Vec::new();
                self.open = Some((
                    name,
                    Secret {
                        settings,
                        created_at,
                        updated_at,
                        next_rotation_at,
                        current_version,
                        versions,
                        pending: None,
                    },
                ));
            }
            Record::Version {
                number,
                created_at,
                superseded_until,
                deleted_at,
                sealed,
                pass,
            } => {
                let (_, secret) = self.open.as_mut().ok_or(DecodeError::Incomplete)?;
                let last = secret.versions.last().map_or(0, |last| last.number);
                if number <= last || secret.pending.is_some() {
                    return Err(DecodeError::Malformed);
                }
                let material = sealed.map_or(Material::Destroyed, |sealed| {
                    Material::Sealed(Arc::new(sealed))
                });
                secret.versions.push(SecretVersion {
                    number,
                    created_at,
                    superseded_until,
                    deleted_at,
                    material,
                    pass,
                });
            }
            Record::Pending {
                created_at,
                sealed,
                pass,
                applying_since,
            } => {
                let (_, secret) = self.open.as_mut().ok_or(DecodeError::Incomplete)?;
                let number = secret.current_version.checked_add(1);
                let number = number.ok_or(DecodeError::Malformed)?;
                let version = SecretVersion {
                    number,
                    created_at,
                    superseded_until: None,
                    deleted_at: None,
                    material: Material::Sealed(Arc::new(sealed)),
                    pass,
                };
                let pending = Pending {
                    version,
                    applying_since,
                };
                if secret.pending.replace(pending).is_some() {
                    return Err(DecodeError::Malformed);
                }
            }
            Record::Node(name, admission) => fresh(self.state.nodes.insert(name, admission))?,
            Record::End => self.ended = true,
            Record::Rewrap(rewrap) => {
                if std::mem::replace(&mut self.rewrap_seen, true) {
                    return Err(DecodeError::Malformed);
                }
                self.state.rewrap = rewrap;
            }
        }
        Ok(())
    }

    fn close_secret(&mut self) -> Result<(), DecodeError> {
        if let Some((name, mut secret)) = self.open.take() {
            let newest = secret.current().map_or(0, |version| version.number);
            if newest != secret.current_version {
                return Err(DecodeError::Malformed);
            }
            secret.versions.shrink_to_fit();
            for version in &secret.versions {
                self.state.note_grace(&name, &secret, version);
            }
            self.state.note_rotation(&name, &secret);
            fresh(self.state.secrets.insert(name, Arc::new(secret)))?;
        }
        Ok(())
    }

    /// The state, once its end has been seen.
    ///
    /// # Errors
    /// [`DecodeError::Incomplete`] before that.
    pub fn finish(self) -> Result<State, DecodeError> {
        if self.ended {
            Ok(self.state)
        } else {
            Err(DecodeError::Incomplete)
        }
    }
}

/// Refuses a second record of the same name: what was derived from the first would stay behind.
fn fresh<T>(replaced: Option<T>) -> Result<(), DecodeError> {
    replaced.map_or(Ok(()), |_| Err(DecodeError::Malformed))
}
