//! The leader's side of a write: commands that wait together travel in one entry.
//!
//! While an entry is on its way to the disks, the next commands gather; so one disk sync and one
//! message carry as many commands as there are writers waiting, without a timer.

use std::{sync::Arc, time::Instant};

use strongroom_core::{Attempt, Command, Durations, DurationsReading, Proposal, Submitted, limits};
use tokio::sync::{Semaphore, mpsc, oneshot};

use crate::{
    leading::LAST_WORDS,
    machine::View,
    types::{Raft, RaftMetrics, ServerState, position},
};

/// Commands waiting to be gathered. Senders wait when it is full, within their deadline.
const QUEUE: usize = 4_096;
/// Entries on their way at the same time: one on the disks while the next is being applied.
const IN_FLIGHT: usize = 2;

/// Why the leader's side has no result.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum ProposeError {
    /// This node does not lead: the command was not handed to openraft.
    NotLeader,
    /// The command was handed to openraft, and then something failed (invariant 11).
    Unknown,
    /// Not every member is known to decode it: it was not handed to openraft.
    NotEverywhere,
}

struct Waiting {
    command: Command,
    attempt: Option<Attempt>,
    reply: oneshot::Sender<Result<Submitted, ProposeError>>,
}

/// Gathers commands and hands them to openraft.
#[derive(Clone)]
pub(crate) struct Proposer {
    queue: mpsc::Sender<Waiting>,
    /// Entries that were applied, from when they were proposed.
    commits: Arc<Durations>,
}

impl Proposer {
    /// Starts the gathering task on the current runtime.
    pub(crate) fn start(raft: Raft, view: View) -> Self {
        let (queue, waiting) = mpsc::channel(QUEUE);
        let commits = Arc::new(Durations::default());
        tokio::spawn(gather(raft, view, waiting, Arc::clone(&commits)));
        Self { queue, commits }
    }

    /// How long entries took from being proposed to being applied.
    pub(crate) fn commits(&self) -> DurationsReading {
        self.commits.read()
    }

    /// Replicates one command. Cancelling the future does not cancel the command.
    pub(crate) async fn propose(
        &self,
        command: Command,
        attempt: Option<Attempt>,
    ) -> Result<Submitted, ProposeError> {
        let (reply, result) = oneshot::channel();
        let waiting = Waiting {
            command,
            attempt,
            reply,
        };
        self.queue
            .send(waiting)
            .await
            .map_err(|_| ProposeError::NotLeader)?;
        result.await.unwrap_or(Err(ProposeError::Unknown))
    }
}

async fn gather(
    raft: Raft,
    view: View,
    mut waiting: mpsc::Receiver<Waiting>,
    commits: Arc<Durations>,
) {
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
        let (raft, view, commits) = (raft.clone(), view.clone(), Arc::clone(&commits));
        tokio::spawn(async move {
            propose_batch(&raft, &view, batch, &commits).await;
            drop(permit);
        });
    }
}

impl AsRef<Command> for Waiting {
    fn as_ref(&self) -> &Command {
        &self.command
    }
}

/// Takes what waits, as far as one entry's limits allow. The command that no longer fits is second.
pub(crate) fn fill<T: AsRef<Command>>(
    first: T,
    waiting: &mut mpsc::Receiver<T>,
) -> (Vec<T>, Option<T>) {
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

async fn propose_batch(raft: &Raft, view: &View, batch: Vec<Waiting>, commits: &Durations) {
    // Whoever gave up meanwhile was told that nothing happened or that it may: leaving the command
    // out is right in both cases.
    let ((commands, attempts), replies): ((Vec<_>, Vec<_>), Vec<_>) = batch
        .into_iter()
        .filter(|waiting| !waiting.reply.is_closed())
        .map(|waiting| ((waiting.command, waiting.attempt), waiting.reply))
        .unzip();
    if commands.is_empty() {
        return;
    }
    let (state, term) = {
        let metrics = raft.metrics();
        let metrics = metrics.borrow();
        (metrics.state, metrics.current_term)
    };
    if state != ServerState::Leader {
        return answer_all(replies, ProposeError::NotLeader);
    }
    let proposal = Proposal {
        time: view.clock(),
        commands,
        attempts,
    };
    let began = Instant::now();
    let written = tokio::select! {
        written = raft.client_write(proposal) => written,
        // openraft never answers for an entry that a snapshot took the place of.
        () = leads_no_more(raft, term) => return answer_all(replies, ProposeError::Unknown),
    };
    match written {
        Ok(response) if response.data.len() == replies.len() => {
            commits.note(began.elapsed());
            let position = position(&response.log_id);
            for (reply, applied) in replies.into_iter().zip(response.data) {
                // A closed channel: nobody waits for this answer any more.
                let _ = reply.send(Ok(Submitted { position, applied }));
            }
        }
        Ok(_) => answer_all(replies, ProposeError::Unknown),
        Err(error) => {
            tracing::debug!(%error, "a proposal's outcome is unknown");
            answer_all(replies, ProposeError::Unknown);
        }
    }
}

/// Returns once this node has not led in `term` for so long that what it proposed then is answered, or
/// never will be.
async fn leads_no_more(raft: &Raft, term: u64) {
    let mut metrics = raft.metrics();
    let other = |now: &RaftMetrics| now.state != ServerState::Leader || now.current_term != term;
    // An error: Raft has stopped, and answers nothing more either.
    let _ = metrics.wait_for(other).await;
    tokio::time::sleep(LAST_WORDS).await;
}

fn answer_all(replies: Vec<oneshot::Sender<Result<Submitted, ProposeError>>>, error: ProposeError) {
    for reply in replies {
        let _ = reply.send(Err(error));
    }
}
