//! Whether KMS does its job, for readiness: learned from the calls that are made anyway, and by probing
//! only after one has failed. The probes also close the breaker when nobody else asks.

use std::{
    sync::{
        Arc, Weak,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use strongroom_seal::{BreakerState, Detail, KeyringStats, KmsError, stats::Outcome};

use crate::{context::RequestContext, vault::Vault};

const PAUSE: Duration = Duration::from_secs(2);
const PROBE_WITHIN: Duration = Duration::from_secs(4);

/// What is known of KMS.
pub(crate) struct KmsHealth(AtomicBool);

impl Default for KmsHealth {
    /// A node starts only after KMS has wrapped and unwrapped.
    fn default() -> Self {
        Self(AtomicBool::new(true))
    }
}

impl KmsHealth {
    pub(crate) fn works(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

/// Waits for KMS for as long as the request has left, which may be less than a call may take.
pub(crate) async fn in_time<T>(
    context: &RequestContext,
    asked: impl Future<Output = Result<T, KmsError>>,
) -> Result<T, KmsError> {
    tokio::time::timeout(context.left(), asked)
        .await
        .unwrap_or_else(|_| {
            let why = "no answer within the request's deadline";
            Err(KmsError::Unavailable(Detail::new(why)))
        })
}

/// Calls whose failure says something about KMS, and not about one wrapped key.
fn failures(stats: &KeyringStats) -> u64 {
    let blames_kms = |outcome: Outcome| {
        matches!(
            outcome,
            Outcome::Denied | Outcome::KeyDisabled | Outcome::Unavailable
        )
    };
    stats
        .calls
        .iter()
        .filter(|call| blames_kms(call.outcome))
        .map(|call| call.count)
        .sum()
}

pub(crate) async fn watch(weak: Weak<Vault>) {
    let (mut seen, mut opened) = (0, 0);
    loop {
        tokio::time::sleep(PAUSE).await;
        let Some(vault) = weak.upgrade() else { return };
        let stats = vault.keyring.stats();
        if stats.opened != opened {
            tracing::warn!(
                refused = stats.refused,
                "KMS does not answer: calls are refused at once, and tried again every few seconds"
            );
            opened = stats.opened;
        }
        let failed = failures(&stats);
        let closed = stats.breaker == BreakerState::Closed;
        if failed == seen && closed && vault.kms_health.works() {
            continue;
        }
        seen = failed;
        probe(&vault).await;
    }
}

async fn probe(vault: &Arc<Vault>) {
    let result = vault.keyring.probe(PROBE_WITHIN).await;
    let worked = vault.kms_health.0.swap(result.is_ok(), Ordering::Relaxed);
    match result {
        Err(error) if worked => {
            tracing::error!(%error, "KMS does not work: this node is not ready")
        }
        Ok(()) if !worked => tracing::info!("KMS works again"),
        _ => {}
    }
}
