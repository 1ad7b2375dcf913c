//! Lines about what strangers can cause: the log must not be flooded.

use std::{
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

/// Between two lines.
const EVERY: Duration = Duration::from_secs(10);

/// When a line was written last, and what has happened since.
#[derive(Default)]
pub(crate) struct Seldom(Mutex<(Option<Instant>, u64)>);

impl Seldom {
    /// Counts one more. Says how many there were since the last line if it is time for another.
    pub(crate) fn due(&self) -> Option<u64> {
        self.due_at(Instant::now())
    }

    fn due_at(&self, now: Instant) -> Option<u64> {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let (said, since) = *state;
        if said.is_some_and(|said| now.saturating_duration_since(said) < EVERY) {
            *state = (said, since.saturating_add(1));
            return None;
        }
        *state = (Some(now), 0);
        Some(since.saturating_add(1))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_line_stands_for_many() {
        let (seldom, start) = (Seldom::default(), Instant::now());
        assert_eq!(seldom.due_at(start), Some(1));
        for n in 0..7 {
            assert_eq!(seldom.due_at(start + Duration::from_secs(n)), None);
        }
        assert_eq!(seldom.due_at(start + EVERY), Some(8));
        assert_eq!(seldom.due_at(start + EVERY), None);
    }
}
