//! Traces over OTLP: where the time of a request goes, for a collector that the settings name.
//!
//! What leaves is spans with names that are written in the code, the route, the method, the status and the
//! request's id: no name of a secret, no token, no value, and no log line, since those may hold names. Spans
//! wait in a queue of bounded length, and what does not fit is dropped: a collector that is slow or away
//! costs no request anything.

use std::{fmt, future::Future, pin::Pin, sync::Arc, time::Duration};

use http::StatusCode;
use http_body_util::{BodyExt, Full, Limited};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::TokioExecutor,
};
use opentelemetry::{
    KeyValue,
    trace::{TraceContextExt, TracerProvider},
};
use opentelemetry_http::{Bytes, HttpClient, HttpError, Request, Response};
use opentelemetry_otlp::{Protocol, SpanExporter, WithExportConfig, WithHttpConfig};
use opentelemetry_sdk::{
    Resource,
    trace::{SdkTracerProvider, Tracer},
};
use rustls::{ClientConfig, RootCertStore};
use tokio::runtime::{Builder, Runtime};
use tracing::{Metadata, Span, field::Empty, level_filters::LevelFilter};
use tracing_opentelemetry::OpenTelemetrySpanExt;
use tracing_subscriber::{
    Layer,
    filter::{FilterFn, filter_fn},
    registry::LookupSpan,
};

use crate::run_error::RunError;

/// Spans within a request have this target, and nothing else has.
const TARGET: &str = "strongroom_trace";
/// How long the collector may take for one batch.
const WITHIN: Duration = Duration::from_secs(5);
/// How long what waits at the end may take.
const LAST_WITHIN: Duration = Duration::from_secs(1);
/// What a collector may answer at most.
const ANSWER_BYTES: usize = 64 * 1024;

/// The way to a collector.
pub struct Traces(SdkTracerProvider);

impl Traces {
    /// Sends spans of this node to the collector at `endpoint`, from now on.
    ///
    /// # Errors
    /// If TLS cannot be used, or there are no threads left.
    pub fn start(endpoint: &str, node: &str) -> Result<Self, RunError> {
        let failed = |error: String| RunError::Failed(format!("VAULT_OTLP_ENDPOINT: {error}"));
        let exporter = SpanExporter::builder()
            .with_http()
            .with_protocol(Protocol::HttpBinary)
            .with_http_client(Carrier::new().map_err(failed)?)
            .with_endpoint(format!("{}/v1/traces", endpoint.trim_end_matches('/')))
            .with_timeout(WITHIN)
            .build()
            .map_err(|error| failed(error.to_string()))?;
        let resource = Resource::builder()
            .with_service_name("strongroom")
            .with_attribute(KeyValue::new("service.version", crate::VERSION))
            .with_attribute(KeyValue::new("service.instance.id", node.to_owned()))
            .build();
        let provider = SdkTracerProvider::builder()
            .with_batch_exporter(exporter)
            .with_resource(resource)
            .build();
        Ok(Self(provider))
    }

    pub(crate) fn layer<S>(&self) -> impl Layer<S> + use<S>
    where
        S: tracing::Subscriber + for<'a> LookupSpan<'a>,
    {
        let tracer: Tracer = self.0.tracer("strongroom");
        tracing_opentelemetry::layer()
            .with_tracer(tracer)
            .with_location(false)
            .with_threads(false)
            .with_target(false)
            .with_level(false)
            .with_tracked_inactivity(false)
            .with_context_activation(false)
            .with_filter(spans_of_requests())
    }

    /// Sends what waits, if the collector takes it at once.
    pub fn end(self) {
        // Nobody is left who could be told that it did not.
        let _ = self.0.shutdown_with_timeout(LAST_WITHIN);
    }
}

/// No events: a log line may hold the name of a secret.
fn spans_of_requests() -> FilterFn<fn(&Metadata<'_>) -> bool> {
    let ours: fn(&Metadata<'_>) -> bool =
        |metadata| metadata.is_span() && metadata.target() == TARGET;
    filter_fn(ours).with_max_level_hint(LevelFilter::DEBUG)
}

/// The span of a request, beside the one that its log lines have.
pub(crate) fn of_request(request_id: &str) -> Span {
    tracing::debug_span!(
        target: TARGET,
        "request",
        request_id,
        otel.kind = "server",
        http.request.method = Empty,
        http.route = Empty,
        http.response.status_code = Empty,
    )
}

/// Notes what came of the request that the current span is of: in bounded words, like the metrics, since a
/// path may hold a name.
pub(crate) fn note_answer(route: &str, method: &str, status: StatusCode) {
    let span = Span::current();
    if span.is_disabled() {
        return;
    }
    span.record("http.request.method", method);
    span.record("http.route", route);
    span.record("http.response.status_code", status.as_u16());
    let context = span.context();
    let span = context.span();
    if span.is_recording() {
        span.update_name(format!("{method} {route}"));
    }
}

/// HTTP on a thread of its own, so that a request's threads have nothing to do with it.
struct Carrier {
    runtime: Runtime,
    client: Client<HttpsConnector<HttpConnector>, Full<Bytes>>,
}

impl fmt::Debug for Carrier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Carrier")
    }
}

impl Carrier {
    fn new() -> Result<Self, String> {
        let runtime = Builder::new_multi_thread()
            .thread_name("traces")
            .worker_threads(1)
            .enable_all()
            .build()
            .map_err(|error| error.to_string())?;
        let mut roots = RootCertStore::empty();
        // Some systems carry certificates that no library takes; the others count. Without any, a
        // collector is reached by http only.
        roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let tls = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(|error| error.to_string())?
            .with_root_certificates(roots)
            .with_no_client_auth();
        let connector = HttpsConnectorBuilder::new()
            .with_tls_config(tls)
            .https_or_http()
            .enable_http1()
            .build();
        let client = Client::builder(TokioExecutor::new()).build(connector);
        Ok(Self { runtime, client })
    }
}

type Sent<'a> = Pin<Box<dyn Future<Output = Result<Response<Bytes>, HttpError>> + Send + 'a>>;

impl HttpClient for Carrier {
    fn send_bytes<'a, 'b>(&'a self, request: Request<Bytes>) -> Sent<'b>
    where
        'a: 'b,
        Self: 'b,
    {
        let client = self.client.clone();
        let sent = async move {
            let response = client.request(request.map(Full::new)).await?;
            let (parts, body) = response.into_parts();
            let body = Limited::new(body, ANSWER_BYTES).collect().await?;
            Ok::<_, HttpError>(Response::from_parts(parts, body.to_bytes()))
        };
        // The clock is the runtime's: it is not known on the exporter's own thread.
        let sent = self
            .runtime
            .spawn(async move { tokio::time::timeout(WITHIN, sent).await });
        Box::pin(async move { sent.await?? })
    }
}
