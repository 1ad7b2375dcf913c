//! Rotation of values: an automatic secret gets a new version with a generated value, when it is due
//! or when somebody asks.
//!
//! A rotation is one command, so it is never half done: the new version, the old one's grace and the
//! next due time take effect together, or nothing does. One whose value has to be applied to a target
//! is only begun here; [`targets`](crate::targets) carries it out.

use std::{
    collections::HashMap,
    sync::{Arc, Weak},
    time::{Duration, Instant},
};

use futures_util::{StreamExt, stream};
use strongroom_core::{
    Applied, Command, Generator, Kind, ReadGate, Rejection, Secret, SecretName, SecretSummary,
    State, command::NewVersion, secret::SettingsChange,
};
use strongroom_seal::{Plaintext, generate_value};

use crate::{
    authorize::Authorized, context::RequestContext, error::VaultError, operation::Rotate, payload,
    rounds::Worker, secrets::Written, vault::Vault,
};

/// How long one rotation by the worker may take.
const WITHIN: Duration = Duration::from_secs(15);
/// How long a secret whose rotation failed is left alone.
const RETRY: Duration = Duration::from_secs(5);
/// Due rotations carried out side by side: one whose data key is slow to come delays few others.
const SIDE_BY_SIDE: usize = 16;
const SHORTEST_PAUSE: Duration = Duration::from_millis(50);

impl Vault {
    /// Rotates an automatic secret now.
    ///
    /// # Errors
    /// [`VaultError::NotFound`]; [`VaultError::Invalid`] for a manual secret; KMS's and the
    /// replica's errors; [`VaultError::AuditUnavailable`] with nothing changed.
    pub async fn rotate_secret(&self, permit: Authorized<Rotate>) -> Result<Written, VaultError> {
        Self::once_only(&permit.context)?;
        self.audited(&permit, 200, self.do_rotate(&permit)).await
    }

    async fn do_rotate(&self, permit: &Authorized<Rotate>) -> Result<Written, VaultError> {
        let turn = self.turn(&permit.context, &permit.target).await?;
        let mut state = Arc::clone(&permit.state);
        loop {
            match self.rotate_from(permit, &state).await? {
                Turned::Rotated(written) => return Ok(*written),
                Turned::Begun { number, index } => {
                    drop(turn);
                    return self.rotation_applied(permit, number, index).await;
                }
                // Their fields carry over.
                Turned::Overtaken => state = self.fresh_state(&permit.context).await?,
            }
        }
    }

    /// Rotates from what `state` shows.
    async fn rotate_from(
        &self,
        permit: &Authorized<Rotate>,
        state: &State,
    ) -> Result<Turned, VaultError> {
        let name = &permit.target;
        let secret = state.secret(name).ok_or(VaultError::NotFound)?;
        if let Some(pending) = &secret.pending {
            return Ok(Turned::Begun {
                number: pending.version.number,
                index: state.position().map_or(0, |at| at.index),
            });
        }
        let payload = self.next_payload(&permit.context, name, secret).await?;
        let number = secret.current_version + 1;
        let sealed = self
            .seal_version(&permit.context, name, number, &payload)
            .await?;
        let version = NewVersion { number, sealed };
        let command = turning_command(name, secret, version);
        let submitted = self.submit_command(&permit.context, command).await?;
        match submitted.applied {
            Applied::Rejected(Rejection::CasMismatch { .. } | Rejection::InUse) => {
                Ok(Turned::Overtaken)
            }
            applied => {
                let summary: SecretSummary = crate::secrets::summary(applied.into_result()?)?;
                if summary.rotation_pending {
                    let index = submitted.position.index;
                    return Ok(Turned::Begun { number, index });
                }
                let written = self.written(permit, summary, payload).await;
                Ok(Turned::Rotated(Box::new(written)))
            }
        }
    }

    async fn written(
        &self,
        permit: &Authorized<Rotate>,
        summary: SecretSummary,
        payload: Plaintext,
    ) -> Written {
        let shown = self.shown(&permit.context, &permit.target, payload).await;
        Written {
            summary,
            generated: Some(shown),
        }
    }

    /// Waits until the leader has applied the pending version `number`, which was begun at this log
    /// index at the latest, to its target.
    async fn rotation_applied(
        &self,
        permit: &Authorized<Rotate>,
        number: u64,
        index: u64,
    ) -> Result<Written, VaultError> {
        let (context, name) = (&permit.context, &permit.target);
        let done = |secret: Option<&Secret>| {
            secret.is_none_or(|secret| secret.current_version >= number || secret.pending.is_none())
        };
        // A little is left to open the value, and to answer.
        let within = context.left().saturating_sub(Duration::from_millis(500));
        // A node that has not seen it begin would take it for one that has ended.
        let begun = self.replica.read(ReadGate::AtLeast(index), within).await;
        begun.map_err(|_| VaultError::RotationPending)?;
        let within = context.left().saturating_sub(Duration::from_millis(500));
        if !self.wait_for_change(name, done, within).await? {
            return Err(VaultError::RotationPending);
        }
        let state = self.replica.local()?;
        context.seen.note(state.position());
        let secret = state.secret(name).ok_or(VaultError::NotFound)?;
        let sealed = secret
            .version(number)
            .and_then(|version| version.readable(self.replica.clock()))
            .ok_or(VaultError::VersionMismatch)?;
        let opened = self.open_version(context, name, number, sealed).await?;
        let summary = SecretSummary {
            version: number,
            version_created_at: secret.version(number).map(|version| version.created_at),
            ..secret.summary(name)
        };
        Ok(self.written(permit, summary, opened.payload).await)
    }

