//! Cluster keys, for whoever sets a cluster up.

use std::{future::Future, time::Duration};

use strongroom_seal::KmsError;
use tokio::runtime::Builder;

use crate::{
    keyring,
    run_error::RunError,
    settings::{Kms, Settings},
};

/// A fresh cluster key that KMS drew and wrapped, as `VAULT_CLUSTER_KEY` takes it. It was unwrapped once
/// with the same credentials.
///
/// # Errors
/// See [`RunError`].
pub fn new(settings: &Settings) -> Result<String, RunError> {
    refuse_a_random_master_key(settings)?;
    wait_for(async {
        let keyring = keyring::open(settings, None).await?.keyring;
        let made = async {
            let fresh = keyring.new_cluster_key().await?;
            keyring.cluster_key(&fresh, Duration::MAX).await?;
            Ok(fresh.to_string())
        };
        made.await.map_err(failed)
    })
}

/// The cluster key of these settings, wrapped by the KMS key in use now: the same cluster.
///
/// # Errors
/// See [`RunError`].
pub fn rewrap(settings: &Settings) -> Result<String, RunError> {
    refuse_a_random_master_key(settings)?;
    let Some(wrapped) = &settings.cluster_key else {
        let why = "VAULT_CLUSTER_KEY is not set: there is nothing to wrap again";
        return Err(RunError::Settings(why.to_owned()));
    };
    wait_for(async {
        let keyring = keyring::open(settings, None).await?.keyring;
        let moved = keyring.rewrap_cluster_key(wrapped).await;
        moved.map(|moved| moved.to_string()).map_err(failed)
    })
}

fn failed(error: KmsError) -> RunError {
    RunError::Failed(error.to_string())
}

/// What it wraps is lost with this process.
fn refuse_a_random_master_key(settings: &Settings) -> Result<(), RunError> {
    match &settings.kms.kms {
        Kms::Local { master_keys: None } => Err(RunError::Settings(
            "VAULT_LOCAL_MASTER_KEY is not set: nothing would unwrap the cluster key".to_owned(),
        )),
        _ => Ok(()),
    }
}

fn wait_for<T>(work: impl Future<Output = Result<T, RunError>>) -> Result<T, RunError> {
    let runtime = Builder::new_current_thread().enable_all().build();
    runtime
        .map_err(|error| RunError::Failed(format!("cannot start threads: {error}")))?
        .block_on(work)
}
