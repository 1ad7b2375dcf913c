//! Unwrapped data keys, kept for a while. Never plaintext.
//!
//! Written out rather than taken from a caching crate, because a key must be gone, zeroized, when
//! the sweep returns, and not when a background collector gets to it.
//!
//! # Stale keys
//!
//! A key past its time may be kept for some more, to be used only while KMS cannot be asked: when
//! it is unavailable or throttles, or the breaker is open. Revocation must work, so any other
//! refusal ends that: what KMS denies, or calls malformed, is dropped on the spot, and no stale key
//! that a disabled KMS key wrapped is used until that KMS key has unwrapped something again. What
//! remains is this: whoever keeps a node from reaching KMS at all lets it use what it unwrapped
//! before for that much longer. With no time for stale keys, the default, for none.

use std::{
    collections::{BTreeMap, HashSet},
    sync::Arc,
    time::Duration,
};

use sha2::{Digest, Sha256};
use strongroom_core::{KmsKeyId, WrappedDek};
use tokio::time::Instant;

use crate::{Binding, Dek, KmsError};
use table::{Table, Whereabouts};

mod table;

/// How many keys are looked at while the lock is held: some tens of microseconds, in which no read
/// finds its key.
const AT_ONCE: usize = 128;

/// What a cached key is found by: the SHA-256 of the wrapped key and the binding. A wrapped key is good
/// under one binding alone, and a hit must not be more generous than KMS.
///
/// A digest, and not what it is of: it stands in the table itself, and a read that has the wrapped key need
/// not wait for another place in memory to compare it with.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(crate) struct CacheKey([u8; 32]);

impl CacheKey {
    pub(crate) fn new(wrapped: &WrappedDek, binding: &Binding) -> Self {
        let digest = Sha256::new()
            // The length, so that no two pairs have the same bytes.
            .chain_update(wrapped.0.len().to_le_bytes())
            .chain_update(&wrapped.0)
            .chain_update(binding.aad());
        Self(digest.finalize().into())
    }
}

struct Entry {
    dek: Arc<Dek>,
    expires: Instant,
    /// Until then it is kept for when KMS cannot be asked.
    goes: Instant,
    used: bool,
    /// Its place in `ages`.
    age: u64,
    /// Its place in `turns`.
    turn: u64,
}

/// Bounded and expiring; when full, what was not used since it was last looked at goes first.
///
/// Nothing but [`clear`](Self::clear) takes longer the more keys there are, but for a logarithm: reads
/// wait for the lock around it.
pub(crate) struct DekCache {
    ttl: Duration,
    stale: Duration,
    capacity: usize,
    entries: Table<CacheKey, Entry>,
    /// Every one of `entries`, once, oldest first, by where it is found. All are kept equally long, so it
    /// is the order in which they go.
    ages: BTreeMap<u64, Whereabouts>,
    /// Every one of `entries`, once: the order in which they are looked at when it is full.
    turns: BTreeMap<u64, Whereabouts>,
    /// The last number given out in `ages` and `turns`.
    last: u64,
    /// KMS keys that were disabled when last asked.
    disabled: HashSet<KmsKeyId>,
}

impl DekCache {
    /// With a `ttl` or `capacity` of 0 it keeps nothing.
    pub(crate) fn new(ttl: Duration, stale: Duration, capacity: usize) -> Self {
        Self {
            ttl,
            stale,
            capacity,
            entries: Table::new(),
            ages: BTreeMap::new(),
            turns: BTreeMap::new(),
            last: 0,
            disabled: HashSet::new(),
        }
    }

    pub(crate) fn is_off(&self) -> bool {
        self.ttl.is_zero() || self.capacity == 0
    }

    pub(crate) fn len(&self) -> usize {
        self.entries.len()
    }

    pub(crate) fn get(&mut self, key: &CacheKey) -> Option<Arc<Dek>> {
        let entry = self.entries.get_mut(key)?;
        if entry.expires <= Instant::now() {
            return None;
        }
        entry.used = true;
        Some(Arc::clone(&entry.dek))
    }

    /// A key past its time, for a caller that cannot ask KMS.
    pub(crate) fn get_stale(&self, key: &CacheKey, key_id: &KmsKeyId) -> Option<Arc<Dek>> {
        let entry = self.entries.get(key)?;
        let kept = entry.goes > Instant::now() && !self.disabled.contains(key_id);
        kept.then(|| Arc::clone(&entry.dek))
    }

    /// Takes in what KMS answered about `key`, which `key_id` wrapped. Returns how many keys had to
    /// go because it was full.
    pub(crate) fn learn(
        &mut self,
        key: &CacheKey,
        key_id: &KmsKeyId,
        reply: &Result<Arc<Dek>, KmsError>,
    ) -> u64 {
        match reply {
            Ok(dek) => {
                self.disabled.remove(key_id);
                self.put(*key, Arc::clone(dek))
            }
            Err(error) if error.is_retryable() => 0,
            Err(error) => {
                if matches!(error, KmsError::KeyDisabled(_)) {
                    self.disabled.insert(key_id.clone());
                }
                self.remove(key);
                0
            }
        }
    }

    /// Keeps `dek` for the cache's time, which a later hit does not extend. Returns how many keys
    /// had to go.
    fn put(&mut self, key: CacheKey, dek: Arc<Dek>) -> u64 {
        if self.is_off() {
            return 0;
        }
        let Some(expires) = Instant::now().checked_add(self.ttl) else {
            return 0;
        };
        self.remove(&key);
        self.last += 1;
        let place = self.last;
        let entry = Entry {
            dek,
            expires,
            goes: expires.checked_add(self.stale).unwrap_or(expires),
            used: false,
            age: place,
            turn: place,
        };
        let at = self.entries.insert_new(key, entry);
        self.ages.insert(place, at);
        self.turns.insert(place, at);
        let mut evicted = 0;
        while self.entries.len() > self.capacity && self.evict_one() {
            evicted += 1;
        }
        evicted
    }

    fn evict_one(&mut self) -> bool {
        let now = Instant::now();
        let mut spared = 0;
        while let Some((turn, at)) = self.turns.pop_first() {
            let found = self.entries.find_mut(at, |entry| entry.turn == turn);
            let Some((&key, entry)) = found else {
                continue;
            };
            if spared == AT_ONCE || !entry.used || entry.expires <= now {
                return self.remove(&key).is_some();
            }
            spared += 1;
            self.last += 1;
            (entry.used, entry.turn) = (false, self.last);
            self.turns.insert(self.last, at);
        }
        false
    }

    fn remove(&mut self, key: &CacheKey) -> Option<Arc<Dek>> {
        let entry = self.entries.remove(key)?;
        self.ages.remove(&entry.age);
        self.turns.remove(&entry.turn);
        Some(entry.dek)
    }

    /// Takes out some of what is past its time, and past the time for stale keys; no more is when it
    /// comes back empty. The caller drops them, after the lock: whatever is not in use elsewhere is
    /// zeroized then.
    pub(crate) fn take_expired(&mut self) -> Vec<Arc<Dek>> {
        let now = Instant::now();
        let mut taken = Vec::new();
        while taken.len() < AT_ONCE
            && let Some((&age, &at)) = self.ages.first_key_value()
            && let Some((&key, entry)) = self.entries.find_mut(at, |entry| entry.age == age)
            && entry.goes <= now
        {
            taken.extend(self.remove(&key));
        }
        taken
    }

    pub(crate) fn clear(&mut self) {
        self.entries.clear();
        self.ages.clear();
        self.turns.clear();
    }
}

#[cfg(test)]
mod tests;
