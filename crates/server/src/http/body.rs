//! Request bodies: bounded before anything else is done with them, and zeroized.
//!
//! A body arrives before anybody knows who sends it. So each is bounded, and so is what all of them
//! take together: a body over [`SMALL_BYTES`] needs one of [`LARGE_BODIES`] places, of which one client
//! address has at most [`LARGE_BODIES_OF_ONE`], and waits for it until its request's deadline.

use std::{
    collections::HashMap,
    net::IpAddr,
    sync::{Arc, Mutex, PoisonError, Weak},
};

use axum::body::Body;
use http::{HeaderMap, header};
use http_body_util::BodyExt;
use strongroom_core::limits;
use strongroom_service::{VaultError, lockout::block};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use zeroize::Zeroizing;

const TOO_LARGE: VaultError = VaultError::TooLarge("the body is over 1 MiB");
/// Bodies up to this size need no place.
const SMALL_BYTES: usize = 16 * 1024;
/// Larger bodies held at a time: 256 MiB at most.
const LARGE_BODIES: usize = 256;

/// Of these, what one client address may hold: a few that stall must not stop everybody.
const LARGE_BODIES_OF_ONE: usize = 64;

/// Places for large bodies.
pub struct BodyPlaces {
    all: Arc<Semaphore>,
    by_client: Mutex<HashMap<IpAddr, Weak<Semaphore>>>,
}

impl Default for BodyPlaces {
    fn default() -> Self {
        Self::new(LARGE_BODIES)
    }
}

impl BodyPlaces {
    fn new(places: usize) -> Self {
        Self {
            all: Arc::new(Semaphore::new(places)),
            by_client: Mutex::default(),
        }
    }

    fn of(&self, client: IpAddr) -> Arc<Semaphore> {
        let mut known = self
            .by_client
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        // An IPv6 client has many addresses.
        let client = block(client);
        if let Some(places) = known.get(&client).and_then(Weak::upgrade) {
            return places;
        }
        known.retain(|_, places| places.strong_count() > 0);
        let places = Arc::new(Semaphore::new(LARGE_BODIES_OF_ONE));
        known.insert(client, Arc::downgrade(&places));
        places
    }

    async fn take(&self, client: IpAddr) -> Option<Place> {
        let own = self.of(client).acquire_owned().await.ok()?;
        let shared = Arc::clone(&self.all).acquire_owned().await.ok()?;
        Some(Place {
            _own: own,
            _shared: shared,
        })
    }
}

/// A place, given back when dropped.
struct Place {
    _own: OwnedSemaphorePermit,
    _shared: OwnedSemaphorePermit,
}

/// A body, in a buffer that is zeroized, with its place if it needed one.
#[derive(Default)]
pub(crate) struct BodyBytes {
    bytes: Zeroizing<Vec<u8>>,
    _place: Option<Place>,
}

impl std::ops::Deref for BodyBytes {
    type Target = [u8];
    fn deref(&self) -> &[u8] {
        &self.bytes
    }
}

/// Reads a body of at most [`limits::BODY_BYTES`].
pub(crate) async fn read(
    headers: &HeaderMap,
    mut body: Body,
    places: &BodyPlaces,
    client: IpAddr,
) -> Result<BodyBytes, VaultError> {
    let announced = headers
        .get(header::CONTENT_LENGTH)
        .and_then(|length| length.to_str().ok()?.parse::<usize>().ok());
    if announced.is_some_and(|length| length > limits::BODY_BYTES) {
        return Err(TOO_LARGE);
    }
    let mut read = BodyBytes::default();
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|_| VaultError::invalid("the body broke off"))?;
        let Ok(data) = frame.into_data() else {
            continue;
        };
        let length = read.bytes.len() + data.len();
        if length > limits::BODY_BYTES {
            return Err(TOO_LARGE);
        }
        if length > SMALL_BYTES && read._place.is_none() {
            read._place = places.take(client).await;
        }
        append(&mut read.bytes, &data);
    }
    Ok(read)
}

/// Grows by moving into a larger buffer and zeroizing the old one, which `Vec` would not.
fn append(bytes: &mut Zeroizing<Vec<u8>>, data: &[u8]) {
    if bytes.capacity() - bytes.len() < data.len() {
        let mut larger = Vec::with_capacity((bytes.len() + data.len()).next_power_of_two());
        larger.extend_from_slice(bytes);
        *bytes = Zeroizing::new(larger);
    }
    bytes.extend_from_slice(data);
}

#[cfg(test)]
mod tests {
    use super::*;

    const CLIENT: IpAddr = IpAddr::V4(std::net::Ipv4Addr::LOCALHOST);

    async fn read_bytes(count: usize, places: &BodyPlaces) -> Result<BodyBytes, VaultError> {
        read(
            &HeaderMap::new(),
            Body::from(vec![b'x'; count]),
            places,
            CLIENT,
        )
        .await
    }

    #[tokio::test]
    async fn bodies_are_bounded_one_by_one_and_together() {
        let places = BodyPlaces::new(1);
        let largest = read_bytes(limits::BODY_BYTES, &places).await;
        assert_eq!(
            largest.as_ref().map(|body| body.len()),
            Ok(limits::BODY_BYTES)
        );
        assert!(read_bytes(SMALL_BYTES, &places).await.is_ok());
        let mut waiting = std::pin::pin!(read_bytes(SMALL_BYTES + 1, &places));
        assert!(futures_util::poll!(waiting.as_mut()).is_pending());
        drop(largest);
        assert!(waiting.await.is_ok());
        let places = BodyPlaces::default();
        let refused = read_bytes(limits::BODY_BYTES + 1, &places).await;
        assert!(matches!(refused, Err(VaultError::TooLarge(_))));
    }

    #[tokio::test]
    async fn an_announced_size_is_believed_only_to_refuse() {
        let headers = |length: &str| {
            HeaderMap::from_iter([(header::CONTENT_LENGTH, length.parse().unwrap())])
        };
        let places = BodyPlaces::default();
        let refused = read(&headers("1048577"), Body::empty(), &places, CLIENT).await;
        assert!(matches!(refused, Err(VaultError::TooLarge(_))));
        let small = read(&headers("1048576"), Body::from("x"), &places, CLIENT).await;
        assert!(small.is_ok_and(|body| body.bytes.capacity() < SMALL_BYTES));
    }
}
