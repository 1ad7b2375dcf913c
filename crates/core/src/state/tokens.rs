//! What commands do to roles and tokens.

use std::sync::Arc;

use imbl::{OrdMap, ordmap::DiffItem};

use super::{Deadline, State};
use crate::{
    Allowlist, Effect, LogPosition, LogTime, Rejection, Role, RoleName, TokenFingerprint,
    TokenGrant, TokenName, codec::ACCESS, limits,
};

/// How long an ended token stays in the list, in seconds.
const ENDED_TOKENS_SHOWN_SECS: u64 = 7 * 86_400;

/// Everything that says what tokens may do.
pub(super) type Access = (
    OrdMap<RoleName, Arc<Role>>,
    OrdMap<TokenName, Arc<TokenGrant>>,
);

impl State {
    pub(super) fn bootstrap(&mut self, fingerprint: TokenFingerprint) -> Result<Effect, Rejection> {
        if self.admin_token_existed {
            return Err(Rejection::BootstrapClosed);
        }
        let (Ok(name), Ok(role)) = (
            TokenName::parse(TokenName::BOOTSTRAP),
            RoleName::parse(RoleName::ADMIN),
        ) else {
            return Err(Rejection::Invalid);
        };
        self.create_token(name, fingerprint, role, None, Allowlist::default(), None)
    }

    /// Notes whether roles or tokens are others than before a command, whichever it was: so none that changes
    /// them can be forgotten. Only once there is a record for it: nodes would differ by whether they have
    /// been through a snapshot. Costs next to nothing for a command that leaves them alone.
    pub(super) fn note_access(&mut self, at: LogPosition, (roles, tokens): &Access) {
        let first = self.access == 0;
        let same = || self.roles == *roles && tokens.diff(&self.tokens).all(only_used);
        if self.format >= ACCESS && (first || !same()) {
            self.access = at.index;
        }
    }

    /// What a write was decided on still holds: no role and no token has changed since, and its own has not
    /// expired (invariant 14).
    pub(super) fn is_access_of(
        &self,
        access: u64,
        until: Option<LogTime>,
    ) -> Result<(), Rejection> {
        let lives = until.is_none_or(|until| self.time < until);
        match lives && self.access() == Some(access) {
            true => Ok(()),
            false => Err(Rejection::AccessChanged),
        }
    }

    pub(super) fn create_role(&mut self, name: RoleName, role: Role) -> Result<Effect, Rejection> {
        if self.roles.contains_key(&name) {
            return Err(Rejection::AlreadyExists);
        }
        if name.resembles_admin() {
            return Err(Rejection::Protected);
        }
        check_role(&role)?;
        self.roles.insert(name, Arc::new(role));
        Ok(Effect::Done)
    }

    pub(super) fn change_role(
        &mut self,
        name: &RoleName,
        change: impl FnOnce(&mut Role),
    ) -> Result<Effect, Rejection> {
        if name.is_admin() {
            return Err(Rejection::Protected);
        }
        let mut role = Role::clone(self.roles.get(name).ok_or(Rejection::NotFound)?);
        change(&mut role);
        check_role(&role)?;
        self.roles.insert(name.clone(), Arc::new(role));
        Ok(Effect::Done)
    }

    pub(super) fn delete_role(&mut self, name: &RoleName) -> Result<Effect, Rejection> {
        if name.is_admin() {
            return Err(Rejection::Protected);
        }
        if !self.roles.contains_key(name) {
            return Err(Rejection::NotFound);
        }
        if self
            .tokens
            .values()
            .any(|grant| grant.role == *name && grant.is_live(self.time))
        {
            return Err(Rejection::InUse);
        }
        self.roles.remove(name);
        Ok(Effect::Done)
    }

    pub(super) fn create_token(
        &mut self,
        name: TokenName,
        fingerprint: TokenFingerprint,
        role: RoleName,
        ttl_secs: Option<u64>,
        bound_cidrs: Allowlist,
        num_uses: Option<u64>,
    ) -> Result<Effect, Rejection> {
        let is_admin = self.roles.get(&role).ok_or(Rejection::NotFound)?.is_admin;
        let known = self.fingerprints.contains_key(&fingerprint);
        let name_taken = self
            .tokens
            .get(&name)
            .is_some_and(|grant| grant.is_live(self.time));
        if known || name_taken {
            return Err(Rejection::AlreadyExists);
        }
        let ttl_fits = ttl_secs.is_none_or(|secs| (1..=limits::MAX_TOKEN_TTL_SECS).contains(&secs));
        if !ttl_fits || num_uses == Some(0) || bound_cidrs.nets().len() > limits::BOUND_CIDRS {
            return Err(Rejection::Invalid);
        }
        self.drop_token(&name);
        let expires_at = ttl_secs.map(|secs| self.time.plus_secs(secs));
        if let Some(at) = expires_at {
            self.deadlines
                .insert((at, Deadline::TokenExpiry(name.clone())));
        }
        self.admin_token_existed |= is_admin;
        self.fingerprints.insert(fingerprint, name.clone());
        self.tokens.insert(
            name,
            Arc::new(TokenGrant {
                fingerprint,
                role,
                created_at: self.time,
                expires_at,
                bound_cidrs,
                uses_left: num_uses,
                ended_at: None,
                revoked: false,
            }),
        );
        Ok(Effect::Token { expires_at })
    }

