//! The shapes of requests.

use serde_json::{Value, json};
use strongroom_core::limits;

use super::schemas::{
    between, count, label, nullable, object, of, one_of, secret_name, set, short, text,
    value_fields, yes_or_no,
};

fn setting_fields(most: u64) -> Value {
    let generator = object(
        &[],
        json!({
            "field": text(),
            "length": between(1, u64::from(limits::GENERATED_CHARS)),
            "charset": text(),
        }),
    );
    value_fields(json!({
        "description": short(),
        "grace_period_secs": between(0, limits::MAX_PERIOD_SECS),
        "max_versions": between(0, most),
        "rotation_interval_secs": between(limits::MIN_ROTATION_SECS, limits::MAX_PERIOD_SECS),
        "generator": generator,
        "keep_superseded": yes_or_no(),
        "target": label(),
    }))
}

/// What requests hold.
pub(super) fn all() -> Vec<(&'static str, Value)> {
    let most = u64::from(limits::MAX_VERSIONS);
    let mut create = setting_fields(most);
    set(&mut create, "name", secret_name());
    set(&mut create, "kind", one_of(&["manual", "automatic"]));
    let mut update = setting_fields(most);
    set(&mut update, "cas", count());
    set(&mut update, "target", nullable(label()));
    let permissions = json!({
        "type": "array",
        "items": of("Permission"),
        "maxItems": limits::ROLE_RULES,
    });
    let cidrs = json!({"type": "array", "items": text(), "maxItems": limits::BOUND_CIDRS});
    let names = json!({"type": "array", "items": secret_name(), "maxItems": limits::BATCH_NAMES});
    vec![
        ("CreateSecret", object(&["name"], create)),
        ("UpdateSecret", object(&[], update)),
        ("Nothing", object(&[], json!({}))),
        ("Verify", object(&["value"], json!({"value": text()}))),
        ("Names", object(&["names"], json!({"names": names}))),
        (
            "CreateRole",
            object(
                &["name"],
                json!({
                    "name": label(),
                    "description": short(),
                    "is_admin": yes_or_no(),
                    "permissions": permissions,
                }),
            ),
        ),
        (
            "Permissions",
            object(&["permissions"], json!({"permissions": permissions})),
        ),
        (
            "CreateToken",
            object(
                &["name", "role"],
                json!({
                    "name": label(),
                    "role": label(),
                    "ttl_secs": nullable(between(1, limits::MAX_TOKEN_TTL_SECS)),
                    "bound_cidrs": nullable(cidrs),
                    "num_uses": nullable(json!({"type": "integer", "minimum": 1})),
                }),
            ),
        ),
        ("HandOver", object(&[], json!({"to": nullable(label())}))),
        ("AddNode", object(&["node_id"], json!({"node_id": label()}))),
    ]
}
