//! The circuit breaker in front of KMS: a pure state machine. Whoever drives it brings the time and
//! the jitter.
//!
//! Closed, every call passes. After some calls in a row that found KMS unavailable it opens, and
//! calls are refused at once, so that nobody waits for a service that does not answer and the
//! service gets room to come back. After a few jittered seconds it is half open: one call passes,
//! and how that ends decides.
//!
//! Only [`KmsError::Unavailable`](crate::KmsError::Unavailable) counts. A service that throttles,
//! denies, or says that a key is disabled does answer: refusing other calls would help nobody.

use std::time::Duration;

use tokio::time::Instant;

/// When the breaker opens, and for how long.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct BreakerConfig {
    /// Unavailable calls in a row that open it, each with its retries. 0: never.
    pub failures: u32,
    /// How long it stays open at least. Jitter adds up to as much again.
    pub open_for: Duration,
}

impl Default for BreakerConfig {
    fn default() -> Self {
        Self {
            failures: 3,
            open_for: Duration::from_secs(2),
        }
    }
}

/// Whether calls pass.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum BreakerState {
    /// All do.
    Closed,
    /// None does.
    Open,
    /// One does, or has and is under way.
    HalfOpen,
}

impl BreakerState {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Closed, Self::Open, Self::HalfOpen];

    /// A stable label.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Closed => "closed",
            Self::Open => "open",
            Self::HalfOpen => "half_open",
        }
    }
}

/// What a call that passed says about the service.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Verdict {
    /// It answered, whatever it answered.
    Answers,
    /// It was unavailable.
    Unavailable,
    /// Nothing: the call was given up.
    Abandoned,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Phase {
    Closed { failures: u32 },
    Open { until: Instant },
    Probing,
}

/// Leave to make one call. It belongs to the phase it was given in, and counts in no later one: a
/// call from before an outage says nothing about the time after it. Nor does one that began before
/// the service answered another, and fails after it.
#[derive(PartialEq, Eq, Debug)]
pub(crate) struct Pass {
    epoch: u64,
    /// Which it is, by count.
    number: u64,
}

pub(crate) struct Breaker {
    config: BreakerConfig,
    phase: Phase,
    /// Counts changes of the phase.
    epoch: u64,
    /// Passes given out.
    given: u64,
    /// Passes given out when the service answered last.
    given_before_answer: u64,
    opened: u64,
}

impl Breaker {
    pub(crate) fn new(config: BreakerConfig) -> Self {
        Self {
            config,
            phase: Phase::Closed { failures: 0 },
            epoch: 0,
            given: 0,
            given_before_answer: 0,
            opened: 0,
        }
    }

    /// Leave to call, or none. Every pass must come back through [`Breaker::settle`].
    pub(crate) fn admit(&mut self, now: Instant) -> Option<Pass> {
        match self.phase {
            Phase::Closed { .. } => {}
            Phase::Open { until } if until <= now => self.enter(Phase::Probing),
            Phase::Open { .. } | Phase::Probing => return None,
        }
        self.given += 1;
        Some(self.pass())
    }

    fn pass(&self) -> Pass {
        Pass {
            epoch: self.epoch,
            number: self.given,
        }
    }

    /// Leave to call about another key than the one that new versions get: it is no probe.
    pub(crate) fn admit_another(&self) -> Option<Pass> {
        matches!(self.phase, Phase::Closed { .. }).then(|| self.pass())
    }

    /// Takes a pass back. `jitter` is added to the time that the breaker stays open, if it opens.
    pub(crate) fn settle(&mut self, pass: Pass, verdict: Verdict, now: Instant, jitter: Duration) {
        if pass.epoch != self.epoch {
            return;
        }
        match (self.phase, verdict) {
            (Phase::Closed { .. }, Verdict::Unavailable)
                if pass.number <= self.given_before_answer => {}
            (Phase::Closed { failures }, Verdict::Unavailable) => {
                let failures = failures.saturating_add(1);
                if failures == self.config.failures {
                    self.open(now, jitter);
                } else {
                    self.phase = Phase::Closed { failures };
                }
            }
            (Phase::Closed { .. }, Verdict::Answers) => {
                self.given_before_answer = self.given;
                self.phase = Phase::Closed { failures: 0 };
            }
            (Phase::Closed { .. }, Verdict::Abandoned) => {}
            (Phase::Probing, Verdict::Unavailable) => self.open(now, jitter),
            (Phase::Probing, Verdict::Answers) => self.enter(Phase::Closed { failures: 0 }),
            // The next call is the probe instead.
            (Phase::Probing, Verdict::Abandoned) => self.enter(Phase::Open { until: now }),
            // No pass is given out while it is open.
            (Phase::Open { .. }, _) => {}
        }
    }

    /// Where it stands at `now`.
    pub(crate) fn state(&self, now: Instant) -> BreakerState {
        match self.phase {
            Phase::Closed { .. } => BreakerState::Closed,
            Phase::Open { until } if until > now => BreakerState::Open,
            Phase::Open { .. } | Phase::Probing => BreakerState::HalfOpen,
        }
    }

    /// How often it opened.
    pub(crate) fn opened(&self) -> u64 {
        self.opened
    }

    /// The most that jitter may add.
    pub(crate) fn most_jitter(&self) -> Duration {
        self.config.open_for
    }

    fn open(&mut self, now: Instant, jitter: Duration) {
        self.opened += 1;
        let open_for = self.config.open_for + jitter.min(self.most_jitter());
        self.enter(Phase::Open {
            until: now + open_for,
        });
    }

    fn enter(&mut self, phase: Phase) {
        self.phase = phase;
        self.epoch += 1;
    }
}

#[cfg(test)]
mod tests;
