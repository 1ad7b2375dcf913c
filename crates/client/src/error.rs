//! What can go wrong, by who must act.

use serde::Deserialize;

/// Why there is no answer, or none as hoped. Never holds a secret.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum ClientError {
    /// The server was not reached, or did not answer in time. The request may have been heard.
    #[error("the server was not reached: {0}")]
    Unreachable(String),
    /// The server refused.
    #[error("refused with {status} {code}: {message}")]
    Refused {
        /// The HTTP status.
        status: u16,
        /// The stable code, as the API documents it.
        code: String,
        /// For people.
        message: String,
    },
    /// What came is no answer of Strongroom's.
    #[error("the answer makes no sense")]
    Malformed,
}

impl ClientError {
    pub(crate) fn unreachable(error: &reqwest::Error) -> Self {
        // The URL holds a secret's name; the cause does not.
        let what = match (error.is_connect(), error.is_timeout()) {
            (true, _) => "no connection",
            (_, true) => "no answer in time",
            _ => "the connection failed",
        };
        Self::Unreachable(what.to_owned())
    }

    pub(crate) fn refused(status: u16, body: &[u8]) -> Self {
        #[derive(Deserialize)]
        struct Body {
            error: String,
            code: String,
        }
        match serde_json::from_slice::<Body>(body) {
            Ok(body) => Self::Refused {
                status,
                code: body.code,
                message: body.error,
            },
            Err(_) => Self::Malformed,
        }
    }
}
