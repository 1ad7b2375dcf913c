//! Every route × every kind of caller. A route without a row here fails.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::print_stdout
)]

use std::{
    collections::BTreeSet,
    time::{Duration, Instant},
};

use serde_json::{Value, json};
use strongroom_server::http::{Who, route_list};
use strongroom_tests::{
    cluster::{Cluster, TOKEN},
    node::PATIENCE,
    raw::{Raw, audited},
};

/// Who calls, in the order of the columns below.
const CALLERS: [&str; 13] = [
    "nobody",
    "outside",   // nobody, from an address that may not read
    "malformed", // what cannot be a token
    "unknown",   // a token that opens nothing
    "weak",      // a role without permissions
    "other",     // a role with permissions, for other secrets
    "right",     // a role that grants just this; for admin routes, an admin role of another name
    "admin",     // the role admin
    "adminout",  // the role admin, from an address that may not read
    "revoked",
    "expired",
    "bound", // to another address
    "spent", // used up
];

type Row = (&'static str, &'static str, [u16; 13]);

/// What each caller gets. Written out: this table is the promise.
#[rustfmt::skip]
const TABLE: &[Row] = &[
    //                                              nobody out malf unkn weak othr rght admn aout revk expd bond spnt
    ("GET", "/healthz",                            [200, 200, 200, 200, 200, 200, 200, 200, 200, 200, 200, 200, 200]),
    ("GET", "/readyz",                             [200, 200, 200, 200, 200, 200, 200, 200, 200, 200, 200, 200, 200]),
    ("GET", "/metrics",                            [200, 200, 200, 200, 200, 200, 200, 200, 200, 200, 200, 200, 200]),
    ("GET", "/v1/openapi.json",                    [200, 200, 200, 200, 200, 200, 200, 200, 200, 200, 200, 200, 200]),
    ("POST", "/v1/secrets",                        [401, 401, 401, 401, 403, 403, 201, 201, 201, 401, 401, 403, 401]),
    ("GET", "/v1/secrets",                         [401, 401, 401, 401, 200, 200, 200, 200, 200, 401, 401, 403, 401]),
    ("GET", "/v1/secrets/{*name}",                 [200, 403, 200, 200, 200, 200, 200, 200, 403, 200, 200, 200, 200]),
    ("PUT", "/v1/secrets/{*name}",                 [401, 401, 401, 401, 403, 403, 200, 200, 200, 401, 401, 403, 401]),
    ("DELETE", "/v1/secrets/{*name}",              [401, 401, 401, 401, 403, 403, 204, 204, 204, 401, 401, 403, 401]),
    ("POST", "/v1/secrets/{*name}/rotate",         [401, 401, 401, 401, 403, 403, 200, 200, 200, 401, 401, 403, 401]),
    ("POST", "/v1/secrets/{*name}/verify",         [200, 403, 200, 200, 200, 200, 200, 200, 403, 200, 200, 200, 200]),
    ("POST", "/v1/batch/secrets",                  [200, 403, 200, 200, 200, 200, 200, 200, 403, 200, 200, 200, 200]),
    ("POST", "/v1/roles",                          [401, 401, 401, 401, 403, 403, 201, 201, 201, 401, 401, 403, 401]),
    ("GET", "/v1/roles",                           [401, 401, 401, 401, 403, 403, 200, 200, 200, 401, 401, 403, 401]),
    ("GET", "/v1/roles/{name}",                    [401, 401, 401, 401, 403, 403, 200, 200, 200, 401, 401, 403, 401]),
    ("PUT", "/v1/roles/{name}/permissions",        [401, 401, 401, 401, 403, 403, 200, 200, 200, 401, 401, 403, 401]),
    ("DELETE", "/v1/roles/{name}",                 [401, 401, 401, 401, 403, 403, 204, 204, 204, 401, 401, 403, 401]),
    ("POST", "/v1/tokens",                         [401, 401, 401, 401, 403, 403, 201, 201, 201, 401, 401, 403, 401]),
    ("GET", "/v1/tokens",                          [401, 401, 401, 401, 403, 403, 200, 200, 200, 401, 401, 403, 401]),
    ("DELETE", "/v1/tokens/{name}",                [401, 401, 401, 401, 403, 403, 204, 204, 204, 401, 401, 403, 401]),
    ("GET", "/v1/admin/cluster",                   [401, 401, 401, 401, 403, 403, 200, 200, 200, 401, 401, 403, 401]),
    ("POST", "/v1/admin/cluster/handover",         [401, 401, 401, 401, 403, 403, 200, 200, 200, 401, 401, 403, 401]),
    ("POST", "/v1/admin/cluster/nodes",            [401, 401, 401, 401, 403, 403, 202, 202, 202, 401, 401, 403, 401]),
    ("DELETE", "/v1/admin/cluster/nodes/{name}",   [401, 401, 401, 401, 403, 403, 204, 204, 204, 401, 401, 403, 401]),
    ("GET", "/v1/admin/kms",                       [401, 401, 401, 401, 403, 403, 200, 200, 200, 401, 401, 403, 401]),
    ("POST", "/v1/admin/kms/rewrap",               [401, 401, 401, 401, 403, 403, 202, 202, 202, 401, 401, 403, 401]),
    ("GET", "/v1/admin/kms/rewrap/status",         [401, 401, 401, 401, 403, 403, 200, 200, 200, 401, 401, 403, 401]),
    ("GET", "/v1/backup",                          [401, 401, 401, 401, 403, 403, 200, 200, 200, 401, 401, 403, 401]),
    ("POST", "/v1/restore",                        [401, 401, 401, 401, 403, 403, 200, 200, 200, 401, 401, 403, 401]),
    ("GET", "/v1/audit",                           [401, 401, 401, 401, 403, 403, 200, 200, 200, 401, 401, 403, 401]),
];

