//! Refusals, and how many of them are written down one by one.
//!
//! Every refusal leaves an audit record, and records are never deleted: whoever reaches the port could
//! fill the disk with them, and a full disk stops the node. So each client address may be refused so
//! often, and all together so often; what is beyond is answered without a record of its own, counted,
//! and recorded as a number. What is refused to the holder of a token is counted by token, apart from
//! what anybody can cause: a flood must not hide what a stolen token is tried for.

use std::{
    collections::HashMap,
    hash::Hash,
    net::IpAddr,
    sync::{Mutex, MutexGuard, PoisonError, Weak},
    time::{Duration, Instant},
};

use crate::{
    RequestContext,
    audit::{Entry, NOBODY},
    lockout::block,
    vault::{Event, Vault},
};

/// Of one client address, or one token: how many at once, and how many a second.
const OF_ONE: Rate = Rate {
    burst: 1_000.0,
    per_sec: 5.0,
};
/// Of all.
const OF_ALL: Rate = Rate {
    burst: 10_000.0,
    per_sec: 50.0,
};
/// Addresses, or tokens, remembered; others share what all have.
const KNOWN: usize = 10_000;
/// Between two records of what was not recorded.
const EVERY: Duration = Duration::from_secs(10);
/// Named in one round of them; the rest is one number.
const NAMED: usize = 20;

struct Rate {
    burst: f64,
    per_sec: f64,
}

/// A token bucket.
struct Bucket {
    left: f64,
    at: Instant,
}

impl Bucket {
    fn full(rate: &Rate, at: Instant) -> Self {
        let left = rate.burst;
        Self { left, at }
    }

    fn take(&mut self, rate: &Rate, now: Instant) -> bool {
        let passed = now.saturating_duration_since(self.at).as_secs_f64();
        self.left = (self.left + passed * rate.per_sec).min(rate.burst);
        self.at = now;
        let fits = self.left >= 1.0;
        if fits {
            self.left -= 1.0;
        }
        fits
    }

    fn is_full(&self, rate: &Rate, now: Instant) -> bool {
        let passed = now.saturating_duration_since(self.at).as_secs_f64();
        self.left + passed * rate.per_sec >= rate.burst
    }
}

/// Refusals by who was refused.
struct Limits<K> {
    all: Option<Bucket>,
    each: HashMap<K, Bucket>,
    uncounted: HashMap<K, u64>,
    of_others: u64,
}

impl<K> Default for Limits<K> {
    fn default() -> Self {
        Self {
            all: None,
            each: HashMap::new(),
            uncounted: HashMap::new(),
            of_others: 0,
        }
    }
}

impl<K: Hash + Eq + Clone> Limits<K> {
    fn is_recorded(&mut self, who: &K, now: Instant) -> bool {
        if self.each.len() >= KNOWN && !self.each.contains_key(who) {
            self.each.retain(|_, bucket| !bucket.is_full(&OF_ONE, now));
        }
        let room = self.each.len() < KNOWN;
        let own = match self.each.get_mut(who) {
            Some(bucket) => bucket.take(&OF_ONE, now),
            None if room => {
                let mut bucket = Bucket::full(&OF_ONE, now);
                let fits = bucket.take(&OF_ONE, now);
                self.each.insert(who.clone(), bucket);
                fits
            }
            None => true,
        };
        let all = self.all.get_or_insert_with(|| Bucket::full(&OF_ALL, now));
        if own && all.take(&OF_ALL, now) {
            return true;
        }
        self.leave_out(who, 1);
        false
    }

    fn leave_out(&mut self, who: &K, count: u64) {
        let room = self.uncounted.len() < KNOWN;
        match self.uncounted.get_mut(who) {
            Some(known) => *known += count,
            None if room => {
                self.uncounted.insert(who.clone(), count);
            }
            None => self.of_others += count,
        }
    }

    /// What was not recorded since the last time: who has most of it, and all others together.
    fn take_uncounted(&mut self) -> (Vec<(K, u64)>, u64) {
        let mut named: Vec<_> = self.uncounted.drain().collect();
        named.sort_unstable_by_key(|(_, count)| std::cmp::Reverse(*count));
        let rest: u64 = named.iter().skip(NAMED).map(|(_, count)| count).sum();
        named.truncate(NAMED);
        (named, rest + std::mem::take(&mut self.of_others))
    }
}

