//! What happens by itself when its time has come.

use super::State;
use crate::{Effect, LogTime, SecretName, TokenName, limits};

/// Something that falls due. Ordered, so that every node handles the same ones first.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Deadline {
    /// A superseded version's material goes.
    GraceEnd(SecretName, u64),
    /// A token expires.
    TokenExpiry(TokenName),
    /// An ended token leaves the list.
    TokenForget(TokenName),
    /// A restore of which nothing more comes is dropped.
    RestoreGivenUp,
}

impl State {
    /// Carries out what is due, up to [`limits::TICK_DEADLINES`] of it.
    pub(super) fn tick(&mut self) -> Effect {
        for _ in 0..limits::TICK_DEADLINES {
            let Some((at, deadline)) = self.deadlines.get_min().cloned() else {
                break;
            };
            if at > self.time {
                break;
            }
            self.deadlines.remove(&(at, deadline.clone()));
            match deadline {
                Deadline::GraceEnd(name, version) => self.end_grace(&name, version),
                Deadline::TokenExpiry(name) => self.end_token(&name, false),
                Deadline::TokenForget(name) => self.drop_token(&name),
                Deadline::RestoreGivenUp => self.stage(None),
            }
        }
        Effect::Done
    }

    /// When the next [`Tick`](crate::Command::Tick) has something to do.
    #[must_use]
    pub fn next_deadline(&self) -> Option<LogTime> {
        self.deadlines.get_min().map(|(at, _)| *at)
    }
}
