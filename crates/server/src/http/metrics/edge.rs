//! What the API's listeners tell of themselves: the certificate, and who was refused at the door.

use std::{sync::Arc, time::SystemTime};

use prometheus_client::{metrics::gauge::Gauge, registry::Registry};

use super::counter;
use crate::{api_tls::TlsStats, listen::Refusals};

/// What the listeners count.
#[derive(Clone, Default)]
pub struct EdgeStats {
    pub(crate) tls: Arc<TlsStats>,
    pub(crate) refusals: Arc<Refusals>,
}

pub(super) fn register(registry: &mut Registry, edge: &EdgeStats) {
    counter(
        registry,
        "proxy_headers_refused",
        "Connections closed for their PROXY header, or for want of one",
        edge.refusals.headers(),
    );
    // Without TLS there is no certificate: no number would be a true one.
    let Some(left) = edge.tls.seconds_left(SystemTime::now()) else {
        return;
    };
    let gauge = Gauge::<i64>::default();
    gauge.set(left);
    registry.register(
        "tls_certificate_expiry_seconds",
        "Seconds until the API's certificate expires, negative once it has",
        gauge,
    );
    counter(
        registry,
        "tls_reloads",
        "Changed TLS files that went into use",
        edge.tls.reloads(),
    );
    counter(
        registry,
        "tls_reloads_refused",
        "Changed TLS files that were refused",
        edge.tls.refused(),
    );
    counter(
        registry,
        "tls_handshakes_failed",
        "TLS handshakes on the API's port that failed",
        edge.refusals.handshakes(),
    );
}
