//! Writing secrets: seal for the next version number, replicate, and seal again if the number was
//! taken meanwhile.

use std::sync::Arc;

use strongroom_core::{
    Applied, Command, Effect, Generator, Kind, Rejection, SealedVersion, Secret, SecretName,
    SecretSettings, SecretSummary, command::NewVersion, limits, secret::SettingsChange,
};
use strongroom_seal::{Binding, Plaintext, generate_value, seal};
use zeroize::Zeroizing;

use crate::{
    audit::READER,
    authorize::Authorized,
    context::RequestContext,
    error::VaultError,
    kms_health::in_time,
    operation::{Create, Delete, Update},
    payload::Incoming,
    secrets::READ,
    vault::{Event, Vault},
};

/// A secret to be made.
pub struct CreateSecret<'a> {
    /// Its settings.
    pub settings: SecretSettings,
    /// Its first value; of automatic secrets one is generated when it is missing.
    pub material: Incoming<'a>,
}

/// A change to a secret.
pub struct UpdateSecret<'a> {
    /// The version the caller expects to be current.
    pub cas: Option<u64>,
    /// Changes of settings.
    pub change: SettingsChange,
    /// A new value.
    pub material: Incoming<'a>,
}

/// A secret that was written.
pub struct Written {
    /// How it stands now.
    pub summary: SecretSummary,
    /// The payload, if a part of it was generated.
    pub generated: Option<Generated>,
}

/// What was generated.
pub enum Generated {
    /// The caller may read: the payload.
    Shown(Plaintext),
    /// The caller's address may not read values.
    Omitted,
}

impl Vault {
    /// Makes a secret.
    ///
    /// # Errors
    /// [`VaultError::AlreadyExists`], [`VaultError::Invalid`], [`VaultError::TooLarge`]; KMS's and
    /// the replica's errors; [`VaultError::AuditUnavailable`] with nothing changed.
    pub async fn create_secret(
        &self,
        permit: Authorized<Create>,
        request: CreateSecret<'_>,
    ) -> Result<Written, VaultError> {
        if !request.settings.within_limits() {
            return Err(VaultError::invalid("a setting is over its limit"));
        }
        let generated = generated_part(&request.settings.kind)?;
        if generated.is_none() && request.material.is_nothing() {
            return Err(VaultError::invalid("a manual secret needs value or data"));
        }
        let pair = generated
            .as_ref()
            .map(|(field, value)| (field.as_str(), value.as_str()));
        let was_generated = pair.is_some_and(|(field, _)| request.material.lacks(field));
        let payload = request.material.payload(pair)?;
        let created = self.do_create(&permit, request.settings, payload, was_generated);
        self.audited(&permit, 201, created).await
    }

    async fn do_create(
        &self,
        permit: &Authorized<Create>,
        settings: SecretSettings,
        payload: Plaintext,
        was_generated: bool,
    ) -> Result<Written, VaultError> {
        let name = &permit.target;
        if was_generated {
            Self::once_only(&permit.context)?;
        }
        if let Some(effect) = Self::done_before(&permit.context, &permit.state) {
            let (summary, generated) = (summary(effect)?, None);
            return Ok(Written { summary, generated });
        }
        // Saves a call to KMS; what decides is the state machine.
        if permit.state.secret(name).is_some() {
            return Err(VaultError::AlreadyExists);
        }
        if let Some(target) = settings.kind.target() {
            // Its password there is the one that works, which nobody can make up.
            if was_generated {
                return Err(VaultError::invalid(
                    "a secret with a target needs data with the username and password that work there",
                ));
            }
            self.prove_login(&permit.context, name, target, &payload)
                .await?;
        }
        let sealed = Some(
            self.seal_version(&permit.context, name, 1, &payload)
                .await?,
        );
        let command = Command::CreateSecret {
            name: name.clone(),
            settings,
            sealed,
        };
        let summary = summary(self.submit(&permit.context, command).await?)?;
        let generated = match was_generated {
            true => Some(self.shown(&permit.context, name, payload).await),
            false => None,
        };
        Ok(Written { summary, generated })
    }

    /// A generated value for whoever may read it, with a record of its own that it was read. What
    /// cannot be recorded is not shown: it can be read later.
    pub(crate) async fn shown(
        &self,
        context: &RequestContext,
        name: &SecretName,
        payload: Plaintext,
    ) -> Generated {
        if !self.may_read(context) {
            return Generated::Omitted;
        }
        let event = Event {
            actor: READER,
            action: READ,
            target: name.as_str(),
            outcome: "done",
            status: Some(200),
        };
        match self.record(context, event).await {
            Ok(()) => {
                self.stats.read_values(1);
                Generated::Shown(payload)
            }
            Err(_) => Generated::Omitted,
        }
    }

    /// Changes a secret's settings, its value, or both.
    ///
    /// # Errors
    /// [`VaultError::NotFound`], [`VaultError::VersionMismatch`], [`VaultError::Invalid`],
    /// [`VaultError::TooLarge`]; KMS's and the replica's errors; [`VaultError::AuditUnavailable`]
    /// with nothing changed.
    pub async fn update_secret(
        &self,
        permit: Authorized<Update>,
        request: UpdateSecret<'_>,
    ) -> Result<SecretSummary, VaultError> {
        let payload = match request.material.is_nothing() {
            true => None,
            false => Some(request.material.payload(None)?),
        };
        if let Some(generator) = &request.change.generator {
            check_generator(generator)?;
        }
        let described = request.change.description.as_ref();
        if described.is_some_and(|text| text.len() > limits::DESCRIPTION_BYTES) {
            return Err(VaultError::invalid("a setting is over its limit"));
        }
        if payload.is_none() && request.change == SettingsChange::default() {
            return Err(VaultError::invalid("there is nothing to change"));
        }
        let updated = self.do_update(&permit, request.cas, request.change, payload);
        self.audited(&permit, 200, updated).await
    }

