//! Wrong tokens, counted by client address on this node.

use std::{
    collections::HashMap,
    net::IpAddr,
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

/// Addresses remembered. When it is full the oldest record makes room: an attacker with more
/// addresses than this is not stopped by counting addresses.
const ADDRESSES: usize = 100_000;

/// When an address is locked out.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct LockoutPolicy {
    /// Wrong tokens that lock an address out; 0: never.
    pub max_failures: u32,
    /// Counted within this time.
    pub window: Duration,
    /// How long an address stays locked out.
    pub lockout: Duration,
}

struct Record {
    failures: u32,
    first: Instant,
    locked_until: Option<Instant>,
}

/// Counts wrong tokens and says who is locked out.
///
/// IPv6 clients are counted by /64, the smallest block a client is usually given.
pub struct Lockout {
    policy: LockoutPolicy,
    records: Mutex<HashMap<IpAddr, Record>>,
}

impl Lockout {
    /// Nobody is locked out yet.
    #[must_use]
    pub fn new(policy: LockoutPolicy) -> Self {
        Self {
            policy,
            records: Mutex::new(HashMap::new()),
        }
    }

    /// How long `address` is still locked out; `None` if it is not.
    #[must_use]
    pub fn remaining(&self, address: IpAddr, now: Instant) -> Option<Duration> {
        let records = self.records.lock().unwrap_or_else(PoisonError::into_inner);
        let until = records.get(&block(address))?.locked_until?;
        until
            .checked_duration_since(now)
            .filter(|left| !left.is_zero())
    }

    /// Notes a wrong token. Returns whether this one locked the address out.
    pub fn failed(&self, address: IpAddr, now: Instant) -> bool {
        if self.policy.max_failures == 0 {
            return false;
        }
        let mut records = self.records.lock().unwrap_or_else(PoisonError::into_inner);
        let address = block(address);
        if records.len() >= ADDRESSES && !records.contains_key(&address) {
            self.make_room(&mut records, now);
        }
        let fresh = || Record {
            failures: 0,
            first: now,
            locked_until: None,
        };
        let record = records.entry(address).or_insert_with(fresh);
        // A try that began before the lockout, and ended after the window, must not undo it.
        if record.locked_until.is_some_and(|until| until > now) {
            return false;
        }
        let over = record.locked_until.is_some_and(|until| until <= now)
            || now.saturating_duration_since(record.first) > self.policy.window;
        if over {
            *record = fresh();
        }
        record.failures += 1;
        if record.failures < self.policy.max_failures {
            return false;
        }
        record.locked_until = Some(now + self.policy.lockout);
        true
    }

    fn make_room(&self, records: &mut HashMap<IpAddr, Record>, now: Instant) {
        records.retain(|_, record| match record.locked_until {
            Some(until) => until > now,
            None => now.saturating_duration_since(record.first) <= self.policy.window,
        });
        if records.len() >= ADDRESSES
            && let Some(oldest) = records.iter().min_by_key(|(_, r)| r.first).map(|(a, _)| *a)
        {
            records.remove(&oldest);
        }
    }
}

/// The addresses that count as one client: an IPv6 client has a /64.
#[must_use]
pub fn block(address: IpAddr) -> IpAddr {
    const NETWORK_BITS: u128 = !0 << 64;
    match address.to_canonical() {
        IpAddr::V6(v6) => IpAddr::V6((v6.to_bits() & NETWORK_BITS).into()),
        v4 => v4,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn lockout(max_failures: u32) -> Lockout {
        let policy = LockoutPolicy {
            max_failures,
            window: 10 * SECOND,
            lockout: 60 * SECOND,
        };
        Lockout::new(policy)
    }

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn the_nth_failure_inside_the_window_locks_out_and_time_releases() {
        let (lockout, start) = (lockout(3), Instant::now());
        let client = ip("192.0.2.1");
        assert!(!lockout.failed(client, start));
        assert!(!lockout.failed(client, start + SECOND));
        assert_eq!(lockout.remaining(client, start + SECOND), None);
        assert!(lockout.failed(client, start + 2 * SECOND));
        assert_eq!(
            lockout.remaining(client, start + 2 * SECOND),
            Some(60 * SECOND)
        );
        assert_eq!(lockout.remaining(ip("192.0.2.2"), start + 2 * SECOND), None);
        assert_eq!(lockout.remaining(client, start + 62 * SECOND), None);
        assert!(!lockout.failed(client, start + 63 * SECOND));
    }

    #[test]
    fn failures_outside_the_window_do_not_add_up() {
        let (lockout, start) = (lockout(2), Instant::now());
        for step in 0..5 {
            assert!(!lockout.failed(ip("192.0.2.1"), start + 11 * step * SECOND));
        }
    }

    #[test]
    fn a_late_failure_does_not_end_a_lockout() {
        let (lockout, start) = (lockout(1), Instant::now());
        let client = ip("192.0.2.1");
        assert!(lockout.failed(client, start));
        // Past the window of 10 s, within the lockout of 60 s.
        assert!(!lockout.failed(client, start + 20 * SECOND));
        assert!(lockout.remaining(client, start + 20 * SECOND).is_some());
    }

    #[test]
    fn spellings_of_one_client_count_as_one_and_zero_is_off() {
        let (two, start) = (lockout(2), Instant::now());
        assert!(!two.failed(ip("192.0.2.1"), start));
        assert!(two.failed(ip("::ffff:192.0.2.1"), start));
        assert!(!two.failed(ip("2001:db8::1"), start));
        assert!(two.failed(ip("2001:db8::ffff:2"), start));
        let off = lockout(0);
        assert!((0..100).all(|_| !off.failed(ip("192.0.2.1"), start)));
    }

    #[test]
    fn memory_is_bounded() {
        let (lockout, start) = (lockout(2), Instant::now());
        for n in 0..(u32::try_from(ADDRESSES).unwrap() + 10) {
            lockout.failed(IpAddr::from(n.to_be_bytes()), start);
            if n > 100_000 {
                lockout.failed(IpAddr::from(n.to_be_bytes()), start);
            }
        }
        assert!(lockout.records.lock().unwrap().len() <= ADDRESSES);
    }
}
