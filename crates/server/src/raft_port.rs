//! The Raft port: what other nodes ask this one, and how this one asks them. Bytes in, bytes out;
//! their meaning is the raft crate's.
//!
//! A message carries a header of its own, and none that browsers add: a page that somebody opens on a
//! machine that reaches the port must not be able to post to it.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use axum::{body::Body, response::Response};
use bytes::{Bytes, BytesMut};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, StatusCode, header};
use http_body_util::BodyExt;
use strongroom_core::replica::PortFuture;
use strongroom_raft::{Node, Rpc, Transport, TransportError};
use tokio::sync::Semaphore;

/// Largest message between nodes, in bytes. Entries are limited to 1 MiB a message and snapshot
/// chunks to 1 MiB, one oversized command aside, so this is a guard and decides nothing.
const MESSAGE_BYTES: usize = 16 * 1024 * 1024;
const PREFIX: &str = "/raft/v1/";
/// How long a message may take to arrive.
const BODY_WITHIN: Duration = Duration::from_secs(10);
const CONNECT_WITHIN: Duration = Duration::from_secs(1);
/// What every message carries. A browser would have to ask first, and is not answered.
const MARK: HeaderName = HeaderName::from_static("x-strongroom-raft");
/// Questions to one node at a time, Raft's own aside: what clients ask must leave places for those.
const QUESTIONS: usize = 128;
/// Connections kept to one node while nothing is asked.
const IDLE: usize = 8;

/// Answers one message.
pub(crate) async fn answer(node: Arc<Node>, request: Request<Body>) -> Response {
    let path = request
        .uri()
        .path()
        .strip_prefix(PREFIX)
        .unwrap_or_default();
    let rpc = Rpc::ALL.into_iter().find(|rpc| rpc.as_str() == path);
    let Some(rpc) = rpc.filter(|_| request.method() == Method::POST) else {
        return status(StatusCode::NOT_FOUND);
    };
    if !comes_from_a_node(request.headers()) {
        return status(StatusCode::FORBIDDEN);
    }
    let hears = |beginning: &[u8]| node.hears(rpc, beginning);
    let arrives = read(request.into_body(), hears);
    let Ok(body) = tokio::time::timeout(BODY_WITHIN, arrives).await else {
        return status(StatusCode::REQUEST_TIMEOUT);
    };
    let Some(body) = body else {
        return status(StatusCode::PAYLOAD_TOO_LARGE);
    };
    let mut response = match node.serve(rpc, body).await {
        Ok(answer) => Response::new(Body::from(answer)),
        Err(error) => {
            tracing::debug!(rpc = rpc.as_str(), %error, "a message was refused");
            status(StatusCode::BAD_REQUEST)
        }
    };
    if node.is_stopping() {
        // A question sent on a connection that is about to close may have been heard or not; one
        // that finds no connection was not, and is asked again elsewhere.
        let close = HeaderValue::from_static("close");
        response.headers_mut().insert(header::CONNECTION, close);
    }
    response
}

fn status(status: StatusCode) -> Response {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = status;
    response
}

/// A guard against browsers, and against nobody else.
fn comes_from_a_node(headers: &HeaderMap) -> bool {
    headers.contains_key(MARK)
        && !headers.contains_key(header::ORIGIN)
        && !headers.contains_key("sec-fetch-site")
}

/// Reads a message; `hears` is told its beginning as it grows.
async fn read(mut body: Body, hears: impl Fn(&[u8])) -> Option<Bytes> {
    let mut bytes = BytesMut::new();
    while let Some(frame) = body.frame().await {
        let Ok(data) = frame.ok()?.into_data() else {
            continue;
        };
        if bytes.len() + data.len() > MESSAGE_BYTES {
            return None;
        }
        bytes.extend_from_slice(&data);
        hears(&bytes);
    }
    Some(bytes.freeze())
}

/// Asks other nodes over HTTP. Raft's own messages have connections of their own.
pub(crate) struct HttpTransport {
    raft: reqwest::Client,
    questions: reqwest::Client,
    places: Mutex<HashMap<String, Arc<Semaphore>>>,
}

impl HttpTransport {
    pub(crate) fn new() -> Result<Self, reqwest::Error> {
        let client = || {
            reqwest::Client::builder()
                .no_proxy()
                .redirect(reqwest::redirect::Policy::none())
                .connect_timeout(CONNECT_WITHIN)
                .pool_idle_timeout(Duration::from_secs(20))
                .pool_max_idle_per_host(IDLE)
                .tcp_nodelay(true)
                .build()
        };
        Ok(Self {
            raft: client()?,
            questions: client()?,
            places: Mutex::default(),
        })
    }

    /// The places of one node. There are as many nodes as the settings list, and a few of the past.
    fn places(&self, address: &str) -> Arc<Semaphore> {
        let mut places = self.places.lock().unwrap_or_else(PoisonError::into_inner);
        match places.get(address) {
            Some(found) => Arc::clone(found),
            None => {
                let made = Arc::new(Semaphore::new(QUESTIONS));
                places.insert(address.to_owned(), Arc::clone(&made));
                made
            }
        }
    }

    async fn send(
        client: &reqwest::Client,
        url: String,
        body: Vec<u8>,
        within: Duration,
    ) -> Result<Bytes, TransportError> {
        let asked = client
            .post(url)
            .header(MARK, HeaderValue::from_static("1"))
            .timeout(within)
            .body(body)
            .send()
            .await;
        let mut response = asked.map_err(|error| failure(&error))?;
        if response.status() != StatusCode::OK {
            return Err(TransportError::Failed);
        }
        let mut answer = BytesMut::new();
        while let Some(chunk) = response.chunk().await.map_err(|error| failure(&error))? {
            if answer.len() + chunk.len() > MESSAGE_BYTES {
                return Err(TransportError::Failed);
            }
            answer.extend_from_slice(&chunk);
        }
        Ok(answer.freeze())
    }
}

impl Transport for HttpTransport {
    fn ask<'a>(
        &'a self,
        address: &'a str,
        rpc: Rpc,
        body: Vec<u8>,
        within: Duration,
    ) -> PortFuture<'a, Result<Bytes, TransportError>> {
        Box::pin(async move {
            let url = format!("http://{address}{PREFIX}{}", rpc.as_str());
            if rpc.is_rafts_own() {
                return Self::send(&self.raft, url, body, within).await;
            }
            let deadline = tokio::time::Instant::now() + within;
            let place = tokio::time::timeout_at(deadline, self.places(address).acquire_owned());
            // Not asked yet, so it was not heard.
            let Ok(Ok(_place)) = place.await else {
                return Err(TransportError::Unreachable);
            };
            let left = deadline.saturating_duration_since(tokio::time::Instant::now());
            Self::send(&self.questions, url, body, left).await
        })
    }
}

fn failure(error: &reqwest::Error) -> TransportError {
    tracing::trace!(?error, "a question to another node failed");
    // Asked first: a connect that timed out has sent nothing either.
    if error.is_connect() {
        TransportError::Unreachable
    } else if error.is_timeout() {
        TransportError::TimedOut
    } else {
        TransportError::Failed
    }
}