    pub(super) async fn do_update(
        &self,
        permit: &Authorized<Update>,
        mut cas: Option<u64>,
        change: SettingsChange,
        payload: Option<Plaintext>,
    ) -> Result<SecretSummary, VaultError> {
        let name = &permit.target;
        if let Some(effect) = Self::done_before(&permit.context, &permit.state) {
            return summary(effect);
        }
        let known = permit.state.secret(name).ok_or(VaultError::NotFound)?;
        let mut current = known.current_version;
        if cas.is_some_and(|expected| expected != current) {
            // Versions only grow, and the state is linearizable: it cannot match any more, unless
            // the secret was made anew, and then the caller's version is not the one it means.
            return Err(VaultError::VersionMismatch);
        }
        let _turn = self.turn(&permit.context, name).await?;
        // Writers before us at this node have moved it on, or given it a target.
        let local = self.replica.local()?;
        let moved_on = |newer: &&Arc<Secret>| cas.is_none() && newer.current_version >= current;
        let newest = local.secret(name).filter(moved_on).unwrap_or(known);
        current = newest.current_version;
        let target = match &change.target {
            Some(changed) => changed.as_ref(),
            None => newest.settings.kind.target(),
        };
        match (target, &payload) {
            (Some(target), Some(payload)) => {
                // A rotation that comes in between changes what has been proved.
                cas = Some(current);
                self.prove_login(&permit.context, name, target, payload)
                    .await?;
            }
            (Some(_), None) if change.target.is_some() => {
                return Err(VaultError::invalid(
                    "another target needs data with the username and password that work there",
                ));
            }
            _ => {}
        }
        loop {
            let version = match &payload {
                Some(payload) => {
                    let number = current + 1;
                    let sealed = self
                        .seal_version(&permit.context, name, number, payload)
                        .await?;
                    Some(NewVersion { number, sealed })
                }
                None => None,
            };
            let command = Command::PutSecret {
                name: name.clone(),
                cas,
                change: change.clone(),
                version,
                upsert: false,
            };
            let submitted = self.submit_command(&permit.context, command).await?;
            match submitted.applied {
                Applied::Rejected(Rejection::VersionTaken { current: taken }) => {
                    if change.target.is_none() {
                        self.takes_values(&permit.context, name).await?;
                    }
                    current = taken;
                }
                applied => return summary(applied.into_result()?),
            }
        }
    }

    /// Who has written meanwhile may have given the secret a target, which this value was not tried at.
    async fn takes_values(
        &self,
        context: &RequestContext,
        name: &SecretName,
    ) -> Result<(), VaultError> {
        let state = self.fresh_state(context).await?;
        let secret = state.secret(name).ok_or(VaultError::NotFound)?;
        match secret.settings.kind.target() {
            None => Ok(()),
            Some(_) => Err(VaultError::VersionMismatch),
        }
    }

    /// Deletes a secret with all its versions.
    ///
    /// # Errors
    /// [`VaultError::NotFound`]; the replica's errors; [`VaultError::AuditUnavailable`] with nothing
    /// changed.
    pub async fn delete_secret(&self, permit: Authorized<Delete>) -> Result<(), VaultError> {
        let command = Command::DeleteSecret {
            name: permit.target.clone(),
        };
        let effect = async {
            let done = Self::done_before(&permit.context, &permit.state).is_some();
            if !done && permit.state.secret(&permit.target).is_none() {
                return Err(VaultError::NotFound);
            }
            self.submit(&permit.context, command).await.map(|_| ())
        };
        self.audited(&permit, 204, effect).await
    }

    pub(crate) async fn seal_version(
        &self,
        context: &RequestContext,
        name: &SecretName,
        number: u64,
        payload: &Plaintext,
    ) -> Result<SealedVersion, VaultError> {
        let binding = Binding::new(name, number);
        let data_key = in_time(context, self.keyring.data_key(&binding)).await?;
        self.stats
            .sealing(|| seal(data_key, &binding, payload))
            .map_err(|error| VaultError::bug("sealing a version", &error))
    }
}

/// A generator that cannot work would be found out by every rotation anew.
fn check_generator(generator: &Generator) -> Result<(), VaultError> {
    generate_value(generator.length, &generator.charset)
        .map(|_| ())
        .map_err(|_| VaultError::invalid("the generator's length or charset does not work"))
}

/// For automatic secrets: the generated field, and a fresh value for it.
fn generated_part(kind: &Kind) -> Result<Option<(String, Zeroizing<String>)>, VaultError> {
    let Kind::Automatic {
        generator: Generator {
            field,
            length,
            charset,
        },
        ..
    } = kind
    else {
        return Ok(None);
    };
    let value = generate_value(*length, charset)
        .map_err(|_| VaultError::invalid("the generator's length or charset does not work"))?;
    Ok(Some((field.clone(), value)))
}

pub(crate) fn summary(effect: Effect) -> Result<SecretSummary, VaultError> {
    match effect {
        Effect::Secret(summary) => Ok(summary),
        _ => Err(VaultError::bug(
            "an effect of another kind",
            &"secret expected",
        )),
    }
}
