//! Names of headers that each request is searched for, or its answer bears. As text they would be checked and hashed anew each time.

use http::HeaderName;

/// The log index that an answer has seen, and that a read has to see.
pub(super) const INDEX: HeaderName = HeaderName::from_static("x-strongroom-index");
pub(super) const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
/// A token, as Vault's clients send it.
pub(super) const TOKEN: HeaderName = HeaderName::from_static("x-vault-token");
pub(super) const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");
pub(super) const READ_CONSISTENCY: HeaderName = HeaderName::from_static("x-read-consistency");
pub(super) const FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
/// What a browser says of where a request came from.
pub(super) const FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");
