//! What a rotation does to values.

use super::*;

#[tokio::test(flavor = "multi_thread")]
async fn no_reader_gets_a_value_that_verify_refuses() {
    let _alone = alone().await;
    let cluster = Cluster::start_with(3, &[POLL]).await;
    let settings = json!({"rotation_interval_secs": 2, "grace_period_secs": 1});
    create(&cluster.admin(0), "r/a", settings).await.expect(201);
    for node in &cluster.nodes {
        wait_version(&node.api(), "r/a", 1).await;
    }
    let (stop, run) = (Arc::new(AtomicBool::new(false)), long_or(60));
    let readers: Vec<_> = (0..9)
        .map(|n| {
            let api = cluster.nodes[n % 3].api();
            tokio::spawn(reader(api, "r/a".to_owned(), Arc::clone(&stop)))
        })
        .collect();
    tokio::time::sleep(run).await;
    stop.store(true, Ordering::Relaxed);
    let mut all = Seen::default();
    for task in readers {
        let seen = task.await.unwrap();
        all.reads += seen.reads;
        all.refused.extend(seen.refused);
        all.slowest = all.slowest.max(seen.slowest);
        all.times.extend(seen.times);
        for (version, value) in seen.values {
            let known = all.values.entry(version).or_insert(value.clone());
            assert_eq!(*known, value, "one value at all nodes");
        }
    }
    println!(
        "{} reads of {} versions in {run:?}, {} refused; the slowest read with its check took {:?}",
        all.reads,
        all.times.len(),
        all.refused.len(),
        all.slowest
    );
    // Who takes longer than the grace may be refused, and rightly so: a second, but for what a node may
    // be behind when it hands out the value.
    all.refused
        .retain(|took| *took < Duration::from_millis(900));
    assert!(all.refused.is_empty(), "{:?}", all.refused);
    let times: Vec<Value> = all.times.into_values().collect();
    let intervals = intervals(&times);
    println!("intervals: {intervals:.2?}");
    assert!(intervals.iter().all(|secs| *secs >= 2.0));
    // How punctual it is, a busy machine decides: once on time is what tells it from one that is not.
    assert!(intervals.iter().filter(|secs| **secs < 4.0).count() > intervals.len() / 2);
    let distinct: BTreeSet<&String> = all.values.values().collect();
    assert_eq!(distinct.len(), all.values.len());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rotation_on_request_shows_the_value_to_who_may_read() {
    let _alone = alone().await;
    let cluster = Cluster::start_with(3, &[("VAULT_ALLOWED_IPS", "127.0.0.1")]).await;
    let admin = cluster.admin(0);
    let hour = json!({"rotation_interval_secs": 3_600});
    create(&admin, "r/b", hour).await.expect(201);
    let before = row(&admin, "r/b").await;
    tokio::time::sleep(Duration::from_millis(1_100)).await;
    // At each node, with and without a body.
    let mut values = BTreeSet::new();
    for node in 0..3 {
        let raw = Raw::node(&cluster.nodes[node]).token(TOKEN);
        for body in [None, Some("{}")] {
            let path = format!("{}/rotate", at("r/b"));
            let rotated = match body {
                None => raw.plain("POST", &path).await,
                Some(body) => raw.text("POST", &path, body).await,
            };
            let rotated = rotated.expect(200).json;
            values.insert(rotated["value"].as_str().unwrap().to_owned());
            assert_eq!(rotated["version"], 1 + values.len());
            assert_eq!(rotated["kind"], "automatic");
            assert_eq!(rotated["name"], "r/b");
            assert!(rotated["created_at"].is_string());
            let now = format!("{}?consistency=linearizable", at("r/b"));
            assert_eq!(admin.get(&now).await.expect(200).json, rotated);
        }
    }
    assert_eq!(values.len(), 6);
    let after = row(&admin, "r/b").await;
    // The next one counts from the last.
    let moved = between(&before["next_rotation_at"], &after["next_rotation_at"]);
    assert!((1.0..60.0).contains(&moved), "{before} {after}");
    // An address that may not read rotates, and sees no value.
    let outside = Raw::node(&cluster.nodes[1]).from("127.0.0.2").token(TOKEN);
    let path = format!("{}/rotate", at("r/b"));
    let omitted = outside.post(&path, &json!({})).await.expect(200).json;
    assert_eq!(omitted["value_omitted"], true);
    assert!(omitted["value"].is_null() && omitted["data"].is_null());
    assert_eq!(omitted["version"], 8);
    // Nobody else rotates.
    let role = |name: &str, action: &str, path: &str| json!({"name": name, "permissions": [{"action": action, "path": path}]});
    for (name, action, path, status) in [
        ("updates", "update", "r/*", 403),
        ("elsewhere", "rotate", "x/*", 403),
        ("rotates", "rotate", "r/*", 200),
    ] {
        admin
            .post("/v1/roles", role(name, action, path))
            .await
            .expect(201);
        let token = json!({"name": name, "role": name});
        let token = admin.post("/v1/tokens", token).await.expect(201).json;
        let api = cluster.nodes[2].api();
        let api = api.with_token(token["token"].as_str().unwrap());
        let answer = api.post(&format!("{}/rotate", at("r/b")), json!({})).await;
        assert_eq!(answer.status, status, "{name}: {}", answer.text);
        // The right to rotate is no other right.
        let put = api.put(&at("r/b"), json!({"value": "x"})).await;
        assert_eq!(put.status, if action == "update" { 200 } else { 403 });
    }
    // What does not rotate.
    let manual = json!({"name": "r/manual", "value": "v"});
    admin.post("/v1/secrets", manual).await.expect(201);
    let refused = admin.post("/v1/secrets/r/manual/rotate", json!({})).await;
    assert_eq!(refused.expect(400).code(), "invalid_request");
    let read = admin.get("/v1/secrets/r/manual").await.expect(200);
    assert_eq!(read.json["version"], 1);
    let none = admin.post("/v1/secrets/r/none/rotate", json!({})).await;
    none.expect(404);
    let odd = admin
        .post(&path, json!({"value": "mine"}))
        .await
        .expect(400);
    assert!(odd.text.contains("value"), "{}", odd.text);
    // In the audit trail: the attempt, and how it ended.
    let rotations: Vec<Value> = audit_records(&cluster.nodes[1])
        .into_iter()
        .filter(|record| record["client_ip"] == "127.0.0.2")
        .collect();
    let words: Vec<_> = rotations.iter().map(|record| &record["outcome"]).collect();
    assert_eq!(words, ["attempted", "done"], "{rotations:?}");
    assert_eq!(rotations[0]["target"], "secret/r/b");
}

#[tokio::test(flavor = "multi_thread")]
async fn generators_change_one_field() {
    let _alone = alone().await;
    let cluster = Cluster::start(1).await;
    let admin = cluster.admin(0);
    let settings = json!({
        "rotation_interval_secs": 3_600,
        "data": {"username": "app", "port": 5432, "nested": {"a": [1, null]}},
        "generator": {"field": "password", "length": 20, "charset": "äß€x"},
    });
    let made = create(&admin, "g/a", settings).await.expect(201).json;
    let rotated = admin.post("/v1/secrets/g/a/rotate", json!({})).await;
    let rotated = rotated.expect(200).json;
    let mut passwords = BTreeSet::new();
    for answer in [&made, &rotated] {
        let data = &answer["data"];
        assert_eq!(data["username"], "app");
        assert_eq!(data["port"], 5432);
        assert_eq!(data["nested"], json!({"a": [1, null]}));
        assert_eq!(data.as_object().unwrap().len(), 4);
        let password = data["password"].as_str().unwrap();
        assert_eq!(password.chars().count(), 20);
        assert!(password.chars().all(|c| "äß€x".contains(c)), "{password}");
        passwords.insert(password.to_owned());
    }
    assert_eq!(passwords.len(), 2);
    // What people write carries over from then on, and a changed generator counts from the next.
    let data = json!({"username": "other", "password": "by hand"});
    let change = json!({"data": data, "generator": {"length": 5, "charset": "01"}});
    admin.put("/v1/secrets/g/a", change).await.expect(200);
    let read = admin.get("/v1/secrets/g/a").await.expect(200).json;
    assert_eq!(read["data"], data);
    let rotated = admin.post("/v1/secrets/g/a/rotate", json!({})).await;
    let data = rotated.expect(200).json["data"].take();
    assert_eq!(data["username"], "other");
    assert_eq!(data.as_object().unwrap().len(), 2);
    let password = data["password"].as_str().unwrap();
    assert_eq!(password.len(), 5);
    assert!(password.chars().all(|c| "01".contains(c)), "{password}");
    // It is the generated field that is verified.
    let verify = admin.post("/v1/secrets/g/a/verify", json!({"value": password}));
    assert_eq!(
        verify.await.expect(200).json,
        json!({"valid": true, "version": 4})
    );
    // By default: 32 letters and digits in `value`.
    let plain = json!({"rotation_interval_secs": 3_600});
    let made = create(&admin, "g/b", plain).await.expect(201).json;
    let value = made["value"].as_str().unwrap();
    assert_eq!(value.len(), 32);
    assert!(value.chars().all(|c| c.is_ascii_alphanumeric()), "{value}");
    // A field moved: the old one stays as it was.
    let change = json!({"generator": {"field": "other"}});
    admin.put("/v1/secrets/g/b", change).await.expect(200);
    let rotated = admin.post("/v1/secrets/g/b/rotate", json!({})).await;
    let data = rotated.expect(200).json["data"].take();
    assert_eq!(data["value"], value);
    assert_eq!(data["other"].as_str().unwrap().len(), 32);
    for bad in [
        json!({"length": 0}),
        json!({"length": 4_097}),
        json!({"charset": ""}),
        json!({"field": ""}),
        json!({"size": 1}),
    ] {
        let settings = json!({"rotation_interval_secs": 3_600, "generator": bad});
        let refused = create(&admin, "g/bad", settings).await;
        assert_eq!(refused.expect(400).code(), "invalid_request");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn superseded_material_goes_when_its_grace_ends() {
    let _alone = alone().await;
    let cluster = Cluster::start_with(3, &[POLL]).await;
    let admin = cluster.admin(0);
    let graceful = json!({"rotation_interval_secs": 3_600, "grace_period_secs": 15});
    let mut kept = graceful.clone();
    kept["keep_superseded"] = json!(true);
    let immediate = json!({"rotation_interval_secs": 3_600});
    let mut first = BTreeMap::new();
    for (name, settings) in [("s/gone", graceful), ("s/kept", kept), ("s/now", immediate)] {
        let made = create(&admin, name, settings).await.expect(201).json;
        first.insert(name, made["value"].as_str().unwrap().to_owned());
    }
    let rotated = Instant::now();
    for name in first.keys() {
        let answer = admin.post(&format!("{}/rotate", at(name)), json!({})).await;
        answer.expect(200);
        for node in &cluster.nodes {
            wait_version(&node.api(), name, 2).await;
        }
    }
    let valid = async |node: usize, name: &str| {
        let api = cluster.nodes[node].api();
        let body = json!({"value": first[name]});
        let answer = api.post(&format!("{}/verify", at(name)), body).await;
        answer.expect(200).json["valid"] == true
    };
    for node in 0..3 {
        assert!(valid(node, "s/gone").await && valid(node, "s/kept").await);
        assert!(!valid(node, "s/now").await, "there is no grace");
        let api = cluster.nodes[node].api();
        let read = api.get("/v1/secrets/s/gone?version=1").await;
        assert_eq!(read.expect(200).json["value"], first["s/gone"]);
    }
    assert!(
        rotated.elapsed() < Duration::from_secs(15),
        "too slow to tell"
    );
    tokio::time::sleep(Duration::from_millis(17_500)).await;
    for node in 0..3 {
        for name in first.keys() {
            assert!(!valid(node, name).await, "{name}");
            let read = cluster.nodes[node].api();
            let read = read.get(&format!("{}?version=1", at(name))).await;
            match *name {
                "s/kept" => assert_eq!(read.expect(200).json["value"], first["s/kept"]),
                _ => assert_eq!(read.expect(404).code(), "not_found"),
            }
            let current = cluster.nodes[node].api().get(&at(name)).await;
            assert_eq!(current.expect(200).json["version"], 2);
        }
    }
}
