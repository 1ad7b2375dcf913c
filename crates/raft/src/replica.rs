//! Core's `Replica` port, as a node fulfils it.

use std::{
    sync::{Arc, atomic::Ordering},
    time::{Duration, Instant},
};

use bytes::Bytes;
use strongroom_core::{
    Agreement, ClusterView, Command, HandOverError, LogPosition, LogTime, NodeName, ReadError,
    ReadGate, Readiness, RemoveError, Replica, RequestId, State, SubmitError, Submitted,
    VoterCount,
    replica::{Answerer, PortFuture},
};

use crate::{node::Node, types::ServerState};

impl Replica for Node {
    fn submit(
        &self,
        command: Command,
        within: Duration,
    ) -> PortFuture<'_, Result<Submitted, SubmitError>> {
        Box::pin(self.inner.submit(None, command, within))
    }

    fn submit_request(
        &self,
        request: RequestId,
        command: Command,
        within: Duration,
    ) -> PortFuture<'_, Result<Submitted, SubmitError>> {
        Box::pin(self.inner.submit(Some(request), command, within))
    }

    fn read(
        &self,
        gate: ReadGate,
        within: Duration,
    ) -> PortFuture<'_, Result<Arc<State>, ReadError>> {
        Box::pin(async move {
            match gate {
                ReadGate::Local => self.local(),
                ReadGate::Linearizable => {
                    self.is_no_removed_one()?;
                    let state = self.inner.linearize(within).await;
                    // It may have been told meanwhile.
                    self.is_no_removed_one().and(state)
                }
                ReadGate::AtLeast(index) => {
                    self.local()?;
                    self.inner.at_least(index, Instant::now() + within).await
                }
            }
        })
    }

    fn local(&self) -> Result<Arc<State>, ReadError> {
        self.is_no_removed_one()?;
        if !self.inner.caught_up.load(Ordering::Acquire) {
            return Err(ReadError::Starting);
        }
        if self.inner.store_failed() {
            return Err(ReadError::StoreFailed);
        }
        Ok(self.inner.store.state())
    }

    fn next_state(
        &self,
        after: Option<LogPosition>,
        within: Duration,
    ) -> PortFuture<'_, Arc<State>> {
        Box::pin(async move {
            let next = after.map_or(0, |position| position.index + 1);
            self.inner.store.wait_applied(next, within).await;
            self.inner.store.state()
        })
    }

    fn clock(&self) -> LogTime {
        self.inner.store.view().clock()
    }

    fn leads_in(&self) -> Option<u64> {
        let metrics = self.inner.raft.metrics();
        let metrics = metrics.borrow();
        let leads = self.inner.is_alive()
            && !self.inner.epoch.is_over()
            && metrics.state == ServerState::Leader
            && metrics.current_leader == Some(self.inner.raft_id());
        leads.then_some(metrics.current_term)
    }

    fn readiness(&self) -> Readiness {
        // Raft was stopped then: the store has not failed.
        if self.inner.epoch.is_over() {
            return Readiness::Removed;
        }
        if self.inner.store_failed() {
            return Readiness::StoreFailed;
        }
        if self.inner.removed.load(Ordering::Acquire) {
            return Readiness::Removed;
        }
        if !self.inner.caught_up.load(Ordering::Acquire) {
            return Readiness::Starting;
        }
        if !self.inner.has_leader() || !self.inner.is_alive() {
            return Readiness::NoLeader;
        }
        Readiness::Ready
    }

    fn ask_members(&self, question: Vec<u8>, within: Duration) -> PortFuture<'_, Vec<Bytes>> {
        Box::pin(crate::view::ask_members(&self.inner, question, within))
    }

    fn ask_leader(&self, question: Vec<u8>, within: Duration) -> PortFuture<'_, Option<Bytes>> {
        Box::pin(crate::view::ask_leader(&self.inner, question, within))
    }

    fn answer_members_with(&self, answerer: Answerer) {
        if self.inner.answerer.set(answerer).is_err() {
            tracing::warn!("members are answered by somebody already");
        }
    }

    fn set_fit_to_lead(&self, fit: bool) {
        self.inner.unfit.store(!fit, Ordering::Release);
    }

    fn hand_over(
        &self,
        to: Option<String>,
        within: Duration,
    ) -> PortFuture<'_, Result<String, HandOverError>> {
        Box::pin(self.inner.hand_over(to, within))
    }

    fn remove_node(
        &self,
        name: NodeName,
        within: Duration,
    ) -> PortFuture<'_, Result<(), RemoveError>> {
        Box::pin(self.inner.remove_node(name, within))
    }

    fn voters(&self) -> Option<VoterCount> {
        self.inner.heard.count()
    }

    fn agreement(&self) -> Agreement {
        crate::meters::agreement(&self.inner)
    }

    fn dead_voter(&self, silent: Duration) -> Option<String> {
        let (_, peer) = self.inner.dead_voter(silent)?;
        Some(peer.name)
    }

    fn drop_dead_voter(
        &self,
        name: String,
        silent: Duration,
    ) -> PortFuture<'_, Result<(), RemoveError>> {
        Box::pin(async move { self.inner.drop_dead_voter(&name, silent).await })
    }

    fn cluster(&self) -> PortFuture<'_, ClusterView> {
        Box::pin(crate::view::cluster(&self.inner))
    }
}

impl Node {
    /// What a node had when it was removed may be the newest still; it is not for it to say.
    fn is_no_removed_one(&self) -> Result<(), ReadError> {
        match self.inner.removed.load(Ordering::Acquire) {
            true => Err(ReadError::Removed),
            false => Ok(()),
        }
    }
}
