//! From what the vault says to bytes on the wire.

use axum::{body::Body, response::Response};
use bytes::Bytes;
use http::{HeaderValue, StatusCode, header};
use serde_json::{Value, json};
use strongroom_service::{
    VaultError,
    status::{code, status},
};
use zeroize::Zeroizing;

const JSON: HeaderValue = HeaderValue::from_static("application/json");

/// What a handler ends with.
pub(crate) type Answer = Result<Response, VaultError>;

/// A JSON response that holds no secret.
pub(crate) fn json(status: StatusCode, value: &Value) -> Response {
    let mut response = Response::new(Body::from(value.to_string()));
    *response.status_mut() = status;
    response.headers_mut().insert(header::CONTENT_TYPE, JSON);
    response
}

/// A JSON response that holds a secret: its buffer is zeroized when the connection is done with it.
pub(crate) fn secret_json(status: StatusCode, text: Zeroizing<Vec<u8>>) -> Response {
    let mut response = Response::new(Body::from(Bytes::from_owner(text)));
    *response.status_mut() = status;
    response.headers_mut().insert(header::CONTENT_TYPE, JSON);
    response
}

/// An error as API.md writes it.
pub(crate) fn error(error: &VaultError) -> Response {
    let status = StatusCode::from_u16(status(error)).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let mut response = json(
        status,
        &json!({"error": error.to_string(), "code": code(error)}),
    );
    let retry_after = match error {
        VaultError::LockedOut { retry_after_secs } => Some(*retry_after_secs),
        VaultError::RateLimited => Some(1),
        _ if status == StatusCode::SERVICE_UNAVAILABLE => Some(1),
        _ => None,
    };
    if let Some(secs) = retry_after {
        response
            .headers_mut()
            .insert(header::RETRY_AFTER, HeaderValue::from(secs));
    }
    response
}

pub(crate) async fn unknown_route() -> Response {
    let body = json!({"error": "there is no such path", "code": "not_found"});
    json(StatusCode::NOT_FOUND, &body)
}

pub(crate) async fn unknown_method() -> Response {
    let body = json!({"error": "this path does not take this method", "code": "invalid_request"});
    json(StatusCode::METHOD_NOT_ALLOWED, &body)
}
