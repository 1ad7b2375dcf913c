//! From settings to a keyring that works.

use std::{sync::Arc, time::Duration};

use strongroom_seal::{
    BreakerConfig, ClusterKey, ContextStyle, Keyring, KeyringConfig, Kms, KmsError, LocalKms,
    WrappedClusterKey,
};

use crate::{
    kms::aws::{AwsKms, AwsSettings},
    run_error::RunError,
    settings::{self, Settings},
};

/// How long the first wrap and unwrap may take, the cluster key's too, after the connection is set up.
const PROBE_WITHIN: Duration = Duration::from_secs(4);
/// How long one call to KMS may take.
const KMS_WITHIN: Duration = Duration::from_secs(8);

/// KMS as it was found to work.
pub(crate) struct Opened {
    pub(crate) keyring: Arc<Keyring>,
    /// Unwrapped, where one was given.
    pub(crate) cluster_key: Option<ClusterKey>,
}

/// The KMS that the settings name, and where its credentials come from, in words.
pub(crate) async fn connect(settings: &Settings) -> Result<(Arc<dyn Kms>, String), RunError> {
    match &settings.kms.kms {
        settings::Kms::Aws { key_id } => {
            let context_style = match settings.kms.hash_names {
                true => ContextStyle::HashedName,
                false => ContextStyle::Name,
            };
            let max_retries = settings.kms.max_retries;
            let aws = AwsSettings {
                key_id: key_id.clone(),
                max_retries,
                context_style,
            };
            let aws = AwsKms::connect(aws)
                .await
                .map_err(|error| RunError::Failed(error.to_string()))?;
            let credentials = aws.credentials().to_owned();
            Ok((Arc::new(aws), credentials))
        }
        settings::Kms::Local { master_keys } => {
            let local = local_kms(master_keys.as_ref().map(|keys| keys.as_str()))?;
            Ok((Arc::new(local), String::from("-")))
        }
    }
}

/// Reaches KMS, wraps and unwraps once, and says in one line which key that was. Unwraps this cluster
/// key meanwhile.
pub(crate) async fn open(
    settings: &Settings,
    cluster_key: Option<&WrappedClusterKey>,
) -> Result<Opened, RunError> {
    let (kms, credentials) = connect(settings).await?;
    let config = KeyringConfig {
        ttl: settings.kms.dek_cache_ttl,
        stale: settings.kms.dek_cache_stale,
        max_entries: usize::try_from(settings.kms.dek_cache_entries).unwrap_or(usize::MAX),
        deadline: KMS_WITHIN,
        breaker: BreakerConfig::default(),
    };
    let keyring = Keyring::new(kms, config);
    let service = keyring.describe();
    let region = service.region.as_deref().unwrap_or("-");
    let failed = |what: &str, error: KmsError| {
        let (mode, key) = (&service.mode, &service.key);
        RunError::Failed(format!(
            "KMS ({mode}, key {key}, region {region}) {what}: {error}"
        ))
    };
    let unwrapping = async {
        match cluster_key {
            Some(wrapped) => Some(keyring.cluster_key(wrapped, PROBE_WITHIN).await),
            None => None,
        }
    };
    let (probed, unwrapped) = tokio::join!(keyring.probe(PROBE_WITHIN), unwrapping);
    probed.map_err(|error| failed("does not work", error))?;
    let cluster_key = unwrapped
        .transpose()
        .map_err(|error| failed("does not unwrap VAULT_CLUSTER_KEY", error))?;
    tracing::info!(
        mode = %service.mode, key = %service.key, region, credentials, "KMS wraps and unwraps"
    );
    Ok(Opened {
        keyring: Arc::new(keyring),
        cluster_key,
    })
}

fn local_kms(master_keys: Option<&str>) -> Result<LocalKms, RunError> {
    let made = match master_keys {
        Some(keys) => LocalKms::parse(keys),
        None => {
            tracing::warn!(
                "VAULT_LOCAL_MASTER_KEY is not set: a random master key is used, and EVERY SECRET IS LOST when this process ends"
            );
            LocalKms::random()
        }
    };
    made.map_err(|error| RunError::Settings(format!("VAULT_LOCAL_MASTER_KEY: {error}")))
}
