//! `strongroom recover`.

use std::{
    path::{Path, PathBuf},
    process::ExitCode,
};

use strongroom_server::{
    RunError, hygiene,
    recover::{Outcome, Plan, default_audit_dir},
};

use crate::{complain, say};

/// What the command is told.
#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// The data directory of a node that is left, and does not run.
    #[arg(long)]
    data_dir: PathBuf,
    /// Where that node keeps its audit trail. Without it: VAULT_AUDIT_DIR, or below the data directory.
    #[arg(long)]
    audit_dir: Option<PathBuf>,
    /// Print what the node holds, and change nothing.
    #[arg(long, conflicts_with = "yes")]
    dry_run: bool,
    /// Do it: the others are gone for good, and this node has the most of all that are left.
    #[arg(long)]
    yes: bool,
}

pub(crate) fn run(arguments: &Arguments) -> ExitCode {
    hygiene::keep_files_private();
    hygiene::log_panics_without_their_message();
    match carry_out(arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            complain!("{error}");
            ExitCode::from(error.exit_code())
        }
    }
}

fn carry_out(arguments: &Arguments) -> Result<(), RunError> {
    let plan = Plan::look(&arguments.data_dir)?;
    print_standing(&plan, &arguments.data_dir);
    if arguments.dry_run {
        say!(
            "nothing was changed: compare the other nodes that are left, and recover the one whose last \
             entry has the higher term, or the higher index in the same term"
        );
        return Ok(());
    }
    if !arguments.yes {
        return Err(RunError::Settings(
            "nothing was changed: what only the lost nodes hold would be given up for good. Compare \
             the nodes that are left with --dry-run, and add --yes at the one that holds the most"
                .to_owned(),
        ));
    }
    let named = arguments.audit_dir.clone();
    let named = named.or_else(|| std::env::var_os("VAULT_AUDIT_DIR").map(PathBuf::from));
    let audit_dir = named.unwrap_or_else(|| default_audit_dir(&arguments.data_dir));
    match plan.carry_out(&audit_dir)? {
        Outcome::Recovered(recovered) => {
            say!(
                "now:          epoch {}, Raft id {}",
                recovered.epoch,
                recovered.raft_id
            );
            say!("kept:         {}", recovered.before.display());
        }
        Outcome::Finished => say!("now:          the recovery that was interrupted is in place"),
        Outcome::IsAlone => {
            say!("this node is the only voter: nothing was changed, and it needs nobody to start");
            return Ok(());
        }
    }
    say!(
        "start this node with its settings as they were; then move the data directories of all other \
         nodes aside, and start each with an empty one: they join by themselves"
    );
    Ok(())
}

fn print_standing(plan: &Plan, data_dir: &Path) {
    let standing = plan.standing();
    let number = |index: Option<u64>| index.map_or_else(|| "-".to_owned(), |n| n.to_string());
    say!("directory:    {}", data_dir.display());
    say!(
        "node:         {}, Raft id {}",
        standing.node_id,
        standing.raft_id
    );
    say!(
        "cluster:      {}",
        standing.cluster_id.as_deref().unwrap_or("-")
    );
    say!("epoch:        {}", standing.epoch);
    let (term, index) = standing.last;
    say!("last entry:   term {term}, index {index}");
    say!("committed:    {}", number(standing.committed));
    say!("in snapshot:  {}", number(standing.snapshot));
    say!("voted in:     term {}", standing.voted_in);
    for member in &standing.members {
        let role = if member.votes { "voter" } else { "learner" };
        say!(
            "member:       {}, Raft id {}, {role}",
            member.name,
            member.raft_id
        );
    }
    let mut own = standing.members.iter();
    if !own.any(|member| member.votes && member.raft_id == standing.raft_id) {
        say!("careful:      this node is no voter, and may lack what the voters acknowledged");
    }
}
