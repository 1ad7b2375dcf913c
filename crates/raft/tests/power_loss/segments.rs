//! What sled's file says of itself. Each segment begins with its place in the order of all that was ever written,
//! and with the place up to which everything had been written when it was begun. Once that is in the file, sled
//! relies on the segments that had been written in full: what was moved to one of them may be overwritten
//! where it was, or cut off. So those must be durable before.
//!
//! The layout is that of sled 0.34.7: a sum of 4 bytes, then the two places, 8 bytes each, little-endian, all
//! bits but the highest inverted.

use std::collections::{HashMap, HashSet};

/// Size of the store's segments.
const SEGMENT: u64 = 2 << 20;
/// The name of the file that has them.
const NAME: &str = "db";

/// Headers of segments as they were written.
#[derive(Clone, Copy, Default)]
pub struct Headers {
    pub written: u64,
    /// Written while a segment that sled relies on from then on waited for a sync.
    pub early: u64,
}

impl Headers {
    pub fn and(self, other: Self) -> Self {
        Self {
            written: self.written + other.written,
            early: self.early + other.early,
        }
    }
}

/// Where a file's segments stand in the order of all that was written, and which of them wait for a sync.
#[derive(Default)]
pub struct Segments {
    /// By their number in the file.
    places: HashMap<u64, u64>,
    unsynced: HashSet<u64>,
    pub headers: Headers,
}

impl Segments {
    /// Of a file of that name and content, if it has any.
    pub fn of(name: &str, content: &[u8]) -> Option<Self> {
        let mut segments = Self::default();
        for (number, segment) in (0..).zip(content.chunks(SEGMENT as usize)) {
            if let Some((place, _)) = header(segment) {
                segments.places.insert(number, place);
            }
        }
        (name == NAME).then_some(segments)
    }

    pub fn write(&mut self, offset: u64, data: &[u8]) {
        // When it opens, sled fills segments that it finds free: nothing depends on those bytes.
        if data.iter().all(|byte| *byte == data[0]) {
            return;
        }
        let segment = offset / SEGMENT;
        if offset.is_multiple_of(SEGMENT)
            && let Some((place, written)) = header(data)
        {
            self.headers.written += 1;
            // Nothing, while the first segment was being written.
            let relied_on = (written / SEGMENT).checked_sub(1);
            let mut unsynced = self.unsynced.iter().map(|number| self.places[number]);
            if unsynced.any(|place| Some(place / SEGMENT) <= relied_on) {
                self.headers.early += 1;
            }
            self.places.insert(segment, place);
        }
        self.unsynced.insert(segment);
    }

    pub fn sync(&mut self) {
        self.unsynced.clear();
    }
}

/// The place of a segment, and up to which everything had been written.
fn header(segment: &[u8]) -> Option<(u64, u64)> {
    let (_sum, places) = segment.split_first_chunk::<4>()?;
    let (place, rest) = places.split_first_chunk()?;
    let (written, _) = rest.split_first_chunk()?;
    let [place, written] = [place, written].map(|place| i64::from_le_bytes(*place) ^ i64::MAX);
    // What was filled has no header.
    Some((place.try_into().ok()?, written.max(0).try_into().ok()?))
}
