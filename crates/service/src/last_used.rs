//! When tokens were last used: kept by each node in memory, merged when somebody looks.
//!
//! Replicating every use would cost a commit for every request. What a node knew is lost when it
//! restarts.

use std::{
    collections::HashMap,
    sync::{Mutex, MutexGuard, PoisonError},
};

use strongroom_core::{LogTime, State, TokenName};

/// Last uses at this node.
#[derive(Default)]
pub(crate) struct LastUsed(Mutex<HashMap<TokenName, LogTime>>);

impl LastUsed {
    fn lock(&self) -> MutexGuard<'_, HashMap<TokenName, LogTime>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn note(&self, name: &TokenName, at: LogTime) {
        self.lock().insert(name.clone(), at);
    }

    /// Forgets tokens that are gone, so that the map stays as small as the list.
    pub(crate) fn retain_known(&self, state: &State) {
        self.lock().retain(|name, _| state.token(name).is_some());
    }

    /// Names, and times in milliseconds.
    pub(crate) fn known(&self) -> HashMap<String, u64> {
        self.lock()
            .iter()
            .map(|(name, at)| (name.to_string(), at.0))
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn uses_are_known_until_their_token_is_gone() {
        let used = LastUsed::default();
        used.note(&TokenName::parse("t").unwrap(), LogTime(7));
        assert_eq!(used.known(), HashMap::from([("t".to_owned(), 7)]));
        used.retain_known(&State::default());
        assert!(used.known().is_empty());
    }
}
