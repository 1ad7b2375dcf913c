//! Whether a node is there, and ready.

use std::time::SystemTime;

use reqwest::{Method, header};
use serde::{Deserialize, Serialize};

use crate::{Client, ClientError, call::Call};

/// Whether a node is ready.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct Readiness {
    /// Whether it takes requests.
    pub ready: bool,
    /// Why not, by the stable word that the API documents.
    pub reason: Option<String>,
    /// The server's clock, to the second.
    #[serde(skip)]
    pub server_time: Option<SystemTime>,
}

impl Client {
    /// Whether the process answers.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn health(&self) -> Result<(), ClientError> {
        self.send(Call::get("/healthz")).await.map(drop)
    }

    /// Whether the node is ready. One that is not is no error.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn ready(&self) -> Result<Readiness, ClientError> {
        #[derive(Deserialize)]
        struct Body {
            ready: bool,
            code: Option<String>,
        }
        let request = self
            .http
            .request(Method::GET, format!("{}/readyz", self.base));
        let response = request.timeout(self.answer_within).send().await;
        let response = response.map_err(|error| ClientError::unreachable(&error))?;
        let date = response.headers().get(header::DATE);
        let date = date.and_then(|date| httpdate::parse_http_date(date.to_str().ok()?).ok());
        let body = response.bytes().await;
        let body = body.map_err(|error| ClientError::unreachable(&error))?;
        let body: Body = serde_json::from_slice(&body).map_err(|_| ClientError::Malformed)?;
        Ok(Readiness {
            ready: body.ready,
            reason: body.code,
            server_time: date,
        })
    }
}
