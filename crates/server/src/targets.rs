//! Targets, as the settings name them: the port of
//! [`strongroom_service::targets`] over PostgreSQL.

mod postgres;
mod tls;

use std::collections::BTreeMap;

use strongroom_core::{SecretName, TargetName};
use strongroom_service::targets::{Login, TargetError, TargetFuture, TargetSession, Targets};

use crate::{run_error::RunError, settings::PostgresTarget};
use postgres::Postgres;

/// All targets there are.
pub(crate) struct ConfiguredTargets(BTreeMap<TargetName, Postgres>);

impl ConfiguredTargets {
    /// Reads the roots of trust; connects to nothing.
    pub(crate) fn new(settings: &BTreeMap<TargetName, PostgresTarget>) -> Result<Self, RunError> {
        let mut targets = BTreeMap::new();
        for (name, target) in settings {
            let made = Postgres::new(target).map_err(|error| {
                RunError::Settings(format!("VAULT_TARGETS: the target {name} {error}"))
            })?;
            tracing::info!(target = %name, at = %target, "values may be applied to a target");
            targets.insert(name.clone(), made);
        }
        Ok(Self(targets))
    }
}

impl Targets for ConfiguredTargets {
    fn serves(&self, target: &TargetName, secret: &SecretName) -> bool {
        let found = self.0.get(target);
        found.is_some_and(|target| target.serves(secret))
    }

    fn sign_in<'a>(
        &'a self,
        target: &'a TargetName,
        login: &'a Login,
    ) -> TargetFuture<'a, Box<dyn TargetSession>> {
        Box::pin(async move {
            let unknown = || TargetError::Unavailable("it is not in this node's settings".into());
            let target = self.0.get(target).ok_or_else(unknown)?;
            let session = target.sign_in(login).await?;
            Ok(Box::new(session) as Box<dyn TargetSession>)
        })
    }
}
