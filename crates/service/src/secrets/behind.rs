//! Reads that must have seen a log index, at a node that has not applied it yet: it waits briefly, then
//! asks the leader for what it needs. That is sealed as it is in the log, and opened here.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use serde::{Deserialize, Serialize};
use strongroom_core::{
    ReadError, ReadGate, SecretName, State,
    codec::{StateDecoder, encode_state},
    limits,
};
use tokio::sync::Semaphore;

use crate::{context::RequestContext, error::VaultError, vault::Vault};

/// How long a node that is behind waits before it asks the leader, and between two times that it does.
const BRIEFLY: Duration = Duration::from_millis(250);
/// How long the leader may take to answer.
const LEADER_WITHIN: Duration = Duration::from_secs(1);
/// How long an index may be beyond what the leader has applied. It is a moment behind what it has
/// committed; an index that no node has given out stays beyond.
const BEYOND_FOR: Duration = Duration::from_secs(2);
/// Largest answer, in bytes: a message between nodes holds 16 MiB.
const ANSWER_BYTES: usize = 15 << 20;
/// What the question begins with.
const QUESTION: &[u8] = b"excerpt ";
/// What the answer of a leader begins with that has applied the index.
const REACHED: u8 = 1;
/// The whole answer of one that has not.
const BEYOND: [u8; 1] = [0];
/// The whole answer where what is asked for does not fit into one.
const TOO_LARGE: [u8; 1] = [2];
/// Answers put together at a time: they take the memory and the time of whoever leads.
static ANSWERS: Semaphore = Semaphore::const_new(2);

#[derive(Serialize, Deserialize)]
struct Question {
    index: u64,
    names: Vec<SecretName>,
    version: Option<u64>,
}

impl Vault {
    /// A state through `gate` that holds what there is of these secrets: the current version, those
    /// still valid, and the one of this number. Other secrets may be missing from it.
    ///
    /// # Errors
    /// Those of the gate; [`VaultError::IndexNotReached`] if the cluster has not come so far.
    pub(crate) async fn state_for(
        &self,
        context: &RequestContext,
        names: &[&SecretName],
        version: Option<u64>,
        gate: ReadGate,
    ) -> Result<Arc<State>, VaultError> {
        let state = match gate {
            ReadGate::Local => self.replica.local()?,
            ReadGate::Linearizable => self.replica.read(gate, context.left()).await?,
            ReadGate::AtLeast(index) => self.at_least(context, names, version, index).await?,
        };
        context.seen.note(state.position());
        Ok(state)
    }

    async fn at_least(
        &self,
        context: &RequestContext,
        names: &[&SecretName],
        version: Option<u64>,
        index: u64,
    ) -> Result<Arc<State>, VaultError> {
        let gate = ReadGate::AtLeast(index);
        let mut beyond_since = None;
        loop {
            match self.replica.read(gate, context.left().min(BRIEFLY)).await {
                // It is behind; why, is not known here.
                Err(ReadError::NoLeader) => {}
                read => return Ok(read?),
            }
            if context.left().is_zero() {
                return Err(VaultError::NoLeader);
            }
            let excerpt = match self.replica.is_leader() {
                // What this node leads to is the newest there is.
                true => Excerpt::Beyond,
                false => self.ask_for_excerpt(context, names, version, index).await,
            };
            match excerpt {
                Excerpt::Here(state) => return Ok(state),
                Excerpt::TooLarge => {
                    return Err(VaultError::TooLarge(
                        "this node is behind, and has to ask for too much: ask for fewer names",
                    ));
                }
                Excerpt::Beyond => {
                    let since = *beyond_since.get_or_insert_with(Instant::now);
                    if since.elapsed() >= BEYOND_FOR {
                        return self.confirmed_beyond(context, index).await;
                    }
                }
                Excerpt::NoAnswer => {}
            }
        }
    }

    /// Whoever said that the index is beyond may have lost the lead meanwhile.
    async fn confirmed_beyond(
        &self,
        context: &RequestContext,
        index: u64,
    ) -> Result<Arc<State>, VaultError> {
        let newest = self.fresh_state(context).await?;
        match newest.position() {
            Some(position) if position.index >= index => Ok(newest),
            _ => Err(VaultError::IndexNotReached),
        }
    }

