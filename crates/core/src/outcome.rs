//! What came of a command. Encoded like commands, and as carefully: add variants at the end.

use serde::{Deserialize, Serialize};

use crate::{LogTime, SecretSummary};

/// Why a command did not take effect. The state is as it was.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize, thiserror::Error)]
pub enum Rejection {
    /// Something of that name is there already.
    #[error("it exists already")]
    AlreadyExists,
    /// There is nothing of that name.
    #[error("there is no such thing")]
    NotFound,
    /// The caller expected another current version.
    #[error("the current version is another")]
    CasMismatch {
        /// The current version; 0: none.
        current: u64,
    },
    /// The secret asks for check-and-set and the caller gave none.
    #[error("check-and-set is required")]
    CasRequired,
    /// The new version was sealed for a number that is taken by now: seal again and retry.
    #[error("the version was sealed for another number")]
    VersionTaken {
        /// The current version.
        current: u64,
    },
    /// A role has live tokens.
    #[error("it is in use")]
    InUse,
    /// The role `admin`, the mount `secret`, or a name that could be taken for one of them.
    #[error("it is protected")]
    Protected,
    /// A part is over its limit, or makes no sense for this kind of secret.
    #[error("a part is over its limit or does not fit this kind of secret")]
    Invalid,
    /// An admin token has existed, so the bootstrap token opens nothing.
    #[error("the cluster has been bootstrapped before")]
    BootstrapClosed,
    /// The token has expired, is revoked, or has no uses left.
    #[error("the token is spent")]
    TokenSpent,
    /// The cluster has an identity already, or has none yet.
    #[error("the cluster is not in a state for this")]
    Formation,
    /// The request had been tried before, and what came of that is no longer known.
    #[error("what came of an earlier try is no longer known")]
    OutcomeForgotten,
    /// What it was decided on is no longer so: what tokens may do, or that the secret has no target.
    #[error("what this was allowed on has changed meanwhile")]
    AccessChanged,
}

/// What a command that took effect did.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum Effect {
    /// Nothing more to say.
    Done,
    /// A secret was written; this is how it stands now.
    Secret(SecretSummary),
    /// A token was made.
    Token {
        /// When it expires.
        expires_at: Option<LogTime>,
    },
    /// A re-wrap pass runs.
    Pass {
        /// Its id.
        id: u64,
    },
}

/// The result of a command.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum Applied {
    /// It took effect.
    Effect(Effect),
    /// It did not.
    Rejected(Rejection),
}

impl Applied {
    /// As a `Result`, for `?`.
    ///
    /// # Errors
    /// The rejection.
    pub fn into_result(self) -> Result<Effect, Rejection> {
        match self {
            Self::Effect(effect) => Ok(effect),
            Self::Rejected(rejection) => Err(rejection),
        }
    }
}