/// The one action that a `Role` route asks for.
fn action(method: &str, path: &str) -> &'static str {
    match method {
        "POST" if path.ends_with("/rotate") => "rotate",
        "POST" => "create",
        "PUT" => "update",
        "DELETE" => "delete",
        _ => "list",
    }
}

struct Lab {
    cluster: Cluster,
    count: u32,
}

impl Lab {
    async fn start(allowed: &str) -> Self {
        let env = [
            ("VAULT_AUTH_MAX_FAILURES", "0"),
            ("VAULT_ALLOWED_IPS", allowed),
        ];
        let cluster = Cluster::start_with(1, &env).await;
        Self { cluster, count: 0 }
    }

    fn raw(&self) -> Raw {
        Raw::node(&self.cluster.nodes[0])
    }

    fn admin(&self) -> Raw {
        self.raw().token(TOKEN)
    }

    fn fresh(&mut self) -> String {
        self.count += 1;
        format!("x{}", self.count)
    }

    async fn role(&self, name: &str, is_admin: bool, permissions: Value) {
        let role = json!({"name": name, "is_admin": is_admin, "permissions": permissions});
        self.admin().post("/v1/roles", &role).await.expect(201);
    }

    /// A token of a role, and its name.
    async fn token(&mut self, role: &str, more: Value) -> (String, String) {
        let name = self.fresh();
        let mut body = json!({"name": name, "role": role});
        for (key, value) in more.as_object().unwrap() {
            body[key] = value.clone();
        }
        let made = self.admin().post("/v1/tokens", &body).await.expect(201);
        (made.json["token"].as_str().unwrap().to_owned(), name)
    }

    /// A request that would succeed for who may: what it acts on is made for it.
    async fn request(&mut self, method: &str, path: &str) -> (String, Option<Value>) {
        let (name, admin) = (self.fresh(), self.admin());
        let mut secret = json!({"name": format!("m/{name}"), "value": "v"});
        if path.ends_with("/rotate") {
            secret["kind"] = json!("automatic");
            secret["rotation_interval_secs"] = json!(3_600);
        }
        let role = json!({"name": name});
        let token = json!({"name": name, "role": "weak"});
        let node = json!({"node_id": name});
        let made = match (method, path) {
            (_, path) if path.starts_with("/v1/secrets/{*name}") => Some(("/v1/secrets", &secret)),
            ("PUT", "/v1/roles/{name}/permissions") | ("DELETE" | "GET", "/v1/roles/{name}") => {
                Some(("/v1/roles", &role))
            }
            ("DELETE", "/v1/tokens/{name}") => Some(("/v1/tokens", &token)),
            ("DELETE", "/v1/admin/cluster/nodes/{name}") => {
                Some(("/v1/admin/cluster/nodes", &node))
            }
            _ => None,
        };
        if let Some((at, body)) = made {
            let made = admin.post(at, body).await;
            assert!(made.status < 300, "{}", made.text);
        }
        let body = match (method, path) {
            ("POST", "/v1/secrets") => Some(secret),
            ("POST", "/v1/roles") => Some(role),
            ("POST", "/v1/tokens") => Some(token),
            ("POST", "/v1/admin/cluster/nodes") => Some(node),
            ("PUT", "/v1/secrets/{*name}") => Some(json!({"value": "w"})),
            ("PUT", "/v1/roles/{name}/permissions") => Some(json!({"permissions": []})),
            ("POST", "/v1/secrets/{*name}/verify") => Some(json!({"value": "v"})),
            // A cluster of one: nobody else could.
            ("POST", "/v1/admin/cluster/handover") => Some(json!({"to": "1"})),
            ("POST", "/v1/batch/secrets") => Some(json!({"names": ["m/always"]})),
            _ => None,
        };
        let target = path
            .replace("{*name}", &format!("m/{name}"))
            .replace("{name}", &name);
        (target, body)
    }

