//! From a token to a proof: `Authorized<A>` says that a caller may do A to a target, and is minted
//! here and nowhere else.

mod here;

pub(crate) use here::Here;

use std::{marker::PhantomData, sync::Arc, time::Instant};

use strongroom_core::{
    Command, Generator, Kind, Rejection, Role, SecretName, State, TargetName, TokenFingerprint,
    TokenGrant, TokenName,
};
use strongroom_seal::AdminToken;
use tracing::Instrument;

use crate::{
    audit::{NOBODY, READER},
    context::RequestContext,
    error::VaultError,
    operation::Operation,
    stats::Gate,
    status,
    vault::{Event, TRACE, Vault},
};

/// What a request brought as its token.
pub enum Presented {
    /// Nothing.
    Nothing,
    /// Something that cannot be a token: counts as a wrong one.
    Malformed,
    /// A token, right or wrong.
    Token(AdminToken),
}

/// Proof that the holder of a token may do A to a target, and that the attempt stands in the audit
/// trail if A changes anything.
pub struct Authorized<A: Operation> {
    pub(crate) context: RequestContext,
    pub(crate) actor: String,
    pub(crate) role: Arc<Role>,
    pub(crate) target: A::Target,
    /// The state that the decision was made on; linearizable.
    pub(crate) state: Arc<State>,
    operation: PhantomData<A>,
}

impl<A: Operation> Authorized<A> {
    /// Who acts: a token's name, or a worker's, which has a slash and so is no token's.
    #[must_use]
    pub fn actor(&self) -> &str {
        &self.actor
    }

    /// A worker may do what it is there for, and nothing else: each has a constructor of its own.
    fn of_worker(
        context: RequestContext,
        actor: &str,
        target: A::Target,
        state: Arc<State>,
    ) -> Self {
        let role = Arc::new(Role::admin());
        Self {
            context,
            actor: actor.to_owned(),
            role,
            target,
            state,
            operation: PhantomData,
        }
    }
}

impl Authorized<crate::operation::Update> {
    /// The generator of the secret to be changed, if it has one: what a partial change starts from.
    #[must_use]
    pub fn generator(&self) -> Option<&Generator> {
        match &self.state.secret(&self.target)?.settings.kind {
            Kind::Automatic { generator, .. } => Some(generator),
            Kind::Manual => None,
        }
    }

    /// Whether the secret is there and its values are for nobody else to take.
    pub(crate) fn has_secret_without_target(&self) -> bool {
        let secret = self.state.secret(&self.target);
        secret.is_some_and(|secret| secret.settings.kind.target().is_none())
    }

    /// The target of the secret to be changed, if it has one.
    #[must_use]
    pub fn target(&self) -> Option<&TargetName> {
        self.state.secret(&self.target)?.settings.kind.target()
    }
}

impl Authorized<crate::operation::Rotate> {
    /// For the worker that rotates what is due.
    pub(crate) fn for_rotation_worker(
        context: RequestContext,
        target: SecretName,
        state: Arc<State>,
    ) -> Self {
        Self::of_worker(context, "worker/rotation", target, state)
    }
}

impl Authorized<crate::operation::ApplyToTarget> {
    /// For the worker that applies pending values to targets.
    pub(crate) fn for_target_worker(
        context: RequestContext,
        target: SecretName,
        state: Arc<State>,
    ) -> Self {
        Self::of_worker(context, "worker/targets", target, state)
    }
}

impl Authorized<crate::operation::Rewrap> {
    /// The re-wrap worker's name in the audit trail.
    pub(crate) const WORKER: &str = "worker/rewrap";

    /// For the worker that begins and ends passes.
    pub(crate) fn for_rewrap_worker(context: RequestContext, state: Arc<State>) -> Self {
        Self::of_worker(context, Self::WORKER, (), state)
    }
}

impl Authorized<crate::operation::DropDeadNode> {
    /// For the worker that takes dead voters out of the membership.
    pub(crate) fn for_dead_node_worker(
        context: RequestContext,
        name: String,
        state: Arc<State>,
    ) -> Self {
        Self::of_worker(context, "worker/dead-nodes", name, state)
    }
}

