//! Reading values: by address, audited before they leave.

use std::{
    collections::HashSet,
    sync::Arc,
    time::{Duration, Instant},
};

use futures_util::future;
use strongroom_core::{
    Kind, LogTime, Material, ReadGate, SealedVersion, Secret, SecretName, SecretVersion, State,
    limits,
};
use strongroom_seal::{Binding, Plaintext, open};

use crate::{
    audit::READER,
    authorize::Reader,
    context::RequestContext,
    error::VaultError,
    payload::{self, VALUE_FIELD},
    status::{outcome, status},
    vault::{Event, Vault},
};

/// The audit trail's word for a read.
pub const READ: &str = "secret.read";
/// The audit trail's word for how a read ended that used a data key past its time, because KMS could
/// not be asked.
pub const DONE_STALE: &str = "done_stale";
/// The audit trail's word for a comparison.
pub const VERIFY: &str = "secret.verify";

/// How long a read waits for a secret of which it is not known which value works at its target.
const SETTLES_WITHIN: Duration = Duration::from_secs(5);

/// A value with what belongs to it.
pub struct Disclosed {
    /// The secret.
    pub name: SecretName,
    /// `manual` or `automatic`.
    pub kind: &'static str,
    /// The version's number.
    pub version: u64,
    /// When the version was written.
    pub created_at: LogTime,
    /// The payload.
    pub payload: Plaintext,
}

/// A version's payload, opened.
pub(crate) struct Opened {
    pub(crate) payload: Plaintext,
    /// Whether its data key was past its time.
    pub(crate) stale: bool,
}

/// The answer to a comparison.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Verified {
    /// Whether a valid version holds the value.
    pub valid: bool,
    /// That version, or the current one.
    pub version: u64,
}

impl Vault {
    /// Reads the current version, or the one with this number.
    ///
    /// # Errors
    /// [`VaultError::NotFound`] for a secret or version that is not there, deleted or destroyed;
    /// KMS's errors; [`VaultError::AuditUnavailable`]; those of the read gate.
    pub async fn read_secret(
        &self,
        reader: &Reader,
        name: &SecretName,
        version: Option<u64>,
        gate: ReadGate,
    ) -> Result<Disclosed, VaultError> {
        let disclosed = self.disclose(&reader.context, name, version, gate).await;
        self.disclosed(reader, name, disclosed).await
    }

    /// A value leaves once it is on the record.
    async fn disclosed(
        &self,
        reader: &Reader,
        name: &SecretName,
        disclosed: Result<(Disclosed, bool), VaultError>,
    ) -> Result<Disclosed, VaultError> {
        self.audit_read(&reader.context, READ, name, &disclosed)
            .await?;
        if disclosed.is_ok() {
            self.stats.read_values(1);
        }
        disclosed.map(|(disclosed, _)| disclosed)
    }

