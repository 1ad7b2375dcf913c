//! `strongroom cluster-key`.

use std::process::ExitCode;

use strongroom_server::{cluster_key, hygiene, settings};

use crate::{ClusterKeyCommand, complain, say, server};

pub(crate) fn run(command: &ClusterKeyCommand) -> ExitCode {
    let loaded = settings::environment(std::env::vars_os()).and_then(settings::load_for_kms);
    let settings = match loaded {
        Ok(loaded) => loaded.settings,
        Err(problems) => return server::refuse(&problems),
    };
    hygiene::protect_memory();
    hygiene::log_panics_without_their_message();
    let made = match command {
        ClusterKeyCommand::New => cluster_key::new(&settings),
        ClusterKeyCommand::Rewrap => cluster_key::rewrap(&settings),
    };
    match made {
        Ok(wrapped) => {
            say!("{wrapped}");
            ExitCode::SUCCESS
        }
        Err(error) => {
            complain!("{error}");
            ExitCode::from(error.exit_code())
        }
    }
}
