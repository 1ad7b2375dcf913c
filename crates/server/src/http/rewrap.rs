//! `/v1/admin/kms/rewrap`.

use std::sync::Arc;

use http::StatusCode;
use serde::Deserialize;
use serde_json::{Value, json};
use strongroom_core::{LogTime, rewrap::Watermark};
use strongroom_service::{
    operation::{Rewrap, ViewRewrap},
    rewrap::{Method, RewrapStatus},
};

use super::{
    App,
    answer::{self, Answer},
    call::Call,
    json,
};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct BeginRequest {}

pub(super) async fn begin(app: Arc<App>, call: Box<Call>) -> Answer {
    if !call.body.is_empty() {
        json::parse::<BeginRequest>(&call.body)?;
    }
    let permit = app
        .vault
        .authorize::<Rewrap>(call.context, &call.token, ())
        .await?;
    let begun = app.vault.begin_rewrap(permit).await?;
    let body = json!({"pass_id": begun.id, "pending": begun.pending});
    Ok(answer::json(StatusCode::ACCEPTED, &body))
}

pub(super) async fn status(app: Arc<App>, call: Box<Call>) -> Answer {
    let permit = app
        .vault
        .authorize::<ViewRewrap>(call.context, &call.token, ())
        .await?;
    let status = app.vault.rewrap_status(permit).await?;
    Ok(answer::json(StatusCode::OK, &show(&status)))
}

/// Of the running pass, or of the one that ended last.
fn show(status: &RewrapStatus) -> Value {
    let running = status.state.running.as_ref();
    let ended = status.state.ended.as_ref().filter(|_| running.is_none());
    let pass = running.or(ended.map(|ended| &ended.pass));
    let failed = match ended {
        Some(ended) => ended.failed,
        None => status.failures.len() as u64,
    };
    let last_error = status
        .last_error
        .clone()
        .or_else(|| ended?.last_error.clone());
    json!({
        "enabled": status.enabled,
        "running": running.is_some(),
        "pass_id": pass.map(|pass| pass.id),
        "pending": status.pending,
        "rewrapped": pass.map_or(0, |pass| pass.rewrapped),
        "failed": failed,
        "failures": status.failures,
        "versions_by_key": status.versions_by_key,
        "watermark": status.state.watermark.as_ref().map(watermark),
        "target": pass.map(|pass| watermark(&pass.target)),
        "last_error": last_error,
        "method": status.method.map(Method::as_str),
        "started_at": pass.map(|pass| pass.began_at.rfc3339()),
        "finished_at": ended.map(|ended| ended.ended_at.rfc3339()),
    })
}

fn watermark(watermark: &Watermark) -> Value {
    json!({
        "key": watermark.key_id.0,
        "rotation_at": watermark.rotation_at.map(LogTime::rfc3339),
        "material_id": watermark.material_id,
    })
}