/// A grant and its role.
type Held<'a> = (&'a Arc<TokenGrant>, &'a Arc<Role>);

/// Proof that the client's address may read.
pub struct Reader {
    pub(crate) context: Box<RequestContext>,
}

impl Reader {
    /// The same with another deadline.
    #[must_use]
    pub fn until(mut self, deadline: Instant) -> Self {
        self.context.deadline = deadline;
        self
    }
}

impl Vault {
    /// Decides whether the holder of `token` may do `A` to `target`. A refusal is audited, or counted as
    /// one of too many.
    ///
    /// # Errors
    /// [`VaultError::LockedOut`], [`VaultError::Unauthenticated`],
    /// [`VaultError::AddressNotAllowed`], [`VaultError::PermissionDenied`],
    /// [`VaultError::RateLimited`] in place of these three; and the errors of a linearizable read, since a decision on an old state would honour revoked tokens
    /// (invariant 14).
    pub async fn authorize<A: Operation>(
        &self,
        mut context: RequestContext,
        token: &Presented,
        target: A::Target,
    ) -> Result<Authorized<A>, VaultError> {
        let mut actor = None;
        let gate = tracing::debug_span!(target: TRACE, "gate");
        let decided = self.decide::<A>(&context, token, &target, &mut actor);
        let decided = decided.instrument(gate).await;
        match decided {
            Ok((actor, role, state)) => {
                self.stats.admitted(Gate::Token);
                let (actor, operation) = (actor.to_string(), PhantomData);
                let key = context.idempotency_key.as_ref();
                context.request =
                    key.map(|key| key.request(&actor, A::AUDIT, &A::describe(&target)));
                Ok(Authorized {
                    context,
                    actor,
                    role,
                    target,
                    state,
                    operation,
                })
            }
            Err(error) => {
                let actor = actor.as_ref().map_or(NOBODY, TokenName::as_str);
                let target = A::describe(&target);
                let what = (actor, A::AUDIT, target.as_str());
                Err(self.refuse(&context, error, what).await)
            }
        }
    }

    async fn decide<A: Operation>(
        &self,
        context: &RequestContext,
        token: &Presented,
        target: &A::Target,
        actor: &mut Option<TokenName>,
    ) -> Result<(TokenName, Arc<Role>, Arc<State>), VaultError> {
        if let Some(left) = self.lockout.remaining(context.client_ip, Instant::now()) {
            return Err(VaultError::LockedOut {
                retry_after_secs: left.as_secs() + 1,
            });
        }
        let fingerprint = match token {
            Presented::Nothing => return Err(VaultError::Unauthenticated),
            Presented::Malformed => return Err(self.wrong_token(context)),
            Presented::Token(token) => token.fingerprint(),
        };
        let state = self.fresh_state(context).await?;
        let Some((name, found)) = self.holder::<A>(context, &state, &fingerprint, target) else {
            // It may be the bootstrap token, which is not taken up yet: no reason to lock out.
            if self.config.bootstrap.is_some() && !state.bootstrap_closed() {
                return Err(VaultError::Starting);
            }
            return Err(self.wrong_token(context));
        };
        *actor = Some(name.clone());
        let (grant, role) = found?;
        if grant.uses_left.is_some() {
            // In the trail before it is taken: a use that cannot be recorded is not spent.
            let event = Event {
                actor: name.as_str(),
                action: "token.use",
                target: &A::describe(target),
                outcome: "attempted",
                status: None,
            };
            self.record(context, event).await?;
            self.take_use(context, fingerprint).await?;
        }
        self.last_used.note(name, self.replica.clock());
        Ok((name.clone(), Arc::clone(role), Arc::clone(&state)))
    }

