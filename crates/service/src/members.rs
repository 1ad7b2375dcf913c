//! What nodes ask each other beside Raft: small questions about what each keeps for itself.

use std::{
    collections::HashMap,
    time::{Duration, Instant},
};

use strongroom_core::{LogTime, Replica, TokenName};

use crate::{rewrap::View, vault::Vault};

/// The last uses of tokens that you know.
const LAST_USED: &[u8] = b"last-used";
/// What you know of re-wrapping.
const REWRAP: &[u8] = b"rewrap";
/// The index of the last entry that you have applied.
const APPLIED: &[u8] = b"applied";
const WITHIN: Duration = Duration::from_millis(500);

impl Vault {
    /// What this node answers when another asks. A question it does not know gets an empty answer.
    pub(crate) fn answer_member(&self, question: &[u8]) -> Vec<u8> {
        let answer = match question {
            LAST_USED => serde_json::to_vec(&self.last_used.known()),
            REWRAP => serde_json::to_vec(&self.own_rewrap_view()),
            APPLIED => serde_json::to_vec(&self.applied_index()),
            _ => return self.answer_excerpt(question).unwrap_or_default(),
        };
        answer.unwrap_or_default()
    }

    /// The latest use of each token that any reachable node knows of.
    pub(crate) async fn merged_last_uses(&self) -> HashMap<TokenName, LogTime> {
        let mut merged = HashMap::<TokenName, LogTime>::new();
        let answers = ask::<HashMap<String, u64>>(&*self.replica, LAST_USED).await;
        for known in answers.into_iter().chain([self.last_used.known()]) {
            for (name, at) in known {
                let Ok(name) = TokenName::parse(&name) else {
                    continue;
                };
                let latest = merged.entry(name).or_default();
                *latest = LogTime(at).max(*latest);
            }
        }
        merged
    }

    /// What the nodes know of re-wrapping: the failures of all, and the rest as the leader says.
    pub(crate) async fn merged_rewrap_view(&self) -> View {
        let mut merged = self.own_rewrap_view();
        for view in ask::<View>(&*self.replica, REWRAP).await {
            if view.leads && !merged.leads {
                merged.leads = true;
                merged.last_error = view.last_error;
                merged.method = view.method;
            }
            merged.failures.extend(view.failures);
        }
        merged
    }

    fn applied_index(&self) -> u64 {
        let state = self.replica.local().ok();
        let position = state.and_then(|state| state.position());
        position.map_or(0, |position| position.index)
    }

    /// Waits until every member that answers has applied the log up to `index`, at most `within`.
    pub(crate) async fn until_applied_everywhere(&self, index: u64, within: Duration) {
        let deadline = Instant::now() + within;
        loop {
            let answers = ask::<u64>(&*self.replica, APPLIED).await;
            if answers.iter().all(|applied| *applied >= index) || Instant::now() >= deadline {
                return;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    fn own_rewrap_view(&self) -> View {
        self.rewrap.view(self.replica.is_leader())
    }
}

async fn ask<T: serde::de::DeserializeOwned>(replica: &dyn Replica, question: &[u8]) -> Vec<T> {
    let answers = replica.ask_members(question.to_vec(), WITHIN).await;
    // An empty answer comes from a node that is starting.
    answers
        .iter()
        .filter_map(|answer| serde_json::from_slice(answer).ok())
        .collect()
}
