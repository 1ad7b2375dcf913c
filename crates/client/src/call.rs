//! One request and its answer.

use std::{sync::atomic::Ordering, time::Duration};

use bytes::Bytes;
use reqwest::{Method, RequestBuilder, Response, StatusCode, header};
use serde::{Serialize, de::DeserializeOwned};
use zeroize::Zeroizing;

use crate::{Client, ClientError};

/// Largest answer taken, in bytes: a full batch, and no more.
const ANSWER_BYTES: usize = 160 * 1024 * 1024;
/// How much longer than a wait an answer to it may take.
const WAIT_SLACK: Duration = Duration::from_secs(15);
/// Before a request in doubt is sent again.
const PAUSE: Duration = Duration::from_millis(500);
const INDEX: &str = "x-strongroom-index";
const IDEMPOTENCY_KEY: &str = "idempotency-key";

/// Whether a request may be sent more than once.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Repeat {
    /// It changes nothing.
    Freely,
    /// With an `Idempotency-Key`.
    Keyed,
    /// What it makes up cannot be given again.
    Never,
}

/// A request that is not sent yet.
pub(crate) struct Call {
    method: Method,
    path: String,
    body: Bytes,
    repeat: Repeat,
    /// Says what was seen, for a read by address.
    by_address: bool,
    wait: Duration,
}

impl Call {
    pub(crate) fn get(path: impl Into<String>) -> Self {
        Self::new(Method::GET, path.into(), Repeat::Freely)
    }

    pub(crate) fn post(path: impl Into<String>) -> Self {
        Self::new(Method::POST, path.into(), Repeat::Keyed)
    }

    pub(crate) fn put(path: impl Into<String>) -> Self {
        Self::new(Method::PUT, path.into(), Repeat::Keyed)
    }

    pub(crate) fn delete(path: impl Into<String>) -> Self {
        Self::new(Method::DELETE, path.into(), Repeat::Keyed)
    }

    fn new(method: Method, path: String, repeat: Repeat) -> Self {
        let (body, wait) = (Bytes::new(), Duration::ZERO);
        Self {
            method,
            path,
            body,
            repeat,
            by_address: false,
            wait,
        }
    }

    pub(crate) fn repeat(mut self, repeat: Repeat) -> Self {
        self.repeat = repeat;
        self
    }

    /// A read by address.
    pub(crate) fn by_address(mut self) -> Self {
        self.by_address = true;
        self
    }

    pub(crate) fn waiting(mut self, wait: Duration) -> Self {
        self.wait = wait;
        self
    }

    /// With a body of JSON in a buffer that does not grow, so that no part of a value of `secret` bytes
    /// is left behind by it, and that is zeroized.
    pub(crate) fn json<T: Serialize>(
        mut self,
        secret: usize,
        body: &T,
    ) -> Result<Self, ClientError> {
        // A byte becomes six at most: \u0000.
        let mut text = Zeroizing::new(Vec::with_capacity(secret * 6 + 4096));
        serde_json::to_writer(&mut *text, body)
            .map_err(|_| ClientError::Unusable("this cannot be written as JSON".to_owned()))?;
        self.body = Bytes::from_owner(text);
        Ok(self)
    }
}

/// What came: 304 has no body.
pub(crate) struct Came {
    pub(crate) status: StatusCode,
    pub(crate) body: Zeroizing<Vec<u8>>,
}

impl Client {
    /// Sends, again if need be, and reads the answer as JSON.
    pub(crate) async fn ask<T: DeserializeOwned>(&self, call: Call) -> Result<T, ClientError> {
        let came = self.send(call).await?;
        serde_json::from_slice(&came.body).map_err(|_| ClientError::Malformed)
    }

