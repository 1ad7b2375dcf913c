//! `strongroom kms`.

use std::{
    io::{self, IsTerminal, Write},
    time::Duration,
};

use clap::Subcommand;
use serde_json::json;
use strongroom_client::{Client, RewrapStatus};
use tokio::signal::unix::{SignalKind, signal};

use super::{
    connect::To,
    exit::Failure,
    render::{self, facts, line, or_dash},
};

const LOOK_EVERY: Duration = Duration::from_millis(500);
const BAR: u64 = 30;

#[derive(Subcommand)]
pub(crate) enum Command {
    /// Show the key service, and how far re-wrapping has come.
    Status,
    /// Move every wrapped data key onto the key in use, and wait until none is pending.
    ///
    /// Ctrl-C stops the waiting alone: the pass goes on at the server.
    Rewrap,
}

pub(crate) async fn run(to: &To, command: &Command) -> Result<(), Failure> {
    let client = to.client()?;
    match command {
        Command::Status => status(&client, to).await,
        Command::Rewrap => {
            // Listened for before the pass begins: between the two, Ctrl-C would end without a word.
            let interrupts = signal(SignalKind::interrupt());
            let mut interrupts = interrupts.map_err(|error| Failure::Failed(error.to_string()))?;
            let passed = async {
                client.rewrap().await?;
                wait(&client, to).await
            };
            tokio::select! {
                done = passed => done,
                _ = interrupts.recv() => Err(Failure::Interrupted(
                    "a pass that has begun goes on at the server; `strongroom kms status` shows how far it is".to_owned(),
                )),
            }
        }
    }
}

async fn status(client: &Client, to: &To) -> Result<(), Failure> {
    let (kms, pass) = (client.kms().await?, client.rewrap_status().await?);
    if to.json {
        return render::json(&json!({"kms": kms, "rewrap": pass}));
    }
    let mut shown = vec![
        ("mode", kms.mode),
        ("key", kms.key),
        ("region", or_dash(kms.region.as_ref())),
        ("breaker", kms.breaker),
        ("rotated", or_dash(kms.last_rotation_at.as_ref())),
        ("pass", or_dash(pass.pass_id.as_ref())),
        ("pending", pass.pending.to_string()),
        ("failed", pass.failed.to_string()),
    ];
    for (key, count) in &pass.versions_by_key {
        shown.push(("versions", format!("{count} under {key}")));
    }
    facts(&shown)
}

async fn wait(client: &Client, to: &To) -> Result<(), Failure> {
    let is_drawn = io::stderr().is_terminal();
    loop {
        let pass = client.rewrap_status().await?;
        if is_drawn {
            draw(&pass);
        }
        if pass.running {
            tokio::time::sleep(LOOK_EVERY).await;
            continue;
        }
        if is_drawn {
            // Nothing to do about a terminal that is gone.
            let _ = writeln!(io::stderr());
        }
        if pass.failed > 0 {
            let why = or_dash(pass.last_error.as_ref());
            let what = format!("{} versions were not moved: {why}", pass.failed);
            return Err(Failure::Failed(what));
        }
        return match to.json {
            true => render::json(&pass),
            false => line(&format!("done: {} versions moved", pass.rewrapped)),
        };
    }
}

fn draw(pass: &RewrapStatus) {
    let all = pass.rewrapped.saturating_add(pass.pending).max(1);
    let full = pass.rewrapped.saturating_mul(BAR) / all;
    let bar: String = (0..BAR)
        .map(|at| if at < full { '#' } else { '.' })
        .collect();
    // Nothing to do about a terminal that is gone.
    let _ = write!(io::stderr(), "\r[{bar}] {} pending ", pass.pending);
}
