//! What operators see, and what every answer carries.

use super::*;

#[tokio::test(flavor = "multi_thread")]
async fn operators_see_the_node_the_cluster_and_the_trail() {
    let pair = Pair::start().await;
    let nodes = &pair.cluster.nodes;
    let leader_name = &nodes[pair.places[0]].id;
    for (place, (_, admin)) in pair.admins().iter().enumerate() {
        let node = &nodes[pair.places[place]];
        let anybody = Raw::node(node).from("127.0.0.2");
        assert_eq!(anybody.get("/healthz").await.expect(200).text, "ok");
        anybody.get("/readyz").await.expect(200);
        let page = anybody.get("/metrics").await.expect(200);
        let samples = parse_metrics(&page.text);
        assert!(samples > 30, "{samples} samples");
        let leads = if place == 0 { 1 } else { 0 };
        assert!(page.text.contains(&format!("strongroom_leader {leads}\n")));

        let view = pair.cluster.bears(pair.places[place], 1).await;
        assert_fields(
            &view,
            &[
                "cluster_id",
                "node_id",
                "leader",
                "term",
                "failure_tolerance",
                "nodes",
            ],
        );
        assert_eq!(view["node_id"], json!(node.id));
        assert_eq!(view["leader"], json!(leader_name));
        assert_eq!(view["failure_tolerance"], 1);
        assert!(view["term"].is_u64() && view["cluster_id"].is_string());
        let members = view["nodes"].as_array().unwrap();
        assert_eq!(members.len(), 3);
        for member in members {
            assert_fields(
                member,
                &[
                    "node_id",
                    "raft_id",
                    "address",
                    "role",
                    "applied",
                    "version",
                    "reachable",
                ],
            );
            assert_eq!(member["reachable"], true, "{member}");
            assert!(member["raft_id"].is_u64() && member["applied"].is_u64());
        }
        let kms = admin.get("/v1/admin/kms").await.expect(200).json;
        assert_eq!(kms["mode"], "local");
        assert!(kms["cache"]["entries"].is_u64(), "{kms}");

        // The trail, by page: numbers without gaps, and the fields of the contract.
        let mut after = 0;
        let mut seen = 0;
        loop {
            let page = admin
                .get(&format!("/v1/audit?after={after}&limit=2"))
                .await
                .expect(200);
            assert_fields(&page.json, &["records", "next_after"]);
            for record in page.json["records"].as_array().unwrap() {
                assert_fields(
                    record,
                    &[
                        "seq",
                        "time",
                        "request_id",
                        "node",
                        "actor",
                        "client_ip",
                        "peer_ip",
                        "action",
                        "target",
                        "outcome",
                        "status",
                        "prev",
                        "hash",
                    ],
                );
                assert_eq!(record["seq"], after + 1);
                assert_eq!(record["node"], json!(node.id));
                assert_time(&record["time"]);
                after = record["seq"].as_u64().unwrap();
                seen += 1;
            }
            match page.json["next_after"].as_u64() {
                // Looking is recorded as well, so that the end moves.
                Some(next) if seen < 12 => assert_eq!(next, after),
                _ => break,
            }
        }
        assert!(seen >= 3, "{seen}");
        let beyond = admin.get("/v1/audit?after=999999999").await.expect(200);
        assert_eq!(beyond.json, json!({"records": [], "next_after": null}));
    }
}

/// Checks every line of a metrics page, and counts the samples.
fn parse_metrics(page: &str) -> usize {
    let mut samples = 0;
    for line in page.lines() {
        if let Some(comment) = line.strip_prefix("# ") {
            let word = comment.split(' ').next().unwrap();
            assert!(["HELP", "TYPE", "UNIT", "EOF"].contains(&word), "{line}");
            continue;
        }
        let (series, value) = line.rsplit_once(' ').expect("a sample");
        let ours = ["strongroom_", "process_"];
        assert!(ours.iter().any(|ours| series.starts_with(ours)), "{line}");
        value.parse::<f64>().expect("a number");
        samples += 1;
    }
    assert!(page.ends_with("# EOF\n"));
    samples
}

