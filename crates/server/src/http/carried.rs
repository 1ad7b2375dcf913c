//! Calls that are carried to their end, whether or not somebody waits for it.

use std::{pin::Pin, sync::Arc, task::Poll};

use strongroom_seal::request::carried;
use strongroom_service::{VaultError, context::Seen};
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    task::{JoinError, JoinHandle},
};

use super::{App, readers::Readers};

/// Calls in one pool of those that are carried to their end.
const DETACHED: usize = 8_192;

/// So many calls with a token at a time are a crowd.
const CROWD: usize = 8;

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
    readers: Readers,
}

impl Detached {
    fn place(&self, pool: Pool) -> Result<OwnedSemaphorePermit, VaultError> {
        let places = match pool {
            Pool::Reads => &self.reads,
            Pool::Others => &self.others,
        };
        let place = Arc::clone(places).try_acquire_owned();
        place.map_err(|_| VaultError::RateLimited)
    }

    /// Whether calls with a token and reads both come in crowds.
    fn is_crowded(&self) -> bool {
        self.others.available_permits() < DETACHED - CROWD && self.readers.are_many()
    }
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
            readers: Readers::default(),
        }
    }
}

/// What a client asked for is carried to its end, and so into the audit trail, also if it does not wait
/// for the answer: hyper drops what a closed connection waited for. Where calls with a token and reads both come in
/// crowds, the former wait for their turn. The work is in a box from the beginning: it is large, and on its way
/// to a task of its own each step would move all of it.
pub(crate) async fn to_its_end<T: Send + 'static>(
    app: &App,
    pool: Pool,
    work: Pin<Box<impl Future<Output = Result<T, VaultError>> + Send + 'static>>,
) -> Result<T, VaultError> {
    let place = app.detached.place(pool)?;
    let crowded = pool == Pool::Others && app.detached.is_crowded();
    let turn = crowded.then(|| app.detached.readers.next_turn());
    let work = async move {
        if let Some(turn) = turn {
            tokio::time::sleep_until(turn.into()).await;
        }
        work.await
    };
    came_back(away(place, work).await)
}

/// The same for a read, which leaves one record and nothing else: it is done in place up to there, and
/// goes on by itself only if it has to wait before that. Once the record is the audit trail's, dropping
/// the rest loses an answer that nobody waits for.
pub(crate) async fn until_recorded<T: Send + 'static>(
    app: &App,
    seen: Seen,
    work: Pin<Box<impl Future<Output = Result<T, VaultError>> + Send + 'static>>,
) -> Result<T, VaultError> {
    let place = app.detached.place(Pool::Reads)?;
    app.detached.readers.note();
    in_place(place, seen, work).await
}

async fn in_place<T: Send + 'static>(
    place: OwnedSemaphorePermit,
    seen: Seen,
    work: Pin<Box<impl Future<Output = Result<T, VaultError>> + Send + 'static>>,
) -> Result<T, VaultError> {
    let mut state = State::Here(place, work);
    std::future::poll_fn(move |cx| {
        loop {
            state = match std::mem::replace(&mut state, State::Over) {
                State::Here(place, mut work) => match work.as_mut().poll(cx) {
                    Poll::Ready(done) => return Poll::Ready(done),
                    Poll::Pending if seen.is_on_record() => {
                        state = State::Here(place, work);
                        return Poll::Pending;
                    }
                    Poll::Pending => State::Away(away(place, work)),
                },
                State::Away(mut carried) => match Pin::new(&mut carried).poll(cx) {
                    Poll::Ready(back) => return Poll::Ready(came_back(back)),
                    Poll::Pending => {
                        state = State::Away(carried);
                        return Poll::Pending;
                    }
                },
                // Nobody asks again after the answer.
                State::Over => return Poll::Ready(Err(VaultError::Internal)),
            }
        }
    })
    .await
}

/// Where a read is done.
enum State<W, T> {
    Here(OwnedSemaphorePermit, Pin<Box<W>>),
    Away(JoinHandle<Result<T, VaultError>>),
    Over,
}

/// On a task of its own.
fn away<T: Send + 'static>(
    place: OwnedSemaphorePermit,
    work: impl Future<Output = Result<T, VaultError>> + Send + 'static,
) -> JoinHandle<Result<T, VaultError>> {
    let work = async move {
        let done = work.await;
        drop(place);
        done
    };
    tokio::spawn(carried(work))
}