    /// Whose token this is, and what it may do by this state; `None`: nobody's.
    fn holder<'a, A: Operation>(
        &self,
        context: &RequestContext,
        state: &'a State,
        fingerprint: &TokenFingerprint,
        target: &A::Target,
    ) -> Option<(&'a TokenName, Result<Held<'a>, VaultError>)> {
        let (name, grant) = state.grant(fingerprint, self.replica.clock())?;
        let bound = &grant.bound_cidrs;
        if !bound.is_empty() && !bound.contains(context.client_ip) {
            return Some((name, Err(VaultError::AddressNotAllowed)));
        }
        let role = state.role(&grant.role);
        let may = role.filter(|role| A::permits(role, target));
        let held = may.map(|role| (grant, role));
        Some((name, held.ok_or(VaultError::PermissionDenied)))
    }

    fn wrong_token(&self, context: &RequestContext) -> VaultError {
        if self.lockout.failed(context.client_ip, Instant::now()) {
            tracing::warn!(client_ip = %context.client_ip, "locked out after too many wrong tokens");
            self.stats.locked_out();
        }
        VaultError::Unauthenticated
    }

    /// Counted by the cluster before the effect: two nodes cannot spend the same last use.
    async fn take_use(
        &self,
        context: &RequestContext,
        fingerprint: TokenFingerprint,
    ) -> Result<(), VaultError> {
        match self
            .submit(context, Command::UseToken { fingerprint })
            .await
        {
            Ok(_) => Ok(()),
            Err(VaultError::Unauthenticated) => Err(VaultError::from(Rejection::TokenSpent)),
            Err(error) => Err(error),
        }
    }

    /// Decides by address whether a client may read. A refusal is audited under `action` and
    /// `target`.
    ///
    /// # Errors
    /// [`VaultError::AddressNotAllowed`], or [`VaultError::AuditUnavailable`].
    pub async fn admit_reader(
        &self,
        context: Box<RequestContext>,
        action: &'static str,
        target: &str,
    ) -> Result<Reader, VaultError> {
        if self.may_read(&context) {
            self.stats.admitted(Gate::Address);
            return Ok(Reader { context });
        }
        let what = (READER, action, target);
        let error = VaultError::AddressNotAllowed;
        Err(Box::pin(self.refuse(&context, error, what)).await)
    }

    /// Refuses a request whose client address cannot be told, and records it.
    ///
    /// # Errors
    /// Always: [`VaultError::AddressNotAllowed`], or [`VaultError::AuditUnavailable`].
    pub async fn refuse_address<T>(
        &self,
        context: &RequestContext,
        target: &str,
    ) -> Result<T, VaultError> {
        let what = (NOBODY, "request", target);
        let error = VaultError::AddressNotAllowed;
        Err(self.refuse(context, error, what).await)
    }

    pub(crate) fn may_read(&self, context: &RequestContext) -> bool {
        // Workers have no address, and no list means them.
        !context.client_ip.is_unspecified() && self.config.allowed.contains(context.client_ip)
    }
}

impl Vault {
    /// Does something that changes the cluster: the attempt is in the audit trail before the effect,
    /// and how it ended after it.
    ///
    /// Failing to write the second record does not undo the effect: it is logged, and the caller
    /// learns what happened.
    pub(crate) async fn audited<A: Operation, T>(
        &self,
        permit: &Authorized<A>,
        success: u16,
        effect: impl Future<Output = Result<T, VaultError>>,
    ) -> Result<T, VaultError> {
        let target = A::describe(&permit.target);
        let event = |outcome, status| Event {
            actor: &permit.actor,
            action: A::AUDIT,
            target: &target,
            outcome,
            status,
        };
        self.record(&permit.context, event("attempted", None))
            .await?;
        let done = effect.await;
        let (outcome, status) = match &done {
            Ok(_) => ("done", success),
            Err(error) => (status::outcome(error), status::status(error)),
        };
        if let Err(error) = self
            .record(&permit.context, event(outcome, Some(status)))
            .await
        {
            tracing::error!(%error, action = A::AUDIT, outcome, "the end of an attempt is not in the audit trail");
        }
        done
    }

    /// Records that something was looked at; the answer may leave only if this succeeds.
    pub(crate) async fn audited_look<A: Operation>(
        &self,
        permit: &Authorized<A>,
        found: bool,
    ) -> Result<(), VaultError> {
        let event = Event {
            actor: &permit.actor,
            action: A::AUDIT,
            target: &A::describe(&permit.target),
            outcome: if found { "done" } else { "failed" },
            status: Some(if found { 200 } else { 404 }),
        };
        self.record(&permit.context, event).await
    }
}