#[derive(Default)]
struct Known {
    by_client: Limits<IpAddr>,
    by_token: Limits<String>,
}

/// Counts refusals. IPv6 clients are counted by /64.
#[derive(Default)]
pub(crate) struct Refusals(Mutex<Known>);

impl Refusals {
    fn lock(&self) -> MutexGuard<'_, Known> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether this one is recorded by itself. If not, it is counted. `token` is the name of a token
    /// that is good, and not good enough.
    pub(crate) fn is_recorded(&self, client: IpAddr, token: Option<&str>, now: Instant) -> bool {
        let mut known = self.lock();
        match token {
            Some(name) => known.by_token.is_recorded(&name.to_owned(), now),
            None => known.by_client.is_recorded(&block(client), now),
        }
    }
}

/// Records what was not recorded one by one.
pub(crate) async fn worker(weak: Weak<Vault>) {
    loop {
        tokio::time::sleep(EVERY).await;
        let Some(vault) = weak.upgrade() else { return };
        vault.record_uncounted().await;
    }
}

impl Vault {
    /// Records how many refusals have no record of their own yet. What cannot be recorded now is kept
    /// for the next time.
    pub async fn record_uncounted(&self) {
        let client = |client: &IpAddr| (Some(*client), NOBODY.to_owned());
        self.record_of(|known| &mut known.by_client, client).await;
        let token = |name: &String| (None, name.clone());
        self.record_of(|known| &mut known.by_token, token).await;
    }

    async fn record_of<K: Hash + Eq + Clone>(
        &self,
        of: impl Fn(&mut Known) -> &mut Limits<K>,
        shown: impl Fn(&K) -> (Option<IpAddr>, String),
    ) {
        let (named, others) = of(&mut self.refusals.lock()).take_uncounted();
        for (who, count) in named {
            let (client, actor) = shown(&who);
            if !self.note_uncounted(client, &actor, count).await {
                of(&mut self.refusals.lock()).leave_out(&who, count);
            }
        }
        if others > 0 && !self.note_uncounted(None, NOBODY, others).await {
            of(&mut self.refusals.lock()).of_others += others;
        }
    }

    async fn note_uncounted(&self, client: Option<IpAddr>, actor: &str, count: u64) -> bool {
        let event = Event {
            actor,
            action: "refusals.uncounted",
            target: &count.to_string(),
            outcome: "denied",
            status: None,
        };
        let entry = Entry {
            client_ip: client,
            ..self.entry(&RequestContext::of_worker(Duration::ZERO), event)
        };
        self.audit.write(entry).await.is_ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ip(n: u32) -> IpAddr {
        IpAddr::from(n.to_be_bytes())
    }

    #[test]
    fn a_burst_is_recorded_and_then_a_few_a_second() {
        let (mut limits, start) = (Limits::default(), Instant::now());
        let mut recorded = |client, at, times: usize| {
            (0..times)
                .filter(|_| limits.is_recorded(&ip(client), at))
                .count()
        };
        assert_eq!(recorded(1, start, 3_000), 1_000);
        assert_eq!(recorded(2, start, 10), 10, "another's are its own");
        assert_eq!(recorded(1, start + Duration::from_secs(10), 100), 50);
        assert_eq!(limits.take_uncounted(), (vec![(ip(1), 2_050)], 0));
        assert_eq!(limits.take_uncounted(), (vec![], 0));
    }

    #[test]
    fn many_addresses_share_what_all_have_and_memory_is_bounded() {
        let (mut limits, start) = (Limits::default(), Instant::now());
        let many = u32::try_from(KNOWN).unwrap() + 5_000;
        let recorded = (0..many).filter(|n| limits.is_recorded(&ip(*n), start));
        assert_eq!(recorded.count(), 10_000);
        assert!(limits.each.len() <= KNOWN);
        let (named, others) = limits.take_uncounted();
        let counted: u64 = named.iter().map(|(_, count)| count).sum();
        assert_eq!(counted + others, u64::from(many) - 10_000);
    }

    #[test]
    fn a_flood_does_not_hide_what_a_token_is_refused() {
        let (refusals, start) = (Refusals::default(), Instant::now());
        let client = ip(1);
        while refusals.is_recorded(client, None, start) {}
        assert!(!refusals.is_recorded(client, None, start));
        assert!(refusals.is_recorded(client, Some("stolen"), start));
    }
}
