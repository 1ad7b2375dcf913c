//! The vault: what all use cases stand on.

use std::{
    borrow::Cow,
    num::NonZeroU32,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use strongroom_core::{
    Allowlist, Command, Effect, ReadGate, Replica, State, Submitted, TokenFingerprint,
};
use strongroom_seal::Keyring;
use tracing::Instrument;

use crate::{
    audit::{Audit, Entry, NOBODY, READER},
    backup::{BackupReading, Backups, Progress as BackupProgress},
    context::RequestContext,
    error::VaultError,
    kms_health::KmsHealth,
    last_used::LastUsed,
    lockout::{Lockout, LockoutPolicy},
    refusals::Refusals,
    rewrap::{Progress, RewrapPolicy},
    rounds::Rounds,
    secrets::NameLocks,
    stats::Stats,
    status,
    targets::Targets,
    watch::Watches,
};

/// The target of spans for the stages of a request. They are for traces, and have no fields that a caller
/// could fill.
pub(crate) const TRACE: &str = "strongroom_trace";

/// How a vault behaves.
pub struct VaultConfig {
    /// Who may read.
    pub allowed: Allowlist,
    /// When an address is locked out.
    pub lockout: LockoutPolicy,
    /// Opens the first start.
    pub bootstrap: Option<TokenFingerprint>,
    /// Upper bound on how late something due is noticed.
    pub poll: Duration,
    /// When and how fast versions are rewrapped.
    pub rewrap: RewrapPolicy,
    /// How long a voter has not answered the leader before it is taken out of the membership. Zero:
    /// never.
    pub dead_node: Duration,
    /// Data keys of current versions to be unwrapped in a second at the start; `None`: they are
    /// unwrapped when they are asked for.
    pub prewarm: Option<NonZeroU32>,
}

/// Use cases over a replica, a keyring, an audit trail, and targets.
pub struct Vault {
    pub(crate) replica: Arc<dyn Replica>,
    pub(crate) keyring: Arc<Keyring>,
    pub(crate) audit: Audit,
    pub(crate) config: VaultConfig,
    pub(crate) lockout: Lockout,
    pub(crate) refusals: Refusals,
    pub(crate) stats: Stats,
    pub(crate) name_locks: NameLocks,
    pub(crate) last_used: LastUsed,
    pub(crate) rewrap: Progress,
    pub(crate) watches: Watches,
    pub(crate) kms_health: KmsHealth,
    pub(crate) targets: Arc<dyn Targets>,
    pub(crate) backups: Option<Backups>,
    pub(crate) backups_progress: BackupProgress,
    pub(crate) rounds: Rounds,
    stopping: AtomicBool,
}

impl Vault {
    /// Puts a vault together.
    #[must_use]
    pub fn new(
        replica: Arc<dyn Replica>,
        keyring: Arc<Keyring>,
        audit: Audit,
        targets: Arc<dyn Targets>,
        config: VaultConfig,
    ) -> Self {
        let lockout = Lockout::new(config.lockout);
        let (stats, last_used) = (Stats::default(), LastUsed::default());
        let (name_locks, kms_health) = (NameLocks::default(), KmsHealth::default());
        Self {
            replica,
            keyring,
            audit,
            config,
            lockout,
            refusals: Refusals::default(),
            stats,
            name_locks,
            last_used,
            rewrap: Progress::default(),
            watches: Watches::default(),
            kms_health,
            targets,
            backups: None,
            backups_progress: BackupProgress::default(),
            rounds: Rounds::default(),
            stopping: AtomicBool::new(false),
        }
    }

    /// The same, with backups taken on schedule.
    #[must_use]
    pub fn with_backups(self, backups: Option<Backups>) -> Self {
        Self { backups, ..self }
    }

    /// What is known of scheduled backups; `None` if there are none.
    #[must_use]
    pub fn backups(&self) -> Option<BackupReading> {
        self.backups.as_ref()?;
        Some(self.backups_progress.read(self.replica.clock()))
    }

    /// Counters of gates and use cases.
    #[must_use]
    pub fn stats(&self) -> &Stats {
        &self.stats
    }

    /// What workers have done.
    #[must_use]
    pub fn rounds(&self) -> &Rounds {
        &self.rounds
    }

    /// The data keys and their service.
    #[must_use]
    pub fn keyring(&self) -> &Keyring {
        &self.keyring
    }

    /// The audit trail.
    #[must_use]
    pub fn audit(&self) -> &Audit {
        &self.audit
    }

    /// Agreement.
    #[must_use]
    pub fn replica(&self) -> &dyn Replica {
        self.replica.as_ref()
    }

    /// This node was told to stop: it is ready no more, and whoever waits for a newer version is
    /// answered.
    pub fn begin_stop(&self) {
        self.stopping.store(true, Ordering::Release);
        self.end_waits();
    }

    /// Whether this node was told to stop.
    #[must_use]
    pub fn is_stopping(&self) -> bool {
        self.stopping.load(Ordering::Acquire)
    }

    /// Whether the bootstrap token has been taken up, or there is none to take up.
    #[must_use]
    pub fn bootstrap_settled(&self) -> bool {
        self.config.bootstrap.is_none()
            || self
                .replica
                .local()
                .is_ok_and(|state| state.bootstrap_closed())
    }

    pub(crate) async fn fresh_state(
        &self,
        context: &RequestContext,
    ) -> Result<Arc<State>, VaultError> {
        let read = self.replica.read(ReadGate::Linearizable, context.left());
        let state = read.await?;
        context.seen.note(state.position());
        Ok(state)
    }

    /// Replicates a command within the request's deadline, and notes where.
    pub(crate) async fn submit_command(
        &self,
        context: &RequestContext,
        command: Command,
    ) -> Result<Submitted, VaultError> {
        let submitted = match context.request {
            None => self.replica.submit(command, context.left()),
            Some(request) => self
                .replica
                .submit_request(request, command, context.left()),
        };
        let stage = tracing::debug_span!(target: TRACE, "submit");
        let submitted = submitted.instrument(stage).await?;
        context.seen.note(Some(submitted.position));
        Ok(submitted)
    }

    /// The same, for a command that takes effect or is an error.
    pub(crate) async fn submit(
        &self,
        context: &RequestContext,
        command: Command,
    ) -> Result<Effect, VaultError> {
        let submitted = self.submit_command(context, command).await?;
        Ok(submitted.applied.into_result()?)
    }

    /// What this request did when it was tried before.
    pub(crate) fn done_before(context: &RequestContext, state: &State) -> Option<Effect> {
        state.outcome(&context.request?).cloned()
    }

    /// Refuses a request that its caller may try again, where the answer holds something that is not
    /// kept and so cannot be said twice.
    pub(crate) fn once_only(context: &RequestContext) -> Result<(), VaultError> {
        match context.request {
            None => Ok(()),
            Some(_) => Err(VaultError::invalid(
                "Idempotency-Key is not taken where a value or a token is made: the answer could not be \
                 given again",
            )),
        }
    }

    pub(crate) fn entry(&self, context: &RequestContext, event: Event<'_>) -> Entry {
        Entry {
            request_id: Arc::clone(&context.request_id),
            actor: event.actor.to_owned(),
            client_ip: Some(context.client_ip).filter(|ip| !ip.is_unspecified()),
            peer_ip: Some(context.peer_ip).filter(|ip| !ip.is_unspecified()),
            action: Cow::Borrowed(event.action),
            target: event.target.to_owned(),
            outcome: Cow::Borrowed(event.outcome),
            status: event.status,
        }
    }

    /// Refuses: with a record, or as one of too many.
    pub(crate) async fn refuse(
        &self,
        context: &RequestContext,
        error: VaultError,
        (actor, action, target): (&str, &'static str, &str),
    ) -> VaultError {
        self.stats.refused(&error);
        let token = (![NOBODY, READER].contains(&actor)).then_some(actor);
        let now = Instant::now();
        if !self.refusals.is_recorded(context.client_ip, token, now) {
            self.stats.refused_unrecorded();
            return match error {
                VaultError::Unauthenticated
                | VaultError::AddressNotAllowed
                | VaultError::PermissionDenied => VaultError::RateLimited,
                // These say what to do, or what may have happened.
                other => other,
            };
        }
        let event = Event {
            actor,
            action,
            target,
            outcome: status::outcome(&error),
            status: Some(status::status(&error)),
        };
        match self.record(context, event).await {
            Ok(()) => error,
            Err(unrecorded) => unrecorded,
        }
    }

    /// Writes one audit record. What it covers must not happen, and no answer may leave, if this
    /// fails (invariant 13).
    pub(crate) async fn record(
        &self,
        context: &RequestContext,
        event: Event<'_>,
    ) -> Result<(), VaultError> {
        let stage = tracing::debug_span!(target: TRACE, "audit");
        self.audit
            .write_noting(|| self.entry(context, event), || context.seen.note_record())
            .instrument(stage)
            .await
            .map(|_| ())
            .map_err(|_| VaultError::AuditUnavailable)
    }
}

/// What an audit record says beside where the request came from.
pub(crate) struct Event<'a> {
    pub(crate) actor: &'a str,
    pub(crate) action: &'static str,
    pub(crate) target: &'a str,
    pub(crate) outcome: &'static str,
    pub(crate) status: Option<u16>,
}
