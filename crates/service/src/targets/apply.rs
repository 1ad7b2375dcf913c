//! Carrying out one rotation whose value has to be applied to a target.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use strongroom_core::{
    Applied, Command, LogTime, Rejection, SealedVersion, Secret, SecretName, TargetName,
};
use strongroom_seal::Plaintext;

use crate::{
    authorize::Authorized,
    context::RequestContext,
    error::VaultError,
    operation::ApplyToTarget,
    payload,
    targets::{Login, SESSION_LIVES, TargetError, TargetSession},
    vault::Vault,
};

/// How long one attempt may take.
const WITHIN: Duration = Duration::from_secs(20);
/// How long reads have waited when the password changes: who read the old value before that has so
/// long to sign in with it.
const NOTICE: Duration = Duration::from_secs(1);
/// How long the mark may take to reach the other members.
const SPREADS_WITHIN: Duration = Duration::from_secs(1);
/// Older versions tried when neither the current nor the pending password works: a target may have
/// been restored, or have failed over to a copy that lagged.
const OLDER_TRIED: usize = 3;

/// Why a rotation was not carried out this time.
#[derive(Debug, thiserror::Error)]
pub(super) enum ApplyError {
    #[error(transparent)]
    Target(#[from] TargetError),
    #[error(transparent)]
    Vault(#[from] VaultError),
}

/// One rotation, as the state shows it.
struct Turn<'a> {
    vault: &'a Vault,
    permit: &'a Authorized<ApplyToTarget>,
    target: &'a TargetName,
    secret: &'a Secret,
    next: &'a Arc<SealedVersion>,
    /// Since when the password may be in effect.
    marked: Option<LogTime>,
}

/// Applies the pending version of `name`, and makes it current. Does nothing if there is none.
pub(super) async fn apply(vault: &Vault, name: &SecretName) -> Result<(), VaultError> {
    let context = RequestContext::of_worker(WITHIN);
    let _turn = vault.turn(&context, name).await?;
    let state = vault.replica.local()?;
    let secret = state.secret(name).ok_or(VaultError::NotFound)?;
    let (Some(pending), Some(target)) = (&secret.pending, secret.settings.kind.target()) else {
        return Ok(());
    };
    let Some(next) = pending.sealed() else {
        return Ok(());
    };
    if !vault.targets.serves(target, name) {
        tracing::warn!(%name, %target, "this node's settings have no such target for this secret");
        return Err(VaultError::TargetUnavailable);
    }
    let permit =
        Authorized::<ApplyToTarget>::for_target_worker(context, name.clone(), Arc::clone(&state));
    let turn = Turn {
        vault,
        permit: &permit,
        target,
        secret,
        next,
        marked: pending.applying_since,
    };
    let effect = async {
        turn.carry_out().await.map_err(|error| match error {
            ApplyError::Vault(error) => error,
            ApplyError::Target(error) => {
                tracing::warn!(%name, %target, %error, "a new value is not in effect at its target yet");
                match error {
                    TargetError::Unknown(_) => VaultError::OutcomeUnknown,
                    _ => VaultError::TargetUnavailable,
                }
            }
        })
    };
    let done = vault.audited(&permit, 200, effect).await;
    vault.stats.tried_target(done.is_ok());
    done
}

impl Turn<'_> {
    async fn carry_out(&self) -> Result<(), ApplyError> {
        let number = self.secret.current_version + 1;
        let next = self.login(number, self.next).await?;
        if self.marked.is_some() {
            // An attempt before this one may have worked.
            match self.sign_in(&next).await {
                Ok(_session) => return self.end().await,
                Err(TargetError::Refused(_)) => {}
                Err(error) => return Err(error.into()),
            }
        }
        let session = match self.session().await {
            Ok(session) => session,
            Err(ApplyError::Target(error @ TargetError::Refused(_))) if self.marked.is_none() => {
                // Somebody may have set it by hand, or the target has gone back in time.
                return match self.sign_in(&next).await {
                    Ok(_session) => self.end().await,
                    Err(_) => Err(error.into()),
                };
            }
            Err(error) => return Err(error),
        };
        self.announce().await?;
        match session
            .set_password(Plaintext::copy_from(next.password.expose()))
            .await
        {
            // Believed when it has been seen: a login that does not work must not be given out.
            Ok(()) => match self.sign_in(&next).await {
                Ok(_session) => self.end().await,
                Err(error) => Err(error.into()),
            },
            Err(error @ TargetError::Unknown(_)) => Err(error.into()),
            Err(error) => {
                self.take_back().await?;
                Err(error.into())
            }
        }
    }

