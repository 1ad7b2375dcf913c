//! `strongroom cluster`.

use clap::Subcommand;
use serde_json::json;
use strongroom_client::NodeView;

use super::{
    connect::To,
    exit::Failure,
    render::{self, facts, line, or_dash, table},
};

#[derive(Subcommand)]
pub(crate) enum Command {
    /// Show the members, and how many may fail.
    Status,
    /// Let nodes of this name in; one comes by itself, once it runs.
    Add {
        /// The node's NODE_ID.
        name: String,
    },
    /// Remove the nodes of this name, and keep them out.
    Remove {
        /// The node's NODE_ID.
        name: String,
    },
    /// Pass leadership on.
    Handover {
        /// To this node; to the one that has most of the log if it is left out.
        #[arg(long)]
        to: Option<String>,
    },
}

pub(crate) async fn run(to: &To, command: &Command) -> Result<(), Failure> {
    let client = to.client()?;
    match command {
        Command::Status => {
            let view = client.cluster().await?;
            if to.json {
                return render::json(&view);
            }
            facts(&[
                ("cluster", or_dash(view.cluster_id.as_ref())),
                ("leader", or_dash(view.leader.as_ref())),
                ("term", view.term.to_string()),
                ("may fail", view.failure_tolerance.to_string()),
            ])?;
            let rows: Vec<_> = view.nodes.iter().map(cells).collect();
            table(
                &["NODE", "ROLE", "ANSWERS", "APPLIED", "VERSION", "ADDRESS"],
                &rows,
            )
        }
        Command::Add { name } => {
            let let_in = client.add_node(name).await?;
            match to.json {
                true => render::json(&let_in),
                false => line(&format!("{name}: {}", let_in.status)),
            }
        }
        Command::Remove { name } => {
            client.remove_node(name).await?;
            match to.json {
                true => render::json(&json!({"node_id": name, "removed": true})),
                false => line(&format!("{name} is removed")),
            }
        }
        Command::Handover { to: next } => {
            let leader = client.hand_over(next.as_deref()).await?;
            match to.json {
                true => render::json(&json!({"leader": leader})),
                false => line(&format!("{leader} leads")),
            }
        }
    }
}

fn cells(node: &NodeView) -> Vec<String> {
    let answers = if node.reachable { "yes" } else { "no" };
    vec![
        node.node_id.clone(),
        node.role.clone(),
        answers.to_owned(),
        or_dash(node.applied.as_ref()),
        or_dash(node.version.as_ref()),
        node.address.clone(),
    ]
}
