//! What happens without being asked. Each worker does its work only while this node leads.

use std::{
    sync::{Arc, Weak},
    time::Duration,
};

use strongroom_core::{Command, Replica, SubmitError, Submitted};

use crate::{kms_health, prewarm, rewrap, rotation, targets, vault::Vault, watch};

/// How long one command of a worker may take.
const WITHIN: Duration = Duration::from_secs(10);
/// Between two looks at whether this node leads, and at the DEK cache.
const GLANCE: Duration = Duration::from_millis(100);
/// Between two sweeps of the DEK cache.
const SWEEP: Duration = Duration::from_secs(1);

/// Starts all workers on the current runtime. They end when the vault is dropped.
pub fn start(vault: &Arc<Vault>) {
    let asked = Arc::downgrade(vault);
    vault.replica.answer_members_with(Arc::new(move |question| {
        asked
            .upgrade()
            .map(|vault| vault.answer_member(question))
            .unwrap_or_default()
    }));
    tokio::spawn(take_up_bootstrap_token(Arc::downgrade(vault)));
    tokio::spawn(tick(Arc::downgrade(vault)));
    tokio::spawn(sweep_data_keys(Arc::downgrade(vault)));
    tokio::spawn(kms_health::watch(Arc::downgrade(vault)));
    tokio::spawn(rotation::worker(Arc::downgrade(vault)));
    tokio::spawn(rewrap::worker(Arc::downgrade(vault)));
    tokio::spawn(targets::worker(Arc::downgrade(vault)));
    tokio::spawn(watch::worker(Arc::downgrade(vault)));
    if let Some(per_sec) = vault.config.prewarm {
        tokio::spawn(prewarm::worker(Arc::downgrade(vault), per_sec));
    }
}

/// Proposes the bootstrap token until an admin token exists, and then never again.
async fn take_up_bootstrap_token(weak: Weak<Vault>) {
    loop {
        let Some(vault) = weak.upgrade() else { return };
        let Some(fingerprint) = vault.config.bootstrap else {
            return;
        };
        let settled = vault.replica.local().map(|state| state.bootstrap_closed());
        match settled {
            Ok(true) => return,
            Ok(false) if vault.replica.is_leader() => {
                let proposed = propose(&*vault.replica, Command::Bootstrap { fingerprint }).await;
                if let Ok(Submitted { applied, .. }) = proposed {
                    tracing::info!(?applied, "proposed the bootstrap token");
                }
            }
            Ok(false) | Err(_) => {}
        }
        drop(vault);
        tokio::time::sleep(GLANCE).await;
    }
}

/// Proposes a `Tick` when something is due.
async fn tick(weak: Weak<Vault>) {
    loop {
        let Some(vault) = weak.upgrade() else { return };
        let mut pause = vault.config.poll.min(Duration::from_secs(1)).max(GLANCE);
        if let Ok(state) = vault.replica.local()
            && vault.replica.is_leader()
            && state
                .next_deadline()
                .is_some_and(|due| due <= vault.replica.clock())
        {
            // More may be due than one tick handles.
            pause = match propose(&*vault.replica, Command::Tick).await {
                Ok(_) => Duration::ZERO,
                Err(_) => GLANCE,
            };
        }
        drop(vault);
        tokio::time::sleep(pause).await;
    }
}

/// Expired data keys leave memory even if nobody reads.
async fn sweep_data_keys(weak: Weak<Vault>) {
    loop {
        let Some(vault) = weak.upgrade() else { return };
        vault.keyring.sweep();
        drop(vault);
        tokio::time::sleep(SWEEP).await;
    }
}

async fn propose(replica: &dyn Replica, command: Command) -> Result<Submitted, SubmitError> {
    let proposed = replica.submit(command, WITHIN).await;
    if let Err(error) = &proposed {
        tracing::debug!(%error, "a worker's command has no result; it will be proposed again");
    }
    proposed
}
