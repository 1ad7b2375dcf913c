//! The worker: looks for rotations, and carries passes out, while this node leads.

use std::{
    collections::{HashMap, HashSet, VecDeque},
    sync::{Arc, Weak},
    time::{Duration, Instant},
};

use futures_util::future::join_all;
use strongroom_core::{
    Applied, Command, KmsKeyId, Rejection, SecretName, State, WrappedDek, rewrap::Pass,
};
use strongroom_seal::{Binding, BreakerState, KmsError};

use crate::{
    authorize::Authorized,
    context::RequestContext,
    error::VaultError,
    operation::Rewrap,
    rounds::Worker,
    vault::{Event, Vault},
};

/// Between two looks at whether there is something to do.
const GLANCE: Duration = Duration::from_millis(200);
/// How long one command may take.
const WITHIN: Duration = Duration::from_secs(10);
/// How long to leave KMS alone after it was not there.
const KMS_PAUSE: Duration = Duration::from_secs(2);
/// Versions rewrapped side by side when nothing paces them.
const SIDE_BY_SIDE: usize = 128;
/// How often KMS may be away for one version alone, while it answers for others, before the pass goes
/// on without it.
const TRIES: u32 = 5;
/// Versions looked up at a time: looking costs a walk over all secrets.
const QUEUE: usize = 10_000;

pub(crate) async fn worker(weak: Weak<Vault>) {
    let mut looked: Option<Instant> = None;
    loop {
        tokio::time::sleep(GLANCE).await;
        let Some(vault) = weak.upgrade() else { return };
        let Some(state) = vault
            .replica
            .local()
            .ok()
            .filter(|_| vault.replica.is_leader())
        else {
            vault.rewrap.forget();
            looked = None;
            continue;
        };
        if let Some(pass) = &state.rewrap().running {
            carry_out(&vault, pass).await;
            continue;
        }
        let due = looked.is_none_or(|at| at.elapsed() >= vault.config.rewrap.poll);
        if vault.config.rewrap.enabled && due {
            looked = Some(Instant::now());
            let done = look(&vault).await;
            vault.rounds.note(Worker::Rewrap, done.is_ok());
            if let Err(error) = done {
                tracing::warn!(%error, "looking for a rotation of the KMS key failed");
                vault.rewrap.note_trouble(Some(error.to_string()));
            }
        }
    }
}

/// Adopts a baseline, or begins a pass if the key has been rotated since the watermark.
async fn look(vault: &Vault) -> Result<(), VaultError> {
    let (current, _) = vault.current_material().await?;
    vault.rewrap.note_trouble(None);
    let state = vault.replica.local()?;
    let left_behind = state
        .rewrap()
        .ended
        .as_ref()
        .filter(|ended| ended.failed > 0);
    let command = match &state.rewrap().watermark {
        _ if left_behind.is_some_and(|ended| ended.pass.target == current) => {
            Command::BeginPass { target: current }
        }
        None => Command::AdoptWatermark { watermark: current },
        Some(watermark) if watermark.is_behind(&current) => Command::BeginPass { target: current },
        Some(_) => return Ok(()),
    };
    let begins = matches!(command, Command::BeginPass { .. });
    let context = RequestContext::of_worker(WITHIN);
    let permit = Authorized::<Rewrap>::for_rewrap_worker(context, state);
    let effect = vault.submit(&permit.context, command);
    if begins {
        vault.audited(&permit, 202, effect).await
    } else {
        effect.await
    }
    .map(|_| ())
}

/// One version on its way.
struct Item {
    name: SecretName,
    version: u64,
    wrapped: WrappedDek,
    key_id: KmsKeyId,
}

enum Moved {
    /// Moved, or no longer there to be moved.
    Done,
    /// This version cannot be moved.
    Failed(String),
    /// It cannot be moved at the moment; whether that may be for a reason of its own.
    Later { why: String, own: bool },
}

