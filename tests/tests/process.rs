//! The process: exit codes, last words, hygiene, signals, and the commands beside `server`.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::print_stdout
)]

#[path = "process/commands.rs"]
mod commands;
#[path = "process/hygiene.rs"]
mod hygiene;
#[path = "process/start.rs"]
mod start;

use std::{
    fs,
    io::{BufRead, BufReader},
    net::TcpListener,
    os::unix::fs::{MetadataExt, PermissionsExt},
    path::Path,
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use serde_json::{Value, json};
use strongroom_tests::{
    cluster::{Cluster, MASTER_KEY, TOKEN},
    node::{Node, binary, free_port},
    raw::Raw,
};
use tokio::io::AsyncWriteExt;

/// How a command ended.
struct End {
    code: i32,
    out: String,
    err: String,
    took: Duration,
}

impl End {
    /// The last line it wrote to standard error.
    fn last(&self) -> &str {
        self.err.trim_end().lines().last().unwrap_or_default()
    }
}

/// Runs the binary to its end, with these variables and no others of ours.
fn run(arguments: &[&str], env: &[(&str, &str)]) -> End {
    // What is wrongly accepted must not run for ever.
    let mut command = Command::new("timeout");
    command.arg("60").arg(binary());
    command.args(arguments).stdin(Stdio::null());
    for (key, _) in std::env::vars_os() {
        let key = key.to_string_lossy().into_owned();
        if key.starts_with("VAULT_") || key.starts_with("AWS_") || key == "NODE_ID" {
            command.env_remove(key);
        }
    }
    command.envs(env.iter().copied());
    let began = Instant::now();
    let output = command.output().expect("the binary starts");
    End {
        code: output.status.code().unwrap_or(-1),
        out: String::from_utf8(output.stdout).unwrap(),
        err: String::from_utf8(output.stderr).unwrap(),
        took: began.elapsed(),
    }
}

/// Runs `strongroom server`, which is expected to end by itself.
fn server(dir: &Path, env: &[(&str, &str)]) -> End {
    let address = format!("127.0.0.1:{}", free_port());
    let data = dir.join("data").display().to_string();
    let mut all = vec![
        ("VAULT_API_ADDR", address.as_str()),
        ("VAULT_DATA_DIR", data.as_str()),
        ("VAULT_KMS_MODE", "local"),
        ("VAULT_LOCAL_MASTER_KEY", MASTER_KEY),
    ];
    all.extend_from_slice(env);
    run(&["server"], &all)
}

fn one_node() -> Cluster {
    Cluster::prepare(1, &[])
}

fn rustix_term() -> rustix::process::Signal {
    rustix::process::Signal::TERM
}