    pub(super) fn revoke_token(&mut self, name: &TokenName) -> Result<Effect, Rejection> {
        let grant = self.tokens.get(name).ok_or(Rejection::NotFound)?;
        if grant.revoked {
            return Err(Rejection::NotFound);
        }
        self.end_token(name, true);
        Ok(Effect::Done)
    }

    pub(super) fn use_token(
        &mut self,
        fingerprint: &TokenFingerprint,
    ) -> Result<Effect, Rejection> {
        let name = self
            .fingerprints
            .get(fingerprint)
            .cloned()
            .ok_or(Rejection::TokenSpent)?;
        let now = self.time;
        let grant = self.tokens.get_mut(&name).ok_or(Rejection::TokenSpent)?;
        if !grant.is_live(now) {
            return Err(Rejection::TokenSpent);
        }
        let grant = Arc::make_mut(grant);
        grant.uses_left = grant.uses_left.map(|left| left.saturating_sub(1));
        if grant.uses_left == Some(0) {
            self.end_token(&name, false);
        }
        Ok(Effect::Done)
    }

    /// Ends a token: it opens nothing from here on, and stays in the list for a while.
    pub(super) fn end_token(&mut self, name: &TokenName, revoked: bool) {
        let now = self.time;
        let Some(grant) = self.tokens.get_mut(name) else {
            return;
        };
        let grant = Arc::make_mut(grant);
        let expires_at = grant.expires_at;
        let first_end = grant.ended_at.is_none();
        grant.ended_at = grant.ended_at.or(Some(now));
        grant.revoked |= revoked;
        if let Some(at) = expires_at {
            self.deadlines
                .remove(&(at, Deadline::TokenExpiry(name.clone())));
        }
        if first_end {
            let forget_at = now.plus_secs(ENDED_TOKENS_SHOWN_SECS);
            self.deadlines
                .insert((forget_at, Deadline::TokenForget(name.clone())));
        }
    }

    /// Takes a token off the list with everything derived from it.
    pub(super) fn drop_token(&mut self, name: &TokenName) {
        let Some(grant) = self.tokens.remove(name) else {
            return;
        };
        self.fingerprints.remove(&grant.fingerprint);
        for (at, deadline) in token_deadlines(name, &grant) {
            self.deadlines.remove(&(at, deadline));
        }
    }

    /// Derives what a decoded grant implies; `false` if another grant has its fingerprint.
    #[must_use]
    pub(crate) fn note_token(&mut self, name: &TokenName, grant: &TokenGrant) -> bool {
        for due in token_deadlines(name, grant) {
            self.deadlines.insert(due);
        }
        self.fingerprints
            .insert(grant.fingerprint, name.clone())
            .is_none()
    }
}

/// Whether nothing but a token's uses went down, with some left: it may do what it might, and so may all
/// others.
fn only_used(item: DiffItem<'_, '_, TokenName, Arc<TokenGrant>>) -> bool {
    let DiffItem::Update { old, new } = item else {
        return false;
    };
    let (old, new) = (old.1, new.1);
    let used = TokenGrant {
        uses_left: new.uses_left,
        ..TokenGrant::clone(old)
    };
    old.uses_left.is_some() && new.uses_left.is_some() && used == **new
}

fn token_deadlines(
    name: &TokenName,
    grant: &TokenGrant,
) -> impl Iterator<Item = (LogTime, Deadline)> {
    let due = match grant.ended_at {
        Some(ended) => Some((
            ended.plus_secs(ENDED_TOKENS_SHOWN_SECS),
            Deadline::TokenForget(name.clone()),
        )),
        None => grant
            .expires_at
            .map(|at| (at, Deadline::TokenExpiry(name.clone()))),
    };
    due.into_iter()
}

fn check_role(role: &Role) -> Result<(), Rejection> {
    let fits = role.description.len() <= limits::DESCRIPTION_BYTES
        && role.permissions.len() + role.rules.len() <= limits::ROLE_RULES
        && role
            .rules
            .iter()
            .all(|rule| rule.capabilities.len() <= limits::RULE_CAPABILITIES);
    if fits {
        Ok(())
    } else {
        Err(Rejection::Invalid)
    }
}
