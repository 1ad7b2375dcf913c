//! The Raft port: what other nodes ask this one, and how this one asks them. Bytes in, bytes out;
//! their meaning is the raft crate's.
//!
//! A message carries a header of its own, and none that browsers add: a page that somebody opens on a
//! machine that reaches the port must not be able to post to it.

mod transport;

use std::{sync::Arc, time::Duration};

use axum::{body::Body, response::Response};
use bytes::{Bytes, BytesMut};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, StatusCode, header};
use http_body_util::BodyExt;
use strongroom_raft::{Node, Rpc};

pub(crate) use transport::HttpTransport;

/// Largest message between nodes, in bytes. Entries are limited to 1 MiB a message and snapshot
/// chunks to 1 MiB, one oversized command aside, so this is a guard and decides nothing.
const MESSAGE_BYTES: usize = 16 * 1024 * 1024;
const PREFIX: &str = "/raft/v1/";
/// How long a message may take to arrive.
const BODY_WITHIN: Duration = Duration::from_secs(10);
/// What every message carries. A browser would have to ask first, and is not answered.
const MARK: HeaderName = HeaderName::from_static("x-strongroom-raft");

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
