//! The Raft port: what other nodes ask this one, and how this one asks them. Bytes in, bytes out;
//! their meaning is the raft crate's.

use std::{sync::Arc, time::Duration};

use axum::{body::Body, response::Response};
use bytes::{Bytes, BytesMut};
use http::{HeaderValue, Method, Request, StatusCode, header};
use http_body_util::BodyExt;
use strongroom_core::replica::PortFuture;
use strongroom_raft::{Node, Rpc, Transport, TransportError};

/// Largest message between nodes, in bytes. Entries are limited to 1 MiB a message and snapshot
/// chunks to 1 MiB, one oversized command aside, so this is a guard and decides nothing.
const MESSAGE_BYTES: usize = 16 * 1024 * 1024;
const PREFIX: &str = "/raft/v1/";
/// How long a message may take to arrive.
const BODY_WITHIN: Duration = Duration::from_secs(10);
const CONNECT_WITHIN: Duration = Duration::from_secs(1);

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
    let Ok(body) = tokio::time::timeout(BODY_WITHIN, read(request.into_body())).await else {
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

async fn read(mut body: Body) -> Option<Bytes> {
    let mut bytes = BytesMut::new();
    while let Some(frame) = body.frame().await {
        let Ok(data) = frame.ok()?.into_data() else {
            continue;
        };
        if bytes.len() + data.len() > MESSAGE_BYTES {
            return None;
        }
        bytes.extend_from_slice(&data);
    }
    Some(bytes.freeze())
}

/// Asks other nodes over HTTP.
pub(crate) struct HttpTransport {
    client: reqwest::Client,
}

impl HttpTransport {
    pub(crate) fn new() -> Result<Self, reqwest::Error> {
        let client = reqwest::Client::builder()
            .no_proxy()
            .redirect(reqwest::redirect::Policy::none())
            .connect_timeout(CONNECT_WITHIN)
            .pool_idle_timeout(Duration::from_secs(20))
            .tcp_nodelay(true)
            .build()?;
        Ok(Self { client })
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
            let asked = self
                .client
                .post(url)
                .timeout(within)
                .body(body)
                .send()
                .await;
            let response = asked.map_err(|error| failure(&error))?;
            if response.status() != StatusCode::OK {
                return Err(TransportError::Failed);
            }
            response.bytes().await.map_err(|error| failure(&error))
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