/// Moves all pending versions, and ends the pass. Returns early when this node no longer leads; the
/// next leader goes on.
async fn carry_out(vault: &Arc<Vault>, pass: &Pass) {
    if !can_carry_out(vault, pass).await {
        return tokio::time::sleep(KMS_PAUSE).await;
    }
    vault.rewrap.begin(pass.id);
    tracing::info!(pass = pass.id, "re-wrapping");
    let (mut failed, mut queue) = (HashSet::new(), VecDeque::new());
    let mut tries = HashMap::new();
    while vault.replica.is_leader() {
        if queue.is_empty() {
            let Ok(state) = vault.replica.local() else {
                return;
            };
            if state.rewrap().running.as_ref().map(|running| running.id) != Some(pass.id) {
                return;
            }
            queue = pending_items(&state, &failed);
            if queue.is_empty() {
                return end(vault, pass.id).await;
            }
        }
        let at_once = side_by_side(vault.config.rewrap.max_per_sec).min(queue.len());
        let items: Vec<Item> = queue.drain(..at_once).collect();
        let began = Instant::now();
        let moved = join_all(items.iter().map(|item| rewrap_one(vault, pass, item))).await;
        let must_wait = note_moved(vault, items, moved, &mut failed, &mut tries).await;
        pace(vault.config.rewrap.max_per_sec, at_once, began.elapsed()).await;
        if must_wait {
            tokio::time::sleep(KMS_PAUSE).await;
        } else {
            vault.rewrap.note_trouble(None);
        }
    }
}

/// Whether this node is configured with the key that the pass moves versions to. If not, another
/// leader has to carry it out, and failing every version here would only hide that.
async fn can_carry_out(vault: &Vault, pass: &Pass) -> bool {
    let problem = match vault.current_material().await {
        Ok((current, _)) if current.key_id == pass.target.key_id => None,
        Ok(_) => Some("the leader is configured with another KMS key than the pass's".to_owned()),
        Err(error) => Some(error.to_string()),
    };
    if let Some(problem) = &problem {
        vault.rounds.note(Worker::Rewrap, false);
        tracing::warn!(pass = pass.id, problem, "the pass has to wait");
    }
    let can = problem.is_none();
    vault.rewrap.note_trouble(problem);
    can
}

/// Notes what failed. Returns whether KMS or the cluster has to be left alone for a moment.
async fn note_moved(
    vault: &Vault,
    items: Vec<Item>,
    moved: Vec<Moved>,
    failed: &mut HashSet<(SecretName, u64)>,
    tries: &mut HashMap<(SecretName, u64), u32>,
) -> bool {
    let mut must_wait = false;
    let some_moved = moved.iter().any(|moved| matches!(moved, Moved::Done));
    for (item, moved) in items.into_iter().zip(moved) {
        match moved {
            Moved::Done => {}
            Moved::Failed(why) => {
                note_failure(vault, &item, &why).await;
                failed.insert((item.name, item.version));
            }
            Moved::Later { why, own } => {
                let others_move = some_moved || vault.keyring.breaker() == BreakerState::Closed;
                if own && others_move {
                    let which = (item.name.clone(), item.version);
                    let tried = tries.entry(which.clone()).or_default();
                    *tried += 1;
                    if *tried >= TRIES {
                        note_failure(vault, &item, &why).await;
                        failed.insert(which);
                    }
                }
                vault.rewrap.note_trouble(Some(why));
                must_wait = true;
            }
        }
    }
    must_wait
}

/// With a pace, a tenth of a second's worth, so that it is even.
fn side_by_side(max_per_sec: u32) -> usize {
    match max_per_sec {
        0 => SIDE_BY_SIDE,
        limit => (limit as usize).div_ceil(10).min(SIDE_BY_SIDE),
    }
}

