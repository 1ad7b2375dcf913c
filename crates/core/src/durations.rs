//! Durations by size: a histogram in atomics, cheap enough for every write. It reads no clock.

use std::{
    sync::atomic::{AtomicU64, Ordering::Relaxed},
    time::Duration,
};

/// Upper bounds of the buckets, in microseconds; one more bucket has the rest.
pub const BOUNDS_MICROS: [u64; 16] = [
    10, 50, 100, 250, 500, 1_000, 2_500, 5_000, 10_000, 25_000, 50_000, 100_000, 250_000, 500_000,
    1_000_000, 5_000_000,
];

/// Buckets, that of the rest included.
pub const BUCKETS: usize = BOUNDS_MICROS.len() + 1;

/// How long something took, each time since the start.
#[derive(Default, Debug)]
pub struct Durations {
    buckets: [AtomicU64; BUCKETS],
    micros: AtomicU64,
}

/// A reading of [`Durations`].
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct DurationsReading {
    /// How often, by [`BOUNDS_MICROS`]; each time is in one bucket.
    pub buckets: [u64; BUCKETS],
    /// All of them together.
    pub total: Duration,
}

impl Durations {
    /// Counts one.
    pub fn note(&self, took: Duration) {
        let micros = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        let bucket = BOUNDS_MICROS.partition_point(|bound| Duration::from_micros(*bound) < took);
        if let Some(count) = self.buckets.get(bucket) {
            count.fetch_add(1, Relaxed);
        }
        self.micros.fetch_add(micros, Relaxed);
    }

    /// What has been counted.
    #[must_use]
    pub fn read(&self) -> DurationsReading {
        DurationsReading {
            buckets: self.buckets.each_ref().map(|count| count.load(Relaxed)),
            total: Duration::from_micros(self.micros.load(Relaxed)),
        }
    }
}

impl DurationsReading {
    /// How often.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.buckets.iter().sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_time_is_in_the_bucket_of_its_size() {
        let durations = Durations::default();
        for micros in [0, 10, 11, 5_000_000, 5_000_001, 90_000_000] {
            durations.note(Duration::from_micros(micros));
        }
        let read = durations.read();
        let mut expected = [0; BUCKETS];
        (expected[0], expected[1], expected[15], expected[16]) = (2, 1, 1, 2);
        assert_eq!(read.buckets, expected);
        assert_eq!(read.count(), 6);
        assert_eq!(read.total, Duration::from_micros(100_000_022));
    }
}
