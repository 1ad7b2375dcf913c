//! `GET /v1/openapi.json`: the API for programs, made of the same table as the router.
//!
//! It says nothing that is not in `docs/API.md`, and nothing of the state, so anybody may have it.

mod described;
mod requests;
mod schemas;

use std::sync::{Arc, LazyLock};

use axum::{body::Body, response::Response};
use http::{HeaderValue, header};
use serde_json::{Map, Value, json};

use super::{
    App,
    answer::Answer,
    call::Call,
    routes::{Who, route_list},
};
use described::{Described, described};

/// Every code, by its status. `docs/API.md` has the same table.
const CODES: [(u16, &[&str]); 10] = [
    (400, &["invalid_request"]),
    (401, &["unauthenticated"]),
    (403, &["address_not_allowed", "permission_denied"]),
    (404, &["not_found"]),
    (
        409,
        &[
            "already_exists",
            "version_mismatch",
            "in_use",
            "quorum_at_risk",
            "change_under_way",
        ],
    ),
    (412, &["index_not_reached"]),
    (413, &["too_large"]),
    (429, &["locked_out", "rate_limited"]),
    (500, &["internal"]),
    (
        503,
        &[
            "no_leader",
            "no_successor",
            "target_unavailable",
            "rotation_pending",
            "kms_unavailable",
            "kms_denied",
            "kms_key_disabled",
            "audit_unavailable",
            "outcome_unknown",
            "starting",
            "store_failed",
            "removed",
            "upgrade_pending",
        ],
    ),
];

static DOCUMENT: LazyLock<String> = LazyLock::new(|| document().to_string());

pub(super) async fn show(_: Arc<App>, _: Box<Call>) -> Answer {
    let mut response = Response::new(Body::from(DOCUMENT.as_str()));
    let kind = HeaderValue::from_static("application/json");
    response.headers_mut().insert(header::CONTENT_TYPE, kind);
    Ok(response)
}

/// The document.
fn document() -> Value {
    let mut paths: Map<String, Value> = Map::new();
    for (method, path, who) in route_list() {
        let path = path.replace("{*name}", "{name}");
        let Some(described) = described(method, &path) else {
            // A test sees to it that this is never so.
            continue;
        };
        let operation = operation(&path, who, &described);
        let at = paths.entry(path).or_insert_with(|| json!({}));
        if let Some(at) = at.as_object_mut() {
            at.insert(method.to_lowercase(), operation);
        }
    }
    json!({
        "openapi": "3.0.3",
        "info": {
            "title": "Strongroom",
            "version": crate::run::VERSION,
            "license": {"name": "Apache-2.0"},
            "description": "The native API. docs/API.md says what all this means.",
        },
        "paths": paths,
        "components": {
            "securitySchemes": {
                "bearer": {"type": "http", "scheme": "bearer"},
                "header": {"type": "apiKey", "in": "header", "name": "X-Vault-Token"},
            },
            "schemas": schemas::all(),
            "responses": errors(),
        },
    })
}

fn errors() -> Value {
    let mut responses = Map::new();
    for (status, codes) in CODES {
        let schema = json!({
            "type": "object",
            "required": ["error", "code"],
            "additionalProperties": false,
            "properties": {
                "error": {"type": "string", "description": "For people; programs go by `code`"},
                "code": {"type": "string", "enum": codes},
            },
        });
        let mut response = json!({
            "description": codes.join(", "),
            "content": {"application/json": {"schema": schema}},
        });
        if [429, 503].contains(&status) {
            let seconds = json!({"schema": {"type": "integer", "minimum": 1}});
            schemas::set(&mut response, "headers", json!({"Retry-After": seconds}));
        }
        responses.insert(format!("e{status}"), response);
    }
    Value::Object(responses)
}

/// What may come of a route beside what it is for.
fn statuses(who: Who, described: &Described) -> Vec<u16> {
    let of_all: &[u16] = &[400, 403, 413, 429, 500, 503];
    let of_who: &[u16] = match who {
        Who::Anybody => &[],
        Who::Reader => &[404, 412],
        Who::Role | Who::Admin => &[401],
    };
    let own = described.statuses.iter();
    of_all.iter().chain(of_who).chain(own).copied().collect()
}

fn operation(path: &str, who: Who, described: &Described) -> Value {
    let mut responses = Map::new();
    for (status, schema, what) in described.answers {
        let mut response = json!({"description": what});
        if let Some((kind, schema)) = schema {
            let schema = match *schema {
                "" => json!({"type": "string"}),
                name => json!({"$ref": format!("#/components/schemas/{name}")}),
            };
            schemas::set(&mut response, "content", json!({*kind: {"schema": schema}}));
        }
        responses.insert(status.to_string(), response);
    }
    for status in statuses(who, described) {
        let name = format!("#/components/responses/e{status}");
        let response = || json!({"$ref": name});
        responses.entry(status.to_string()).or_insert_with(response);
    }
    let mut parameters: Vec<Value> = Vec::new();
    if path.contains("{name}") {
        parameters.push(schemas::name_in(path));
    }
    parameters.extend(described.query.iter().filter_map(|n| schemas::query(n)));
    if who == Who::Reader {
        parameters.extend(schemas::of_reads());
    }
    let mut operation = json!({
        "summary": described.summary,
        "operationId": described.id,
        "parameters": parameters,
        "responses": responses,
    });
    if let Some((required, kind, schema)) = described.body {
        let schema = match schema {
            "" => json!({"type": "string", "format": "binary"}),
            name => json!({"$ref": format!("#/components/schemas/{name}")}),
        };
        schemas::set(
            &mut operation,
            "requestBody",
            json!({"required": required, "content": {kind: {"schema": schema}}}),
        );
    }
    if matches!(who, Who::Role | Who::Admin) {
        schemas::set(
            &mut operation,
            "security",
            json!([{"bearer": []}, {"header": []}]),
        );
    }
    operation
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::indexing_slicing)]
mod tests {
    use super::*;

    #[test]
    fn every_route_is_described_and_every_reference_leads_somewhere() {
        let document = document();
        for (method, path, _) in route_list() {
            let path = path.replace("{*name}", "{name}");
            let found = &document["paths"][&path][method.to_lowercase()];
            assert!(found["responses"].is_object(), "{method} {path}");
        }
        let text = document.to_string();
        let references = text.split("\"$ref\":\"#").skip(1);
        for reference in references.map(|rest| rest.split('"').next().unwrap()) {
            assert!(document.pointer(reference).is_some(), "{reference}");
        }
    }

    #[test]
    fn the_codes_are_those_of_the_errors() {
        use strongroom_service::{
            VaultError,
            status::{code, status},
        };
        for error in [
            VaultError::invalid("x"),
            VaultError::Unauthenticated,
            VaultError::PermissionDenied,
            VaultError::InUse,
            VaultError::StoreFailed,
        ] {
            let of_status = CODES.iter().find(|(of, _)| *of == status(&error));
            assert!(of_status.unwrap().1.contains(&code(&error)), "{error}");
        }
    }
}
