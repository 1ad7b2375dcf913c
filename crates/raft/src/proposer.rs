//! The leader's side of a write: commands that wait together travel in one entry.
//!
//! While an entry is on its way to the disks, the next commands gather; so one disk sync and one
//! message carry as many commands as there are writers waiting, without a timer.

use std::{sync::Arc, time::Instant};

use strongroom_core::{Attempt, Command, Durations, DurationsReading, Proposal, Submitted};
use tokio::sync::{mpsc, oneshot};

use crate::{
    gathering::gather,
    leading::LAST_WORDS,
    machine::View,
    types::{Raft, RaftServerMetrics, ServerState, position},
};

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
        let commits = Arc::new(Durations::default());
        let noted = Arc::clone(&commits);
        let queue = gather(move |batch| {
            let (raft, view, commits) = (raft.clone(), view.clone(), Arc::clone(&noted));
            async move { propose_batch(&raft, &view, batch, &commits).await }
        });
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

impl AsRef<Command> for Waiting {
    fn as_ref(&self) -> &Command {
        &self.command
    }
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
    // Of the other metrics there are new ones several times for each entry.
    let mut metrics = raft.server_metrics();
    let other = |now: &RaftServerMetrics| {
        now.state != ServerState::Leader || now.vote.leader_id.term != term
    };
    // An error: Raft has stopped, and answers nothing more either.
    let _ = metrics.wait_for(other).await;
    tokio::time::sleep(LAST_WORDS).await;
}

fn answer_all(replies: Vec<oneshot::Sender<Result<Submitted, ProposeError>>>, error: ProposeError) {
    for reply in replies {
        let _ = reply.send(Err(error));
    }
}
