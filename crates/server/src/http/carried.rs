//! Calls that are carried to their end, whether or not somebody waits for it.

use std::sync::Arc;

use strongroom_service::VaultError;
use tokio::sync::Semaphore;
use tracing::Instrument;

use super::App;

/// Calls in one pool of those that are carried to their end.
const DETACHED: usize = 8_192;

/// What becomes of a call whose client hangs up.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Run {
    /// It is carried to its end.
    ToItsEnd(Pool),
    /// It is dropped where it waits; the handler sees to what must not be.
    Attached,
}

/// Calls that are carried to their end at a time, each with a place in a pool: a client that asks and
/// hangs up costs no connection. Reads have a pool of their own, since calls with a token may all wait
/// for a leader.
pub struct Detached {
    reads: Arc<Semaphore>,
    others: Arc<Semaphore>,
}

/// Whose places.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Pool {
    /// Of reads by address.
    Reads,
    /// Of calls with a token.
    Others,
}

impl Default for Detached {
    fn default() -> Self {
        let places = || Arc::new(Semaphore::new(DETACHED));
        Self {
            reads: places(),
            others: places(),
        }
    }
}

/// What a client asked for is carried to its end, and so into the audit trail, also if it does not wait
/// for the answer: hyper drops what a closed connection waited for.
pub(crate) async fn to_its_end<T: Send + 'static>(
    app: &App,
    pool: Pool,
    work: impl Future<Output = Result<T, VaultError>> + Send + 'static,
) -> Result<T, VaultError> {
    let places = match pool {
        Pool::Reads => &app.detached.reads,
        Pool::Others => &app.detached.others,
    };
    let place = Arc::clone(places).try_acquire_owned();
    let place = place.map_err(|_| VaultError::RateLimited)?;
    let work = async move {
        let done = work.await;
        drop(place);
        done
    };
    let carried = tokio::spawn(work.in_current_span());
    match carried.await {
        Ok(done) => done,
        Err(error) => {
            // The hook has logged where a panic came from; what it carries may hold anything.
            tracing::error!(
                panicked = error.is_panic(),
                "a request did not come to its end"
            );
            Err(VaultError::Internal)
        }
    }
}