    /// Marks the effect, and lets no reader have the old value from now on. When this returns, that
    /// has been so for [`NOTICE`] at every member that answers: by a mark of the leader before, too,
    /// which may have died before the others had applied it.
    async fn announce(&self) -> Result<(), VaultError> {
        let index = match self.marked {
            None => self.mark(true).await?,
            Some(_) => {
                let shown = self.permit.state.position();
                shown.map_or(0, |position| position.index)
            }
        };
        let vault = self.vault;
        vault.until_applied_everywhere(index, SPREADS_WITHIN).await;
        tokio::time::sleep(NOTICE).await;
        if vault.replica.is_leader() {
            Ok(())
        } else {
            Err(VaultError::NoLeader)
        }
    }

    /// Takes the mark back, since the password is known not to be in effect: this attempt has signed
    /// in with another and was told no. One by an earlier leader could still have an effect.
    async fn take_back(&self) -> Result<(), VaultError> {
        let lived = u64::try_from(SESSION_LIVES.as_millis()).unwrap_or(u64::MAX);
        let earlier_is_over =
            |since: LogTime| self.vault.replica.clock() > since.plus_millis(lived);
        if self.marked.is_none_or(earlier_is_over) {
            self.mark(false).await?;
        }
        Ok(())
    }

    async fn mark(&self, applying: bool) -> Result<u64, VaultError> {
        let command = Command::MarkRotation {
            name: self.permit.target.clone(),
            nonce: self.next.nonce,
            applying,
        };
        let context = &self.permit.context;
        let submitted = self.vault.submit_command(context, command).await?;
        submitted.applied.into_result()?;
        Ok(submitted.position.index)
    }

    async fn end(&self) -> Result<(), ApplyError> {
        let command = Command::EndRotation {
            name: self.permit.target.clone(),
            nonce: self.next.nonce,
        };
        let context = &self.permit.context;
        let submitted = self.vault.submit_command(context, command).await?;
        match submitted.applied {
            // Another leader has ended it, or the secret is gone.
            Applied::Rejected(Rejection::NotFound) | Applied::Effect(_) => Ok(()),
            Applied::Rejected(rejection) => Err(VaultError::from(rejection).into()),
        }
    }

    async fn login(&self, number: u64, sealed: &Arc<SealedVersion>) -> Result<Login, VaultError> {
        let (context, name) = (&self.permit.context, &self.permit.target);
        let opened = self
            .vault
            .open_version(context, name, number, sealed)
            .await?;
        payload::login(&opened.payload).ok_or_else(|| {
            VaultError::invalid("a version holds no username and password for the target")
        })
    }

    /// A session under a password that works: the current version's, or an older one's.
    async fn session(&self) -> Result<Box<dyn TargetSession>, ApplyError> {
        let time = self.vault.replica.clock();
        let held = self.secret.versions.iter().rev();
        let mut refused = None;
        for (number, sealed) in held
            .filter_map(|version| Some((version.number, version.readable(time)?)))
            .take(1 + OLDER_TRIED)
        {
            let login = self.login(number, sealed).await?;
            match self.sign_in(&login).await {
                Ok(session) => return Ok(session),
                Err(error @ TargetError::Refused(_)) => refused = refused.or(Some(error)),
                Err(error) => return Err(error.into()),
            }
        }
        let none = || TargetError::Refused("no version can be read".to_owned());
        Err(refused.unwrap_or_else(none).into())
    }

    async fn sign_in(&self, login: &Login) -> Result<Box<dyn TargetSession>, TargetError> {
        self.vault.targets.sign_in(self.target, login).await
    }
}

/// When `apply` was last tried in vain, and when it may be tried again.
pub(super) struct Backoff {
    pub(super) until: Instant,
    pause: Duration,
}

impl Backoff {
    const FIRST: Duration = Duration::from_secs(1);
    const LONGEST: Duration = Duration::from_secs(60);

    /// After one more failure.
    pub(super) fn after(before: Option<&Self>) -> Self {
        let pause = before.map_or(Self::FIRST, |before| (before.pause * 2).min(Self::LONGEST));
        Self {
            until: Instant::now() + pause,
            pause,
        }
    }
}
