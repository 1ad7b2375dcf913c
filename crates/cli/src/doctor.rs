//! `strongroom doctor`: whether a node with these settings will do well on this machine, and what to do
//! where it will not.

mod disk;
mod places;

use std::{process::ExitCode, time::SystemTime};

use serde::Serialize;
use strongroom_server::{
    doctor::kms_calls,
    hygiene,
    settings::{self, Settings},
};

use crate::{
    remote::{Failure, To, show_json, show_table},
    server,
};

/// A clock that differs by more makes tokens and rotations early or late, in seconds.
const CLOCK_SECS: u64 = 5;

/// How something was found.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
#[serde(rename_all = "lowercase")]
enum Verdict {
    Ok,
    /// It works, and could be better.
    Warning,
    /// It will not work.
    Wrong,
    /// It could not be looked at.
    Skipped,
}

/// One thing that was looked at.
#[derive(Serialize)]
struct Finding {
    check: String,
    verdict: Verdict,
    /// What was found and, unless it is fine, what to do.
    said: String,
}

impl Finding {
    fn new(check: impl Into<String>, verdict: Verdict, said: impl Into<String>) -> Self {
        Self {
            check: check.into(),
            verdict,
            said: said.into(),
        }
    }
}

pub(crate) fn run(to: &To) -> ExitCode {
    hygiene::keep_files_private();
    hygiene::protect_memory();
    let loaded = settings::environment(std::env::vars_os()).and_then(settings::load);
    let loaded = match loaded {
        Ok(loaded) => loaded,
        Err(problems) => return server::refuse(&problems),
    };
    let mut findings = vec![Finding::new(
        "settings",
        Verdict::Ok,
        "all of them are usable",
    )];
    for problem in &loaded.warnings {
        findings.push(Finding::new(
            &problem.key,
            Verdict::Warning,
            &problem.message,
        ));
    }
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    let runtime = match runtime {
        Ok(runtime) => runtime,
        Err(error) => return Failure::Failed(format!("cannot start threads: {error}")).end(),
    };
    findings.extend(disk::look(&loaded.settings.data_dir));
    runtime.block_on(async {
        findings.extend(places::look(&loaded.settings).await);
        findings.push(clock(to).await);
        findings.extend(kms(&loaded.settings).await);
    });
    match show(to, &findings) {
        Err(failure) => failure.end(),
        Ok(()) if findings.iter().any(|one| one.verdict == Verdict::Wrong) => ExitCode::FAILURE,
        Ok(()) => ExitCode::SUCCESS,
    }
}

fn show(to: &To, findings: &[Finding]) -> Result<(), Failure> {
    if to.json {
        return show_json(&findings);
    }
    let word = |verdict| match verdict {
        Verdict::Ok => "ok",
        Verdict::Warning => "WARNING",
        Verdict::Wrong => "WRONG",
        Verdict::Skipped => "skipped",
    };
    let rows: Vec<Vec<String>> = findings
        .iter()
        .map(|one| {
            vec![
                word(one.verdict).to_owned(),
                one.check.clone(),
                one.said.clone(),
            ]
        })
        .collect();
    show_table(&["", "CHECK", "FOUND"], &rows)
}

/// This machine's clock against the server's that the command line asks.
async fn clock(to: &To) -> Finding {
    let client = match to.without_token() {
        Ok(client) => client,
        Err(_) => {
            let said = "VAULT_ADDR or VAULT_CACERT cannot be used";
            return Finding::new("clock", Verdict::Skipped, said);
        }
    };
    let answered = client.ready().await;
    let Some(server) = answered.ok().and_then(|ready| ready.server_time) else {
        let said = format!("no server answers at {} to compare with", client.address());
        return Finding::new("clock", Verdict::Skipped, said);
    };
    let now = SystemTime::now();
    let ahead = now.duration_since(server);
    let apart = ahead.unwrap_or_else(|error| error.duration()).as_secs();
    let said = format!("{apart} s from the clock of {}", client.address());
    match apart > CLOCK_SECS {
        false => Finding::new("clock", Verdict::Ok, said),
        true => Finding::new(
            "clock",
            Verdict::Warning,
            format!(
                "{said}: have both set by NTP; tokens end and rotations fall due by the leader's"
            ),
        ),
    }
}

/// Each call to KMS by itself.
async fn kms(settings: &Settings) -> Vec<Finding> {
    let calls = match kms_calls(settings).await {
        Ok(calls) => calls,
        Err(error) => return vec![Finding::new("KMS", Verdict::Wrong, error.to_string())],
    };
    let finding = |call: strongroom_server::doctor::KmsCall| match call.outcome {
        Ok(()) => Finding::new(call.right, Verdict::Ok, "works"),
        Err(why) => {
            let verdict = match call.is_optional {
                true => Verdict::Warning,
                false => Verdict::Wrong,
            };
            let said = format!("{why}: needed for {}", call.needed);
            Finding::new(call.right, verdict, said)
        }
    };
    calls.into_iter().map(finding).collect()
}