    async fn ask_for_excerpt(
        &self,
        context: &RequestContext,
        names: &[&SecretName],
        version: Option<u64>,
        index: u64,
    ) -> Excerpt {
        let question = Question {
            index,
            names: names.iter().copied().cloned().collect(),
            version,
        };
        let Ok(question) = serde_json::to_vec(&question) else {
            return Excerpt::NoAnswer;
        };
        let question = [QUESTION, &question].concat();
        let within = context.left().min(LEADER_WITHIN);
        match self.replica.ask_leader(question, within).await {
            Some(answer) if answer[..] == BEYOND => Excerpt::Beyond,
            Some(answer) if answer[..] == TOO_LARGE => Excerpt::TooLarge,
            Some(answer) => match decode(&answer) {
                Some(state) if state.position().is_some_and(|at| at.index >= index) => {
                    Excerpt::Here(Arc::new(state))
                }
                _ => Excerpt::NoAnswer,
            },
            None => Excerpt::NoAnswer,
        }
    }

    /// What this node answers, if it is the question; it answers as well when it leads no more: what it
    /// has applied is committed. Nothing while too many ask.
    pub(crate) fn answer_excerpt(&self, question: &[u8]) -> Option<Vec<u8>> {
        let question = question.strip_prefix(QUESTION)?;
        let _place = ANSWERS.try_acquire().ok()?;
        let asked: Question = serde_json::from_slice(question).ok()?;
        if asked.names.len() > limits::BATCH_NAMES {
            return None;
        }
        let state = self.replica.local().ok()?;
        if state.position().is_none_or(|at| at.index < asked.index) {
            return Some(BEYOND.to_vec());
        }
        let now = self.replica.clock();
        let excerpt = state.excerpt(&asked.names, |version| {
            Some(version.number) == asked.version || version.valid(now).is_some()
        });
        Some(encode(&excerpt).unwrap_or_else(|| TOO_LARGE.to_vec()))
    }
}

enum Excerpt {
    Here(Arc<State>),
    /// The leader has not come so far.
    Beyond,
    TooLarge,
    /// No leader, or one that does not know the question.
    NoAnswer,
}

/// Each record with its length, in four bytes, before it.
fn encode(state: &State) -> Option<Vec<u8>> {
    let mut answer = vec![REACHED];
    for record in encode_state(state) {
        if answer.len() + record.len() > ANSWER_BYTES {
            return None;
        }
        answer.extend_from_slice(&u32::try_from(record.len()).ok()?.to_le_bytes());
        answer.extend_from_slice(&record);
    }
    Some(answer)
}

fn decode(answer: &[u8]) -> Option<State> {
    let (&REACHED, mut rest) = answer.split_first()? else {
        return None;
    };
    let mut decoder = StateDecoder::default();
    while let Some((length, after)) = rest.split_first_chunk::<4>() {
        let length = usize::try_from(u32::from_le_bytes(*length)).ok()?;
        let (record, after) = after.split_at_checked(length)?;
        decoder.push(record).ok()?;
        rest = after;
    }
    if !rest.is_empty() {
        return None;
    }
    decoder.finish().ok()
}

#[cfg(test)]
mod tests {
    use strongroom_core::{LogPosition, codec::FORMAT};

    use super::*;

    #[test]
    fn an_answer_is_whole_or_none() {
        let mut state = State::default();
        state.advance(LogPosition { term: 3, index: 7 });
        let answer = encode(&state).unwrap();
        assert_eq!(decode(&answer).unwrap(), state);
        for end in 0..answer.len() {
            assert!(decode(&answer[..end]).is_none(), "{end}");
        }
        assert!(decode(&[&answer[..], &[0]].concat()).is_none());
        assert!(decode(&BEYOND).is_none());
        assert!(decode(&[REACHED, 1, 0, 0, 0, FORMAT + 1]).is_none());
    }
}
