//! What is shown of secrets.

use http::StatusCode;
use serde_json::{Value, json};
use strongroom_core::{LogTime, SecretSummary};
use strongroom_service::{
    VaultError,
    payload::{self, Shown},
    secrets::{Disclosed, Generated, Written},
};
use zeroize::Zeroizing;

use crate::http::answer::{self, Answer};

fn kind(summary: &SecretSummary) -> &'static str {
    if summary.automatic {
        "automatic"
    } else {
        "manual"
    }
}

/// A row of the list.
pub(super) fn row(summary: &SecretSummary) -> Value {
    let mut row = json!({
        "name": summary.name.path(),
        "kind": kind(summary),
        "version": summary.version,
        "description": summary.description,
        "created_at": summary.created_at.rfc3339(),
        "updated_at": summary.updated_at.rfc3339(),
        "rotation_interval_secs": summary.rotation_interval_secs,
        "grace_period_secs": summary.grace_period_secs,
        "next_rotation_at": summary.next_rotation_at.map(LogTime::rfc3339),
    });
    if let (Some(target), Some(fields)) = (&summary.target, row.as_object_mut()) {
        fields.insert("target".to_owned(), target.as_str().into());
        fields.insert(
            "rotation_pending".to_owned(),
            summary.rotation_pending.into(),
        );
    }
    row
}

/// What create and rotate answer. A generated value is shown to those who may read it anyway.
pub(super) fn written(written: Written, status: StatusCode) -> Answer {
    let summary = &written.summary;
    let created_at = summary.version_created_at.unwrap_or(summary.created_at);
    let mut body = json!({
        "name": summary.name.path(),
        "kind": kind(summary),
        "version": summary.version,
        "created_at": created_at.rfc3339(),
    });
    match written.generated {
        None => Ok(answer::json(status, &body)),
        Some(Generated::Omitted) => {
            if let Some(fields) = body.as_object_mut() {
                fields.insert("value_omitted".to_owned(), Value::Bool(true));
            }
            Ok(answer::json(status, &body))
        }
        Some(Generated::Shown(payload)) => {
            let disclosed = Disclosed {
                name: summary.name.clone(),
                kind: kind(summary),
                version: summary.version,
                created_at,
                payload,
            };
            Ok(answer::secret_json(status, render(&[disclosed], false)?))
        }
    }
}

/// Writes values as JSON: one object, or `{"secrets":[…]}`. The buffer is large enough from the
/// start, so that no part of a value is left behind by its growth.
pub(super) fn render(found: &[Disclosed], as_list: bool) -> Result<Zeroizing<Vec<u8>>, VaultError> {
    const FRAME: usize = 256;
    let most: usize = found
        .iter()
        .map(|d| d.payload.len() + d.name.as_str().len() + FRAME)
        .sum();
    let mut out = Zeroizing::new(Vec::with_capacity(most + FRAME));
    out.extend_from_slice(if as_list { b"{\"secrets\":[" } else { b"" });
    for (index, disclosed) in found.iter().enumerate() {
        if index > 0 {
            out.push(b',');
        }
        // Names and kinds hold nothing that JSON would escape.
        let (field, json) = match payload::shown(&disclosed.payload)? {
            Shown::Value(json) => ("value", json),
            Shown::Data(json) => ("data", json),
        };
        let version = disclosed.version.to_string();
        let created_at = disclosed.created_at.rfc3339();
        for part in [
            r#"{"name":""#,
            disclosed.name.path(),
            r#"","kind":""#,
            disclosed.kind,
            r#"","version":"#,
            &version,
            r#",""#,
            field,
            r#"":"#,
            json,
            r#","created_at":""#,
            &created_at,
            r#""}"#,
        ] {
            out.extend_from_slice(part.as_bytes());
        }
    }
    out.extend_from_slice(if as_list { b"]}" } else { b"" });
    Ok(out)
}
