//! Roles and tokens.

use super::*;

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

/// Neither the rows nor the cursor of a list name what the role may not see.
#[tokio::test(flavor = "multi_thread")]
async fn lists_tell_nothing_of_what_a_role_may_not_see() {
    let pair = Pair::start().await;
    let [(_, admin), _] = pair.admins();
    for name in ["a/1", "b/hidden", "c/1", "d/hidden", "e/1", "f/hidden"] {
        let body = json!({"name": name, "value": "v"});
        admin.post("/v1/secrets", &body).await.expect(201);
    }
    let rules = ["a/*", "c/*", "e/*"].map(|path| json!({"action": "read", "path": path}));
    let role = json!({"name": "some", "permissions": rules});
    admin.post("/v1/roles", &role).await.expect(201);
    let token = json!({"name": "some", "role": "some"});
    let made = admin.post("/v1/tokens", &token).await.expect(201).json;
    let raw = Raw::node(&pair.cluster.nodes[1]).token(made["token"].as_str().unwrap());
    let (mut after, mut seen) = (String::new(), Vec::new());
    loop {
        let page = raw.get(&format!("/v1/secrets?limit=1&after={after}")).await;
        let page = page.expect(200);
        assert!(!page.text.contains("hidden"), "{}", page.text);
        let rows = page.json["secrets"].as_array().unwrap();
        seen.extend(
            rows.iter()
                .map(|row| row["name"].as_str().unwrap().to_owned()),
        );
        match page.json["next_after"].as_str() {
            Some(next) => next.clone_into(&mut after),
            None => break,
        }
    }
    assert_eq!(seen, ["a/1", "c/1", "e/1"]);
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

        let expiring = json!({"name": format!("{place}-ttl"), "role": "ops", "ttl_secs": 10});
        let made = admin.post("/v1/tokens", &expiring).await.expect(201).json;
        assert_time(&made["expires_at"]);
        let token = made["token"].as_str().unwrap().to_owned();
        at_every_node(&token, 200).await;
        tokio::time::sleep(Duration::from_millis(10_200)).await;
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
        // The audit trail's own words for who acts.
        for reserved in ["reader", "node", "-"] {
            let body = json!({"name": reserved, "role": "ops"});
            let refused = admin.post("/v1/tokens", &body).await;
            assert_error(&refused, 400, "invalid_request");
        }
        let list = admin.get("/v1/tokens?prefix=bad").await.expect(200);
        assert_eq!(list.json["tokens"], json!([]));
    }
}
