//! Commands that wait together go on together.

use std::{future::Future, sync::Arc};

use strongroom_core::{Command, limits};
use tokio::sync::{Semaphore, mpsc};

/// Commands waiting to be gathered. Senders wait when it is full, within their deadline.
const QUEUE: usize = 4_096;
/// Batches on their way at the same time: one on the disks while the next is being applied.
const IN_FLIGHT: usize = 2;

/// Starts a task on the current runtime that hands over what is sent, in batches as large as one entry may be:
/// while [`IN_FLIGHT`] are on their way, the next gather. It ends with the last sender, when nothing waits
/// any more.
pub(crate) fn gather<T, F>(hand_over: impl Fn(Vec<T>) -> F + Send + 'static) -> mpsc::Sender<T>
where
    T: AsRef<Command> + Send + 'static,
    F: Future<Output = ()> + Send + 'static,
{
    let (queue, mut waiting) = mpsc::channel(QUEUE);
    tokio::spawn(async move {
        let in_flight = Arc::new(Semaphore::new(IN_FLIGHT));
        let mut held_over = None;
        loop {
            let Ok(permit) = Arc::clone(&in_flight).acquire_owned().await else {
                return;
            };
            let first = match held_over.take() {
                Some(first) => first,
                None => match waiting.recv().await {
                    Some(first) => first,
                    None => return,
                },
            };
            let (batch, surplus) = fill(first, &mut waiting);
            held_over = surplus;
            let handed_over = hand_over(batch);
            tokio::spawn(async move {
                handed_over.await;
                drop(permit);
            });
        }
    });
    queue
}

/// Takes what waits, as far as one entry's limits allow. The command that no longer fits is second.
fn fill<T: AsRef<Command>>(first: T, waiting: &mut mpsc::Receiver<T>) -> (Vec<T>, Option<T>) {
    let mut bytes = first.as_ref().weight();
    let mut batch = vec![first];
    while batch.len() < limits::PROPOSAL_COMMANDS {
        let Ok(next) = waiting.try_recv() else { break };
        bytes += next.as_ref().weight();
        if bytes > limits::PROPOSAL_BYTES {
            return (batch, Some(next));
        }
        batch.push(next);
    }
    (batch, None)
}
