//! A typed client of Strongroom's native API.
//!
//! It reads and writes secrets; caching, a circuit breaker and token renewal are not in it yet.
//!
//! ```no_run
//! # async fn example() -> Result<(), strongroom_client::ClientError> {
//! let client = strongroom_client::Client::new("http://127.0.0.1:8200")?;
//! let secret = client.read("db/password").await?;
//! if let Some(value) = secret.value() {
//!     connect_with(value);
//! }
//! # Ok(()) }
//! # fn connect_with(_: &str) {}
//! ```
#![deny(missing_docs)]

mod error;
mod secret;

use std::time::Duration;

pub use error::ClientError;
pub use secret::{Created, ReadSecret};

use reqwest::{Method, RequestBuilder, Response, header};
use serde::{Serialize, de::DeserializeOwned};
use zeroize::Zeroizing;

const CONNECT_WITHIN: Duration = Duration::from_secs(5);
const ANSWER_WITHIN: Duration = Duration::from_secs(30);
/// Largest answer taken, in bytes: a full batch, and no more.
const ANSWER_BYTES: usize = 160 * 1024 * 1024;

/// A client of one cluster, through any of its nodes. Cheap to clone; connections are shared.
#[derive(Clone)]
pub struct Client {
    http: reqwest::Client,
    base: String,
    token: Option<Zeroizing<String>>,
}

impl Client {
    /// A client of the node at `address`, such as `http://127.0.0.1:8200`. Redirects are not
    /// followed, and proxies from the environment not used: a secret goes where it was sent.
    ///
    /// # Errors
    /// [`ClientError::Unreachable`] if no HTTP client can be made.
    pub fn new(address: &str) -> Result<Self, ClientError> {
        let http = reqwest::Client::builder()
            .no_proxy()
            .redirect(reqwest::redirect::Policy::none())
            .connect_timeout(CONNECT_WITHIN)
            .timeout(ANSWER_WITHIN)
            .build()
            .map_err(|error| ClientError::unreachable(&error))?;
        Ok(Self {
            http,
            base: address.trim_end_matches('/').to_owned(),
            token: None,
        })
    }

    /// The same client with a token, for what needs one.
    #[must_use]
    pub fn with_token(mut self, token: &str) -> Self {
        self.token = Some(Zeroizing::new(token.to_owned()));
        self
    }

    /// Reads a secret's current version. The client's address must be allowlisted.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn read(&self, name: &str) -> Result<ReadSecret, ClientError> {
        let request = self.request(Method::GET, &format!("/v1/secrets/{name}"));
        answer(request.send().await).await
    }

    /// Creates a manual secret with a value.
    ///
    /// # Errors
    /// See [`ClientError`]; [`ClientError::Refused`] with the code `already_exists` if it is there.
    pub async fn create(&self, name: &str, value: &str) -> Result<Created, ClientError> {
        #[derive(Serialize)]
        struct Body<'a> {
            name: &'a str,
            value: &'a str,
        }
        let body = serde_json::to_vec(&Body { name, value }).map_err(|_| ClientError::Malformed)?;
        answer(
            self.request(Method::POST, "/v1/secrets")
                .body(body)
                .send()
                .await,
        )
        .await
    }

    fn request(&self, method: Method, path: &str) -> RequestBuilder {
        let request = self.http.request(method, format!("{}{path}", self.base));
        match &self.token {
            Some(token) => {
                let bearer = Zeroizing::new(format!("Bearer {}", token.as_str()));
                match header::HeaderValue::from_str(&bearer) {
                    Ok(mut value) => {
                        value.set_sensitive(true);
                        request.header(header::AUTHORIZATION, value)
                    }
                    // Not a token at all: the server says so.
                    Err(_) => request,
                }
            }
            None => request,
        }
    }
}

async fn answer<T: DeserializeOwned>(
    sent: Result<Response, reqwest::Error>,
) -> Result<T, ClientError> {
    let mut response = sent.map_err(|error| ClientError::unreachable(&error))?;
    let status = response.status().as_u16();
    let mut body = Zeroizing::new(Vec::new());
    while let Some(chunk) = response
        .chunk()
        .await
        .map_err(|error| ClientError::unreachable(&error))?
    {
        if body.len() + chunk.len() > ANSWER_BYTES {
            return Err(ClientError::Malformed);
        }
        body.extend_from_slice(&chunk);
    }
    if (200..300).contains(&status) {
        return serde_json::from_slice(&body).map_err(|_| ClientError::Malformed);
    }
    Err(ClientError::refused(status, &body))
}
