//! A state as a stream of records.

use std::sync::Arc;

use super::{
    ACCESS, DecodeError, FIRST, SECOND, THIRD, decode, encode,
    record::{Record, pending_record, secret_record, version_record},
};
use crate::{
    Material, Pending, Role, Secret, SecretName, SecretVersion, State, TokenGrant,
    request::Outcome, restore::Staged, rewrap::RewrapState, secret::SecretMap,
};

/// Encodes a state as a stream of records.
pub fn encode_state(state: &State) -> impl Iterator<Item = Vec<u8>> + '_ {
    encode_records(state, true)
}

/// The same without what belongs to one log or one cluster: what requests did, a restore under way, when
/// access changed, and which nodes may be members.
pub fn encode_content(state: &State) -> impl Iterator<Item = Vec<u8>> + '_ {
    encode_records(state, false)
}

fn encode_records(state: &State, with_log: bool) -> impl Iterator<Item = Vec<u8>> + '_ {
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
    let forgotten = (with_log && !state.outcomes.is_empty())
        .then(|| encode(THIRD, &Record::Forgotten(state.outcomes.forgotten)));
    let outcomes = state
        .outcomes
        .iter()
        .filter(move |_| with_log)
        .map(|(request, outcome)| {
            let record = Record::Outcome {
                request: *request,
                index: outcome.index,
                effect: outcome.effect.clone(),
            };
            encode(THIRD, &record)
        });
    let staged = state
        .restore
        .iter()
        .filter(move |_| with_log)
        .flat_map(|staged| {
            let (id, since) = (staged.id, staged.since);
            let parts = staged.parts.iter().cloned().zip(0..);
            let parts = parts.map(|(bytes, number)| Record::RestorePart { number, bytes });
            std::iter::once(Record::Restore { id, since })
                .chain(parts)
                .map(|record| encode(THIRD, &record))
        });
    let access =
        (with_log && state.access > 0).then(|| encode(ACCESS, &Record::Access(state.access)));
    // Who may be a member belongs to the cluster, not to what it holds.
    let nodes = state.node_records().filter(move |_| with_log);
    let nodes = nodes.map(|record| encode(THIRD, &record));
    std::iter::once(head)
        .chain(rewrap)
        .chain(staged)
        .chain(forgotten)
        .chain(outcomes)
        .chain(mounts)
        .chain(roles)
        .chain(tokens)
        .chain(secrets)
        .chain(nodes)
        .chain(access)
        .chain(std::iter::once(encode(FIRST, &Record::End)))
}

/// Puts a state together again, record by record.
#[derive(Default)]
pub struct StateDecoder {
    state: State,
    open: Option<(SecretName, Secret)>,
    secrets: Vec<(SecretName, Arc<Secret>)>,
    begun: bool,
    rewrap_seen: bool,
    forgotten_seen: bool,
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
            Record::Access(index) => {
                let before = std::mem::replace(&mut self.state.access, index);
                if index == 0 || before != 0 {
                    return Err(DecodeError::Malformed);
                }
            }
            Record::End => self.ended = true,
            Record::Rewrap(rewrap) => {
                if std::mem::replace(&mut self.rewrap_seen, true) {
                    return Err(DecodeError::Malformed);
                }
                self.state.rewrap = rewrap;
            }
            Record::Restore { id, since } => {
                if self.state.restore.is_some() {
                    return Err(DecodeError::Malformed);
                }
                self.state.stage(Some(Staged::new(id, since)));
            }
            Record::RestorePart { number, bytes } => {
                let staged = self.state.restore.as_mut();
                let staged = staged.ok_or(DecodeError::Incomplete)?;
                if number != staged.parts.len() as u64 {
                    return Err(DecodeError::Malformed);
                }
                staged.bytes += bytes.len() as u64;
                staged.parts.push_back(bytes);
            }
            Record::Forgotten(index) => {
                if std::mem::replace(&mut self.forgotten_seen, true) {
                    return Err(DecodeError::Malformed);
                }
                self.state.outcomes.forgotten = index;
            }
            Record::Outcome {
                request,
                index,
                effect,
            } => {
                if !self.forgotten_seen {
                    return Err(DecodeError::Incomplete);
                }
                let forgotten = self.state.outcomes.forgotten;
                let kept = self.state.outcomes.keep(request, Outcome { index, effect });
                // More than are kept, or out of order.
                if !kept || self.state.outcomes.forgotten != forgotten {
                    return Err(DecodeError::Malformed);
                }
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
            self.secrets.push((name, Arc::new(secret)));
        }
        Ok(())
    }

    /// The state, once its end has been seen. This is where a large one takes its time: a second for a
    /// million secrets.
    ///
    /// # Errors
    /// [`DecodeError::Incomplete`] before that; [`DecodeError::Malformed`] if a secret has come twice.
    pub fn finish(mut self) -> Result<State, DecodeError> {
        if !self.ended {
            return Err(DecodeError::Incomplete);
        }
        self.state.secrets = SecretMap::of(self.secrets).ok_or(DecodeError::Malformed)?;
        Ok(self.state)
    }
}

/// Refuses a second record of the same name: what was derived from the first would stay behind.
fn fresh<T>(replaced: Option<T>) -> Result<(), DecodeError> {
    replaced.map_or(Ok(()), |_| Err(DecodeError::Malformed))
}
