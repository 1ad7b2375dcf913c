//! The line to KMS: every call goes through it. The breaker stands in front, each call has a
//! deadline, and how it ended is counted.
//!
//! A call runs to its end on a task of its own. Were it dropped with whoever waits for it, a service
//! that hangs would never be found unavailable by requests whose patience is shorter than a call's
//! deadline, and the breaker would stay closed.

use std::{
    future::Future,
    sync::{Arc, Mutex, MutexGuard, PoisonError, atomic::Ordering::Relaxed},
    time::Duration,
};

use tokio::time::{Instant, timeout};
use tracing::Instrument;

use crate::{
    BreakerState, Detail, KmsError, Operation, Outcome,
    breaker::{Breaker, BreakerConfig, Pass, Verdict},
    kms::BREAKER_OPEN,
    request::carried,
    stats::Counters,
};

/// A waiter outlasts the call it waits for by this much, so that it hears of the call's own end.
const SLACK: Duration = Duration::from_millis(250);

pub(crate) struct Line {
    deadline: Duration,
    breaker: Mutex<Breaker>,
    pub(crate) counters: Counters,
}

/// Leave for one call. However the call ends, the breaker hears of it, even if the call is dropped.
pub(crate) struct Ticket {
    line: Arc<Line>,
    operation: Operation,
    pass: Option<Pass>,
    /// Whether it tells of the service, and not of one key.
    tells: bool,
}

impl Line {
    pub(crate) fn new(deadline: Duration, breaker: BreakerConfig) -> Self {
        Self {
            deadline,
            breaker: Mutex::new(Breaker::new(breaker)),
            counters: Counters::default(),
        }
    }

    /// Leave for a call, or the error that it is not made with.
    pub(crate) fn admit(self: &Arc<Self>, operation: Operation) -> Result<Ticket, KmsError> {
        let pass = self.lock().admit(Instant::now());
        self.ticket(operation, pass, true)
    }

    /// Leave for a call about another key than the one that new versions get. How that one fares must
    /// not keep anybody from the other, nor hide that the other fails.
    pub(crate) fn admit_another(
        self: &Arc<Self>,
        operation: Operation,
    ) -> Result<Ticket, KmsError> {
        let pass = self.lock().admit_another();
        self.ticket(operation, pass, false)
    }

    fn ticket(
        self: &Arc<Self>,
        operation: Operation,
        pass: Option<Pass>,
        tells: bool,
    ) -> Result<Ticket, KmsError> {
        match pass {
            Some(pass) => Ok(Ticket {
                line: Arc::clone(self),
                operation,
                pass: Some(pass),
                tells,
            }),
            None => {
                self.counters.refused.fetch_add(1, Relaxed);
                Err(KmsError::Unavailable(Detail::new(BREAKER_OPEN)))
            }
        }
    }

    /// Makes a call, and waits for it `within` a time.
    pub(crate) async fn ask<T: Send + 'static>(
        self: &Arc<Self>,
        operation: Operation,
        within: Duration,
        call: impl Future<Output = Result<T, KmsError>> + Send + 'static,
    ) -> Result<T, KmsError> {
        let ticket = self.admit(operation)?;
        self.ask_with(ticket, within, call).await
    }

    /// Makes a call with leave that was given, and waits for it `within` a time.
    pub(crate) async fn ask_with<T: Send + 'static>(
        self: &Arc<Self>,
        ticket: Ticket,
        within: Duration,
        call: impl Future<Output = Result<T, KmsError>> + Send + 'static,
    ) -> Result<T, KmsError> {
        let asked = tokio::spawn(carried(ticket.call(call)));
        match timeout(within.min(self.patience()), asked).await {
            Ok(Ok(result)) => result,
            Ok(Err(_)) => Err(lost()),
            Err(_) => Err(late()),
        }
    }

    /// How long to wait for a call at most.
    pub(crate) fn patience(&self) -> Duration {
        self.deadline.saturating_add(SLACK)
    }

    pub(crate) fn state(&self) -> BreakerState {
        self.lock().state(Instant::now())
    }

    pub(crate) fn opened(&self) -> u64 {
        self.lock().opened()
    }

    fn lock(&self) -> MutexGuard<'_, Breaker> {
        self.breaker.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn settle(&self, pass: Pass, verdict: Verdict) {
        let mut breaker = self.lock();
        let jitter = breaker.most_jitter().mul_f64(random_fraction());
        breaker.settle(pass, verdict, Instant::now(), jitter);
    }
}

impl Ticket {
    /// Makes the call, within the line's deadline.
    pub(crate) async fn call<T>(
        mut self,
        call: impl Future<Output = Result<T, KmsError>>,
    ) -> Result<T, KmsError> {
        let began = Instant::now();
        let operation = self.operation.as_str();
        let stage = tracing::debug_span!(target: "strongroom_trace", "kms", operation);
        let result = timeout(self.line.deadline, call)
            .instrument(stage)
            .await
            .unwrap_or_else(|_| Err(late()));
        let outcome = Outcome::of(&result);
        let counters = &self.line.counters;
        counters.record(self.operation, outcome, began.elapsed());
        if let Some(pass) = self.pass.take() {
            let verdict = match outcome {
                _ if !self.tells => Verdict::Abandoned,
                Outcome::Unavailable => Verdict::Unavailable,
                _ => Verdict::Answers,
            };
            self.line.settle(pass, verdict);
        }
        result
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        if let Some(pass) = self.pass.take() {
            self.line.settle(pass, Verdict::Abandoned);
        }
    }
}

pub(crate) fn late() -> KmsError {
    KmsError::Unavailable(Detail::new("no answer within the deadline"))
}

pub(crate) fn lost() -> KmsError {
    KmsError::Unavailable(Detail::new("the call ended without an answer"))
}

/// At least 0 and below 1. Without random bytes there is no jitter, which costs nothing but comfort.
fn random_fraction() -> f64 {
    let mut bytes = [0; 4];
    if getrandom::fill(&mut bytes).is_err() {
        return 0.0;
    }
    f64::from(u32::from_le_bytes(bytes)) / (f64::from(u32::MAX) + 1.0)
}
