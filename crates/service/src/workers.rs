//! What happens without being asked. Each worker does its work only while this node leads.

use std::{
    sync::{Arc, Weak},
    time::Duration,
};

use strongroom_core::{
    Applied, Command, Replica, SubmitError, Submitted, TokenFingerprint, TokenName,
};

use crate::{
    audit::NODE,
    backup, cluster,
    context::RequestContext,
    kms_health, nodes, prewarm, refusals, rewrap, rotation,
    rounds::Worker,
    targets,
    vault::{Event, Vault},
    watch,
};

/// How long one command of a worker may take.
const WITHIN: Duration = Duration::from_secs(10);
/// Between two looks at whether this node leads, and at the DEK cache.
const GLANCE: Duration = Duration::from_millis(100);
/// Before a worker that panicked begins anew.
const AFTER_PANIC: Duration = Duration::from_secs(1);
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
    supervise(vault, "bootstrap", take_up_bootstrap_token);
    supervise(vault, "tick", tick);
    supervise(vault, "sweep", sweep_data_keys);
    supervise(vault, "kms", kms_health::watch);
    supervise(vault, "rotation", rotation::worker);
    supervise(vault, "rewrap", rewrap::worker);
    supervise(vault, "targets", targets::worker);
    supervise(vault, "refusals", refusals::worker);
    supervise(vault, "watch", watch::worker);
    supervise(vault, "relief", cluster::relief_worker);
    supervise(vault, "dead-nodes", nodes::dead_node_worker);
    supervise(vault, "backup", backup::worker);
    if let Some(per_sec) = vault.config.prewarm {
        supervise(vault, "prewarm", move |vault| {
            prewarm::worker(vault, per_sec)
        });
    }
}

/// Runs a worker until it ends. One that panics begins anew: the node would go on without it, and
/// nobody would notice.
fn supervise<F>(
    vault: &Arc<Vault>,
    name: &'static str,
    work: impl Fn(Weak<Vault>) -> F + Send + 'static,
) where
    F: Future<Output = ()> + Send + 'static,
{
    let weak = Arc::downgrade(vault);
    tokio::spawn(async move {
        while let Err(error) = tokio::spawn(work(Weak::clone(&weak))).await {
            if error.is_cancelled() {
                return;
            }
            tracing::error!(worker = name, "a worker panicked, and begins anew");
            if let Some(vault) = weak.upgrade() {
                vault.rounds.panicked();
            }
            tokio::time::sleep(AFTER_PANIC).await;
        }
    });
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
            Ok(false) if vault.replica.is_leader() => bootstrap(&vault, fingerprint).await,
            Ok(false) | Err(_) => {}
        }
        drop(vault);
        tokio::time::sleep(GLANCE).await;
    }
}

/// The most powerful token there is comes into being in the audit trail's sight.
async fn bootstrap(vault: &Vault, fingerprint: TokenFingerprint) {
    let context = RequestContext::of_worker(WITHIN);
    let event = |outcome, status| Event {
        actor: NODE,
        action: "token.bootstrap",
        target: TokenName::BOOTSTRAP,
        outcome,
        status,
    };
    if vault
        .record(&context, event("attempted", None))
        .await
        .is_err()
    {
        return;
    }
    let proposed = propose(&*vault.replica, Command::Bootstrap { fingerprint }).await;
    let (outcome, status) = match proposed.map(|submitted| submitted.applied) {
        Ok(Applied::Effect(_)) => ("done", Some(201)),
        Ok(Applied::Rejected(_)) => ("failed", None),
        Err(_) => ("unknown", None),
    };
    vault.rounds.note(Worker::Bootstrap, outcome == "done");
    tracing::info!(outcome, "proposed the bootstrap token");
    if let Err(error) = vault.record(&context, event(outcome, status)).await {
        tracing::error!(%error, "the end of the bootstrap is not in the audit trail");
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
        vault.keyring.sweep().await;
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
