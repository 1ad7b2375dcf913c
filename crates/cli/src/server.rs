//! `strongroom server`.

use std::process::ExitCode;

use strongroom_server::{
    RunError, hygiene, logging,
    settings::{self, Loaded, Problem, Settings},
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
    logging::start(&settings.log, settings.log_format);
    hygiene::keep_files_private();
    hygiene::protect_memory();
    hygiene::log_panics_without_their_message();
    for warning in warnings {
        tracing::warn!("{warning}");
    }
    match run_until_told(settings, announce) {
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