#[tokio::test(flavor = "multi_thread")]
async fn every_answer_carries_its_id_and_the_audit_record_the_same() {
    let pair = Pair::start().await;
    for (place, (word, admin)) in pair.admins().iter().enumerate() {
        let node = &pair.cluster.nodes[pair.places[place]];
        let nobody = Raw::node(node);
        let body = json!({"name": format!("{word}/id"), "value": "x"});
        let at = format!("/v1/secrets/{word}/id");
        let mut ids = BTreeSet::new();
        let outside = nobody.from("127.0.0.2");
        // Each with what the audit trail says of it: actor, action, outcomes.
        let done = ["attempted", "done"].as_slice();
        let failed = ["attempted", "failed"].as_slice();
        for (answer, status, actor, action, outcomes) in [
            (
                admin.post("/v1/secrets", &body).await,
                201,
                "bootstrap-admin",
                "secret.create",
                done,
            ),
            (
                admin.post("/v1/secrets", &body).await,
                409,
                "bootstrap-admin",
                "secret.create",
                failed,
            ),
            (
                admin.get(&format!("{at}?consistency=linearizable")).await,
                200,
                "reader",
                "secret.read",
                &["done"],
            ),
            (
                nobody.get("/v1/secrets/not/there").await,
                404,
                "reader",
                "secret.read",
                &["failed"],
            ),
            (
                outside.get(&at).await,
                403,
                "reader",
                "secret.read",
                &["denied"],
            ),
            (
                nobody
                    .post(&format!("{at}/verify"), &json!({"value": "x"}))
                    .await,
                200,
                "reader",
                "secret.verify",
                &["done"],
            ),
            (
                nobody.delete(&at).await,
                401,
                "-",
                "secret.delete",
                &["denied"],
            ),
            (
                nobody
                    .token("wrong-wrong-wrong-wrong")
                    .get("/v1/tokens")
                    .await,
                401,
                "-",
                "token.list",
                &["denied"],
            ),
            (
                admin.put(&at, &json!({"value": "y", "cas": 9})).await,
                409,
                "bootstrap-admin",
                "secret.update",
                failed,
            ),
            (
                admin.delete(&at).await,
                204,
                "bootstrap-admin",
                "secret.delete",
                done,
            ),
            (
                admin.get("/v1/audit?limit=1").await,
                200,
                "bootstrap-admin",
                "audit.read",
                &["done"],
            ),
        ] {
            assert_eq!(answer.status, status, "{}", answer.text);
            assert!(ids.insert(request_id(&answer)), "an id repeats");
            let records = audited(node, &answer);
            let found: Vec<&str> = records
                .iter()
                .map(|record| record["outcome"].as_str().unwrap())
                .collect();
            assert_eq!(found, outcomes, "{records:?}");
            for record in &records {
                assert_eq!(
                    (&record["actor"], &record["action"]),
                    (&json!(actor), &json!(action))
                );
            }
            assert_eq!(records.last().unwrap()["status"], json!(status));
        }
        // Ids without a record: what reaches no use case.
        for (method, target, status, code) in [
            ("GET", "/", 404, "not_found"),
            ("GET", "/v1", 404, "not_found"),
            ("GET", "/v1/secretss", 404, "not_found"),
            ("POST", "/v1/secrets/a/rotate", 404, "not_found"),
            ("GET", "/v1/roles/a/b", 404, "not_found"),
            ("POST", "/healthz", 405, "invalid_request"),
            ("PATCH", "/v1/secrets/a", 405, "invalid_request"),
            ("BREW", "/v1/secrets", 405, "invalid_request"),
            ("DELETE", "/v1/audit", 405, "invalid_request"),
            ("GET", "/v1/batch/secrets", 405, "invalid_request"),
            ("GET", "/v1/secrets?limit=0", 400, "invalid_request"),
        ] {
            let answer = admin.plain(method, target).await;
            assert_error(&answer, status, code);
            assert!(ids.insert(request_id(&answer)), "an id repeats");
        }
        // An id that a client makes up is not taken over: it would let it forge the trail.
        let made_up = admin
            .header("X-Request-Id", "made-up")
            .get("/healthz")
            .await;
        assert_ne!(request_id(&made_up), "made-up");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn head_is_get_without_a_body_and_is_gated_and_audited_like_it() {
    let cluster = Cluster::start(1).await;
    let node = &cluster.nodes[0];
    let admin = Raw::node(node).token(TOKEN);
    let body = json!({"name": "h", "value": "not to be seen"});
    admin.post("/v1/secrets", &body).await.expect(201);
    let head = admin.plain("HEAD", "/v1/secrets/h").await.expect(200);
    assert_eq!(head.text, "");
    assert_eq!(audited(node, &head).len(), 1);
    let outside = Raw::node(node).from("127.0.0.2");
    let refused = outside.plain("HEAD", "/v1/secrets/h").await.expect(403);
    assert_eq!(audited(node, &refused)[0]["outcome"], "denied");
    outside.plain("HEAD", "/v1/secrets").await.expect(401);
    outside.plain("HEAD", "/healthz").await.expect(200);
}
