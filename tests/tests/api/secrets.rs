//! Secrets, lists and batches.

use super::*;

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
