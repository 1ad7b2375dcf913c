//! `strongroom audit`.

use std::{path::Path, process::ExitCode};

use strongroom_server::audit;

use crate::{complain, say};

pub(crate) fn verify(dir: &Path) -> ExitCode {
    match audit::verify(dir) {
        Ok(report) => {
            say!("{report}");
            ExitCode::SUCCESS
        }
        Err(bad) => {
            complain!("{bad}");
            ExitCode::FAILURE
        }
    }
}
