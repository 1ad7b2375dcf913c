//! The cluster's nodes.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::{Client, ClientError, call::Call, names};

const NODES: &str = "/v1/admin/cluster/nodes";

/// The cluster, as one node sees it.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct ClusterView {
    /// The cluster's identity.
    pub cluster_id: Option<String>,
    /// Which node this is.
    pub node_id: String,
    /// Which node leads.
    pub leader: Option<String>,
    /// The term.
    pub term: u64,
    /// How many more voters may fail.
    pub failure_tolerance: u64,
    /// The members.
    pub nodes: Vec<NodeView>,
}

/// A member.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct NodeView {
    /// Its name.
    pub node_id: String,
    /// Its number in Raft.
    pub raft_id: u64,
    /// Where the others reach it.
    pub address: String,
    /// `leader`, `voter` or `learner`.
    pub role: String,
    /// What it has applied, if it answers.
    pub applied: Option<u64>,
    /// What it runs, if it answers.
    pub version: Option<String>,
    /// Whether it answers.
    pub reachable: bool,
}

/// What became of [`Client::add_node`].
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct LetIn {
    /// The node's name.
    pub node_id: String,
    /// `member` if it has a vote already, else `waiting`.
    pub status: String,
}

impl Client {
    /// The cluster, as the node that is asked sees it.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn cluster(&self) -> Result<ClusterView, ClientError> {
        self.ask(Call::get("/v1/admin/cluster")).await
    }

    /// Lets nodes of this name into the cluster: it comes by itself.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn add_node(&self, name: &str) -> Result<LetIn, ClientError> {
        names::label(NODES, name)?;
        let body = BTreeMap::from([("node_id", name)]);
        self.ask(Call::post(NODES).json(0, &body)?).await
    }

    /// Removes the nodes of this name, and keeps them out.
    ///
    /// # Errors
    /// See [`ClientError`]; the code is `quorum_at_risk` if the rest could not go on without.
    pub async fn remove_node(&self, name: &str) -> Result<(), ClientError> {
        let call = Call::delete(names::label(NODES, name)?);
        self.send(call).await.map(drop)
    }

    /// Passes leadership on, to the voter named or to the one that has most of the log. Returns who leads.
    ///
    /// # Errors
    /// See [`ClientError`]; the code is `no_successor` if no other voter could.
    pub async fn hand_over(&self, to: Option<&str>) -> Result<String, ClientError> {
        #[derive(Deserialize)]
        struct Leads {
            leader: String,
        }
        let mut call = Call::post("/v1/admin/cluster/handover");
        if let Some(to) = to {
            call = call.json(0, &BTreeMap::from([("to", to)]))?;
        }
        let leads: Leads = self.ask(call).await?;
        Ok(leads.leader)
    }
}
