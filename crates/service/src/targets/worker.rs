//! The worker that carries out rotations with a target, while this node leads.

use std::{
    collections::HashMap,
    sync::{Arc, Weak},
    time::{Duration, Instant},
};

use strongroom_core::{LogPosition, Replica, SecretName, State, TargetName};
use tokio::task::JoinSet;

use super::{
    SESSION_LIVES,
    apply::{Backoff, apply},
};
use crate::{error::VaultError, rounds::Worker, vault::Vault};

/// How long the worker waits for a change before it looks again.
const ROUND: Duration = Duration::from_secs(1);
/// Between two looks at least: it is woken by every write, and hardly any begins a rotation.
const SETTLE: Duration = Duration::from_millis(10);
/// Rotations carried out side by side: one whose target hangs delays few others.
const SIDE_BY_SIDE: usize = 16;
/// Of these, what one target may take.
const OF_ONE_TARGET: usize = 4;
/// How long a node must have led before it offers a target something new: until then a session of
/// the leader before it could still have an effect. What that one had begun, it may finish before,
/// since both want the same.
const LED_FOR: Duration = Duration::from_secs(SESSION_LIVES.as_secs() + 2);

/// How long this node has led without a break.
#[derive(Default)]
struct Leadership(Option<(u64, Instant)>);

impl Leadership {
    /// Whether it may offer something new by now; `None` if it does not lead.
    fn look(&mut self, replica: &dyn Replica) -> Option<bool> {
        self.0 = match (replica.leads_in(), self.0) {
            (Some(term), Some((known, since))) if term == known => Some((term, since)),
            (Some(term), _) => Some((term, Instant::now())),
            (None, _) => None,
        };
        // Nobody led before the first term.
        self.0
            .map(|(term, since)| term <= 1 || since.elapsed() >= LED_FOR)
    }
}

/// What is under way, and what has failed.
#[derive(Default)]
struct Work {
    running: JoinSet<(SecretName, Result<(), VaultError>)>,
    busy: Vec<(SecretName, Option<TargetName>)>,
    failed: HashMap<SecretName, Backoff>,
}

impl Work {
    /// Starts what is pending, not under way, and not to be left alone.
    fn start(&mut self, vault: &Arc<Vault>, state: &State, new_ones_too: bool) {
        let now = Instant::now();
        let ready = |name: &&SecretName| {
            let begun = state
                .secret(name)
                .is_some_and(|secret| secret.is_unsettled());
            let rests = self
                .failed
                .get(name)
                .is_some_and(|failed| failed.until > now);
            let busy = self.busy.iter().any(|(busy, _)| busy == *name);
            (begun || new_ones_too) && !rests && !busy
        };
        let names: Vec<SecretName> = state.pending_rotations().filter(ready).cloned().collect();
        for name in names {
            let secret = state.secret(&name);
            let target = secret.and_then(|secret| secret.settings.kind.target().cloned());
            let of_target = self.busy.iter().filter(|(_, busy)| *busy == target);
            if self.busy.len() >= SIDE_BY_SIDE || of_target.count() >= OF_ONE_TARGET {
                continue;
            }
            self.busy.push((name.clone(), target));
            let vault = Arc::clone(vault);
            self.running.spawn(async move {
                let done = apply(&vault, &name).await;
                vault.rounds.note(Worker::Targets, done.is_ok());
                (name, done)
            });
        }
        self.failed
            .retain(|name, _| state.secret(name).is_some_and(|s| s.pending.is_some()));
    }

    /// Notes one that has ended.
    fn note(&mut self, (name, done): (SecretName, Result<(), VaultError>)) {
        self.busy.retain(|(busy, _)| *busy != name);
        match done {
            Ok(()) => drop(self.failed.remove(&name)),
            Err(error) => {
                tracing::debug!(%name, %error, "a rotation will be tried again");
                let backoff = Backoff::after(self.failed.get(&name));
                self.failed.insert(name, backoff);
            }
        }
    }
}

/// What is applied after `seen`, not sooner than after [`SETTLE`].
async fn next_look(replica: &dyn Replica, seen: Option<LogPosition>) -> Arc<State> {
    tokio::time::sleep(SETTLE).await;
    replica.next_state(seen, ROUND).await
}

pub(crate) async fn worker(weak: Weak<Vault>) {
    let (mut leadership, mut work) = (Leadership::default(), Work::default());
    let mut seen = None;
    loop {
        let Some(vault) = weak.upgrade() else { return };
        let replica = Arc::clone(&vault.replica);
        match (leadership.look(&*replica), replica.local()) {
            (Some(new_ones_too), Ok(state)) => work.start(&vault, &state, new_ones_too),
            _ => work.failed.clear(),
        }
        drop(vault);
        tokio::select! {
            state = next_look(&*replica, seen) => seen = state.position(),
            Some(ended) = work.running.join_next() => match ended {
                Ok(ended) => work.note(ended),
                Err(error) => {
                    // Which one it was is not told; all are looked at anew.
                    tracing::error!(%error, "a rotation did not come to its end");
                    work = Work::default();
                }
            },
        }
    }
}
