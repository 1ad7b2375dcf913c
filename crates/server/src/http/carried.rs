//! Calls that are carried to their end, whether or not somebody waits for it.

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use strongroom_seal::request::carried;
use strongroom_service::{VaultError, context::Seen};
use tokio::{
    runtime::Handle,
    sync::{OwnedSemaphorePermit, Semaphore},
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
    if pool == Pool::Others && app.detached.is_crowded() {
        let turn = app.detached.readers.next_turn();
        let work = Box::pin(async move {
            tokio::time::sleep_until(turn.into()).await;
            work.await
        });
        return InPlace::new(place, None, work).await;
    }
    InPlace::new(place, None, work).await
}

/// The same for a read, which leaves one record and nothing else: once the record is the audit trail's, dropping
/// the rest loses an answer that nobody waits for.
pub(crate) async fn until_recorded<T: Send + 'static>(
    app: &App,
    seen: Seen,
    work: Pin<Box<impl Future<Output = Result<T, VaultError>> + Send + 'static>>,
) -> Result<T, VaultError> {
    let place = app.detached.place(Pool::Reads)?;
    app.detached.readers.note();
    InPlace::new(place, Some(seen), work).await
}

/// Work where its client waits for it. Only when that is dropped, a task of its own carries it on: a task for
/// each request would wake a thread that finds nothing to do, since the one that made it goes on with it.
struct InPlace<T, W>
where
    T: Send + 'static,
    W: Future<Output = Result<T, VaultError>> + Send + 'static,
{
    /// `None`: it came to its end.
    left: Option<(OwnedSemaphorePermit, Pin<Box<W>>)>,
    /// Of a read, whether it is on record.
    seen: Option<Seen>,
}

impl<T, W> InPlace<T, W>
where
    T: Send + 'static,
    W: Future<Output = Result<T, VaultError>> + Send + 'static,
{
    fn new(place: OwnedSemaphorePermit, seen: Option<Seen>, work: Pin<Box<W>>) -> Self {
        let left = Some((place, work));
        Self { left, seen }
    }
}

impl<T, W> Future for InPlace<T, W>
where
    T: Send + 'static,
    W: Future<Output = Result<T, VaultError>> + Send + 'static,
{
    type Output = Result<T, VaultError>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let Some((_, work)) = &mut self.left else {
            // Nobody asks again after the answer.
            return Poll::Ready(Err(VaultError::Internal));
        };
        // What panicked is not gone on with, and dropped below.
        let polled = catch_unwind(AssertUnwindSafe(|| work.as_mut().poll(cx)));
        let done = match polled {
            Ok(Poll::Pending) => return Poll::Pending,
            Ok(Poll::Ready(done)) => done,
            Err(_) => {
                // The hook has logged where it came from; what it carries may hold anything.
                tracing::error!("a request did not come to its end");
                Err(VaultError::Internal)
            }
        };
        self.left = None;
        Poll::Ready(done)
    }
}

impl<T, W> Drop for InPlace<T, W>
where
    T: Send + 'static,
    W: Future<Output = Result<T, VaultError>> + Send + 'static,
{
    fn drop(&mut self) {
        let Some((place, work)) = self.left.take() else {
            return;
        };
        if self.seen.as_ref().is_some_and(Seen::is_on_record) {
            return;
        }
        // Outside of a runtime everything has ended.
        if let Ok(runtime) = Handle::try_current() {
            runtime.spawn(carried(async move {
                // Who would have heard of it has gone; its errors are on record and in the metrics.
                let _ = work.await;
                drop(place);
            }));
        }
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;
    use strongroom_seal::request::{serve, with_id};
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
        let read = Box::pin(InPlace::new(place, Some(seen.clone()), Box::pin(work)));
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
    async fn what_goes_on_works_for_the_same_request() {
        let (go_on, waits) = oneshot::channel::<()>();
        let (tell, told) = oneshot::channel();
        let work = async move {
            let _ = waits.await;
            let _ = tell.send(with_id(str::to_owned));
            Ok(())
        };
        let place = Detached::default().place(Pool::Others).unwrap();
        let work = InPlace::new(place, None, Box::pin(work));
        let mut served = Box::pin(serve("r-1".into(), work));
        assert!(served.as_mut().now_or_never().is_none());
        drop(served);
        go_on.send(()).unwrap();
        assert_eq!(told.await.unwrap().as_deref(), Some("r-1"));
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
    async fn a_panic_is_an_error_and_gives_its_place_back() {
        let places = Detached::default();
        let place = places.place(Pool::Reads).unwrap();
        let work = async {
            tokio::task::yield_now().await;
            let nothing: Option<()> = None;
            nothing.ok_or(VaultError::NotFound).unwrap();
            Ok(())
        };
        let ended = InPlace::new(place, Some(Seen::default()), Box::pin(work)).await;
        assert!(matches!(ended, Err(VaultError::Internal)));
        assert_eq!(places.reads.available_permits(), DETACHED);
    }
}
