//! Where a request comes from, and how long it may take.

use std::{
    net::{IpAddr, Ipv4Addr},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use sha2::{Digest, Sha256};
use strongroom_core::{LogPosition, RequestId, limits};

use crate::error::VaultError;

/// One request, as every use case sees it. No call can omit it.
#[derive(Clone, Debug)]
pub struct RequestContext {
    /// Given to the caller, the log and the audit trail.
    pub request_id: String,
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
    /// The log index up to which what it was answered from, or has changed, had been applied.
    pub seen: Seen,
}

impl RequestContext {
    /// One request of a client.
    #[must_use]
    pub fn of_client(
        request_id: String,
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

/// A log index that only grows; 0: none yet. Clones share it.
#[derive(Clone, Debug, Default)]
pub struct Seen(Arc<AtomicU64>);

impl Seen {
    /// The index, if anything was seen.
    #[must_use]
    pub fn index(&self) -> Option<u64> {
        Some(self.0.load(Ordering::Acquire)).filter(|index| *index > 0)
    }

    pub(crate) fn note(&self, position: Option<LogPosition>) {
        if let Some(position) = position {
            self.0.fetch_max(position.index, Ordering::AcqRel);
        }
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

/// 128 random bits in hexadecimal.
#[must_use]
pub fn new_request_id() -> String {
    let mut bytes = [0u8; 16];
    if getrandom::fill(&mut bytes).is_err() {
        // An id that repeats does less harm than a request refused for want of one.
        return "unavailable".to_owned();
    }
    format!("{:032x}", u128::from_be_bytes(bytes))
}
