//! Drafts of writes that say on which access they were allowed.

use proptest::{prelude::*, sample::select};

use super::*;

/// The next version of a secret, mostly on the access that there is.
#[derive(Clone, Debug)]
pub(in super::super) struct Value {
    name: &'static str,
    off: i8,
    stale: bool,
    /// Milliseconds from the state's time to when the token expires.
    lives: Option<i16>,
    sealed: SealedVersion,
}

impl Value {
    pub(super) fn command(&self, state: &State) -> Command {
        let name = secret(self.name);
        let current = state.secret(&name).map_or(0, |found| found.current_version);
        Command::PutValue {
            version: NewVersion {
                number: (current + 1).saturating_add_signed(self.off.into()),
                sealed: self.sealed.clone(),
            },
            access: state.access().unwrap_or(1) - u64::from(self.stale),
            until: self
                .lives
                .map(|by| LogTime(state.time().0.saturating_add_signed(by.into()))),
            name,
        }
    }
}

pub(super) fn value_draft() -> impl Strategy<Value = Value> {
    let off = prop_oneof![12 => Just(0i8), 1 => -1i8..=1];
    let stale = proptest::bool::weighted(0.2);
    let lives = proptest::option::weighted(0.3, any::<i16>());
    let all = (select(&SECRETS[..]), off, stale, lives, any_sealed());
    all.prop_map(|(name, off, stale, lives, sealed)| Value {
        name,
        off,
        stale,
        lives,
        sealed,
    })
}
