//! Generated values, versions and grace.

use super::*;

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
            .put(&at, &json!({"value": "v6", "grace_period_secs": 5}))
            .await
            .expect(200);
        assert_eq!(verify("v6").await, (true, 6));
        assert_eq!(verify("v5").await, (true, 5));
        assert_eq!(verify("v4").await, (false, 6));
        tokio::time::sleep(Duration::from_millis(5_300)).await;
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
                "rotation_interval_secs": 3600, "grace_period_secs": 5, "keep_superseded": keep});
            admin.post("/v1/secrets", &body).await.expect(201);
            admin.put(&at, &json!({"value": "a2"})).await.expect(200);
            let old = format!("{at}?version=1&{linear}");
            admin.get(&old).await.expect(200);
            tokio::time::sleep(Duration::from_millis(6_500)).await;
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
