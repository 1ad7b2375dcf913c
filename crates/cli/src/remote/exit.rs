//! How a command ends. docs/CLI.md has the table.

use std::process::ExitCode;

use strongroom_client::{ClientError, PayloadError};

use super::render::printable;
use crate::complain;

/// Why a command failed.
pub(crate) enum Failure {
    /// Whoever read the output has enough of it.
    ClosedPipe,
    /// It could not be done, or was refused: 1.
    Failed(String),
    /// Wrong arguments or settings: 2.
    Usage(String),
    /// The server is not there, or cannot now: 3.
    Away(String),
    /// Ctrl-C, where it is waited for: 130.
    Interrupted(String),
}

impl Failure {
    pub(crate) fn end(&self) -> ExitCode {
        let (line, code) = match self {
            Self::ClosedPipe => return ExitCode::SUCCESS,
            Self::Failed(line) => (line, 1),
            Self::Usage(line) => (line, 2),
            Self::Away(line) => (line, 3),
            Self::Interrupted(line) => (line, 130),
        };
        complain!("{}", printable(line));
        ExitCode::from(code)
    }
}

impl From<ClientError> for Failure {
    fn from(error: ClientError) -> Self {
        let line = error.to_string();
        match error {
            ClientError::Unusable(_) => Self::Usage(line),
            ClientError::Unreachable(_) | ClientError::Unavailable { .. } => Self::Away(line),
            ClientError::Refused {
                retry_after: Some(seconds),
                ..
            } => Self::Failed(format!("{line}; try again in {seconds} s")),
            _ => Self::Failed(line),
        }
    }
}

impl From<PayloadError> for Failure {
    fn from(error: PayloadError) -> Self {
        Self::Failed(error.to_string())
    }
}
