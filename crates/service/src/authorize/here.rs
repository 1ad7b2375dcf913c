//! What the leader decides on the state it has, for a write that says so.
//!
//! A linearizable state takes a round through the cluster. A write takes one anyhow: if it carries since when
//! access has been what it was decided on, the state machine refuses it once that has changed (invariant 14).

use std::{marker::PhantomData, sync::Arc, time::Instant};

use strongroom_core::{LogTime, Readiness, TokenName};

use super::{Authorized, Presented};
use crate::{
    context::RequestContext, error::VaultError, operation::Operation, stats::Gate, vault::Vault,
};

/// Permission by what this node has applied. It may be out of date, so it is good for a command that
/// carries [`access`](Self::access), and for nothing that the caller is told without one.
pub(crate) struct Here<A: Operation> {
    pub(crate) permit: Authorized<A>,
    holder: TokenName,
    /// Since when access has been what this was decided on.
    pub(crate) access: u64,
    /// When the token expires.
    pub(crate) until: Option<LogTime>,
}

impl Vault {
    /// Permission for the holder of `token` to do `A` to `target`, if this node leads and what it has
    /// applied says yes. `None` is no refusal: it is to be decided on a linearizable state.
    ///
    /// At a follower what is applied is behind too often. A token with a limited number of uses is counted
    /// by the cluster, and a request that may be tried again asks first what came of it.
    pub(crate) fn allow_here<A: Operation>(
        &self,
        context: &RequestContext,
        token: &Presented,
        target: &A::Target,
    ) -> Option<Here<A>> {
        let Presented::Token(token) = token else {
            return None;
        };
        let locked_out = self.lockout.remaining(context.client_ip, Instant::now());
        // Without a quorum that answers, a linearizable read says that nothing happened, and a write could not.
        let leads = self.replica.is_leader() && self.replica.readiness() == Readiness::Ready;
        if locked_out.is_some() || context.idempotency_key.is_some() || !leads {
            return None;
        }
        let state = self.replica.local().ok()?;
        let access = state.access()?;
        let found = self.holder::<A>(context, &state, &token.fingerprint(), target);
        let (name, grant, role) = match found? {
            (name, Ok((grant, role))) if grant.uses_left.is_none() => (name, grant, role),
            _ => return None,
        };
        let permit = Authorized {
            context: context.clone(),
            actor: name.to_string(),
            role: Arc::clone(role),
            target: target.clone(),
            state: Arc::clone(&state),
            operation: PhantomData,
        };
        let (holder, until) = (name.clone(), grant.expires_at);
        Some(Here {
            permit,
            holder,
            access,
            until,
        })
    }

    /// Notes that it is made use of.
    pub(crate) fn admit<A: Operation>(&self, here: &Here<A>) {
        self.stats.admitted(Gate::Token);
        self.last_used.note(&here.holder, self.replica.clock());
    }
}

impl<A: Operation> Here<A> {
    /// What the caller is told of an error from before the command: it says something about the secret, so a
    /// caller who may not know is refused in its place, if that can be found out.
    pub(crate) async fn instead_of(
        &self,
        error: VaultError,
        vault: &Vault,
        token: &Presented,
    ) -> VaultError {
        match self.anew(vault, token).await {
            Err(
                refusal @ (VaultError::Unauthenticated
                | VaultError::AddressNotAllowed
                | VaultError::PermissionDenied
                | VaultError::LockedOut { .. }),
            ) => refusal,
            _ => error,
        }
    }

    /// The same decision on a linearizable state, for what this one is not good enough for. A refusal is for
    /// the caller to record: the attempt stands in the audit trail already.
    ///
    /// # Errors
    /// As [`Vault::authorize`].
    pub(crate) async fn anew(
        &self,
        vault: &Vault,
        token: &Presented,
    ) -> Result<Authorized<A>, VaultError> {
        let (context, target) = (self.permit.context.clone(), self.permit.target.clone());
        let mut actor = None;
        let decided = vault.decide::<A>(&context, token, &target, &mut actor);
        let decided = decided.await;
        let decided = decided.inspect_err(|error| vault.stats.refused(error));
        let (actor, role, state) = decided?;
        Ok(Authorized {
            context,
            actor: actor.to_string(),
            role,
            target,
            state,
            operation: PhantomData,
        })
    }
}
