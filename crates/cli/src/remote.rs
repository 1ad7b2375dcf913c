//! Commands that ask a server, over its API.

mod audit;
mod backup;
mod cluster;
mod connect;
mod exit;
mod input;
mod kms;
mod login;
mod render;
mod role;
mod secret;
mod status;
mod token;

use std::{future::Future, process::ExitCode};

use clap::Subcommand;
use strongroom_server::hygiene;

pub(crate) use audit::{Query, Tail};
pub(crate) use connect::To;
pub(crate) use exit::Failure;
pub(crate) use render::{json as show_json, table as show_table};

/// Commands of their own. `audit` and `backup` also have local ones, and stand beside those.
#[derive(Subcommand)]
pub(crate) enum Command {
    /// Check a token, asked for without echo or read from standard input, and keep it in a file.
    Login(login::Arguments),
    /// Show whether the server is ready and, with an admin's token, its cluster.
    Status {
        #[command(flatten)]
        to: To,
    },
    /// Read and write secrets. Values come from standard input or a file, never from arguments.
    Secret {
        #[command(flatten)]
        to: To,
        #[command(subcommand)]
        command: secret::Command,
    },
    /// Manage roles.
    Role {
        #[command(flatten)]
        to: To,
        #[command(subcommand)]
        command: role::Command,
    },
    /// Manage tokens.
    Token {
        #[command(flatten)]
        to: To,
        #[command(subcommand)]
        command: token::Command,
    },
    /// Look at the key service, and move wrapped keys onto the key in use.
    Kms {
        #[command(flatten)]
        to: To,
        #[command(subcommand)]
        command: kms::Command,
    },
    /// Look at the cluster, and change its members.
    Cluster {
        #[command(flatten)]
        to: To,
        #[command(subcommand)]
        command: cluster::Command,
    },
    /// Replace what a cluster holds by what a backup holds: secrets, roles and tokens.
    Restore(backup::Restore),
}

pub(crate) fn run(command: &Command) -> ExitCode {
    finish(async {
        match command {
            Command::Login(arguments) => login::run(arguments).await,
            Command::Status { to } => status::run(to).await,
            Command::Secret { to, command } => secret::run(to, command).await,
            Command::Role { to, command } => role::run(to, command).await,
            Command::Token { to, command } => token::run(to, command).await,
            Command::Kms { to, command } => kms::run(to, command).await,
            Command::Cluster { to, command } => cluster::run(to, command).await,
            Command::Restore(arguments) => backup::restore(arguments).await,
        }
    })
}

pub(crate) fn tail(arguments: &Tail) -> ExitCode {
    finish(audit::tail(arguments))
}

pub(crate) fn query(arguments: &Query) -> ExitCode {
    finish(audit::query(arguments))
}

pub(crate) fn create_backup(to: &To, file: &std::path::Path) -> ExitCode {
    finish(backup::create(to, file))
}

/// Carries a command out, and says in one line why it failed.
fn finish(command: impl Future<Output = Result<(), Failure>>) -> ExitCode {
    hygiene::keep_files_private();
    hygiene::protect_memory();
    hygiene::log_panics_without_their_message();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    let done = match runtime {
        Ok(runtime) => {
            let done = runtime.block_on(command);
            // Somebody may still be asked for a token.
            runtime.shutdown_background();
            done
        }
        Err(error) => Err(Failure::Failed(format!("cannot start threads: {error}"))),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => failure.end(),
    }
}
