//! How many connections there may be, and how many of one client.

use std::{
    collections::HashMap,
    net::IpAddr,
    sync::{Arc, Mutex, PoisonError},
};

use strongroom_service::lockout::block;

/// Connections at a time, if the limit of open files allows; more wait in the kernel's queue.
const CONNECTIONS: u64 = 4_096;
/// Open files that connections leave to the store, the audit trail and other nodes.
const RESERVED_FILES: u64 = 512;
/// How many connections a listener takes at a time under this limit of open files.
pub(crate) fn places(file_limit: u64) -> usize {
    let left = file_limit
        .saturating_sub(RESERVED_FILES)
        .max(file_limit / 2);
    usize::try_from(left.min(CONNECTIONS)).unwrap_or(1)
}

/// How many connections there may be at a time.
pub(crate) struct Places {
    pub(crate) all: usize,
    /// Of one client: one that stalls must not stop everybody.
    pub(crate) of_one: usize,
    /// Who may have all of them.
    pub(crate) unlimited: Box<dyn Fn(IpAddr) -> bool + Send + Sync>,
}

impl Places {
    /// Whoever comes first has them.
    pub(crate) fn of_anybody(all: usize) -> Self {
        Self {
            all,
            of_one: all,
            unlimited: Box::new(|_| true),
        }
    }
}

/// Connections by client.
#[derive(Clone, Default)]
pub(super) struct Open(Arc<Mutex<HashMap<IpAddr, usize>>>);

/// One of them, until it is dropped.
pub(super) struct Counted {
    open: Open,
    client: IpAddr,
}

impl Open {
    /// Counts one more, unless the client has as many as it may.
    pub(super) fn count(&self, client: IpAddr, places: &Places) -> Option<Counted> {
        let most = match (places.unlimited)(client) {
            true => usize::MAX,
            false => places.of_one,
        };
        let client = block(client);
        let mut open = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let count = open.entry(client).or_default();
        if *count >= most {
            return None;
        }
        *count += 1;
        Some(Counted {
            open: self.clone(),
            client,
        })
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        let mut open = self.open.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = open.get_mut(&self.client) {
            *count -= 1;
            if *count == 0 {
                open.remove(&self.client);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_client_has_its_share_and_others_theirs() {
        let proxy: IpAddr = "192.0.2.1".parse().unwrap();
        let places = Places {
            all: 10,
            of_one: 2,
            unlimited: Box::new(move |client| client == proxy),
        };
        let open = Open::default();
        let count = |client: &str| open.count(client.parse().unwrap(), &places);
        let first = count("192.0.2.7").unwrap();
        let second = count("::ffff:192.0.2.7").unwrap();
        assert!(count("192.0.2.7").is_none());
        let _others: Vec<_> = (0..5).map(|_| count("192.0.2.1").unwrap()).collect();
        // All addresses of a /64 are one client.
        let _six = [count("2001:db8::1").unwrap(), count("2001:db8::2").unwrap()];
        assert!(count("2001:db8::3").is_none());
        drop(first);
        let third = count("192.0.2.7").unwrap();
        drop((second, third));
        assert!(
            !open
                .0
                .lock()
                .unwrap()
                .contains_key(&"192.0.2.7".parse().unwrap())
        );
    }

    #[test]
    fn a_low_limit_of_open_files_leaves_some_for_the_store() {
        assert_eq!(places(1 << 20), 4_096);
        assert_eq!(places(1_024), 512);
        assert_eq!(places(256), 128);
    }
}