    /// Until an expired token is noted as ended: nothing may change by itself later on.
    async fn wait_ended(&self, token: &str) {
        let until = Instant::now() + PATIENCE;
        loop {
            let list = self.admin().get("/v1/tokens").await.expect(200).json;
            let rows = list["tokens"].as_array().unwrap();
            let row = rows.iter().find(|row| row["name"] == token).unwrap();
            if row["ended_at"].is_string() {
                return;
            }
            assert!(Instant::now() < until, "{token} does not end");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    /// Everything an admin can see, the times of last use aside.
    async fn everything(&self) -> Value {
        let mut all = Vec::new();
        for at in ["/v1/secrets", "/v1/roles", "/v1/tokens"] {
            let mut list = self.admin().get(at).await.expect(200).json;
            for row in list["tokens"].as_array_mut().into_iter().flatten() {
                row["last_used_at"] = Value::Null;
            }
            all.push(list);
        }
        Value::Array(all)
    }
}

#[test]
fn every_route_has_a_row_and_every_row_a_route() {
    let rows: BTreeSet<_> = TABLE.iter().map(|row| (row.0, row.1)).collect();
    let routes: BTreeSet<_> = route_list()
        .iter()
        .map(|route| (route.0, route.1))
        .collect();
    assert_eq!(rows, routes);
    assert_eq!(rows.len(), TABLE.len(), "a row repeats");
    // The word in the code agrees with the promise.
    for (method, path, who) in route_list() {
        let row = TABLE.iter().find(|row| (row.0, row.1) == (method, path));
        let (nobody, outside, weak, right) = {
            let row = row.unwrap().2;
            (row[0], row[1], row[4], row[6])
        };
        assert!(right < 300, "{method} {path}");
        let told = match (nobody, outside, weak) {
            (200, 200, 200) => Who::Anybody,
            (200, 403, 200) => Who::Reader,
            (401, 401, 403) if path.starts_with("/v1/secrets") => Who::Role,
            (401, 401, 200) => Who::Role,
            (401, 401, 403) => Who::Admin,
            other => panic!("{method} {path}: {other:?}"),
        };
        assert_eq!(told, who, "{method} {path}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_route_answers_every_caller_as_the_table_says() {
    let mut lab = Lab::start("127.0.0.1/32").await;
    let secret = json!({"name": "m/always", "value": "v"});
    lab.admin().post("/v1/secrets", &secret).await.expect(201);
    lab.role("weak", false, json!([])).await;
    let elsewhere = json!([{"action": "*", "path": "elsewhere/*"}]);
    lab.role("other", false, elsewhere).await;
    lab.role("second-admin", true, json!([])).await;
    for action in ["create", "update", "delete", "rotate", "list"] {
        let one = json!([{"action": action, "path": "m/*"}]);
        lab.role(action, false, one).await;
    }
    // Tokens that are no good any more were good for everything once.
    let (revoked, name) = lab.token("admin", json!({})).await;
    let revoke = lab.admin().delete(&format!("/v1/tokens/{name}")).await;
    revoke.expect(204);
    let (expired, expires) = lab.token("admin", json!({"ttl_secs": 1})).await;
    let (spent, _) = lab.token("admin", json!({"num_uses": 1})).await;
    lab.raw().token(&spent).get("/v1/tokens").await.expect(200);
    let (bound, _) = lab
        .token("admin", json!({"bound_cidrs": ["192.0.2.0/24"]}))
        .await;
    let (weak, _) = lab.token("weak", json!({})).await;
    let (other, _) = lab.token("other", json!({})).await;
    let (second, _) = lab.token("second-admin", json!({})).await;
    lab.wait_ended(&expires).await;

    let mut wrong = Vec::new();
    for (method, path, who) in route_list() {
        let row = TABLE.iter().find(|row| (row.0, row.1) == (method, path));
        let Some((_, _, expected)) = row else {
            panic!("{method} {path} has no row");
        };
        let right = match who {
            Who::Role => lab.token(action(method, path), json!({})).await.0,
            _ => second.clone(),
        };
        for (caller, expected) in CALLERS.iter().zip(expected) {
            let (target, body) = lab.request(method, path).await;
            let raw = lab.raw();
            let raw = match *caller {
                "nobody" => raw,
                "outside" => raw.from("127.0.0.2"),
                "malformed" => raw.header("Authorization", "Bearer short"),
                "unknown" => raw.token("srt_0123456789012345678901234567890123456789012"),
                "weak" => raw.token(&weak),
                "other" => raw.token(&other),
                "right" => raw.token(&right),
                "admin" => raw.token(TOKEN),
                "adminout" => raw.token(TOKEN).from("127.0.0.2"),
                "revoked" => raw.token(&revoked),
                "expired" => raw.token(&expired),
                "bound" => raw.token(&bound),
                "spent" => raw.token(&spent),
                caller => panic!("{caller}"),
            };
            let before = match expected {
                401 | 403 => Some(lab.everything().await),
                _ => None,
            };
            let backup = match path {
                "/v1/restore" => Some(strongroom_tests::backup::take(&lab.cluster.admin(0)).await),
                _ => None,
            };
            let answer = match &body {
                _ if backup.is_some() => {
                    raw.bytes(method, &target, &backup.unwrap_or_default())
                        .await
                }
                Some(body) => raw.json(method, &target, body).await,
                None => raw.plain(method, &target).await,
            };
            if answer.status != *expected {
                wrong.push(format!(
                    "{method} {path} by {caller}: {} instead of {expected}: {}",
                    answer.status, answer.text
                ));
                continue;
            }
            let code = match (*expected, *caller) {
                (401, _) => Some("unauthenticated"),
                (403, "weak" | "other") => Some("permission_denied"),
                (403, _) => Some("address_not_allowed"),
                _ => None,
            };
            if let Some(code) = code {
                assert_eq!(answer.code(), code, "{method} {path} by {caller}");
                // Refused means: recorded, and nothing changed.
                let records = audited(&lab.cluster.nodes[0], &answer);
                assert_eq!(records.len(), 1, "{method} {path} by {caller}");
                assert_eq!(records[0]["outcome"], "denied");
                assert_eq!(records[0]["status"], *expected);
                assert_eq!(before, Some(lab.everything().await), "{method} {path}");
            }
            if (method, path, *caller) == ("GET", "/v1/secrets", "weak") {
                assert_eq!(answer.json["secrets"], json!([]), "a list is filtered");
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// The read routes from everywhere while nobody is allowed, and from an address that is not.
#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_read_from_where_nothing_may_be_read() {
    for (allowed, from) in [("", "127.0.0.1"), ("127.0.0.1", "127.0.0.2")] {
        let mut lab = Lab::start(allowed).await;
        let secret = json!({"name": "m/always", "value": "v"});
        lab.admin().post("/v1/secrets", &secret).await.expect(201);
        let readers: Vec<_> = route_list()
            .into_iter()
            .filter(|route| route.2 == Who::Reader)
            .collect();
        assert_eq!(readers.len(), 3);
        for (method, path, _) in readers {
            let (target, body) = lab.request(method, path).await;
            let body = body.map(|body| body.to_string());
            let mut tries = vec![(method, target.clone(), body.clone())];
            // What is wrong with a request is told to those who may ask.
            tries.push((method, format!("{target}?consistency=bad"), body.clone()));
            match (method, path) {
                ("GET", _) => {
                    tries.push(("HEAD", target.clone(), None));
                    tries.push(("GET", "/v1/secrets/not/there".into(), None));
                    tries.push(("GET", "/v1/secrets/a/../b".into(), None));
                    tries.push(("GET", format!("{target}?version=1"), None));
                    tries.push(("GET", format!("{target}?version=x"), None));
                    tries.push(("GET", format!("{target}?wait=30s&after_version=1"), None));
                    tries.push(("GET", format!("{target}?wait=x"), None));
                }
                ("POST", "/v1/secrets/{*name}/verify") => {
                    tries.push(("POST", target.clone(), Some("{".into())));
                    tries.push(("POST", "/v1/secrets/a%00b/verify".into(), body));
                }
                ("POST", _) => {
                    tries.push(("POST", target.clone(), Some("{}".into())));
                    tries.push(("POST", target.clone(), Some("{\"names\":[]}".into())));
                }
                other => panic!("{other:?}"),
            }
            for (method, target, body) in tries {
                for token in [None, Some(TOKEN)] {
                    let raw = lab.raw().from(from);
                    let raw = token.map_or(raw.clone(), |token| raw.token(token));
                    // Claims in a header do not count: no proxy is trusted here.
                    let raw = raw.header("X-Forwarded-For", "127.0.0.1");
                    let answer = match &body {
                        Some(body) => raw.text(method, &target, body).await,
                        None => raw.plain(method, &target).await,
                    };
                    let what = format!("{allowed:?}: {method} {target} {body:?}");
                    assert_eq!(answer.status, 403, "{what}: {}", answer.text);
                    if method != "HEAD" {
                        assert_eq!(answer.code(), "address_not_allowed", "{what}");
                    }
                    let records = audited(&lab.cluster.nodes[0], &answer);
                    assert_eq!(records.len(), 1, "{what}");
                    assert_eq!(records[0]["outcome"], "denied", "{what}");
                    assert_eq!(records[0]["client_ip"], from, "{what}");
                }
            }
        }
    }
}
