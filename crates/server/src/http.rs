//! The HTTP surface: a request becomes a [`Call`](call::Call), a handler asks the vault, and what the
//! vault says becomes a response. No handler decides anything.

mod answer;
mod backup;
mod body;
mod call;
mod carried;
mod client;
mod cluster;
mod json;
mod metrics;
mod openapi;
mod operate;
mod origin;
mod readers;
mod rewrap;
mod roles;
mod routes;
mod secrets;
mod tokens;

use std::{
    panic::AssertUnwindSafe,
    sync::Arc,
    time::{Duration, Instant},
};

use axum::{Router, body::Body, extract::Request, response::Response};
use futures_util::FutureExt;
use http::{HeaderName, HeaderValue, StatusCode, header};
use strongroom_core::{Allowlist, ReadGate};
use strongroom_seal::request;
use strongroom_service::{Vault, VaultError, context::Seen};
use tower::ServiceExt;
use tracing::Instrument;

use crate::{logging, traces};

pub use backup::Streams;
pub use body::BodyPlaces;
pub use call::PeerAddress;
pub use carried::Detached;
pub use metrics::{EdgeStats, HttpMetrics};
pub use origin::Origins;
pub use routes::{Route, Who, route_list};

/// The log index that an answer has seen, and that a read has to see.
pub(crate) const INDEX: HeaderName = HeaderName::from_static("x-strongroom-index");

/// What handlers share.
pub struct App {
    /// The use cases.
    pub vault: Arc<Vault>,
    /// Proxies whose `X-Forwarded-For` is believed; `None`: the header is ignored.
    pub trusted_proxies: Option<Allowlist>,
    /// How reads are answered unless a request says otherwise.
    pub read_gate: ReadGate,
    /// When a caller gets an answer at the latest.
    pub request_timeout: Duration,
    /// Requests, counted.
    pub metrics: HttpMetrics,
    /// Places for large request bodies.
    pub body_places: BodyPlaces,
    /// Names that this server goes by, and who may refer to it.
    pub origins: Origins,
    /// Places for backups and restores.
    pub streams: Streams,
    /// Places for calls that are carried to their end.
    pub detached: Detached,
}

/// The API as a router. Every connection must put its [`PeerAddress`] into the request's extensions.
pub fn router(app: Arc<App>) -> Router {
    let mut router = Router::new();
    for route in routes::table() {
        router = router.route(route.path, route.handler);
    }
    router
        .fallback(answer::unknown_route)
        .method_not_allowed_fallback(answer::unknown_method)
        .with_state(app)
}

/// Serves one request: gives it its id, which each log line written meanwhile carries, whatever the
/// filter lets through.
pub async fn serve(app: &Arc<App>, router: Router, request: Request) -> Response {
    let request_id = strongroom_service::context::new_request_id();
    let trace = traces::of_request(&request_id);
    if trace.is_disabled() && logging::name_requests() {
        let id = request_id.clone();
        return request::serve(id, serve_as(request_id, app, router, request)).await;
    }
    // Stages have spans, which are shown with the span of their request around them.
    let line = tracing::error_span!("request", request_id);
    serve_as(request_id, app, router, request)
        .instrument(trace)
        .instrument(line)
        .await
}

/// Keeps a panic from reaching further than this request, and puts on every response what every
/// response carries.
async fn serve_as(
    request_id: String,
    app: &Arc<App>,
    router: Router,
    mut request: Request,
) -> Response {
    let began = Instant::now();
    let _under_way = app.metrics.begin();
    let (seen, route) = (Seen::default(), call::RouteCell::default());
    request.extensions_mut().insert(call::Arrival {
        request_id: request_id.clone(),
        began,
        seen: seen.clone(),
        route: Arc::clone(&route),
    });
    let method = request.method().clone();
    let served = AssertUnwindSafe(async {
        match router.oneshot(request).await {
            Ok(response) => response,
            Err(never) => match never {},
        }
    });
    let mut response = match served.catch_unwind().await {
        Ok(response) => response,
        Err(_panic) => {
            // What a panic carries may hold anything: the hook has logged where it came from.
            tracing::error!("a request panicked");
            answer::error(&VaultError::Internal)
        }
    };
    let route = route.get().copied().unwrap_or("other");
    let method = metrics::known(&method);
    app.metrics
        .observe(route, method, response.status(), began.elapsed());
    traces::note_answer(route, method, response.status());
    if let Ok(id) = HeaderValue::from_str(&request_id) {
        response.headers_mut().insert("x-request-id", id);
    }
    let refused = [
        StatusCode::UNAUTHORIZED,
        StatusCode::FORBIDDEN,
        StatusCode::TOO_MANY_REQUESTS,
    ];
    if let Some(index) = seen
        .index()
        .filter(|_| !refused.contains(&response.status()))
    {
        response.headers_mut().insert(INDEX, index.into());
    }
    if app.vault.is_stopping() {
        // The connection is about to end: the next request finds another node.
        let close = HeaderValue::from_static("close");
        response.headers_mut().insert(header::CONNECTION, close);
    }
    response
        .headers_mut()
        .insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

/// A response without a body.
pub(crate) fn empty(status: StatusCode) -> Response {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = status;
    response
}
