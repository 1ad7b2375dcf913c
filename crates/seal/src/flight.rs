//! Single flight: of all who need the same key at the same time, one question goes to KMS. It
//! belongs to none of them: whoever stops waiting neither ends it nor makes it start again.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use strongroom_core::KmsKeyId;
use tokio::{sync::watch, time::timeout};

use crate::{
    Dek, KmsError,
    cache::{CacheKey, DekCache},
    line::{late, lost},
};

pub(crate) type Reply = Result<Arc<Dek>, KmsError>;

/// The cache and the flights behind one lock, so that a key is always in one of: cached, being
/// asked for, unknown.
pub(crate) struct Shelf {
    pub(crate) cache: DekCache,
    flights: HashMap<CacheKey, Waiting>,
}

/// What looking for a key finds.
pub(crate) enum Found {
    /// The key.
    Cached(Arc<Dek>),
    /// Somebody is asking.
    Joined(Waiting),
    /// Nobody is asking: whoever found this does.
    First(Landing, Waiting),
}

/// A place to wait for the end of a flight.
#[derive(Clone)]
pub(crate) struct Waiting(watch::Receiver<Option<Reply>>);

/// The duty to end a flight. Dropped, it ends with an error.
pub(crate) struct Landing {
    shelf: Arc<Mutex<Shelf>>,
    key: CacheKey,
    reply: watch::Sender<Option<Reply>>,
    landed: bool,
}

impl Shelf {
    pub(crate) fn new(cache: DekCache) -> Self {
        Self {
            cache,
            flights: HashMap::new(),
        }
    }

    #[cfg(test)]
    pub(crate) fn flights(&self) -> usize {
        self.flights.len()
    }
}

/// Locks; a panic elsewhere leaves nothing half done in here.
pub(crate) fn lock(shelf: &Mutex<Shelf>) -> MutexGuard<'_, Shelf> {
    shelf.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Finds `key` in the cache, or the flight that will bring it.
pub(crate) fn find(shelf: &Arc<Mutex<Shelf>>, key: &CacheKey) -> Found {
    let mut inner = lock(shelf);
    if let Some(dek) = inner.cache.get(key) {
        return Found::Cached(dek);
    }
    if let Some(waiting) = inner.flights.get(key) {
        return Found::Joined(waiting.clone());
    }
    let (reply, waiting) = watch::channel(None);
    let waiting = Waiting(waiting);
    inner.flights.insert(*key, waiting.clone());
    let landing = Landing {
        shelf: Arc::clone(shelf),
        key: *key,
        reply,
        landed: false,
    };
    Found::First(landing, waiting)
}

impl Waiting {
    /// The end of the flight, waited for this long.
    pub(crate) async fn wait(mut self, within: Duration) -> Reply {
        match timeout(within, self.0.wait_for(Option::is_some)).await {
            Ok(Ok(reply)) => (*reply).clone().unwrap_or_else(|| Err(lost())),
            Ok(Err(_)) => Err(lost()),
            Err(_) => Err(late()),
        }
    }
}

impl Landing {
    /// Ends the flight: a key goes to the cache, an error to those who wait, and whoever comes from
    /// now on asks anew. Returns how many keys the cache had to drop.
    pub(crate) fn land(mut self, key_id: &KmsKeyId, reply: Reply) -> u64 {
        let evicted = {
            let mut inner = lock(&self.shelf);
            inner.flights.remove(&self.key);
            inner.cache.learn(&self.key, key_id, &reply)
        };
        self.landed = true;
        self.reply.send_replace(Some(reply));
        evicted
    }
}

impl Drop for Landing {
    fn drop(&mut self) {
        if !self.landed {
            lock(&self.shelf).flights.remove(&self.key);
        }
    }
}
