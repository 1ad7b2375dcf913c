//! The way of a command to a leader elsewhere: those that wait together travel in one message.
//!
//! While a message is on its way, the next commands gather, as in front of the leader's own log
//! ([`proposer`](crate::proposer)): one message carries as many commands as there are writers waiting,
//! without a timer. Each command's outcome is its own.

use std::{
    sync::{Arc, Mutex, PoisonError, Weak},
    time::Duration,
};

use strongroom_core::{Attempt, Command, codec};
use tokio::{
    sync::{mpsc, oneshot},
    time::timeout,
};

use crate::{
    gathering::gather,
    node::Inner,
    types::{NodeId, Peer},
    wire::{self, AttemptRequest, OneOfMany, Rpc, SubmitReply, SubmitRequest, TransportError},
};

type Forwarded = Result<SubmitReply, TransportError>;
/// Who leads, and in which term.
type Lead = (Option<NodeId>, u64);

struct Waiting {
    command: Command,
    attempt: Option<Attempt>,
    within: Duration,
    reply: oneshot::Sender<Forwarded>,
}

impl AsRef<Command> for Waiting {
    fn as_ref(&self) -> &Command {
        &self.command
    }
}

/// What gathers for the leader that was last known. Another one has another queue: whatever waits for a
/// leader that does not answer holds up nothing that is meant for the next.
#[derive(Default)]
pub(crate) struct Forwarder(Mutex<Option<Queue>>);

struct Queue {
    /// Who was known to lead when it was made, and where it sends: what is known may change between
    /// the one and the other, so both must fit.
    to: (Lead, String),
    sender: mpsc::Sender<Waiting>,
}

impl Forwarder {
    /// The queue for this leader. What gathers ends with the last sender, when nothing waits any more.
    fn queue(&self, inner: &Arc<Inner>, lead: Lead, address: &str) -> mpsc::Sender<Waiting> {
        let mut current = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let fits = |queue: &&Queue| {
            queue.to.0 == lead && queue.to.1 == address && !queue.sender.is_closed()
        };
        if let Some(queue) = current.as_ref().filter(fits) {
            return queue.sender.clone();
        }
        let (weak, address) = (Arc::downgrade(inner), address.to_owned());
        let to = (lead, address.clone());
        let sender = gather(move |batch| {
            let (weak, address) = (Weak::clone(&weak), address.clone());
            async move { hand_over(&weak, &address, batch).await }
        });
        let queue = current.insert(Queue { to, sender });
        queue.sender.clone()
    }
}

impl Inner {
    /// Hands a command to a leader elsewhere.
    pub(crate) async fn forward(
        self: &Arc<Self>,
        leader: &Peer,
        lead: Lead,
        command: &Command,
        attempt: Option<Attempt>,
        within: Duration,
    ) -> Forwarded {
        if self.store.state().format() < codec::TOGETHER {
            return self.forward_alone(leader, command, attempt, within).await;
        }
        let (reply, forwarded) = oneshot::channel();
        let waiting = Waiting {
            command: command.clone(),
            attempt,
            within,
            reply,
        };
        let address = self.addresses.address(leader);
        let queue = self.forwarder.queue(self, lead, address);
        let answered = timeout(within, async {
            let queued = queue.send(waiting).await;
            queued.map_err(|_| TransportError::Unreachable)?;
            forwarded.await.unwrap_or(Err(TransportError::Failed))
        });
        answered.await.unwrap_or(Err(TransportError::TimedOut))
    }

    /// The same while not every member is known to take many.
    async fn forward_alone(
        &self,
        leader: &Peer,
        command: &Command,
        attempt: Option<Attempt>,
        within: Duration,
    ) -> Forwarded {
        let within_ms = millis(within);
        let command = command.clone();
        let (rpc, body) = match attempt {
            None => (
                Rpc::Submit,
                wire::encode(&SubmitRequest { command, within_ms }),
            ),
            Some(attempt) => {
                let request = AttemptRequest {
                    attempt,
                    command,
                    within_ms,
                };
                (Rpc::Attempt, wire::encode(&request))
            }
        };
        let body = body.map_err(|_| TransportError::Unreachable)?;
        self.ask(self.addresses.address(leader), rpc, body, within)
            .await
    }
}

fn millis(within: Duration) -> u64 {
    u64::try_from(within.as_millis()).unwrap_or(u64::MAX)
}

/// Sends a batch, and gives each command its answer. All that was heard or not is so for each of them.
async fn hand_over(inner: &Weak<Inner>, address: &str, batch: Vec<Waiting>) {
    // Whoever gave up meanwhile was told that it is not known what comes of the command.
    let (many, replies): (Vec<_>, Vec<_>) = batch
        .into_iter()
        .filter(|waiting| !waiting.reply.is_closed())
        .map(|waiting| {
            let one = OneOfMany {
                attempt: waiting.attempt,
                command: waiting.command,
                within_ms: millis(waiting.within),
            };
            (one, (waiting.reply, waiting.within))
        })
        .unzip();
    let Some(longest) = replies.iter().map(|(_, within)| *within).max() else {
        return;
    };
    let answered = match (inner.upgrade(), wire::encode(&many)) {
        (Some(inner), Ok(body)) => {
            inner
                .ask::<Vec<SubmitReply>>(address, Rpc::SubmitMany, body, longest)
                .await
        }
        // Not sent.
        _ => Err(TransportError::Unreachable),
    };
    let answers: Vec<Forwarded> = match answered {
        Ok(answers) if answers.len() == replies.len() => answers.into_iter().map(Ok).collect(),
        Ok(_) => vec![Err(TransportError::Failed); replies.len()],
        Err(error) => vec![Err(error); replies.len()],
    };
    for ((reply, _), answer) in replies.into_iter().zip(answers) {
        // A closed channel: nobody waits for this answer any more.
        let _ = reply.send(answer);
    }
}
