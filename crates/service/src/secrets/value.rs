//! A new value and nothing else: the write that there is most of.

use strongroom_core::{
    Applied, Command, Rejection, SealedVersion, SecretName, SecretSummary, command::NewVersion,
    secret::SettingsChange,
};
use strongroom_seal::Plaintext;
use tokio::sync::OwnedMutexGuard;

use super::summary;
use crate::{
    authorize::{Here, Presented},
    context::RequestContext,
    error::VaultError,
    operation::Update,
    payload::Incoming,
    vault::Vault,
};

impl Vault {
    /// Authorizes and does what [`update_secret`](Vault::update_secret) does for a value alone. The leader
    /// needs no round of its own for the token: the command says on which access it was allowed, and is
    /// refused if that has changed.
    ///
    /// # Errors
    /// Those of [`authorize`](Vault::authorize) and of [`update_secret`](Vault::update_secret).
    pub async fn put_value(
        &self,
        context: RequestContext,
        token: &Presented,
        name: SecretName,
        material: Incoming<'_>,
    ) -> Result<SecretSummary, VaultError> {
        let here = self.allow_here::<Update>(&context, token, &name);
        // A value for a target is tried there first.
        let here = here.filter(|here| here.permit.has_secret_without_target());
        match (here, material.payload(None)) {
            (Some(here), Ok(payload)) => {
                self.admit(&here);
                let effect = Box::pin(self.put_or_decide_anew(&here, token, payload));
                self.audited(&here.permit, 200, effect).await
            }
            (_, payload) => {
                let permit = Box::pin(self.authorize(context, token, name)).await?;
                let (payload, change) = (payload?, SettingsChange::default());
                let effect = Box::pin(self.do_update(&permit, None, change, Some(payload)));
                Box::pin(self.audited(&permit, 200, effect)).await
            }
        }
    }

    async fn put_or_decide_anew(
        &self,
        here: &Here<Update>,
        token: &Presented,
        payload: Plaintext,
    ) -> Result<SecretSummary, VaultError> {
        if let Some(summary) = self.put_here(here, token, &payload).await? {
            return Ok(summary);
        }
        let permit = Box::pin(here.anew(self, token)).await?;
        let change = SettingsChange::default();
        Box::pin(self.do_update(&permit, None, change, Some(payload))).await
    }

    /// `None`: what it was decided on was out of date, and nothing was done.
    async fn put_here(
        &self,
        here: &Here<Update>,
        token: &Presented,
        payload: &Plaintext,
    ) -> Result<Option<SecretSummary>, VaultError> {
        let (context, name) = (&here.permit.context, &here.permit.target);
        let (number, sealed, _turn) = match self.next_version(context, name, payload).await {
            Ok(Some(next)) => next,
            Ok(None) => return Ok(None),
            Err(error) => return Err(Box::pin(here.instead_of(error, self, token)).await),
        };
        let command = Command::PutValue {
            name: name.clone(),
            version: NewVersion { number, sealed },
            access: here.access,
            until: here.until,
        };
        match self.submit_command(context, command).await?.applied {
            Applied::Rejected(Rejection::AccessChanged | Rejection::VersionTaken { .. }) => {
                Ok(None)
            }
            applied => summary(applied.into_result()?).map(Some),
        }
    }

    /// The next version of a secret, sealed, and this writer's turn. `None`: there is no such secret.
    async fn next_version(
        &self,
        context: &RequestContext,
        name: &SecretName,
        payload: &Plaintext,
    ) -> Result<Option<(u64, SealedVersion, OwnedMutexGuard<()>)>, VaultError> {
        let turn = self.turn(context, name).await?;
        let state = self.replica.local()?;
        let Some(secret) = state.secret(name) else {
            return Ok(None);
        };
        let number = secret.current_version + 1;
        let sealed = self.seal_version(context, name, number, payload).await?;
        Ok(Some((number, sealed, turn)))
    }
}
