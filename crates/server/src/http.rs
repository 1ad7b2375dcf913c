//! The HTTP surface: a request becomes a [`Call`](call::Call), a handler asks the vault, and what the
//! vault says becomes a response. No handler decides anything.

mod answer;
mod backup;
mod body;
mod call;
mod carried;
mod client;
mod cluster;
mod head;
mod json;
mod metrics;
mod names;
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
use futures_util::{FutureExt, future::Either};
use http::{HeaderValue, StatusCode, header};
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
use metrics::InFlight;
pub use metrics::{EdgeStats, HttpMetrics};
use names::{INDEX, REQUEST_ID};
pub use origin::Origins;
pub use routes::{Route, Who, route_list};

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

/// The API as a router. A request that did not come through [`serve`] is refused.
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
///
/// Neither this nor [`serve_as`] is an `async fn`: one has a place for what it is given and another for what becomes
/// of it, and all of that is moved with each request.
pub fn serve(
    app: Arc<App>,
    router: Router,
    from: PeerAddress,
    request: Request,
) -> impl Future<Output = Response> + Send {
    let request_id = strongroom_service::context::new_request_id();
    let trace = traces::of_request(&request_id);
    let by_name = trace.is_disabled() && logging::name_requests();
    // Stages have spans, which are shown with the span of their request around them.
    let line = (!by_name).then(|| tracing::error_span!("request", request_id = &*request_id));
    let served = serve_as(Arc::clone(&request_id), app, router, (from, request));
    match line {
        None => Either::Left(request::serve(request_id, served)),
        Some(line) => Either::Right(served.instrument(trace).instrument(line)),
    }
}

/// Keeps a panic from reaching further than this request, and puts on every response what every
/// response carries.
fn serve_as(
    request_id: Arc<str>,
    app: Arc<App>,
    router: Router,
    (from, mut request): (PeerAddress, Request),
) -> impl Future<Output = Response> + Send {
    head::take_from_buffer(&mut request);
    let under_way = UnderWay {
        _counted: app.metrics.begin(),
        began: Instant::now(),
        request_id: Arc::clone(&request_id),
        method: metrics::known(request.method()),
        seen: Seen::default(),
        route: call::RouteCell::default(),
        app,
    };
    request.extensions_mut().insert(call::Arrival {
        request_id,
        from,
        began: under_way.began,
        seen: under_way.seen.clone(),
        route: Arc::clone(&under_way.route),
    });
    let served = AssertUnwindSafe(router.oneshot(request)).catch_unwind();
    served.map(move |served| {
        let response = match served {
            Ok(Ok(response)) => response,
            Ok(Err(never)) => match never {},
            Err(_panic) => {
                // What a panic carries may hold anything: the hook has logged where it came from.
                tracing::error!("a request panicked");
                answer::error(&VaultError::Internal)
            }
        };
        under_way.end(response)
    })
}

/// A request that is being answered.
struct UnderWay {
    _counted: InFlight,
    began: Instant,
    request_id: Arc<str>,
    method: &'static str,
    seen: Seen,
    route: call::RouteCell,
    app: Arc<App>,
}

impl UnderWay {
    /// The answer with what every answer carries; it is counted.
    fn end(self, mut response: Response) -> Response {
        let route = self.route.get().copied().unwrap_or("other");
        let (metrics, status) = (&self.app.metrics, response.status());
        metrics.observe(route, self.method, status, self.began.elapsed());
        traces::note_answer(route, self.method, status);
        let headers = response.headers_mut();
        if let Ok(id) = HeaderValue::from_str(&self.request_id) {
            headers.insert(REQUEST_ID, id);
        }
        let refused = [
            StatusCode::UNAUTHORIZED,
            StatusCode::FORBIDDEN,
            StatusCode::TOO_MANY_REQUESTS,
        ];
        if let Some(index) = self.seen.index().filter(|_| !refused.contains(&status)) {
            headers.insert(INDEX, index.into());
        }
        if self.app.vault.is_stopping() {
            // The connection is about to end: the next request finds another node.
            headers.insert(header::CONNECTION, HeaderValue::from_static("close"));
        }
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
        response
    }
}

/// A response without a body.
pub(crate) fn empty(status: StatusCode) -> Response {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = status;
    response
}
