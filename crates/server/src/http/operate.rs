//! Health, metrics, and what operators look at.

use std::sync::Arc;

use axum::{body::Body, response::Response};
use http::{HeaderValue, StatusCode, header};
use serde_json::json;
use strongroom_core::LogTime;
use strongroom_service::{
    operate::KmsView,
    operation::{ReadAudit, ViewKms},
};

use super::{
    App,
    answer::{self, Answer},
    call::Call,
};

fn text(content_type: &'static str, body: impl Into<Body>) -> Response {
    let mut response = Response::new(body.into());
    response
        .headers_mut()
        .insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
    response
}

pub(super) async fn healthz(_: Arc<App>, _: Box<Call>) -> Answer {
    Ok(text("text/plain; charset=utf-8", "ok"))
}

pub(super) async fn readyz(app: Arc<App>, _: Box<Call>) -> Answer {
    match app.vault.ready() {
        Ok(()) => Ok(answer::json(StatusCode::OK, &json!({"ready": true}))),
        Err(reason) => {
            let code = reason.as_str();
            let body = json!({"ready": false, "error": "this node is not ready", "code": code});
            let mut response = answer::json(StatusCode::SERVICE_UNAVAILABLE, &body);
            let soon = HeaderValue::from_static("1");
            response.headers_mut().insert(header::RETRY_AFTER, soon);
            Ok(response)
        }
    }
}

pub(super) async fn metrics(app: Arc<App>, _: Box<Call>) -> Answer {
    let page = app.metrics.page(&app.vault)?;
    Ok(text(
        "application/openmetrics-text; version=1.0.0; charset=utf-8",
        page,
    ))
}

pub(super) async fn kms(app: Arc<App>, call: Box<Call>) -> Answer {
    let permit = app
        .vault
        .authorize::<ViewKms>(call.context, &call.token, ())
        .await?;
    let KmsView {
        service,
        stats,
        last_rotation,
    } = app.vault.view_kms(permit).await?;
    let body = json!({
        "mode": service.mode.to_string(),
        "key": service.key,
        "region": service.region,
        "cache": {
            "entries": stats.entries,
            "hits": stats.hits,
            "misses": stats.misses,
            "coalesced": stats.coalesced,
            "stale": stats.stale,
        },
        "breaker": stats.breaker.as_str(),
        "last_rotation_at": last_rotation.map(LogTime::rfc3339),
    });
    Ok(answer::json(StatusCode::OK, &body))
}

pub(super) async fn audit(app: Arc<App>, call: Box<Call>) -> Answer {
    let (after, limit) = (call.number("after")?, call.limit()?);
    let permit = app
        .vault
        .authorize::<ReadAudit>(call.context, &call.token, ())
        .await?;
    let records = app.vault.read_audit(permit, after, limit).await?;
    let last = records.last().and_then(|record| record.get("seq").cloned());
    let next_after = last.filter(|_| records.len() == limit);
    Ok(answer::json(
        StatusCode::OK,
        &json!({"records": records, "next_after": next_after}),
    ))
}
