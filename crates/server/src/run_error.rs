//! Why a node does not run.

use strongroom_raft::{IdentityError, StartError};

use crate::raft_tls::TlsError;

/// Why a node does not run. The text says what to do.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// The process cannot do its job.
    #[error("{0}")]
    Failed(String),
    /// The settings cannot be used on this machine.
    #[error("{0}")]
    Settings(String),
    /// The data directory cannot be used.
    #[error("{0}")]
    Store(String),
}

impl RunError {
    /// The process's exit code.
    #[must_use]
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Failed(_) => 1,
            Self::Settings(_) => 2,
            Self::Store(_) => 3,
        }
    }
}

impl From<IdentityError> for RunError {
    fn from(error: IdentityError) -> Self {
        Self::Store(error.to_string())
    }
}

impl From<TlsError> for RunError {
    fn from(error: TlsError) -> Self {
        Self::Failed(error.to_string())
    }
}

impl From<StartError> for RunError {
    fn from(error: StartError) -> Self {
        match error {
            StartError::Store(error) => Self::Store(error.to_string()),
            StartError::Raft(error) => Self::Failed(error),
            StartError::Surpassed(error) => Self::Store(error.to_string()),
        }
    }
}