    /// Reads the current versions of several secrets; those that cannot be found are left out.
    ///
    /// # Errors
    /// [`VaultError::Invalid`] for more than [`limits::BATCH_NAMES`] names, [`VaultError::TooLarge`]
    /// for more than [`limits::BATCH_BYTES`] of values; else as
    /// [`Vault::read_secret`], of the first that fails for another reason than not being there.
    pub async fn read_batch(
        &self,
        reader: &Reader,
        names: &[SecretName],
        gate: ReadGate,
    ) -> Result<Vec<Disclosed>, VaultError> {
        if names.len() > limits::BATCH_NAMES {
            return Err(VaultError::invalid("a batch holds 256 names at most"));
        }
        // A name given twice is answered once, in its first place.
        let mut seen = HashSet::new();
        let names: Vec<&SecretName> = names.iter().filter(|name| seen.insert(*name)).collect();
        let state = self.state_for(&reader.context, &names, None, gate).await?;
        let sizes = names.iter().map(|name| size_of_current(&state, name));
        if sizes.sum::<usize>() > limits::BATCH_BYTES {
            return Err(VaultError::TooLarge(
                "the values of this batch are over 16 MiB together: ask for fewer names",
            ));
        }
        let reads = names.iter().map(|name| async {
            // A batch must not keep a thread to itself.
            tokio::task::yield_now().await;
            // From the state that the batch has: a node that is behind asks the leader once.
            let disclosed = match state.secret(name) {
                Some(secret) if secret.is_unsettled() => {
                    return self.read_secret(reader, name, None, gate).await;
                }
                Some(secret) => {
                    self.disclose_from(secret, &reader.context, name, None)
                        .await
                }
                None => Err(VaultError::NotFound),
            };
            self.disclosed(reader, name, disclosed).await
        });
        let mut found = Vec::with_capacity(names.len());
        for read in future::join_all(reads).await {
            match read {
                Ok(disclosed) => found.push(disclosed),
                Err(VaultError::NotFound) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(found)
    }

    /// Compares a value with every version that is still valid, in constant time.
    ///
    /// # Errors
    /// As [`Vault::read_secret`].
    pub async fn verify_secret(
        &self,
        reader: &Reader,
        name: &SecretName,
        value: &str,
        gate: ReadGate,
    ) -> Result<Verified, VaultError> {
        let verified = self.compare(&reader.context, name, value, gate).await;
        self.audit_read(&reader.context, VERIFY, name, &verified)
            .await?;
        verified.map(|(verified, _)| verified)
    }

    /// Waits until it is known which value of the secret works at its target, for a state in which it is.
    async fn settled_state(
        &self,
        context: &RequestContext,
        name: &SecretName,
        gate: ReadGate,
    ) -> Result<Arc<State>, VaultError> {
        let settled = |secret: Option<&Secret>| !secret.is_some_and(Secret::is_unsettled);
        let until = Instant::now() + context.left().min(SETTLES_WITHIN);
        loop {
            let left = until.saturating_duration_since(Instant::now());
            let changed = self.wait_for_change(name, settled, left);
            if left.is_zero() || !changed.await? {
                return Err(VaultError::RotationPending);
            }
            let state = self.state_for(context, &[name], None, gate).await?;
            if settled(state.secret(name).map(Arc::as_ref)) {
                return Ok(state);
            }
        }
    }

    /// The value, and whether its data key was past its time.
    async fn disclose(
        &self,
        context: &RequestContext,
        name: &SecretName,
        version: Option<u64>,
        gate: ReadGate,
    ) -> Result<(Disclosed, bool), VaultError> {
        {
            let state = self.state_for(context, &[name], version, gate).await?;
            let secret = state.secret(name).ok_or(VaultError::NotFound)?;
            if version.is_some() || !secret.is_unsettled() {
                return self.disclose_from(secret, context, name, version).await;
            }
        }
        let state = Box::pin(self.settled_state(context, name, gate)).await?;
        let secret = state.secret(name).ok_or(VaultError::NotFound)?;
        self.disclose_from(secret, context, name, version).await
    }

    /// The same of a secret of which it is known which value works.
    async fn disclose_from(
        &self,
        secret: &Secret,
        context: &RequestContext,
        name: &SecretName,
        version: Option<u64>,
    ) -> Result<(Disclosed, bool), VaultError> {
        let version = find(secret, version).ok_or(VaultError::NotFound)?;
        let sealed = secret
            .disclosable(version, self.replica.clock())
            .ok_or(VaultError::NotFound)?;
        let opened = self
            .open_version(context, name, version.number, sealed)
            .await?;
        let disclosed = Disclosed {
            name: name.clone(),
            kind: secret.settings.kind.as_str(),
            version: version.number,
            created_at: version.created_at,
            payload: opened.payload,
        };
        Ok((disclosed, opened.stale))
    }

    /// The comparison, and whether a data key was past its time.
    async fn compare(
        &self,
        context: &RequestContext,
        name: &SecretName,
        value: &str,
        gate: ReadGate,
    ) -> Result<(Verified, bool), VaultError> {
        let state = self.state_for(context, &[name], None, gate).await?;
        let secret = state.secret(name).ok_or(VaultError::NotFound)?;
        let field = match &secret.settings.kind {
            Kind::Automatic { generator, .. } => generator.field.as_str(),
            Kind::Manual => VALUE_FIELD,
        };
        let time = self.replica.clock();
        let mut verified = Verified {
            valid: false,
            version: secret.current_version,
        };
        let mut stale = false;
        // No early end: how long it takes must not tell which version matched. Oldest first, so that
        // the newest match is what is reported.
        let may_be_in_effect = secret.is_unsettled();
        let next = secret.pending.iter().map(|pending| &pending.version);
        for version in secret
            .versions
            .iter()
            .chain(next.filter(|_| may_be_in_effect))
        {
            let Some(sealed) = version.valid(time) else {
                continue;
            };
            let opened = self
                .open_version(context, name, version.number, sealed)
                .await?;
            stale |= opened.stale;
            if payload::field_is(&opened.payload, field, value) {
                verified = Verified {
                    valid: true,
                    version: version.number,
                };
            }
        }
        Ok((verified, stale))
    }

    pub(crate) async fn open_version(
        &self,
        context: &RequestContext,
        name: &SecretName,
        number: u64,
        sealed: &Arc<SealedVersion>,
    ) -> Result<Opened, VaultError> {
        let binding = Binding::new(name, number);
        let found = self.keyring.dek(&binding, sealed, context.left()).await?;
        let payload = self
            .stats
            .opening(|| open(&found.dek, &binding, sealed))
            .map_err(|error| VaultError::bug("opening a version", &error))?;
        let stale = found.stale;
        Ok(Opened { payload, stale })
    }

    async fn audit_read<T>(
        &self,
        context: &RequestContext,
        action: &'static str,
        name: &SecretName,
        result: &Result<(T, bool), VaultError>,
    ) -> Result<(), VaultError> {
        let (outcome, status) = match result {
            Ok((_, false)) => ("done", 200),
            Ok((_, true)) => (DONE_STALE, 200),
            Err(error) => (outcome(error), status(error)),
        };
        let event = Event {
            actor: READER,
            action,
            target: name.as_str(),
            outcome,
            status: Some(status),
        };
        self.record(context, event).await
    }
}

fn size_of_current(state: &State, name: &SecretName) -> usize {
    let current = state.secret(name).and_then(|secret| secret.current());
    match current.map(|version| &version.material) {
        Some(Material::Sealed(sealed)) => sealed.ciphertext.len(),
        _ => 0,
    }
}

fn find(secret: &Secret, number: Option<u64>) -> Option<&SecretVersion> {
    match number {
        // Who asks for a pending version by its number knows what it is: by then it may be the one
        // that works.
        Some(number) if secret.is_unsettled() => secret.any_version(number),
        Some(number) => secret.version(number),
        None => secret.current(),
    }
}
