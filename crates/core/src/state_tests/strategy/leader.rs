//! A leader over a list of draws, and what a node does with its entries.

use super::{super::*, Draw};
use crate::{Applied, Attempt, Proposal, RequestId};

/// An entry of the log with its place.
pub(in super::super) type Entry = (LogPosition, Proposal);

/// A leader: turns draws into entries, and knows what the state is after each.
pub(in super::super) struct Leader {
    pub(in super::super) state: State,
    next: LogPosition,
    millis: i64,
    /// Requests drawn by now.
    drawn: u64,
}

impl Default for Leader {
    fn default() -> Self {
        Self {
            state: State::default(),
            next: LogPosition { term: 1, index: 0 },
            millis: START as i64,
            drawn: 0,
        }
    }
}

impl Leader {
    fn attempt(&mut self, command: &Command) -> Option<Attempt> {
        self.drawn += 1;
        let mut request = [0; 16];
        request[..8].copy_from_slice(&self.drawn.to_be_bytes());
        let attempt = Attempt {
            request: RequestId(request),
            since: self.next.index.saturating_sub(1),
        };
        command.counts_once().then_some(attempt)
    }

    /// The entry of `draw`, applied, with `seen` told about each command.
    pub(in super::super) fn propose(
        &mut self,
        draw: &Draw,
        mut seen: impl FnMut(&State, &Command, &State, &Applied),
    ) -> Entry {
        self.millis += draw.clock;
        let at = LogPosition {
            term: self.next.term + u64::from(draw.new_term),
            index: self.next.index,
        };
        let time = LogTime(self.millis as u64);
        let (mut commands, mut attempts) = (Vec::new(), Vec::new());
        self.state.advance(at);
        for draft in &draw.drafts {
            let before = self.state.clone();
            let command = draft.command(&before);
            let attempt = self.attempt(&command);
            let applied = self.state.apply_attempt(at, time, attempt, command.clone());
            seen(&before, &command, &self.state, &applied);
            commands.push(command.clone());
            attempts.push(attempt);
            // Some are tried again, because the answer was lost: nothing more happens.
            if let (Some(_), 0, Applied::Effect(_)) = (attempt, self.drawn % 3, &applied) {
                let after = self.state.clone();
                let again = self.state.apply_attempt(at, time, attempt, command.clone());
                assert_eq!(again, applied);
                assert_eq!(self.state, after);
                commands.push(command);
                attempts.push(attempt);
            }
        }
        self.next = LogPosition {
            index: at.index + 1,
            ..at
        };
        let proposal = Proposal {
            time,
            commands,
            attempts,
        };
        (at, proposal)
    }
}

/// Applies an entry as a node does.
pub(in super::super) fn apply(state: &mut State, (at, proposal): &Entry) {
    state.advance(*at);
    for (command, attempt) in proposal.clone().into_attempts() {
        state.apply_attempt(*at, proposal.time, attempt, command);
    }
}
