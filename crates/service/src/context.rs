//! Where a request comes from, and how long it may take.

use std::{
    cell::Cell,
    net::{IpAddr, Ipv4Addr},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use sha2::{Digest, Sha256};
use strongroom_core::{LogPosition, RequestId, limits};

use crate::{error::VaultError, hex};

/// One request, as every use case sees it. No call can omit it.
#[derive(Clone, Debug)]
pub struct RequestContext {
    /// Given to the caller, the log and the audit trail.
    pub request_id: Arc<str>,
    /// The client's address, trusted proxies considered. Canonical: never IPv4-mapped.
    pub client_ip: IpAddr,
    /// The address of the connection.
    pub peer_ip: IpAddr,
    /// When the caller gets an answer at the latest.
    pub deadline: Instant,
    /// The caller's name for this request over all its tries.
    pub idempotency_key: Option<IdempotencyKey>,
    /// The same, once it is known who asks for what.
    pub(crate) request: Option<RequestId>,
    /// How far it has come.
    pub seen: Seen,
}

impl RequestContext {
    /// One request of a client.
    #[must_use]
    pub fn of_client(
        request_id: Arc<str>,
        client_ip: IpAddr,
        peer_ip: IpAddr,
        deadline: Instant,
        seen: Seen,
    ) -> Self {
        Self {
            request_id,
            client_ip,
            peer_ip,
            deadline,
            idempotency_key: None,
            request: None,
            seen,
        }
    }
}

/// What a client names a request by, so that it can be tried again: 1 to
/// [`limits::IDEMPOTENCY_KEY_BYTES`] visible ASCII characters.
#[derive(Clone, Debug)]
pub struct IdempotencyKey(Arc<str>);

impl IdempotencyKey {
    /// Checks a key.
    ///
    /// # Errors
    /// [`VaultError::Invalid`].
    pub fn parse(text: &str) -> Result<Self, VaultError> {
        let fits = (1..=limits::IDEMPOTENCY_KEY_BYTES).contains(&text.len());
        if fits && text.bytes().all(|byte| byte.is_ascii_graphic()) {
            Ok(Self(text.into()))
        } else {
            Err(VaultError::invalid(
                "Idempotency-Key must be 1 to 256 visible ASCII characters",
            ))
        }
    }

    /// The request of this key, by whom and for what: nobody else's key means the same, nor the same
    /// key for something else.
    pub(crate) fn request(&self, actor: &str, action: &str, target: &str) -> RequestId {
        let mut hash = Sha256::new_with_prefix(b"strongroom request");
        for part in [actor, action, target, &self.0] {
            hash.update((part.len() as u64).to_be_bytes());
            hash.update(part);
        }
        let mut request = [0; 16];
        request
            .iter_mut()
            .zip(hash.finalize())
            .for_each(|(to, from)| *to = from);
        RequestId(request)
    }
}

/// How far a request has come: the log index up to which what it was answered from, or has changed, had
/// been applied, and whether a record of it was handed to the audit trail. Both only grow; clones share
/// them.
#[derive(Clone, Debug, Default)]
pub struct Seen(Arc<SoFar>);

#[derive(Debug, Default)]
struct SoFar {
    /// 0: none yet.
    index: AtomicU64,
    on_record: AtomicBool,
}

impl Seen {
    /// The index, if anything was seen.
    #[must_use]
    pub fn index(&self) -> Option<u64> {
        Some(self.0.index.load(Ordering::Acquire)).filter(|index| *index > 0)
    }

    pub(crate) fn note(&self, position: Option<LogPosition>) {
        if let Some(position) = position {
            self.0.index.fetch_max(position.index, Ordering::AcqRel);
        }
    }

    /// Whether a record of the request is with the audit trail's writer, which writes it whether or not
    /// somebody waits for it. A call that leaves one record, a read, may then be dropped.
    #[must_use]
    pub fn is_on_record(&self) -> bool {
        self.0.on_record.load(Ordering::Acquire)
    }

    /// A record of the request is with the audit trail's writer.
    pub fn note_record(&self) {
        self.0.on_record.store(true, Ordering::Release);
    }
}

impl RequestContext {
    /// The context of something that this node does by itself: no client, no peer.
    #[must_use]
    pub fn of_worker(within: Duration) -> Self {
        let nobody = IpAddr::V4(Ipv4Addr::UNSPECIFIED);
        Self {
            request_id: new_request_id(),
            client_ip: nobody,
            peer_ip: nobody,
            deadline: Instant::now() + within,
            idempotency_key: None,
            request: None,
            seen: Seen::default(),
        }
    }

    /// The time left; zero when there is none.
    #[must_use]
    pub fn left(&self) -> Duration {
        self.deadline.saturating_duration_since(Instant::now())
    }
}

thread_local! {
    /// The last id of this thread; `None` until the system has given it a beginning.
    static LAST_ID: Cell<Option<u128>> = const { Cell::new(None) };
}

/// Odd, so that a thread's ids repeat after 2^128 of them; of no pattern, so that they look unlike.
const STEP: u128 = 0x9e37_79b9_7f4a_7c15_f39c_c060_5ced_c835;

/// 128 bits in hexadecimal: unique, but no secret. Each thread walks from a random place, so that the
/// system is not asked for every request.
#[must_use]
pub fn new_request_id() -> Arc<str> {
    let Some(last) = LAST_ID.get().or_else(random) else {
        // An id that repeats does less harm than a request refused for want of one.
        return "unavailable".into();
    };
    let next = last.wrapping_add(STEP);
    LAST_ID.set(Some(next));
    let text: [u8; 32] = hex::digits(&next.to_be_bytes());
    str::from_utf8(&text).unwrap_or_default().into()
}

fn random() -> Option<u128> {
    let mut bytes = [0; 16];
    getrandom::fill(&mut bytes).ok()?;
    Some(u128::from_ne_bytes(bytes))
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn ids_are_unique_over_threads() {
        let made = || (0..1_000).map(|_| new_request_id()).collect::<Vec<_>>();
        let threads: Vec<_> = (0..4).map(|_| std::thread::spawn(made)).collect();
        let all: Vec<_> = threads
            .into_iter()
            .flat_map(|t| t.join().unwrap())
            .collect();
        assert!(all.iter().all(|id| id.len() == 32));
        assert_eq!(all.iter().collect::<HashSet<_>>().len(), all.len());
    }
}
