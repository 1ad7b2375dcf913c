//! What a node may do at KMS, call by call, for `strongroom doctor`.

use std::time::Duration;

use strongroom_core::SecretName;
use strongroom_seal::{Binding, KmsError};

use crate::{RunError, keyring, settings::Settings};

/// How long one call may take.
const WITHIN: Duration = Duration::from_secs(5);
/// The name that a node's first calls are for as well: a policy that goes by names has to allow it.
const PROBE: &str = "strongroom/probe";

/// One thing that KMS may be asked for.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct KmsCall {
    /// What IAM calls it.
    pub right: &'static str,
    /// What fails without it.
    pub needed: &'static str,
    /// Whether a node works without it.
    pub is_optional: bool,
    /// Why it did not work.
    pub outcome: Result<(), String>,
}

/// Makes each call that a node makes, once, and then all that a start does, the cluster key included.
///
/// # Errors
/// [`RunError`] if there is nobody to ask: no region, no credentials, a key that is none.
pub async fn kms_calls(settings: &Settings) -> Result<Vec<KmsCall>, RunError> {
    let (kms, _) = keyring::connect(settings).await?;
    let name = SecretName::parse(PROBE).map_err(|error| RunError::Failed(error.to_string()))?;
    let binding = Binding::new(&name, 1);
    let generated = within(kms.generate(&binding)).await;
    let mut calls = vec![call(
        "kms:GenerateDataKey",
        "every write",
        false,
        generated.as_ref().map(|_| ()).map_err(Clone::clone),
    )];
    if let Ok(key) = generated {
        let (wrapped, key_id) = (key.wrapped(), key.key_id());
        let unwrapped = within(kms.unwrap(wrapped, key_id, &binding)).await;
        calls.push(call(
            "kms:Decrypt",
            "every read",
            false,
            unwrapped.map(drop),
        ));
        let moved = within(kms.rewrap(wrapped, key_id, &binding)).await;
        let needed = "moving data keys to a new key (kms:ReEncryptFrom and kms:ReEncryptTo)";
        calls.push(call("kms:ReEncrypt", needed, true, moved.map(drop)));
        let rotations = within(kms.rotations()).await;
        let needed = "noticing that the KMS key was rotated";
        calls.push(call(
            "kms:ListKeyRotations",
            needed,
            true,
            rotations.map(drop),
        ));
        let opened = keyring::open(settings, settings.cluster_key.as_ref()).await;
        calls.push(KmsCall {
            right: "all of a start",
            needed: "a start, with VAULT_CLUSTER_KEY if it is set",
            is_optional: false,
            outcome: opened.map(drop).map_err(|error| error.to_string()),
        });
    }
    Ok(calls)
}

async fn within<T>(call: impl Future<Output = Result<T, KmsError>>) -> Result<T, String> {
    match tokio::time::timeout(WITHIN, call).await {
        Ok(answered) => answered.map_err(|error| error.to_string()),
        Err(_) => Err(format!("no answer within {WITHIN:?}")),
    }
}

fn call(
    right: &'static str,
    needed: &'static str,
    is_optional: bool,
    outcome: Result<(), String>,
) -> KmsCall {
    KmsCall {
        right,
        needed,
        is_optional,
        outcome,
    }
}
