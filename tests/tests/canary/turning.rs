//! Values that turn over, and the routes that the rest of the tour leaves out.

use std::collections::BTreeSet;

use strongroom_server::http::route_list;

use super::*;

/// Values made by rotations, by request and on schedule, and read by waiting. What answers say beside
/// them.
pub(super) async fn turn_over(
    values: &mut Values,
    raw: &Raw,
    admin: &Raw,
    n: usize,
) -> Vec<Answer> {
    let (name, mut answers) = (format!("turn{n}"), Vec::new());
    let body = json!({"name": name, "kind": "automatic", "rotation_interval_secs": 1,
        "grace_period_secs": 1, "generator": {"length": 32}});
    let made = admin.post("/v1/secrets", &body).await.expect(201);
    values.known("generated", made.json["value"].as_str().unwrap());
    let at = format!("/v1/secrets/{name}");
    let rotated = admin.post(&format!("{at}/rotate"), &json!({})).await;
    let rotated = rotated.expect(200);
    values.known(
        "rotated by request",
        rotated.json["value"].as_str().unwrap(),
    );
    let mut version = rotated.json["version"].as_u64().unwrap();
    for _ in 0..2 {
        let waited = raw
            .get(&format!("{at}?wait=30s&after_version={version}"))
            .await;
        let waited = waited.expect(200);
        values.known(
            "rotated on schedule",
            waited.json["value"].as_str().unwrap(),
        );
        version = waited.json["version"].as_u64().unwrap();
    }
    let slow = json!({"rotation_interval_secs": 86_400, "grace_period_secs": 0});
    answers.push(admin.put(&at, &slow).await.expect(200));
    let wait = format!("/v1/secrets/c{n}/value?wait=1s&after_version=9");
    answers.push(raw.get(&wait).await.expect(304));
    let value = values.new_for("refused rotation");
    for path in [format!("{at}/rotate"), "/v1/admin/kms/rewrap".to_owned()] {
        answers.push(admin.post(&path, &json!({"x": value})).await.expect(400));
    }
    let begun = admin.post("/v1/admin/kms/rewrap", &json!({})).await;
    answers.push(begun.expect(202));
    let status = admin.get("/v1/admin/kms/rewrap/status").await;
    answers.push(status.expect(200));
    answers.push(admin.delete(&at).await.expect(204));
    let role = json!({"name": format!("r{n}"), "permissions": []});
    answers.push(admin.post("/v1/roles", &role).await.expect(201));
    let at = format!("/v1/roles/r{n}");
    answers.push(admin.get(&at).await.expect(200));
    let more = json!({"permissions": [{"action": "create", "path": "app/*"}]});
    let put = admin.put(&format!("{at}/permissions"), &more).await;
    answers.push(put.expect(200));
    answers.push(admin.delete(&at).await.expect(204));
    let token = json!({"name": format!("short{n}"), "role": "admin"});
    let made = admin.post("/v1/tokens", &token).await.expect(201);
    let random = made.json["token"].as_str().unwrap();
    values.known("a token", random.strip_prefix("srt_").unwrap());
    let revoked = admin.delete(&format!("/v1/tokens/short{n}")).await;
    answers.extend([revoked.expect(204), raw.get("/readyz").await]);
    answers
}

/// The tour is complete: what the nodes have counted is the whole list of routes.
pub(super) async fn assert_every_route_was_called(cluster: &Cluster) {
    let mut called = BTreeSet::new();
    for node in &cluster.nodes {
        let page = Raw::node(node).get("/metrics").await.expect(200).text;
        for line in page.lines() {
            let labels = line.strip_prefix("strongroom_http_requests_total{");
            let label = |name: &str| {
                let (_, rest) = labels?.split_once(&format!("{name}=\""))?;
                Some(rest.split_once('"')?.0.to_owned())
            };
            called.extend(label("method").zip(label("route")));
        }
    }
    for (method, path, _) in route_list() {
        // One route, with a verb at its end.
        let path = path.strip_suffix("/rotate").unwrap_or(path);
        let path = path.strip_suffix("/verify").unwrap_or(path);
        let route = (method.to_owned(), path.to_owned());
        assert!(called.contains(&route), "{method} {path}: not called");
    }
}
