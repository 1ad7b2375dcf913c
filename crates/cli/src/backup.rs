//! `strongroom backup`.

use std::{path::Path, process::ExitCode};

use strongroom_server::{backup, settings};

use crate::{complain, say, server};

pub(crate) fn verify(file: &Path, open: bool) -> ExitCode {
    let state = match backup::read(file) {
        Ok(state) => state,
        Err(bad) => {
            complain!("{bad}");
            return ExitCode::FAILURE;
        }
    };
    say!("{}", backup::describe(&state));
    if !open {
        return ExitCode::SUCCESS;
    }
    let loaded = match settings::environment(std::env::vars_os()).and_then(settings::load) {
        Ok(loaded) => loaded,
        Err(problems) => return server::refuse(&problems),
    };
    match backup::open_all(&state, &loaded.settings) {
        Ok(opened) => {
            say!("all {opened} values open");
            ExitCode::SUCCESS
        }
        Err(error) => {
            complain!("{error}");
            ExitCode::from(error.exit_code())
        }
    }
}
