//! Time as data: milliseconds since the Unix epoch, stamped by the leader.

use serde::{Deserialize, Serialize};
use time::{OffsetDateTime, format_description::BorrowedFormatItem, macros::format_description};

/// RFC 3339 in one width, so that times sort as text.
const WITH_MILLISECONDS: &[BorrowedFormatItem<'_>] =
    format_description!("[year]-[month]-[day]T[hour]:[minute]:[second].[subsecond digits:3]Z");

/// The leader's stamp in an entry: milliseconds since 1970-01-01T00:00:00Z. It never goes back
/// within a [`State`](crate::State), whatever the leaders' clocks do.
#[derive(
    Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default, Serialize, Deserialize,
)]
pub struct LogTime(pub u64);

impl LogTime {
    /// This time, so many milliseconds later. The end of time stays where it is.
    #[must_use]
    pub fn plus_millis(self, millis: u64) -> Self {
        Self(self.0.saturating_add(millis))
    }

    /// This time plus `secs` seconds, saturating at the end of time.
    #[must_use]
    pub fn plus_secs(self, secs: u64) -> Self {
        Self(self.0.saturating_add(secs.saturating_mul(1_000)))
    }

    /// RFC 3339 in UTC with milliseconds, e.g. `2026-01-02T03:04:05.678Z`. Times past the year 9999
    /// are shown as its last second.
    #[must_use]
    pub fn rfc3339(self) -> String {
        const LAST_SECOND_OF_9999: u64 = 253_402_300_799;
        let secs = (self.0 / 1_000).min(LAST_SECOND_OF_9999);
        let nanos = i128::from(secs) * 1_000_000_000 + i128::from(self.0 % 1_000) * 1_000_000;
        OffsetDateTime::from_unix_timestamp_nanos(nanos)
            .ok()
            .and_then(|at| at.format(WITH_MILLISECONDS).ok())
            .unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rfc3339_keeps_milliseconds_and_survives_the_end_of_time() {
        assert_eq!(LogTime(0).rfc3339(), "1970-01-01T00:00:00.000Z");
        assert_eq!(
            LogTime(1_767_323_045_678).rfc3339(),
            "2026-01-02T03:04:05.678Z"
        );
        assert!(
            LogTime(u64::MAX)
                .rfc3339()
                .starts_with("9999-12-31T23:59:59")
        );
        assert_eq!(LogTime(u64::MAX).plus_secs(u64::MAX), LogTime(u64::MAX));
    }
}
