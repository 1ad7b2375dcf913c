//! The shapes of bodies, and parameters.

use serde_json::{Map, Value, json};
use strongroom_core::limits;

/// Gives an object one more field.
pub(super) fn set(object: &mut Value, name: &str, value: Value) {
    if let Some(fields) = object.as_object_mut() {
        fields.insert(name.to_owned(), value);
    }
}

pub(super) fn object(required: &[&str], properties: Value) -> Value {
    json!({
        "type": "object",
        "required": required,
        "additionalProperties": false,
        "properties": properties,
    })
}

/// An object that has all of its fields, always.
fn full(properties: Value) -> Value {
    let names: Vec<&str> = properties
        .as_object()
        .into_iter()
        .flat_map(Map::keys)
        .map(String::as_str)
        .collect();
    object(&names, properties.clone())
}

pub(super) fn nullable(mut schema: Value) -> Value {
    set(&mut schema, "nullable", Value::Bool(true));
    schema
}

fn list(of: Value) -> Value {
    json!({"type": "array", "items": of})
}

pub(super) fn of(name: &str) -> Value {
    json!({"$ref": format!("#/components/schemas/{name}")})
}

pub(super) fn text() -> Value {
    json!({"type": "string"})
}

fn time() -> Value {
    json!({"type": "string", "format": "date-time"})
}

pub(super) fn yes_or_no() -> Value {
    json!({"type": "boolean"})
}

pub(super) fn count() -> Value {
    json!({"type": "integer", "minimum": 0})
}

pub(super) fn between(least: u64, most: u64) -> Value {
    json!({"type": "integer", "minimum": least, "maximum": most})
}

pub(super) fn one_of(words: &[&str]) -> Value {
    json!({"type": "string", "enum": words})
}

pub(super) fn short() -> Value {
    json!({"type": "string", "maxLength": limits::DESCRIPTION_BYTES})
}

/// Part of a name between two slashes, and names of roles, tokens and nodes.
const LABEL: &str = "^[A-Za-z0-9_.~@+=:,-]{1,128}$";

pub(super) fn label() -> Value {
    json!({"type": "string", "pattern": LABEL, "maxLength": limits::LABEL_BYTES, "example": "example"})
}

pub(super) fn secret_name() -> Value {
    json!({
        "type": "string",
        "minLength": 1,
        "maxLength": limits::SECRET_PATH_BYTES,
        "pattern": "^[A-Za-z0-9_.~@+=:,-]+(/[A-Za-z0-9_.~@+=:,-]+)*$",
        "example": "example",
    })
}

/// The parameter `{name}`, by what it names.
pub(super) fn name_in(path: &str) -> Value {
    let (what, schema) = match path.starts_with("/v1/secrets/") {
        // A path that is a path itself: OpenAPI has no way to say so.
        true => (
            "A secret's name; the slashes in it stay as they are",
            secret_name(),
        ),
        false => ("A name", label()),
    };
    json!({"name": "name", "in": "path", "required": true, "description": what, "schema": schema})
}

/// A parameter of the query.
pub(super) fn query(name: &str) -> Option<Value> {
    let (name, what, schema) = match name {
        "prefix" => (name, "What names begin with", text()),
        "after" => (name, "The name that the page comes after", label()),
        "after_number" => ("after", "The number that the page comes after", count()),
        "limit" => (
            name,
            "How many rows at most; more than 1,000 is taken as that",
            json!({"type": "integer", "minimum": 1}),
        ),
        "version" => (name, "Another version than the current one", count()),
        "wait" => (
            name,
            "How long to wait for a version after `after_version`; not with `version`",
            json!({"type": "string", "pattern": "^([1-9]|[1-9][0-9]|[12][0-9]{2}|300)s$"}),
        ),
        "after_version" => (name, "The version that is known", count()),
        "force" => (
            name,
            "Also the backup of another cluster, over what there is",
            yes_or_no(),
        ),
        _ => return None,
    };
    Some(json!({"name": name, "in": "query", "description": what, "schema": schema}))
}

/// What all reads take.
pub(super) fn of_reads() -> [Value; 3] {
    let consistency = one_of(&["local", "linearizable"]);
    [
        json!({"name": "consistency", "in": "query", "schema": consistency}),
        json!({"name": "X-Read-Consistency", "in": "header", "schema": consistency}),
        json!({"name": "X-Strongroom-Index", "in": "header", "schema": count()}),
    ]
}

pub(super) fn value_fields(mut more: Value) -> Value {
    let any = json!({"type": "object", "description": "The payload, where it is not one value"});
    set(&mut more, "value", text());
    set(&mut more, "data", any);
    more
}

