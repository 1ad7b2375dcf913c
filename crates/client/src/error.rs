//! What can go wrong, by who must act.

use serde::Deserialize;

/// Why there is no answer, or none as hoped. Never holds a secret.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum ClientError {
    /// The caller's own mistake: nothing was sent.
    #[error("{0}")]
    Unusable(String),
    /// The server was not reached, or did not answer in time. The request may have been heard.
    #[error("the server was not reached: {0}")]
    Unreachable(String),
    /// The server cannot do it now, as its operator can see, and says so by 503. Another node may.
    #[error("the server cannot now: {message} ({code})")]
    Unavailable {
        /// The stable code, as the API documents it.
        code: String,
        /// For people.
        message: String,
    },
    /// The server refused: the same request is refused again.
    #[error("refused: {message} ({code})")]
    Refused {
        /// The HTTP status.
        status: u16,
        /// The stable code, as the API documents it.
        code: String,
        /// For people.
        message: String,
        /// In how many seconds another try makes sense, if the server says so.
        retry_after: Option<u64>,
    },
    /// What came is no answer of Strongroom's.
    #[error("the answer makes no sense: is this the address of a Strongroom server?")]
    Malformed,
    /// What the caller reads from or writes to failed: a file, a pipe.
    #[error("{0}")]
    Local(String),
}

impl ClientError {
    /// The stable code of the server's refusal.
    #[must_use]
    pub fn code(&self) -> Option<&str> {
        match self {
            Self::Unavailable { code, .. } | Self::Refused { code, .. } => Some(code),
            _ => None,
        }
    }

    pub(crate) fn unreachable(error: &reqwest::Error) -> Self {
        // The URL holds a secret's name; the cause does not.
        let what = match (error.is_connect(), error.is_timeout()) {
            (true, true) => "no connection in time".to_owned(),
            (true, false) => format!("no connection{}", innermost(error)),
            (false, true) => "no answer in time".to_owned(),
            _ => "the connection broke".to_owned(),
        };
        Self::Unreachable(what)
    }

    pub(crate) fn refused(status: u16, retry_after: Option<u64>, body: &[u8]) -> Self {
        #[derive(Deserialize)]
        struct Body {
            error: String,
            code: String,
        }
        match (serde_json::from_slice::<Body>(body), status) {
            (Ok(body), 503) => Self::Unavailable {
                code: body.code,
                message: body.error,
            },
            (Ok(body), _) => Self::Refused {
                status,
                code: body.code,
                message: body.error,
                retry_after,
            },
            (Err(_), 502..=504) => {
                Self::Unreachable(format!("something before it answers with {status}"))
            }
            (Err(_), _) => Self::Malformed,
        }
    }

    /// Whether the same request, with the same key, may be sent again at once.
    pub(crate) fn is_in_doubt(&self) -> bool {
        match self {
            Self::Unreachable(what) => what.starts_with("the connection broke"),
            _ => self.code() == Some("outcome_unknown"),
        }
    }
}

/// The cause that says most, such as "Connection refused" or what is wrong with a certificate.
fn innermost(error: &reqwest::Error) -> String {
    let mut cause = std::error::Error::source(error);
    let mut last = None;
    while let Some(found) = cause {
        last = Some(found.to_string());
        cause = found.source();
    }
    last.map_or_else(String::new, |last| format!(": {last}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refusals_are_told_apart_by_who_must_act() {
        let body = br#"{"error":"no such secret","code":"not_found"}"#;
        let refused = ClientError::refused(404, None, body);
        assert_eq!(refused.code(), Some("not_found"));
        assert_eq!(refused.to_string(), "refused: no such secret (not_found)");
        let away = ClientError::refused(503, Some(1), br#"{"error":"e","code":"no_leader"}"#);
        assert!(matches!(away, ClientError::Unavailable { .. }));
        let proxy = ClientError::refused(502, None, b"<html>");
        assert!(matches!(proxy, ClientError::Unreachable(_)));
        assert_eq!(
            ClientError::refused(404, None, b"<html>"),
            ClientError::Malformed
        );
    }

    #[test]
    fn only_what_is_in_doubt_is_sent_again() {
        let unknown = br#"{"error":"e","code":"outcome_unknown"}"#;
        assert!(ClientError::refused(503, Some(1), unknown).is_in_doubt());
        let no_leader = br#"{"error":"e","code":"no_leader"}"#;
        assert!(!ClientError::refused(503, Some(1), no_leader).is_in_doubt());
        assert!(!ClientError::Unreachable("no connection".to_owned()).is_in_doubt());
    }
}