/// What is pending and has not failed before. A part of it, since the state moves on meanwhile.
fn pending_items(state: &State, failed: &HashSet<(SecretName, u64)>) -> VecDeque<Item> {
    let has_failed = |name: &SecretName, version| {
        !failed.is_empty() && failed.contains(&(name.clone(), version))
    };
    state
        .pending_rewraps()
        .filter(|(name, version, _)| !has_failed(name, version.number))
        .take(QUEUE)
        .map(|(name, version, sealed)| Item {
            name: name.clone(),
            version: version.number,
            wrapped: sealed.wrapped_dek.clone(),
            key_id: sealed.kms_key_id.clone(),
        })
        .collect()
}

async fn rewrap_one(vault: &Vault, pass: &Pass, item: &Item) -> Moved {
    let binding = Binding::new(&item.name, item.version);
    let rewrapped = match vault
        .keyring
        .rewrap(&item.wrapped, &item.key_id, &binding)
        .await
    {
        Ok(rewrapped) => rewrapped,
        Err(error @ (KmsError::Throttled(_) | KmsError::Unavailable(_))) => {
            return Moved::Later {
                why: error.to_string(),
                own: matches!(error, KmsError::Unavailable(_)),
            };
        }
        Err(error) => return Moved::Failed(error.to_string()),
    };
    let command = Command::RewrapVersion {
        name: item.name.clone(),
        version: item.version,
        pass: pass.id,
        replaces: item.wrapped.clone(),
        wrapped: rewrapped.wrapped,
        kms_key_id: rewrapped.key_id,
        material_id: rewrapped.material_id,
    };
    match vault.replica.submit(command, WITHIN).await {
        Ok(submitted) => match submitted.applied {
            Applied::Rejected(Rejection::Invalid) => Moved::Failed(
                "KMS answered with another key, or a wrapped key over the limit".to_owned(),
            ),
            // It changed or vanished meanwhile, so there is nothing to move, or it is pending still
            // and comes again.
            Applied::Rejected(_) | Applied::Effect(_) => Moved::Done,
        },
        Err(error) => Moved::Later {
            why: error.to_string(),
            own: false,
        },
    }
}

/// Counted, named, and in the audit trail; the rest of the pass goes on.
async fn note_failure(vault: &Vault, item: &Item, why: &str) {
    vault.rewrap.note_failure(&item.name, item.version, why);
    let context = RequestContext::of_worker(WITHIN);
    let target = format!("{}:{}", item.name, item.version);
    tracing::warn!(version = %target, why, "a version cannot be rewrapped");
    let event = Event {
        actor: Authorized::<Rewrap>::WORKER,
        action: "kms.rewrap_version",
        target: &target,
        outcome: "failed",
        status: None,
    };
    if let Err(error) = vault.record(&context, event).await {
        tracing::error!(%error, version = %target, "a failed rewrap is not in the audit trail");
    }
}

/// Sleeps for what `count` versions may take, less what they took.
async fn pace(max_per_sec: u32, count: usize, took: Duration) {
    if max_per_sec > 0 {
        let share = Duration::from_secs_f64(count as f64 / f64::from(max_per_sec));
        tokio::time::sleep(share.saturating_sub(took)).await;
    }
}

async fn end(vault: &Arc<Vault>, id: u64) {
    let (failed, last_error) = vault.rewrap.failed();
    let context = RequestContext::of_worker(WITHIN);
    let Ok(state) = vault.replica.local() else {
        return;
    };
    let permit = Authorized::<Rewrap>::for_rewrap_worker(context, state);
    let ended = vault
        .audited(
            &permit,
            200,
            vault.submit(
                &permit.context,
                Command::EndPass {
                    id,
                    failed,
                    last_error,
                },
            ),
        )
        .await;
    vault
        .rounds
        .note(Worker::Rewrap, ended.is_ok() && failed == 0);
    match ended {
        Ok(_) => tracing::info!(pass = id, failed, "the pass has ended"),
        Err(error) => tracing::warn!(pass = id, %error, "the end of the pass is not recorded yet"),
    }
}