    /// Sends, again if need be, and takes any answer that is no refusal.
    pub(crate) async fn send(&self, call: Call) -> Result<Came, ClientError> {
        let key = match call.repeat {
            Repeat::Keyed => Some(idempotency_key()?),
            _ => None,
        };
        let mut left = match call.repeat {
            Repeat::Never => 0,
            _ => self.retries,
        };
        loop {
            match self.send_once(&call, key.as_deref()).await {
                // An index of before a restore, or of another cluster.
                Err(error) if call.by_address && error.code() == Some("index_not_reached") => {
                    if self.seen.swap(0, Ordering::Relaxed) == 0 {
                        return Err(error);
                    }
                }
                Err(error) if left > 0 && error.is_in_doubt() => {
                    left -= 1;
                    tokio::time::sleep(PAUSE).await;
                }
                other => return other,
            }
        }
    }

    async fn send_once(&self, call: &Call, key: Option<&str>) -> Result<Came, ClientError> {
        let within = match call.wait {
            Duration::ZERO => self.answer_within,
            wait => wait + WAIT_SLACK,
        };
        let mut request = self
            .request(call.method.clone(), &call.path)?
            .timeout(within);
        if let Some(key) = key {
            request = request.header(IDEMPOTENCY_KEY, key);
        }
        let seen = self.seen.load(Ordering::Relaxed);
        if call.by_address && seen > 0 {
            request = request.header(INDEX, seen);
        }
        if !call.body.is_empty() {
            request = request.body(call.body.clone());
        }
        let response = request.send().await;
        let response = response.map_err(|error| ClientError::unreachable(&error))?;
        self.take(response).await
    }

    /// A request with the token, if there is one.
    pub(crate) fn request(
        &self,
        method: Method,
        path: &str,
    ) -> Result<RequestBuilder, ClientError> {
        let request = self.http.request(method, format!("{}{path}", self.base));
        let Some(token) = &self.token else {
            return Ok(request);
        };
        let bearer = Zeroizing::new(format!("Bearer {}", token.expose()));
        let mut value = header::HeaderValue::from_str(&bearer).map_err(|_| {
            ClientError::Unusable("the token holds characters that no token has".to_owned())
        })?;
        value.set_sensitive(true);
        Ok(request.header(header::AUTHORIZATION, value))
    }

    /// An answer as a whole, or the refusal that it is.
    pub(crate) async fn take(&self, mut response: Response) -> Result<Came, ClientError> {
        let status = response.status();
        self.note(&response);
        let retry_after = header_number(&response, header::RETRY_AFTER.as_str());
        let mut body = Zeroizing::new(Vec::new());
        while let Some(chunk) = response
            .chunk()
            .await
            .map_err(|error| ClientError::unreachable(&error))?
        {
            if body.len() + chunk.len() > ANSWER_BYTES {
                return Err(ClientError::Malformed);
            }
            take_in(&mut body, &chunk);
        }
        if status.is_success() || status == StatusCode::NOT_MODIFIED {
            return Ok(Came { status, body });
        }
        Err(ClientError::refused(status.as_u16(), retry_after, &body))
    }

    /// Remembers what of the replicated state an answer has seen.
    pub(crate) fn note(&self, response: &Response) {
        if let Some(index) = header_number(response, INDEX) {
            self.seen.fetch_max(index, Ordering::Relaxed);
        }
    }
}

/// Appends; a buffer that grows is zeroized where it was.
fn take_in(body: &mut Zeroizing<Vec<u8>>, chunk: &[u8]) {
    let needed = body.len() + chunk.len();
    if needed > body.capacity() {
        let mut larger = Zeroizing::new(Vec::with_capacity((needed * 2).max(4096)));
        larger.extend_from_slice(body);
        std::mem::swap(body, &mut larger);
    }
    body.extend_from_slice(chunk);
}

fn header_number(response: &Response, name: &str) -> Option<u64> {
    response.headers().get(name)?.to_str().ok()?.parse().ok()
}

fn idempotency_key() -> Result<String, ClientError> {
    let mut bytes = [0; 16];
    getrandom::fill(&mut bytes)
        .map_err(|_| ClientError::Unusable("this machine gives no random bytes".to_owned()))?;
    Ok(bytes.iter().map(|byte| format!("{byte:02x}")).collect())
}
