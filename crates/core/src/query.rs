//! Questions to a state. None of them changes it.

use std::{ops::Bound, sync::Arc};

use crate::{
    ClusterId, Effect, LogPosition, LogTime, MountName, RequestId, Role, RoleName, Secret,
    SecretName, SecretVersion, State, TokenFingerprint, TokenGrant, TokenName,
    command::MountSettings,
};

impl State {
    /// The position of the last entry applied; `None` before the first.
    #[must_use]
    pub fn position(&self) -> Option<LogPosition> {
        self.position
    }

    /// The latest time a leader stamped.
    #[must_use]
    pub fn time(&self) -> LogTime {
        self.time
    }

    /// The cluster's identity, once formed.
    #[must_use]
    pub fn cluster_id(&self) -> Option<ClusterId> {
        self.cluster_id
    }

    /// The newest format of commands that may be proposed: every member has announced that it decodes
    /// it, and none that does not is let in.
    #[must_use]
    pub fn format(&self) -> u8 {
        self.format.max(crate::codec::FIRST)
    }

    /// Whether an admin token has ever existed, so that the bootstrap token opens nothing any more.
    #[must_use]
    pub fn bootstrap_closed(&self) -> bool {
        self.admin_token_existed
    }

    /// The entry that last changed what tokens may do: as long as it is the same, so is what was decided on
    /// it. `None`: not every member keeps it yet.
    #[must_use]
    pub fn access(&self) -> Option<u64> {
        (self.access > 0).then_some(self.access)
    }

    /// A mount's settings.
    #[must_use]
    pub fn mount(&self, mount: &MountName) -> Option<&MountSettings> {
        self.mounts.get(mount)
    }

    /// A secret.
    #[must_use]
    pub fn secret(&self, name: &SecretName) -> Option<&Arc<Secret>> {
        self.secrets.get(name)
    }

    /// What a request did when it was tried before, if that is still known.
    #[must_use]
    pub fn outcome(&self, request: &RequestId) -> Option<&Effect> {
        self.outcomes.get(request).map(|outcome| &outcome.effect)
    }

    /// A state of the same position that holds these secrets alone, of each the current version and
    /// those that `keep` picks. For reading, and for nothing else.
    #[must_use]
    pub fn excerpt<'a>(
        &self,
        names: impl IntoIterator<Item = &'a SecretName>,
        keep: impl Fn(&SecretVersion) -> bool,
    ) -> State {
        let picked = names.into_iter().filter_map(|name| {
            let mut secret = Secret::clone(self.secret(name)?);
            let current = secret.current_version;
            secret.versions.retain(|v| v.number == current || keep(v));
            Some((name.clone(), Arc::new(secret)))
        });
        State {
            position: self.position,
            time: self.time,
            cluster_id: self.cluster_id,
            format: self.format,
            secrets: picked.collect(),
            ..State::default()
        }
    }

    /// How many secrets there are.
    #[must_use]
    pub fn secret_count(&self) -> usize {
        self.secrets.len()
    }

    /// The secrets that differ between `older` and this state, gone ones included; in no order, and some
    /// maybe twice. Costs as much as there are differences, since the two share what they have in common.
    pub fn changed_secrets<'a>(&'a self, older: &'a Self) -> impl Iterator<Item = &'a SecretName> {
        older.secrets.changed(&self.secrets)
    }

    /// All secrets in order of name.
    pub fn secrets(&self) -> impl Iterator<Item = (&SecretName, &Arc<Secret>)> {
        self.secrets.iter()
    }

    /// Their names alone, in order; with less work.
    pub fn secret_names(&self) -> impl Iterator<Item = &SecretName> {
        self.secrets.names_in(..)
    }

    /// The secrets in `mount` whose path starts with `prefix` and follows `after`, in order of name.
    pub fn secrets_in<'a>(
        &'a self,
        mount: &'a str,
        prefix: &'a str,
        after: Option<&str>,
    ) -> impl Iterator<Item = (&'a SecretName, &'a Arc<Secret>)> {
        let first = SecretName::unchecked(&format!("{mount}/{prefix}"));
        let after = after.map(|after| SecretName::unchecked(&format!("{mount}/{after}")));
        let start = match after {
            Some(after) if after >= first => Bound::Excluded(after),
            _ => Bound::Included(first),
        };
        self.secrets
            .range((start, Bound::Unbounded))
            .take_while(move |(name, _)| name.mount() == mount && name.path().starts_with(prefix))
    }

    pub(crate) fn names_below<'a>(
        &'a self,
        mount: &'a str,
    ) -> impl Iterator<Item = &'a SecretName> {
        let first = SecretName::unchecked(&format!("{mount}/"));
        let names = self.secrets.names_in(first..);
        names.take_while(move |name| name.mount() == mount)
    }

    /// The automatic secrets whose rotation is due at `now` and not under way, the longest overdue
    /// first.
    pub fn due_rotations(&self, now: LogTime) -> impl Iterator<Item = &SecretName> {
        self.rotations
            .iter()
            .take_while(move |(at, _)| *at <= now)
            .map(|(_, name)| name)
    }

    /// The secrets whose next version is being applied to a target.
    pub fn pending_rotations(&self) -> impl Iterator<Item = &SecretName> {
        self.pending.iter()
    }

    /// How many those are.
    #[must_use]
    pub fn pending_rotation_count(&self) -> usize {
        self.pending.len()
    }

    /// When the next rotation of an automatic secret is due.
    #[must_use]
    pub fn next_rotation(&self) -> Option<LogTime> {
        self.rotations.get_min().map(|(at, _)| *at)
    }

    /// A role.
    #[must_use]
    pub fn role(&self, name: &RoleName) -> Option<&Arc<Role>> {
        self.roles.get(name)
    }

    /// The roles that follow `after`, in order of name.
    pub fn roles_after(
        &self,
        after: Option<&RoleName>,
    ) -> impl Iterator<Item = (&RoleName, &Arc<Role>)> {
        self.roles.range::<_, RoleName>((
            after.map_or(Bound::Unbounded, Bound::Excluded),
            Bound::Unbounded,
        ))
    }

    /// A token's grant, dead or alive.
    #[must_use]
    pub fn token(&self, name: &TokenName) -> Option<&Arc<TokenGrant>> {
        self.tokens.get(name)
    }

    /// The tokens that follow `after`, in order of name.
    pub fn tokens_after(
        &self,
        after: Option<&TokenName>,
    ) -> impl Iterator<Item = (&TokenName, &Arc<TokenGrant>)> {
        self.tokens.range::<_, TokenName>((
            after.map_or(Bound::Unbounded, Bound::Excluded),
            Bound::Unbounded,
        ))
    }

    /// The live grant of the token with this fingerprint, at `now` by the asking node's clock. A
    /// token counts as expired when either that clock or the log says so.
    ///
    /// The map is searched by hash, whose timing tells nothing about a token of 256 random bits; the
    /// hit is then compared in constant time.
    #[must_use]
    pub fn grant(
        &self,
        fingerprint: &TokenFingerprint,
        now: LogTime,
    ) -> Option<(&TokenName, &Arc<TokenGrant>)> {
        let name = self.fingerprints.get(fingerprint)?;
        let grant = self.tokens.get(name)?;
        let live = grant.is_live(now.max(self.time)) && grant.fingerprint.matches(fingerprint);
        live.then_some((name, grant))
    }
}
