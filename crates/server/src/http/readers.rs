//! Readers go ahead of calls with a token where both come in crowds: processes that start wait for what they
//! read, and writers in a crowd wait for each other anyway. So those calls begin in turns: what begins together
//! is proposed together, which takes least from the readers.

use std::{
    sync::atomic::{AtomicU64, Ordering::Relaxed},
    time::{Duration, Instant},
};

/// Over so long reads are counted.
const TICK_MILLIS: u128 = 10;
/// So many in a tick are a crowd: 10,000 a second.
const CROWD: u64 = 100;
/// From one turn of the others to the next.
const TURN: Duration = Duration::from_millis(8);

/// Reads in this tick and in the one before. Those that come at the turn of a tick may be counted in either.
pub(super) struct Readers {
    start: Instant,
    tick: AtomicU64,
    now: AtomicU64,
    before: AtomicU64,
}

impl Default for Readers {
    fn default() -> Self {
        Self {
            start: Instant::now(),
            tick: AtomicU64::new(0),
            now: AtomicU64::new(0),
            before: AtomicU64::new(0),
        }
    }
}

impl Readers {
    /// Counts one.
    pub(super) fn note(&self) {
        self.turn(self.tick_at(Instant::now()));
        self.now.fetch_add(1, Relaxed);
    }

    /// Whether they come in a crowd.
    pub(super) fn are_many(&self) -> bool {
        self.turn(self.tick_at(Instant::now()));
        self.before.load(Relaxed).max(self.now.load(Relaxed)) >= CROWD
    }

    /// When the others' next turn is.
    pub(super) fn next_turn(&self) -> Instant {
        let since = self.start.elapsed();
        let into = since.as_nanos() % TURN.as_nanos();
        let left = TURN.saturating_sub(Duration::from_nanos(u64::try_from(into).unwrap_or(0)));
        self.start + since + left
    }

    fn tick_at(&self, at: Instant) -> u64 {
        let since = at.duration_since(self.start).as_millis() / TICK_MILLIS;
        u64::try_from(since).unwrap_or(u64::MAX)
    }

    fn turn(&self, tick: u64) {
        // Whoever was held up since it looked at the clock turns nothing back.
        let last = self.tick.fetch_max(tick, Relaxed);
        if tick > last {
            let count = self.now.swap(0, Relaxed);
            let before = if tick == last + 1 { count } else { 0 };
            self.before.store(before, Relaxed);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn turns_are_the_same_for_all() {
        let readers = Readers::default();
        let (asked, turn) = (Instant::now(), readers.next_turn());
        assert!(turn > asked && turn <= Instant::now() + TURN);
        let since = turn.duration_since(readers.start).as_nanos();
        assert_eq!(since % TURN.as_nanos(), 0);
    }

    #[test]
    fn a_crowd_is_one_until_a_tick_after_it_ended() {
        let readers = Readers::default();
        let count = |tick, reads| {
            readers.turn(tick);
            readers.now.fetch_add(reads, Relaxed);
            readers.before.load(Relaxed).max(readers.now.load(Relaxed)) >= CROWD
        };
        assert!(!count(1, CROWD - 1));
        assert!(count(1, 1));
        assert!(count(2, 0));
        assert!(!count(3, 0));
        assert!(count(4, CROWD));
        assert!(!count(6, 1), "the tick between had none");
    }
}