fn came_back<T>(back: Result<Result<T, VaultError>, JoinError>) -> Result<T, VaultError> {
    back.unwrap_or_else(|error| {
        // The hook has logged where a panic came from; what it carries may hold anything.
        tracing::error!(
            panicked = error.is_panic(),
            "a request did not come to its end"
        );
        Err(VaultError::Internal)
    })
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;
    use tokio::sync::{mpsc, oneshot};

    use super::*;

    /// A read that waits once, and says how it ended: at its end, or dropped.
    struct Told(mpsc::UnboundedSender<&'static str>);

    impl Drop for Told {
        fn drop(&mut self) {
            let _ = self.0.send("dropped");
        }
    }

    struct It {
        places: Detached,
        seen: Seen,
        go_on: oneshot::Sender<()>,
        told: mpsc::UnboundedReceiver<&'static str>,
        read: Pin<Box<dyn Future<Output = Result<(), VaultError>> + Send>>,
    }

    fn waiting_read(recorded: bool) -> It {
        let (places, seen) = (Detached::default(), Seen::default());
        let (go_on, waits) = oneshot::channel();
        let (tell, told) = mpsc::unbounded_channel();
        let own = seen.clone();
        let work = async move {
            let told = Told(tell);
            if recorded {
                own.note_record();
            }
            let _ = waits.await;
            let _ = told.0.send("ended");
            Ok(())
        };
        let place = places.place(Pool::Reads).unwrap();
        let read = Box::pin(in_place(place, seen.clone(), Box::pin(work)));
        It {
            places,
            seen,
            go_on,
            told,
            read,
        }
    }

    #[tokio::test]
    async fn a_read_that_is_not_on_record_yet_goes_on_when_its_client_hangs_up() {
        let mut it = waiting_read(false);
        assert!(it.read.as_mut().now_or_never().is_none());
        drop(it.read);
        assert_eq!(it.places.reads.available_permits(), DETACHED - 1);
        it.go_on.send(()).unwrap();
        assert_eq!(it.told.recv().await, Some("ended"));
        assert_eq!(it.told.recv().await, Some("dropped"));
        assert_eq!(it.told.recv().await, None);
        tokio::task::yield_now().await;
        assert_eq!(it.places.reads.available_permits(), DETACHED);
    }

    #[tokio::test]
    async fn a_read_that_is_on_record_ends_when_its_client_hangs_up() {
        let mut it = waiting_read(true);
        assert!(it.read.as_mut().now_or_never().is_none());
        assert!(it.seen.is_on_record());
        assert_eq!(it.places.reads.available_permits(), DETACHED - 1);
        drop(it.read);
        assert_eq!(it.told.recv().await, Some("dropped"));
        assert_eq!(it.told.recv().await, None);
        assert!(it.go_on.is_closed());
        assert_eq!(it.places.reads.available_permits(), DETACHED);
    }

    #[tokio::test]
    async fn who_stays_has_the_answer_either_way() {
        for recorded in [false, true] {
            let mut it = waiting_read(recorded);
            assert!(it.read.as_mut().now_or_never().is_none());
            it.go_on.send(()).unwrap();
            assert!(it.read.await.is_ok());
            assert_eq!(it.told.recv().await, Some("ended"));
        }
    }

    #[test]
    fn readers_go_ahead_only_where_both_are_many() {
        let places = Detached::default();
        let writes: Vec<_> = (0..=CROWD)
            .map(|_| places.place(Pool::Others).unwrap())
            .collect();
        assert!(!places.is_crowded());
        // More than once: a pause between reads and look would end the crowd.
        assert!((0..100).any(|_| {
            (0..1_000).for_each(|_| places.readers.note());
            places.is_crowded()
        }));
        drop(writes);
        assert!(!places.is_crowded());
    }

    #[tokio::test]
    async fn a_panic_away_is_an_error_here() {
        let place = Detached::default().place(Pool::Reads).unwrap();
        let work = async {
            tokio::task::yield_now().await;
            let nothing: Option<()> = None;
            nothing.ok_or(VaultError::NotFound).unwrap();
            Ok(())
        };
        let ended = in_place(place, Seen::default(), Box::pin(work)).await;
        assert!(matches!(ended, Err(VaultError::Internal)));
    }
}
