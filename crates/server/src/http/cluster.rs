//! `/v1/admin/cluster`.

use std::sync::Arc;

use http::StatusCode;
use serde::Deserialize;
use serde_json::{Value, json};
use strongroom_core::{NodeName, NodeView};
use strongroom_service::operation::{AddNode, HandOver, RemoveNode, ViewCluster};

use super::{
    App,
    answer::{self, Answer},
    call::Call,
    empty, json,
};

pub(super) async fn view(app: Arc<App>, call: Box<Call>) -> Answer {
    let permit = app
        .vault
        .authorize::<ViewCluster>(call.context, &call.token, ())
        .await?;
    let view = app.vault.view_cluster(permit).await?;
    let nodes: Vec<Value> = view.nodes.iter().map(node).collect();
    let body = json!({
        "cluster_id": view.cluster_id.map(|id| id.to_string()),
        "node_id": view.node_name,
        "leader": view.leader,
        "term": view.term,
        "failure_tolerance": view.failure_tolerance,
        "nodes": nodes,
    });
    Ok(answer::json(StatusCode::OK, &body))
}

fn node(node: &NodeView) -> Value {
    json!({
        "node_id": node.name,
        "raft_id": node.raft_id,
        "address": node.address,
        "role": node.role,
        "applied": node.applied,
        "version": node.version,
        "reachable": node.reachable,
    })
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct HandOverRequest {
    to: Option<String>,
}

pub(super) async fn hand_over(app: Arc<App>, call: Box<Call>) -> Answer {
    let request: HandOverRequest = match call.body.is_empty() {
        true => HandOverRequest::default(),
        false => json::parse(&call.body)?,
    };
    let to = request.to.as_deref().map(NodeName::parse).transpose()?;
    let permit = app
        .vault
        .authorize::<HandOver>(call.context, &call.token, to)
        .await?;
    let leader = app.vault.hand_over(permit).await?;
    Ok(answer::json(StatusCode::OK, &json!({"leader": leader})))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct AddNodeRequest {
    node_id: String,
}

/// No address: a node comes by itself, from its own.
pub(super) async fn add_node(app: Arc<App>, call: Box<Call>) -> Answer {
    let request: AddNodeRequest = json::parse(&call.body)?;
    let name = NodeName::parse(&request.node_id)?;
    let permit = app
        .vault
        .authorize::<AddNode>(call.context, &call.token, name.clone())
        .await?;
    let is_member = app.vault.add_node(permit).await?;
    let status = if is_member { "member" } else { "waiting" };
    let body = json!({"node_id": name.as_str(), "status": status});
    Ok(answer::json(StatusCode::ACCEPTED, &body))
}

pub(super) async fn remove_node(app: Arc<App>, call: Box<Call>) -> Answer {
    let name = NodeName::parse(&call.tail("/v1/admin/cluster/nodes/")?)?;
    let permit = app
        .vault
        .authorize::<RemoveNode>(call.context, &call.token, name)
        .await?;
    app.vault.remove_node(permit).await?;
    Ok(empty(StatusCode::NO_CONTENT))
}