    /// The current payload with a fresh value in the generated field.
    async fn next_payload(
        &self,
        context: &RequestContext,
        name: &SecretName,
        secret: &Secret,
    ) -> Result<Plaintext, VaultError> {
        let Kind::Automatic {
            generator:
                Generator {
                    field,
                    length,
                    charset,
                },
            ..
        } = &secret.settings.kind
        else {
            return Err(VaultError::invalid("only automatic secrets rotate"));
        };
        let value = generate_value(*length, charset)
            .map_err(|_| VaultError::invalid("the generator's length or charset does not work"))?;
        let time = self.replica.clock();
        let current = secret
            .current()
            .and_then(|version| Some((version.number, version.readable(time)?)));
        match current {
            Some((number, sealed)) => {
                let opened = self.open_version(context, name, number, sealed).await?;
                if secret.settings.kind.target().is_some()
                    && payload::login(&opened.payload).is_none()
                {
                    return Err(VaultError::invalid(
                        "the current version holds no username and password for the target",
                    ));
                }
                payload::with_field(Some(&opened.payload), field, &value)
            }
            None => payload::with_field(None, field, &value),
        }
    }
}

/// What came of turning a value over.
enum Turned {
    Rotated(Box<Written>),
    /// The version of this number waits to be applied to the secret's target, since this log index or
    /// before.
    Begun {
        number: u64,
        index: u64,
    },
    /// Somebody wrote meanwhile.
    Overtaken,
}

fn turning_command(name: &SecretName, secret: &Secret, version: NewVersion) -> Command {
    match secret.settings.kind.target() {
        Some(_) => Command::BeginRotation {
            name: name.clone(),
            cas: secret.current_version,
            version,
        },
        None => Command::PutSecret {
            name: name.clone(),
            cas: Some(secret.current_version),
            change: SettingsChange::default(),
            version: Some(version),
            upsert: false,
        },
    }
}

/// Rotates what is due while this node leads. After an outage each overdue secret is rotated once:
/// its next time counts from then.
pub(crate) async fn worker(weak: Weak<Vault>) {
    let mut left_alone: HashMap<SecretName, Instant> = HashMap::new();
    loop {
        let Some(vault) = weak.upgrade() else { return };
        left_alone.retain(|_, until| *until > Instant::now());
        let mut pause = vault.config.poll;
        if let Some(state) = vault
            .replica
            .local()
            .ok()
            .filter(|_| vault.replica.is_leader())
        {
            let time = vault.replica.clock();
            let due: Vec<SecretName> = state
                .due_rotations(time)
                .filter(|name| !left_alone.contains_key(name))
                .cloned()
                .collect();
            let mut rotations = stream::iter(due)
                .map(|name| async {
                    let done = rotate_due(&vault, &name, &state).await;
                    (name, done)
                })
                .buffer_unordered(SIDE_BY_SIDE);
            while let Some((name, done)) = rotations.next().await {
                vault.rounds.note(Worker::Rotation, done.is_ok());
                if let Err(error) = done {
                    tracing::warn!(%name, %error, "a due rotation failed; it will be tried again");
                    left_alone.insert(name, Instant::now() + RETRY);
                }
            }
            pause = pause.min(until_next(&vault, !left_alone.is_empty()));
        } else {
            pause = pause.min(Duration::from_secs(1));
        }
        drop(vault);
        tokio::time::sleep(pause).await;
    }
}

/// Rotates a secret that was due in `state`, unless somebody else has meanwhile: it is no longer due
/// then.
async fn rotate_due(
    vault: &Vault,
    name: &SecretName,
    state: &Arc<State>,
) -> Result<(), VaultError> {
    let context = RequestContext::of_worker(WITHIN);
    let permit =
        Authorized::<Rotate>::for_rotation_worker(context, name.clone(), Arc::clone(state));
    let _turn = vault.turn(&permit.context, name).await?;
    let state = vault.replica.local()?;
    if !vault.replica.is_leader() || !is_due(vault, &state, name) {
        return Ok(());
    }
    let rotated = async {
        match vault.rotate_from(&permit, &state).await? {
            Turned::Rotated(_) | Turned::Begun { .. } => Ok(()),
            Turned::Overtaken => Err(VaultError::VersionMismatch),
        }
    };
    match vault.audited(&permit, 200, rotated).await {
        Err(VaultError::VersionMismatch) => Ok(()),
        done => done,
    }
}

fn is_due(vault: &Vault, state: &State, name: &SecretName) -> bool {
    let time = vault.replica.clock();
    let secret = state.secret(name).filter(|secret| secret.pending.is_none());
    let next = secret.and_then(|secret| secret.next_rotation_at);
    next.is_some_and(|at| at <= time)
}

/// Until the next rotation is due, by what has been applied.
fn until_next(vault: &Vault, retrying: bool) -> Duration {
    let next = vault.replica.local().ok().and_then(|state| {
        let time = vault.replica.clock();
        state
            .next_rotation()
            .map(|at| Duration::from_millis(at.0.saturating_sub(time.0)))
    });
    match next {
        Some(Duration::ZERO) if retrying => Duration::from_secs(1),
        Some(left) => left.max(SHORTEST_PAUSE),
        // A secret may be created at any moment, with an interval of a second.
        None => Duration::from_secs(1),
    }
    .min(Duration::from_secs(1))
}
