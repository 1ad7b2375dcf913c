//! Records on their way to the writer. Those of all requests that are ready to run travel together, and
//! so do the answers: what wakes a thread, and the file's write, are paid once for all of them.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError, mpsc::Sender};

use tokio::{
    sync::{OwnedSemaphorePermit, oneshot},
    task::yield_now,
    time::timeout,
};

use super::{
    STALL,
    record::Entry,
    writer::{Answer, Message, Outcome, Request},
};

/// Records that travel together at most.
pub(super) const TOGETHER: usize = 1_024;
/// When so many have gathered, another task sets out to hand them over: the first waits for its turn on one
/// thread, which may be busy with something long.
const MANY: usize = 64;

/// What was taken in and not handed over yet. Closed, it takes in no more.
pub(super) struct Gathering(Mutex<Option<Open>>);

struct Open {
    records: Vec<Entry>,
    /// The records' places in the queue, as one, so that all are given back at once.
    places: Option<OwnedSemaphorePermit>,
    /// Who waits for each.
    waiting: Vec<oneshot::Sender<Outcome>>,
    queue: Sender<Message>,
}

/// Some that were handed over: who waits, and what the writer will say.
struct HandedOver {
    waiting: Vec<oneshot::Sender<Outcome>>,
    answer: oneshot::Receiver<Answer>,
}

impl Gathering {
    pub(super) fn new(queue: Sender<Message>) -> Arc<Self> {
        Arc::new(Self(Mutex::new(Some(Open {
            records: Vec::new(),
            places: None,
            waiting: Vec::new(),
            queue,
        }))))
    }

    /// Takes a record in. It is handed over before long, whether or not somebody waits for it, and what
    /// came of it is heard within [`STALL`] and a moment.
    pub(super) fn add(
        self: &Arc<Self>,
        record: Entry,
        place: OwnedSemaphorePermit,
    ) -> oneshot::Receiver<Outcome> {
        let (waits, outcome) = oneshot::channel();
        let sets_out = match &mut *self.lock() {
            Some(open) => {
                open.records.push(record);
                match &mut open.places {
                    Some(places) => places.merge(place),
                    none => *none = Some(place),
                }
                open.waiting.push(waits);
                open.records.len() % MANY == 1
            }
            None => false,
        };
        if sets_out {
            tokio::spawn(Handing::of(self).see_through());
        }
        outcome
    }

    /// Whether no record is waiting here for others.
    pub(super) fn is_empty(&self) -> bool {
        let open = self.lock();
        open.as_ref().is_some_and(|open| open.records.is_empty())
    }

    /// Has the thread look after the trail.
    pub(super) fn call_thread(&self) {
        if let Some(open) = &*self.lock() {
            // Without a thread there is nobody to look after it, and `Audit::healthy` says so.
            let _ = open.queue.send(Message::Look);
        }
    }

    /// Hands over what is left. The writer ends after it.
    pub(super) fn close(&self) {
        self.hand_over();
        *self.lock() = None;
    }

    fn hand_over(&self) -> Vec<HandedOver> {
        let mut open = self.lock();
        open.as_mut().map(Open::hand_over).unwrap_or_default()
    }

    fn lock(&self) -> MutexGuard<'_, Option<Open>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Open {
    fn hand_over(&mut self) -> Vec<HandedOver> {
        let mut handed_over = Vec::with_capacity(1);
        while !self.records.is_empty() {
            let (reply, answer) = oneshot::channel();
            let records = first_of(&mut self.records);
            let places = match self.records.is_empty() {
                true => self.places.take(),
                false => self
                    .places
                    .as_mut()
                    .and_then(|all| all.split(records.len())),
            };
            let request = Request {
                records,
                places,
                reply,
            };
            // Without a writer the reply is dropped with the request, and everybody hears of that.
            let _ = self.queue.send(Message::Records(request));
            handed_over.push(HandedOver {
                waiting: first_of(&mut self.waiting),
                answer,
            });
        }
        handed_over
    }
}

/// Takes as many as may travel together, in order.
fn first_of<T>(all: &mut Vec<T>) -> Vec<T> {
    let rest = all.split_off(all.len().min(TOGETHER));
    std::mem::replace(all, rest)
}

/// The duty to hand over what gathers. Dropped before that is done, as when the runtime ends, it does so
/// then, and nobody waits any more.
struct Handing(Option<Arc<Gathering>>);

impl Handing {
    fn of(gathering: &Arc<Gathering>) -> Self {
        Self(Some(Arc::clone(gathering)))
    }

    /// Done once: what gathers from now on is another's duty, and its waiters are not to be dropped.
    fn hand_over(&mut self) -> Vec<HandedOver> {
        let gathering = self.0.take();
        gathering.map(|it| it.hand_over()).unwrap_or_default()
    }

    async fn see_through(mut self) {
        // Whatever else is ready runs first, and adds its own.
        yield_now().await;
        let handed_over = self.hand_over();
        let answered = timeout(STALL, async {
            for these in handed_over {
                let answer = these.answer.await.unwrap_or_default();
                for (waits, outcome) in these.waiting.into_iter().zip(&answer.outcomes) {
                    // Whoever asked may have gone; the record stays.
                    let _ = waits.send(*outcome);
                }
            }
        });
        // Who hears nothing takes the trail for unavailable.
        let _ = answered.await;
    }
}

impl Drop for Handing {
    fn drop(&mut self) {
        drop(self.hand_over());
    }
}
