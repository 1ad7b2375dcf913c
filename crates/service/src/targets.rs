//! Targets: systems outside that keep a password of their own, to which a rotated value has to be
//! applied. Here is the port to them; [`worker`] carries rotations out.
//!
//! Three commands stand around the effect outside: the intent lays the new value down beside the one
//! that works, the effect is marked before it is tried, and the confirmation makes the new value
//! current. So whichever password works, the store holds it, and the next leader can find out which
//! (invariant 17).
//!
//! While it is open which one works, reads wait for the answer. And they wait for a moment before the
//! effect, so that whoever has just read the old value can still sign in with it.

mod apply;
mod worker;

use std::{future::Future, pin::Pin, time::Duration};

use strongroom_core::{SecretName, TargetName};
use strongroom_seal::Plaintext;

use crate::{context::RequestContext, error::VaultError, payload, vault::Vault};

pub(crate) use worker::worker;

/// A future that the port returns.
pub type TargetFuture<'a, T> = Pin<Box<dyn Future<Output = Result<T, TargetError>> + Send + 'a>>;

/// Who signs in at a target.
pub struct Login {
    /// The role's name there.
    pub username: Plaintext,
    /// Its password there.
    pub password: Plaintext,
}

/// Why a target did not do what it was asked. What is said here holds nothing of a login.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum TargetError {
    /// It refuses these credentials.
    #[error("the target refuses these credentials ({0})")]
    Refused(String),
    /// It cannot be reached, or takes no writes. Nothing happened there.
    #[error("the target is unavailable ({0})")]
    Unavailable(String),
    /// It said no, and the password is as it was.
    #[error("the target did not take the password ({0})")]
    NotTaken(String),
    /// It was asked and did not answer: the password may have changed, or still may.
    #[error("whether the target took the password is not known ({0})")]
    Unknown(String),
}

/// Systems outside, by the names that the operator gave them.
pub trait Targets: Send + Sync + 'static {
    /// Whether there is a target of this name, and this secret may have it.
    fn serves(&self, target: &TargetName, secret: &SecretName) -> bool;

    /// Signs in where the target takes writes.
    ///
    /// # Errors
    /// [`TargetError::Refused`] only if the target is sure to refuse; else
    /// [`TargetError::Unavailable`].
    fn sign_in<'a>(
        &'a self,
        target: &'a TargetName,
        login: &'a Login,
    ) -> TargetFuture<'a, Box<dyn TargetSession>>;
}

/// How long a session may go on to have an effect once this process is gone, or stands still. Adapters
/// see to it that the target ends it by then.
pub const SESSION_LIVES: Duration = Duration::from_secs(8);

/// A session at a target. See [`SESSION_LIVES`].
pub trait TargetSession: Send {
    /// Sets the password of who has signed in. In effect when this returns `Ok`.
    ///
    /// # Errors
    /// See [`TargetError`].
    fn set_password(self: Box<Self>, password: Plaintext) -> TargetFuture<'static, ()>;
}

impl Vault {
    /// Checks that a payload signs in at a target.
    ///
    /// # Errors
    /// [`VaultError::Invalid`] if it does not; [`VaultError::TargetUnavailable`].
    pub(crate) async fn prove_login(
        &self,
        context: &RequestContext,
        name: &SecretName,
        target: &TargetName,
        payload: &Plaintext,
    ) -> Result<(), VaultError> {
        if !self.targets.serves(target, name) {
            return Err(VaultError::invalid(
                "there is no target of this name for this secret",
            ));
        }
        let Some(login) = payload::login(payload) else {
            return Err(VaultError::invalid(
                "a secret with a target needs data with the strings username and password",
            ));
        };
        let signed_in = self.targets.sign_in(target, &login);
        match tokio::time::timeout(context.left(), signed_in).await {
            Ok(Ok(_session)) => Ok(()),
            Ok(Err(TargetError::Refused(detail))) => {
                tracing::info!(%target, detail, "the target refuses a login");
                Err(VaultError::invalid("the target refuses these credentials"))
            }
            Ok(Err(error)) => {
                tracing::warn!(%target, %error, "a login cannot be checked");
                Err(VaultError::TargetUnavailable)
            }
            Err(_) => Err(VaultError::TargetUnavailable),
        }
    }
}
