//! Every call of API.md, on the leader and on a follower: statuses, fields and types.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic
)]

use std::{collections::BTreeSet, time::Duration};

use serde_json::{Value, json};
use strongroom_tests::{
    api::Answer,
    cluster::{Cluster, TOKEN},
    raw::{Raw, audited, request_id},
};

/// A running cluster, its leader and a follower.
struct Pair {
    cluster: Cluster,
    places: [usize; 2],
}

impl Pair {
    async fn start() -> Self {
        // What is tried here with dead tokens must not lock the test out.
        let cluster = Cluster::start_with(3, &[("VAULT_AUTH_MAX_FAILURES", "0")]).await;
        let leader = cluster.leader().await;
        Self {
            cluster,
            places: [leader, (leader + 1) % 3],
        }
    }

    /// An admin's client of both, with a word for names.
    fn admins(&self) -> [(&'static str, Raw); 2] {
        let raw = |place: usize| Raw::node(&self.cluster.nodes[place]).token(TOKEN);
        [
            ("leader", raw(self.places[0])),
            ("follower", raw(self.places[1])),
        ]
    }
}

/// The fields of an object.
fn fields(value: &Value) -> BTreeSet<String> {
    let object = value
        .as_object()
        .unwrap_or_else(|| panic!("no object: {value}"));
    object.keys().cloned().collect()
}

#[track_caller]
fn assert_fields(value: &Value, expected: &[&str]) {
    let expected = expected.iter().map(|f| (*f).to_owned()).collect();
    assert_eq!(fields(value), expected, "{value}");
}

#[track_caller]
fn assert_time(value: &Value) {
    let text = value.as_str().unwrap_or_else(|| panic!("no time: {value}"));
    let parts = text.split_once('T').filter(|(date, time)| {
        let digits = |text: &str, at: &[usize]| {
            text.char_indices()
                .all(|(i, c)| at.contains(&i) || c.is_ascii_digit())
        };
        date.len() == 10
            && digits(date, &[4, 7])
            && time.ends_with('Z')
            && digits(&time[..8], &[2, 5])
    });
    assert!(parts.is_some(), "no RFC 3339 in UTC: {text}");
}

/// An error is two fields, and says it in JSON.
#[track_caller]
fn assert_error(answer: &Answer, status: u16, code: &str) {
    assert_eq!(
        (answer.status, answer.code()),
        (status, code),
        "{}",
        answer.text
    );
    assert_fields(&answer.json, &["code", "error"]);
    assert!(!answer.json["error"].as_str().unwrap().is_empty());
    assert_eq!(answer.headers["content-type"], "application/json");
    assert_eq!(request_id(answer).len(), 32);
}

fn names(answer: &Answer, field: &str) -> Vec<String> {
    let rows = answer.json[field].as_array().expect("rows");
    rows.iter()
        .map(|row| row["name"].as_str().unwrap().to_owned())
        .collect()
}

const ROW: [&str; 9] = [
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

#[tokio::test(flavor = "multi_thread")]
async fn secrets_are_written_and_read_as_the_contract_says() {
    let pair = Pair::start().await;
    for (place, admin) in pair.admins() {
        let at = format!("/v1/secrets/{place}/db.1/p~w@x+y=z:1,2");
        let name = at.strip_prefix("/v1/secrets/").unwrap();
        let body = json!({"name": name, "kind": "manual", "value": "first \u{1F512} \"quoted\"\n",
            "description": "what it is"});
        let created = admin.post("/v1/secrets", &body).await.expect(201);
        assert_fields(&created.json, &["name", "kind", "version", "created_at"]);
        assert_eq!(created.json["name"], name);
        assert_eq!(created.json["kind"], "manual");
        assert_eq!(created.json["version"], 1);
        assert_time(&created.json["created_at"]);
        assert_error(
            &admin.post("/v1/secrets", &body).await,
            409,
            "already_exists",
        );

        let read = admin
            .get(&format!("{at}?consistency=linearizable"))
            .await
            .expect(200);
        assert_fields(
            &read.json,
            &["name", "kind", "version", "value", "created_at"],
        );
        assert_eq!(read.json["value"], body["value"]);
        assert_eq!(read.json["created_at"], created.json["created_at"]);
        assert_eq!(read.headers["cache-control"], "no-store");
        assert_eq!(read.headers["content-type"], "application/json");
        // The header does what the parameter does; what is neither is refused.
        let linearizable = admin.header("X-Read-Consistency", "linearizable");
        linearizable.get(&at).await.expect(200);
        let refused = admin.get(&format!("{at}?consistency=sometimes")).await;
        assert_error(&refused, 400, "invalid_request");
        let refused = admin.header("X-Read-Consistency", "x").get(&at).await;
        assert_error(&refused, 400, "invalid_request");

        let row = admin.put(&at, &json!({"value": "second"})).await;
        let row = row.expect(200).json;
        assert_fields(&row, &ROW);
        assert_eq!((&row["version"], &row["name"]), (&json!(2), &json!(name)));
        assert_eq!(row["description"], "what it is");
        assert_eq!(row["rotation_interval_secs"], Value::Null);
        assert_eq!(row["next_rotation_at"], Value::Null);
        assert_eq!(row["grace_period_secs"], 0);
        assert_time(&row["created_at"]);
        assert_time(&row["updated_at"]);
        // Settings alone make no version.
        let row = admin.put(&at, &json!({"description": "other"})).await;
        assert_eq!(row.expect(200).json["version"], 2);
        assert_error(&admin.put(&at, &json!({})).await, 400, "invalid_request");
        assert_error(
            &admin.put(&at, &json!({"cas": 2})).await,
            400,
            "invalid_request",
        );
        // Check-and-set.
        for wrong in [0, 1, 3, u64::MAX] {
            let put = admin
                .put(&at, &json!({"value": "never", "cas": wrong}))
                .await;
            assert_error(&put, 409, "version_mismatch");
        }
        let row = admin
            .put(&at, &json!({"data": {"user": "u", "n": 1.50}, "cas": 2}))
            .await;
        assert_eq!(row.expect(200).json["version"], 3);
        let read = admin.get(&format!("{at}?consistency=linearizable")).await;
        let read = read.expect(200);
        assert_fields(
            &read.json,
            &["name", "kind", "version", "data", "created_at"],
        );
        assert_eq!(read.json["data"], json!({"user": "u", "n": 1.5}));
        // By number, old and new.
        for (version, field, value) in [
            (1, "value", body["value"].clone()),
            (2, "value", json!("second")),
            (3, "data", json!({"user": "u", "n": 1.5})),
        ] {
            let read = admin
                .get(&format!("{at}?version={version}"))
                .await
                .expect(200);
            assert_eq!(
                (&read.json["version"], &read.json[field]),
                (&json!(version), &value)
            );
        }
        for missing in ["?version=0", "?version=4", "?version=18446744073709551615"] {
            assert_error(
                &admin.get(&format!("{at}{missing}")).await,
                404,
                "not_found",
            );
        }

        assert_eq!(admin.delete(&at).await.expect(204).text, "");
        for gone in [
            admin.get(&format!("{at}?consistency=linearizable")).await,
            admin
                .get(&format!("{at}?version=1&consistency=linearizable"))
                .await,
            admin.put(&at, &json!({"value": "x"})).await,
            admin.delete(&at).await,
            admin
                .post(&format!("{at}/verify"), &json!({"value": "second"}))
                .await,
        ] {
            assert_error(&gone, 404, "not_found");
        }
        // Made again it is another secret: version 1, the new value, also where the old data keys
        // are cached, and none of the old versions.
        let body = json!({"name": name, "value": "reborn"});
        let created = admin.post("/v1/secrets", &body).await.expect(201);
        assert_eq!(created.json["version"], 1);
        for node in &pair.cluster.nodes {
            let raw = Raw::node(node);
            let read = raw.get(&format!("{at}?consistency=linearizable")).await;
            let read = read.expect(200).json;
            assert_eq!(
                (&read["version"], &read["value"]),
                (&json!(1), &json!("reborn"))
            );
            assert_error(&raw.get(&format!("{at}?version=2")).await, 404, "not_found");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn lists_are_sorted_filtered_and_paged() {
    let pair = Pair::start().await;
    let [(_, leader), _] = pair.admins();
    for n in (0..25).rev() {
        let body = json!({"name": format!("page/{n:02}"), "value": "x"});
        leader.post("/v1/secrets", &body).await.expect(201);
    }
    for name in ["page", "page-x", "pagf", "other"] {
        let body = json!({"name": name, "value": "x"});
        leader.post("/v1/secrets", &body).await.expect(201);
    }
    let role = json!({"name": "lister", "permissions": [{"action": "list", "path": "page/0*"}]});
    leader.post("/v1/roles", &role).await.expect(201);
    let body = json!({"name": "lister", "role": "lister"});
    let token = leader.post("/v1/tokens", &body).await.expect(201);
    let token = token.json["token"].as_str().unwrap().to_owned();
    for (_, admin) in pair.admins() {
        let all = admin.get("/v1/secrets").await.expect(200);
        assert_fields(&all.json, &["secrets", "next_after"]);
        assert_eq!(all.json["next_after"], Value::Null);
        let found = names(&all, "secrets");
        assert_eq!(found.len(), 29);
        assert!(found.is_sorted());
        all.json["secrets"]
            .as_array()
            .unwrap()
            .iter()
            .for_each(|row| assert_fields(row, &ROW));
        let some = admin.get("/v1/secrets?prefix=page/").await.expect(200);
        assert_eq!(names(&some, "secrets").len(), 25);
        // The same query, encoded.
        let some = admin.get("/v1/secrets?prefix=page%2F1").await.expect(200);
        assert_eq!(names(&some, "secrets").len(), 10);
        let mut after = String::new();
        let mut walked = Vec::new();
        loop {
            let page = format!("/v1/secrets?prefix=page/&limit=10{after}");
            let page = admin.get(&page).await.expect(200);
            walked.extend(names(&page, "secrets"));
            let Some(next) = page.json["next_after"].as_str() else {
                break;
            };
            assert_eq!(Some(next), walked.last().map(String::as_str));
            after = format!("&after={next}");
        }
        let expected: Vec<String> = (0..25).map(|n| format!("page/{n:02}")).collect();
        assert_eq!(walked, expected);
        for (query, count) in [
            ("prefix=nothing", 0),
            ("after=zzz", 0),
            ("after=0", 29),
            ("prefix=page/&after=a", 25),
            ("prefix=page/&after=q", 0),
            ("limit=1000", 29),
            ("limit=99999999", 29),
        ] {
            let page = admin.get(&format!("/v1/secrets?{query}")).await.expect(200);
            assert_eq!(names(&page, "secrets").len(), count, "{query}");
        }
    }
    for (place, _) in pair.admins().iter().enumerate() {
        let raw = Raw::node(&pair.cluster.nodes[pair.places[place]]).token(&token);
        let seen = raw.get("/v1/secrets").await.expect(200);
        assert_eq!(names(&seen, "secrets").len(), 10, "{}", seen.text);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn automatic_secrets_get_values_and_keep_them_from_those_who_may_not_read() {
    let pair = Pair::start().await;
    for (place, admin) in pair.admins() {
        let name = format!("{place}/auto");
        let body = json!({"name": name, "kind": "automatic", "rotation_interval_secs": 3600});
        let made = admin.post("/v1/secrets", &body).await.expect(201).json;
        assert_fields(&made, &["name", "kind", "version", "value", "created_at"]);
        assert_eq!(made["kind"], "automatic");
        let value = made["value"].as_str().unwrap();
        assert!(value.len() == 32 && value.chars().all(|c| c.is_ascii_alphanumeric()));
        let read = admin
            .get(&format!("/v1/secrets/{name}?consistency=linearizable"))
            .await;
        assert_eq!(read.expect(200).json["value"], value);
        let list = admin.get(&format!("/v1/secrets?prefix={name}")).await;
        let row = &list.expect(200).json["secrets"][0];
        assert_eq!(row["rotation_interval_secs"], 3600);
        assert_time(&row["next_rotation_at"]);

        // A field, a length, a set of characters; other fields stay as they came.
        let body = json!({"name": format!("{place}/pair"), "kind": "automatic",
            "rotation_interval_secs": 60, "generator": {"field": "password", "length": 100,
            "charset": "äb-"}});
        let made = admin.post("/v1/secrets", &body).await.expect(201).json;
        let password = made["data"]["password"].as_str().unwrap().to_owned();
        assert_eq!(password.chars().count(), 100);
        assert!(password.chars().all(|c| "äb-".contains(c)), "{password}");
        let valid = json!({"value": password});
        let path = format!("/v1/secrets/{place}/pair/verify?consistency=linearizable");
        let verified = admin.post(&path, &valid).await;
        assert_eq!(
            verified.expect(200).json,
            json!({"valid": true, "version": 1})
        );
        let body = json!({"name": format!("{place}/user"), "kind": "automatic",
            "rotation_interval_secs": 60, "generator": {"field": "password", "length": 8},
            "data": {"username": "root"}});
        admin.post("/v1/secrets", &body).await.expect(201);
        let read = admin
            .get(&format!(
                "/v1/secrets/{place}/user?consistency=linearizable"
            ))
            .await;
        let data = read.expect(200).json["data"].clone();
        assert_fields(&data, &["username", "password"]);
        assert_eq!(data["password"].as_str().unwrap().len(), 8);
        // A value given is the value; the answer needs no copy of it.
        let body = json!({"name": format!("{place}/given"), "kind": "automatic",
            "rotation_interval_secs": 60, "value": "mine"});
        let made = admin.post("/v1/secrets", &body).await.expect(201).json;
        assert_fields(&made, &["name", "kind", "version", "created_at"]);

        // Who may not read does not see what was generated, not even once.
        let outside = admin.from("127.0.0.2");
        let body = json!({"name": format!("{place}/blind"), "kind": "automatic",
            "rotation_interval_secs": 60});
        let made = outside.post("/v1/secrets", &body).await.expect(201).json;
        assert_fields(
            &made,
            &["name", "kind", "version", "created_at", "value_omitted"],
        );
        assert_eq!(made["value_omitted"], true);
        let read = admin
            .get(&format!(
                "/v1/secrets/{place}/blind?consistency=linearizable"
            ))
            .await;
        assert_eq!(read.expect(200).json["value"].as_str().unwrap().len(), 32);

        for bad in [
            json!({"kind": "automatic"}),
            json!({"kind": "automatic", "rotation_interval_secs": 0}),
            json!({"kind": "automatic", "rotation_interval_secs": u64::MAX}),
            json!({"kind": "automatic", "rotation_interval_secs": 60, "generator": {"length": 0}}),
            json!({"kind": "automatic", "rotation_interval_secs": 60, "generator": {"length": 4097}}),
            json!({"kind": "automatic", "rotation_interval_secs": 60, "generator": {"length": 4_294_967_296_u64}}),
            json!({"kind": "automatic", "rotation_interval_secs": 60, "generator": {"charset": ""}}),
            json!({"kind": "automatic", "rotation_interval_secs": 60, "generator": {"charset": "aaa"}}),
            json!({"kind": "automatic", "rotation_interval_secs": 60, "generator": {"field": ""}}),
            json!({"kind": "manual", "value": "x", "rotation_interval_secs": 60}),
            json!({"kind": "manual", "value": "x", "generator": {}}),
            json!({"kind": "manual"}),
            json!({"kind": "other", "value": "x"}),
        ] {
            let mut body = bad;
            body["name"] = json!(format!("{place}/refused"));
            let refused = admin.post("/v1/secrets", &body).await;
            assert_error(&refused, 400, "invalid_request");
        }
        // Settings of rotation make no sense for a manual secret, later either.
        let body = json!({"name": format!("{place}/manual"), "value": "x"});
        admin.post("/v1/secrets", &body).await.expect(201);
        let path = format!("/v1/secrets/{place}/manual");
        let refused = admin
            .put(&path, &json!({"rotation_interval_secs": 5}))
            .await;
        assert_error(&refused, 400, "invalid_request");
        let row = admin
            .put(
                &format!("/v1/secrets/{place}/auto"),
                &json!({"rotation_interval_secs": 7200}),
            )
            .await;
        assert_eq!(row.expect(200).json["rotation_interval_secs"], 7200);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn versions_are_trimmed_and_superseded_ones_verify_inside_their_grace() {
    let pair = Pair::start().await;
    for (place, admin) in pair.admins() {
        let at = format!("/v1/secrets/{place}/v");
        let linear = "consistency=linearizable";
        let body = json!({"name": format!("{place}/v"), "value": "v1", "max_versions": 3});
        admin.post("/v1/secrets", &body).await.expect(201);
        for n in 2..=5 {
            let body = json!({"value": format!("v{n}"), "cas": n - 1});
            admin.put(&at, &body).await.expect(200);
        }
        for n in 1..=5 {
            let read = admin.get(&format!("{at}?version={n}&{linear}")).await;
            if n < 3 {
                assert_error(&read, 404, "not_found");
            } else {
                assert_eq!(read.expect(200).json["value"], format!("v{n}"));
            }
        }
        let verify = async |value: &str| {
            let path = format!("{at}/verify?{linear}");
            let answer = admin.post(&path, &json!({"value": value})).await;
            let answer = answer.expect(200).json;
            assert_fields(&answer, &["valid", "version"]);
            (
                answer["valid"].as_bool().unwrap(),
                answer["version"].as_u64().unwrap(),
            )
        };
        // No grace unless asked.
        assert_eq!(verify("v5").await, (true, 5));
        assert_eq!(verify("v4").await, (false, 5));
        assert_eq!(verify("").await, (false, 5));
        admin
            .put(&at, &json!({"value": "v6", "grace_period_secs": 2}))
            .await
            .expect(200);
        assert_eq!(verify("v6").await, (true, 6));
        assert_eq!(verify("v5").await, (true, 5));
        assert_eq!(verify("v4").await, (false, 6));
        tokio::time::sleep(Duration::from_millis(2_300)).await;
        assert_eq!(verify("v5").await, (false, 6));
        assert_eq!(verify("v6").await, (true, 6));
        // A manual secret's superseded version stays readable by number.
        let read = admin.get(&format!("{at}?version=5&{linear}")).await;
        assert_eq!(read.expect(200).json["value"], "v5");
        // Fewer versions take the others away at once.
        admin
            .put(&at, &json!({"max_versions": 1}))
            .await
            .expect(200);
        let gone = admin.get(&format!("{at}?version=5&{linear}")).await;
        assert_error(&gone, 404, "not_found");

        // Of an automatic secret a superseded version goes when its grace ends, unless it is kept.
        for (name, keep) in [("gone", false), ("kept", true)] {
            let at = format!("/v1/secrets/{place}/{name}");
            let body = json!({"name": format!("{place}/{name}"), "kind": "automatic", "value": "a1",
                "rotation_interval_secs": 3600, "grace_period_secs": 1, "keep_superseded": keep});
            admin.post("/v1/secrets", &body).await.expect(201);
            admin.put(&at, &json!({"value": "a2"})).await.expect(200);
            let old = format!("{at}?version=1&{linear}");
            admin.get(&old).await.expect(200);
            tokio::time::sleep(Duration::from_millis(2_500)).await;
            let read = admin.get(&old).await;
            if keep {
                assert_eq!(read.expect(200).json["value"], "a1");
            } else {
                assert_error(&read, 404, "not_found");
            }
            assert_eq!(admin.get(&at).await.expect(200).json["value"], "a2");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_batch_leaves_out_what_is_missing() {
    let pair = Pair::start().await;
    for (place, admin) in pair.admins() {
        for n in 0..3 {
            let body = json!({"name": format!("{place}/b{n}"), "data": {"n": n}});
            admin.post("/v1/secrets", &body).await.expect(201);
        }
        let path = "/v1/batch/secrets?consistency=linearizable";
        let all = json!({"names": [format!("{place}/b2"), "not/there", format!("{place}/b0")]});
        let read = admin.post(path, &all).await.expect(200);
        assert_fields(&read.json, &["secrets"]);
        let rows = read.json["secrets"].as_array().unwrap();
        assert_eq!(rows.len(), 2);
        for row in rows {
            assert_fields(row, &["name", "kind", "version", "data", "created_at"]);
        }
        assert_eq!(rows[0]["data"], json!({"n": 2}));
        let twice = json!({"names": [format!("{place}/b1"), format!("{place}/b1")]});
        let once = admin.post(path, &twice).await.expect(200);
        assert_eq!(once.json["secrets"].as_array().map(Vec::len), Some(1));
        let none = admin.post(path, &json!({"names": []})).await.expect(200);
        assert_eq!(none.json, json!({"secrets": []}));
        let most: Vec<String> = (0..256).map(|n| format!("not/{n}")).collect();
        admin.post(path, &json!({"names": most})).await.expect(200);
        let over: Vec<String> = (0..257).map(|n| format!("not/{n}")).collect();
        let refused = admin.post(path, &json!({"names": over})).await;
        assert_error(&refused, 400, "invalid_request");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn roles_are_managed_by_admins() {
    let pair = Pair::start().await;
    let role_fields = ["name", "description", "is_admin", "permissions"];
    for (place, admin) in pair.admins() {
        let permissions =
            json!([{"action": "create", "path": "app/*"}, {"action": "*", "path": "own/one"}]);
        let role = json!({"name": place, "description": "d", "is_admin": false,
            "permissions": permissions});
        let made = admin.post("/v1/roles", &role).await.expect(201);
        assert_fields(&made.json, &role_fields);
        assert_eq!(made.json, role);
        assert_error(&admin.post("/v1/roles", &role).await, 409, "already_exists");
        let path = format!("/v1/roles/{place}");
        assert_eq!(admin.get(&path).await.expect(200).json, role);
        let list = admin.get("/v1/roles").await.expect(200);
        assert_fields(&list.json, &["roles", "next_after"]);
        let found = names(&list, "roles");
        assert!(found.is_sorted() && found.contains(&"admin".to_owned()));
        assert!(found.contains(&place.to_owned()));
        let page = admin.get("/v1/roles?limit=1").await.expect(200);
        assert_eq!(page.json["next_after"], "admin");
        let page = admin
            .get(&format!("/v1/roles?prefix={place}"))
            .await
            .expect(200);
        assert_eq!(names(&page, "roles"), [place]);

        // What the role may do is decided by its permissions as they are now.
        let token = json!({"name": place, "role": place});
        let token = admin.post("/v1/tokens", &token).await.expect(201);
        let raw = Raw::node(&pair.cluster.nodes[0]).token(token.json["token"].as_str().unwrap());
        let app = json!({"name": format!("app/{place}"), "value": "x"});
        let own = json!({"name": "own/one", "value": "x"});
        raw.post("/v1/secrets", &app).await.expect(201);
        for refused in [
            raw.put(&format!("/v1/secrets/app/{place}"), &json!({"value": "y"}))
                .await,
            raw.delete(&format!("/v1/secrets/app/{place}")).await,
            raw.post("/v1/secrets", &json!({"name": "apple", "value": "x"}))
                .await,
            raw.post("/v1/secrets", &json!({"name": "own/one/x", "value": "x"}))
                .await,
        ] {
            assert_error(&refused, 403, "permission_denied");
        }
        raw.post("/v1/secrets", &own).await.expect(201);
        raw.put("/v1/secrets/own/one", &json!({"value": "y"}))
            .await
            .expect(200);
        raw.delete("/v1/secrets/own/one").await.expect(204);
        let set = json!({"permissions": [{"action": "delete", "path": "*"}]});
        let changed = admin.put(&format!("{path}/permissions"), &set).await;
        let changed = changed.expect(200);
        assert_fields(&changed.json, &role_fields);
        assert_eq!(changed.json["permissions"], set["permissions"]);
        for node in &pair.cluster.nodes {
            let raw = Raw::node(node).token(token.json["token"].as_str().unwrap());
            let refused = raw
                .post("/v1/secrets", &json!({"name": "app/z", "value": "x"}))
                .await;
            assert_error(&refused, 403, "permission_denied");
        }
        raw.delete(&format!("/v1/secrets/app/{place}"))
            .await
            .expect(204);

        assert_error(&admin.delete(&path).await, 409, "in_use");
        admin
            .delete(&format!("/v1/tokens/{place}"))
            .await
            .expect(204);
        admin.delete(&path).await.expect(204);
        for gone in [
            admin.get(&path).await,
            admin.delete(&path).await,
            admin.put(&format!("{path}/permissions"), &set).await,
        ] {
            assert_error(&gone, 404, "not_found");
        }
        let refused = json!({"name": "x", "role": place});
        assert_error(&admin.post("/v1/tokens", &refused).await, 404, "not_found");

        // The role admin cannot go, change, or be mimicked.
        for refused in [
            admin.delete("/v1/roles/admin").await,
            admin.put("/v1/roles/admin/permissions", &set).await,
            admin.post("/v1/roles", &json!({"name": "Admin"})).await,
            admin.post("/v1/roles", &json!({"name": "a/b"})).await,
            admin.post("/v1/roles", &json!({"name": ""})).await,
            admin.delete("/v1/roles/%61dmin").await,
        ] {
            assert_error(&refused, 400, "invalid_request");
        }
        assert_error(
            &admin.post("/v1/roles", &json!({"name": "admin"})).await,
            409,
            "already_exists",
        );
        for bad in [
            json!([{"action": "destroy", "path": "*"}]),
            json!([{"action": "read", "path": ""}]),
            json!([{"action": "read", "path": "a/*/b"}]),
            json!([{"action": "read", "path": "a/../b"}]),
            json!([{"action": "read"}]),
            json!([{"action": "read", "path": "a", "deny": true}]),
            json!("*"),
        ] {
            let role = json!({"name": "bad", "permissions": bad});
            assert_error(
                &admin.post("/v1/roles", &role).await,
                400,
                "invalid_request",
            );
        }
        assert_error(&admin.get("/v1/roles/bad").await, 404, "not_found");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn tokens_are_shown_once_bounded_and_revoked_everywhere_at_once() {
    let pair = Pair::start().await;
    let [(_, leader), _] = pair.admins();
    leader
        .post(
            "/v1/roles",
            &json!({"name": "ops", "permissions": [{"action": "*", "path": "*"}]}),
        )
        .await
        .expect(201);
    for (place, admin) in pair.admins() {
        let at_every_node = async |token: &str, status: u16| {
            for node in &pair.cluster.nodes {
                let answer = Raw::node(node).token(token).get("/v1/secrets").await;
                assert_eq!(answer.status, status, "{}", answer.text);
            }
        };
        let plain = format!("{place}-plain");
        let body = json!({"name": plain, "role": "ops"});
        let made = admin.post("/v1/tokens", &body).await.expect(201).json;
        assert_fields(&made, &["name", "role", "token", "expires_at"]);
        assert_eq!(made["expires_at"], Value::Null);
        let token = made["token"].as_str().unwrap().to_owned();
        let random = token.strip_prefix("srt_").unwrap();
        assert!(random.len() >= 43, "256 bits: {}", random.len());
        assert_error(
            &admin.post("/v1/tokens", &body).await,
            409,
            "already_exists",
        );
        at_every_node(&token, 200).await;
        // Both headers, whatever the case of the scheme; not another scheme.
        let raw = Raw::node(&pair.cluster.nodes[0]);
        for (header, value) in [
            ("X-Vault-Token", token.clone()),
            ("authorization", format!("bearer {token}")),
        ] {
            raw.header(header, &value)
                .get("/v1/secrets")
                .await
                .expect(200);
        }
        let list = admin.get("/v1/tokens").await.expect(200);
        assert_fields(&list.json, &["tokens", "next_after"]);
        assert!(!list.text.contains("srt_") && !list.text.contains(random));
        let rows = list.json["tokens"].as_array().unwrap();
        let row = rows.iter().find(|row| row["name"] == plain).unwrap();
        assert_eq!(
            (&row["role"], &row["revoked"]),
            (&json!("ops"), &json!(false))
        );
        assert_eq!(row["expires_at"], Value::Null);
        assert_time(&row["created_at"]);
        assert_time(&row["last_used_at"]);
        assert!(fields(row).iter().all(|field| !field.contains("token")));
        assert!(rows.iter().any(|row| row["name"] == "bootstrap-admin"));

        // Revoked at one node: no node takes it any more once the answer is here.
        admin
            .delete(&format!("/v1/tokens/{plain}"))
            .await
            .expect(204);
        at_every_node(&token, 401).await;
        assert_error(
            &admin.delete(&format!("/v1/tokens/{plain}")).await,
            404,
            "not_found",
        );
        let list = admin.get(&format!("/v1/tokens?prefix={plain}")).await;
        assert_eq!(list.expect(200).json["tokens"][0]["revoked"], true);

        let expiring = json!({"name": format!("{place}-ttl"), "role": "ops", "ttl_secs": 2});
        let made = admin.post("/v1/tokens", &expiring).await.expect(201).json;
        assert_time(&made["expires_at"]);
        let token = made["token"].as_str().unwrap().to_owned();
        at_every_node(&token, 200).await;
        tokio::time::sleep(Duration::from_millis(2_200)).await;
        at_every_node(&token, 401).await;

        // Host bits and IPv4-mapped forms are made canonical.
        let bound = json!({"name": format!("{place}-bound"), "role": "ops",
            "bound_cidrs": ["127.0.0.9/29", "::ffff:192.0.2.1"]});
        let made = admin.post("/v1/tokens", &bound).await.expect(201).json;
        let token = made["token"].as_str().unwrap().to_owned();
        let raw = Raw::node(&pair.cluster.nodes[1]).token(&token);
        let refused = raw.get("/v1/secrets").await;
        assert_error(&refused, 403, "address_not_allowed");
        raw.from("127.0.0.10").get("/v1/secrets").await.expect(200);
        let list = admin.get(&format!("/v1/tokens?prefix={place}-bound")).await;
        assert_eq!(
            list.expect(200).json["tokens"][0]["bound_cidrs"],
            json!(["127.0.0.8/29", "192.0.2.1/32"])
        );

        // Uses are counted by the cluster: any node may serve any of them, and not one more.
        let counted = json!({"name": format!("{place}-uses"), "role": "ops", "num_uses": 3});
        let made = admin.post("/v1/tokens", &counted).await.expect(201).json;
        let token = made["token"].as_str().unwrap().to_owned();
        at_every_node(&token, 200).await;
        at_every_node(&token, 401).await;
        let counted = json!({"name": format!("{place}-race"), "role": "ops", "num_uses": 5});
        let made = admin.post("/v1/tokens", &counted).await.expect(201).json;
        let token = made["token"].as_str().unwrap().to_owned();
        let tries = (0..12).map(|n| {
            let raw = Raw::node(&pair.cluster.nodes[n % 3]).token(&token);
            tokio::spawn(async move { raw.get("/v1/secrets").await.status })
        });
        let mut served = 0;
        for one in tries.collect::<Vec<_>>() {
            match one.await.unwrap() {
                200 => served += 1,
                401 => {}
                other => panic!("{other}"),
            }
        }
        assert_eq!(served, 5);

        for bad in [
            json!({"ttl_secs": 0}),
            json!({"ttl_secs": u64::MAX}),
            json!({"ttl_secs": -1}),
            json!({"ttl_secs": 1.5}),
            json!({"num_uses": 0}),
            json!({"bound_cidrs": ["10.0.0.0/33"]}),
            json!({"bound_cidrs": ["nonsense"]}),
            json!({"bound_cidrs": [""]}),
            json!({"bound_cidrs": "10.0.0.0/8"}),
        ] {
            let mut body = bad;
            body["name"] = json!("bad");
            body["role"] = json!("ops");
            let refused = admin.post("/v1/tokens", &body).await;
            assert_error(&refused, 400, "invalid_request");
        }
        let list = admin.get("/v1/tokens?prefix=bad").await.expect(200);
        assert_eq!(list.json["tokens"], json!([]));
    }
}

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

        let view = admin.get("/v1/admin/cluster").await.expect(200).json;
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
        assert!(series.starts_with("strongroom_"), "{line}");
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