fn of_secrets() -> Vec<(&'static str, Value)> {
    let kind = one_of(&["manual", "automatic"]);
    let value = value_fields(json!({
        "name": secret_name(), "kind": kind, "version": count(), "created_at": time(),
    }));
    let always = ["name", "kind", "version", "created_at"];
    let mut written = value.clone();
    set(&mut written, "value_omitted", yes_or_no());
    let row = json!({
        "name": secret_name(),
        "kind": kind,
        "version": count(),
        "description": text(),
        "created_at": time(),
        "updated_at": time(),
        "rotation_interval_secs": nullable(count()),
        "grace_period_secs": count(),
        "next_rotation_at": nullable(time()),
        "target": label(),
        "rotation_pending": yes_or_no(),
    });
    let of_all = [
        "name",
        "kind",
        "version",
        "description",
        "created_at",
        "updated_at",
        "rotation_interval_secs",
        "grace_period_secs",
        "next_rotation_at",
    ];
    vec![
        ("Secret", object(&of_all, row)),
        ("Value", object(&always, value)),
        ("Written", object(&always, written)),
        ("Secrets", page("secrets", "Secret")),
        ("Values", full(json!({"secrets": list(of("Value"))}))),
        (
            "Verified",
            full(json!({"valid": yes_or_no(), "version": count()})),
        ),
    ]
}

fn page(name: &str, row: &str) -> Value {
    full(json!({name: list(of(row)), "next_after": nullable(text())}))
}

fn of_access() -> Vec<(&'static str, Value)> {
    let action = one_of(&["create", "update", "delete", "rotate", "read", "list", "*"]);
    vec![
        (
            "Permission",
            full(json!({"action": action, "path": text()})),
        ),
        (
            "Role",
            full(json!({
                "name": label(),
                "description": text(),
                "is_admin": yes_or_no(),
                "permissions": list(of("Permission")),
            })),
        ),
        ("Roles", page("roles", "Role")),
        (
            "Token",
            full(json!({
                "name": label(), "role": label(), "token": text(), "expires_at": nullable(time()),
            })),
        ),
        (
            "ListedToken",
            full(json!({
                "name": label(),
                "role": label(),
                "created_at": time(),
                "expires_at": nullable(time()),
                "last_used_at": nullable(time()),
                "revoked": yes_or_no(),
                "ended_at": nullable(time()),
                "bound_cidrs": list(text()),
                "uses_left": nullable(count()),
            })),
        ),
        ("Tokens", page("tokens", "ListedToken")),
    ]
}

fn of_operation() -> Vec<(&'static str, Value)> {
    let reasons = one_of(&[
        "stopping",
        "audit_unavailable",
        "store_failed",
        "removed",
        "starting",
        "no_leader",
        "kms_unavailable",
    ]);
    let node = full(json!({
        "node_id": text(),
        "raft_id": count(),
        "address": text(),
        "role": one_of(&["leader", "voter", "learner"]),
        "applied": nullable(count()),
        "version": nullable(text()),
        "reachable": yes_or_no(),
    }));
    vec![
        ("Ready", full(json!({"ready": yes_or_no()}))),
        (
            "NotReady",
            full(json!({"ready": yes_or_no(), "error": text(), "code": reasons})),
        ),
        ("Document", json!({"type": "object"})),
        ("Leader", full(json!({"leader": text()}))),
        (
            "AddedNode",
            full(json!({"node_id": label(), "status": one_of(&["member", "waiting"])})),
        ),
        (
            "Cluster",
            full(json!({
                "cluster_id": nullable(text()),
                "node_id": text(),
                "leader": nullable(text()),
                "term": count(),
                "failure_tolerance": count(),
                "nodes": list(node),
            })),
        ),
        (
            "Records",
            full(
                json!({"records": list(json!({"type": "object"})), "next_after": nullable(count())}),
            ),
        ),
        (
            "Restored",
            full(json!({
                "cluster_id": nullable(text()), "index": nullable(count()), "taken_at": time(), "secrets": count(),
            })),
        ),
    ]
}

fn of_keys() -> Vec<(&'static str, Value)> {
    let watermark = nullable(full(json!({
        "key": text(), "rotation_at": nullable(time()), "material_id": nullable(text()),
    })));
    let cache = full(json!({
        "entries": count(), "hits": count(), "misses": count(), "coalesced": count(), "stale": count(),
    }));
    let counts = json!({"type": "object", "additionalProperties": count()});
    let reasons = json!({"type": "object", "additionalProperties": text()});
    vec![
        (
            "Kms",
            full(json!({
                "mode": text(),
                "key": nullable(text()),
                "region": nullable(text()),
                "cache": cache,
                "breaker": one_of(&["closed", "open", "half_open"]),
                "last_rotation_at": nullable(time()),
            })),
        ),
        (
            "Begun",
            full(json!({"pass_id": count(), "pending": count()})),
        ),
        (
            "Rewrap",
            full(json!({
                "enabled": yes_or_no(),
                "running": yes_or_no(),
                "pass_id": nullable(count()),
                "pending": count(),
                "rewrapped": count(),
                "failed": count(),
                "failures": reasons,
                "versions_by_key": counts,
                "watermark": watermark,
                "target": watermark,
                "last_error": nullable(text()),
                "method": nullable(text()),
                "started_at": nullable(time()),
                "finished_at": nullable(time()),
            })),
        ),
    ]
}

/// All of them.
pub(super) fn all() -> Value {
    let all = [
        super::requests::all(),
        of_secrets(),
        of_access(),
        of_operation(),
        of_keys(),
    ];
    let named = all.into_iter().flatten();
    named
        .map(|(name, schema)| (name.to_owned(), schema))
        .collect::<Map<_, _>>()
        .into()
}
