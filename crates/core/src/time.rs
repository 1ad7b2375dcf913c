//! Time as data: milliseconds since the Unix epoch, stamped by the leader.

use serde::{Deserialize, Serialize};
use time::OffsetDateTime;

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
    /// are shown as its last second. In one width, so that times sort as text.
    #[must_use]
    pub fn rfc3339(self) -> String {
        const LAST_SECOND_OF_9999: u64 = 253_402_300_799;
        let secs = (self.0 / 1_000).min(LAST_SECOND_OF_9999);
        let at = i64::try_from(secs)
            .ok()
            .and_then(|secs| OffsetDateTime::from_unix_timestamp(secs).ok());
        let Some(at) = at else {
            return String::new();
        };
        // By hand, since each read shows one: a format description takes ten times as long.
        let mut text = String::with_capacity("2026-01-02T03:04:05.678Z".len());
        for (number, digits, after) in [
            (u64::try_from(at.year()).unwrap_or_default(), 4, '-'),
            (u8::from(at.month()).into(), 2, '-'),
            (at.day().into(), 2, 'T'),
            (at.hour().into(), 2, ':'),
            (at.minute().into(), 2, ':'),
            (at.second().into(), 2, '.'),
            (self.0 % 1_000, 3, 'Z'),
        ] {
            push_number(&mut text, number, digits);
            text.push(after);
        }
        text
    }
}

/// The last digits of a number.
fn push_number(text: &mut String, number: u64, digits: u32) {
    for place in (0..digits).rev() {
        let digit = u8::try_from(number / 10_u64.pow(place) % 10).unwrap_or_default();
        text.push(char::from(b'0' + digit));
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use time::{format_description::BorrowedFormatItem, macros::format_description};

    use super::*;

    const FORMAT: &[BorrowedFormatItem<'_>] =
        format_description!("[year]-[month]-[day]T[hour]:[minute]:[second].[subsecond digits:3]Z");

    proptest! {
        #[test]
        fn rfc3339_is_what_a_library_makes_of_it(millis in 0..253_402_300_800_000_u64) {
            let at = OffsetDateTime::from_unix_timestamp_nanos(i128::from(millis) * 1_000_000).unwrap();
            prop_assert_eq!(LogTime(millis).rfc3339(), at.format(FORMAT).unwrap());
        }
    }

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
