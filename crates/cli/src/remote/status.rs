//! `strongroom status`.

use super::{
    connect::To,
    exit::Failure,
    render::{facts, json, or_dash},
};

pub(crate) async fn run(to: &To) -> Result<(), Failure> {
    let client = to.client()?;
    let ready = client.ready().await?;
    let cluster = client.cluster().await.ok();
    if to.json {
        json(&serde_json::json!({
            "address": client.address(),
            "ready": ready.ready,
            "reason": ready.reason,
            "cluster": cluster,
        }))?;
    } else {
        let reason = ready.reason.as_deref().unwrap_or_default();
        let standing = match ready.ready {
            true => "yes".to_owned(),
            false => format!("no, {reason}"),
        };
        let mut shown = vec![
            ("address", client.address().to_owned()),
            ("ready", standing),
        ];
        if let Some(cluster) = &cluster {
            shown.push(("node", cluster.node_id.clone()));
            shown.push(("leader", or_dash(cluster.leader.as_ref())));
            shown.push(("nodes", cluster.nodes.len().to_string()));
            shown.push(("may fail", cluster.failure_tolerance.to_string()));
        }
        facts(&shown)?;
    }
    match ready.ready {
        true => Ok(()),
        false => Err(Failure::Away("the server is not ready".to_owned())),
    }
}
