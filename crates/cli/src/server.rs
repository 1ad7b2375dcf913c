//! `strongroom server`.

use std::process::ExitCode;

use strongroom_server::{
    RunError, hygiene, logging,
    settings::{self, Loaded, Problem, Settings},
    traces::Traces,
};
use tokio::sync::watch;

use crate::{complain, say};

/// Unusable arguments or settings.
const UNUSABLE: u8 = 2;

pub(crate) fn check_config() -> ExitCode {
    match settings::environment(std::env::vars_os()).and_then(settings::check) {
        Ok(loaded) => {
            say!("{}", loaded.settings.render().trim_end());
            ExitCode::SUCCESS
        }
        Err(problems) => refuse(&problems),
    }
}

pub(crate) fn run() -> ExitCode {
    match settings::environment(std::env::vars_os()).and_then(settings::load) {
        Ok(loaded) => run_with(loaded, |address| tracing::info!(address, "the API listens")),
        Err(problems) => refuse(&problems),
    }
}

pub(crate) fn refuse(problems: &[Problem]) -> ExitCode {
    for problem in problems {
        complain!("{problem}");
    }
    complain!(
        "{} problem(s) with the settings: mend them and start again",
        problems.len()
    );
    ExitCode::from(UNUSABLE)
}

/// Runs a node with these settings until it is told to stop.
pub(crate) fn run_with(loaded: Loaded, announce: impl FnOnce(&str) + Send) -> ExitCode {
    let Loaded {
        settings, warnings, ..
    } = loaded;
    let traces = settings.otlp.as_deref();
    let traces = traces.map(|endpoint| Traces::start(endpoint, settings.node_id.as_str()));
    let traces = match traces.transpose() {
        Ok(traces) => traces,
        Err(error) => {
            complain!("{error}");
            return ExitCode::from(error.exit_code());
        }
    };
    logging::start(&settings.log, settings.log_format, traces.as_ref());
    hygiene::keep_files_private();
    hygiene::protect_memory();
    hygiene::log_panics_without_their_message();
    for warning in warnings {
        tracing::warn!("{warning}");
    }
    let ran = run_until_told(settings, announce);
    if let Some(traces) = traces {
        traces.end();
    }
    match ran {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!("{error}");
            ExitCode::from(error.exit_code())
        }
    }
}

fn run_until_told(settings: Settings, announce: impl FnOnce(&str) + Send) -> Result<(), RunError> {
    let (told, stop) = watch::channel(false);
    strongroom_server::stop_on_signal(told)?;
    strongroom_server::run(settings, stop, announce)
}
