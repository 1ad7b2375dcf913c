//! Rotations that are applied to a PostgreSQL server, and what may be wrong with it.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::print_stdout
)]

#[path = "targets/tls.rs"]
mod tls;

#[path = "targets/trouble.rs"]
mod trouble;

use std::time::{Duration, Instant};

use rustix::process::Signal;
use serde_json::{Value, json};
use strongroom_tests::{
    alone,
    api::Api,
    canary::Hunt,
    cluster::Cluster,
    node::Node,
    postgres::{
        Postgres,
        gate::Step,
        setup::{FIRST, NAME, PATH, Setup, USER, login, make_role, rotate},
    },
    raw::audit_records,
    shim::FailingDisk,
};

async fn row(api: &Api) -> Value {
    let list = api.get(&format!("/v1/secrets?prefix={NAME}")).await;
    let mut rows = list.expect(200).json["secrets"].take();
    rows.get_mut(0).map(Value::take).unwrap_or_default()
}

/// Waits until the list says that no rotation is under way, or that one is.
async fn wait_pending(api: &Api, pending: bool) {
    let until = Instant::now() + Duration::from_secs(60);
    while row(api).await["rotation_pending"] != pending {
        assert!(Instant::now() < until);
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// Rotates until that works: a node offers nothing new just after it has begun to lead.
async fn rotated(setup: &Setup, node: usize) -> (u64, String) {
    let until = Instant::now() + Duration::from_secs(60);
    loop {
        let answer = rotate(&setup.cluster.admin(node)).await.unwrap();
        if answer.status == 200 {
            return login(&answer.json);
        }
        assert_eq!(answer.code(), "rotation_pending", "{}", answer.text);
        assert!(Instant::now() < until);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_password_is_in_effect_when_it_is_current() {
    let _alone = alone().await;
    let setup = Setup::start(3, &[]).await;
    setup.create(json!({"grace_period_secs": 600})).await;
    let listed = row(&setup.cluster.admin(1)).await;
    assert_eq!(
        (&listed["target"], &listed["rotation_pending"]),
        (&json!("orders"), &json!(false))
    );
    let (mut before, mut known) = (FIRST.to_owned(), vec![FIRST.to_owned()]);
    for version in 2..4 {
        // Whoever is asked, the leader does it.
        let (found, password) = rotated(&setup, version % 3).await;
        assert_eq!(found, version as u64);
        assert_eq!(password.len(), 32);
        assert!(setup.postgres.lets_in(USER, &password).await);
        assert!(!setup.postgres.lets_in(USER, &before).await);
        for node in 0..3 {
            let read = setup.wait_version(node, found).await;
            assert_eq!(read, password, "at node {node}");
        }
        let verify = |value: &str| json!({"value": value});
        let api = setup.cluster.nodes[0].api();
        for value in [&password, &before] {
            let verified = api.post(&format!("{PATH}/verify"), verify(value)).await;
            assert_eq!(verified.expect(200).json["valid"], true, "grace is kept");
        }
        known.push(password.clone());
        before = password;
    }
    // What the server was told is a verifier, and what it logs holds no password.
    let log = setup.postgres.log();
    assert!(log.contains("ALTER ROLE SESSION_USER PASSWORD 'SCRAM-SHA-256$"));
    assert!(!log.contains(&before));
    // Nor is any of them in a file of the nodes.
    assert_eq!(known.len(), 3);
    let hunt = Hunt::new(known.iter().map(|p| ("a password", p.as_str())));
    let (found, files, _) = hunt.in_files(setup.cluster.dir.path());
    assert_eq!((found, files > 10), (Vec::new(), true));
    let mut said = Vec::new();
    for node in &setup.cluster.nodes {
        assert!(!node.log_text().contains(USER), "{}", node.log_text());
        said.extend(audit_records(node));
    }
    let outcomes = |action: &str, outcome: &str| {
        let found = said
            .iter()
            .filter(|r| r["action"] == action && r["outcome"] == outcome);
        found.count()
    };
    assert_eq!(outcomes("target.apply", "attempted"), 2);
    assert_eq!(outcomes("target.apply", "done"), 2);
    assert!(outcomes("secret.rotate", "done") >= 2);
}

/// Whoever is asked may hear of the rotation that it has begun later than the leader does.
#[tokio::test(flavor = "multi_thread")]
async fn a_follower_that_is_behind_waits_for_what_it_has_begun() {
    let _alone = alone().await;
    let mut setup = Setup::prepare(3, &[]).await;
    let scratch = setup.cluster.dir.path().to_owned();
    let disks: Vec<FailingDisk> = (setup.cluster.nodes.iter_mut())
        .map(|node| {
            let dir = node.data_dir.join("log");
            FailingDisk::install(node, &scratch, &dir)
        })
        .collect();
    setup.cluster.nodes.iter_mut().for_each(Node::start);
    setup.cluster.wait_ready().await;
    setup.create(json!({})).await;
    let led = setup.cluster.leader().await;
    let (first, _) = rotated(&setup, led).await;
    let slow = (led + 1) % 3;
    disks[slow].slow_down(Duration::from_millis(700));
    let (version, password) = rotated(&setup, slow).await;
    assert_eq!(version, first + 1);
    disks[slow].heal();
    assert!(setup.postgres.lets_in(USER, &password).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_due_is_applied_by_the_worker() {
    let _alone = alone().await;
    let setup = Setup::start(1, &[]).await;
    setup.create(json!({"rotation_interval_secs": 2})).await;
    for version in 2..5 {
        let password = setup.wait_version(0, version).await;
        assert!(setup.postgres.lets_in(USER, &password).await);
    }
    let metrics = setup.cluster.nodes[0].api().get("/metrics").await;
    assert!(metrics.text.contains("strongroom_target_failures_total 0"));
    assert!(!metrics.text.contains("strongroom_target_rotations_total 0"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_login_is_proved_before_it_is_kept() {
    let setup = Setup::start(1, &[]).await;
    let refused = |more: Value| {
        let setup = &setup;
        async move {
            let answer = setup.try_create(FIRST, more).await.expect(400);
            assert_eq!(answer.code(), "invalid_request");
            answer.json["error"].as_str().unwrap().to_owned()
        }
    };
    let wrong = setup.try_create("another-password", json!({})).await;
    let wrong = wrong.expect(400).text;
    assert!(
        wrong.contains("refuses") && !wrong.contains("another"),
        "{wrong}"
    );
    for (more, word) in [
        (json!({"target": "nowhere"}), "no target"),
        (json!({"name": "other/orders"}), "no target"),
        (json!({"target": "a b"}), "name"),
        (json!({"data": {"username": USER}}), "password"),
        (json!({"data": {"password": FIRST}}), "username"),
        (
            json!({"data": {"username": 7, "password": FIRST}}),
            "username",
        ),
        (json!({"generator": {"field": "username"}}), "password"),
    ] {
        let said = refused(more.clone()).await;
        assert!(said.contains(word), "{more}: {said}");
    }
    let manual = json!({"name": "m", "value": "v", "target": "orders"});
    let api = setup.cluster.admin(0);
    api.post("/v1/secrets", manual).await.expect(400);
    api.get("/v1/secrets?prefix=db").await.expect(200);
    assert_eq!(row(&api).await, Value::Null, "nothing was made");

    setup.create(json!({})).await;
    let data = |password: &str| json!({"data": {"username": USER, "password": password}});
    api.put(PATH, data("another-password")).await.expect(400);
    api.put(PATH, json!({"target": "nowhere"}))
        .await
        .expect(400);
    api.put(PATH, json!({"target": "orders"})).await.expect(400);
    api.put(PATH, data(FIRST)).await.expect(200);
    assert_eq!(row(&api).await["version"], 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_target_may_come_later_and_go() {
    let setup = Setup::start(1, &[]).await;
    let api = setup.cluster.admin(0);
    let plain = json!({
        "name": NAME, "kind": "automatic", "rotation_interval_secs": 86_400, "value": "v",
    });
    api.post("/v1/secrets", plain).await.expect(201);
    let data = json!({"username": USER, "password": FIRST, "host": "db.example"});
    let given = api
        .put(PATH, json!({"target": "orders", "data": data}))
        .await;
    assert_eq!(given.expect(200).json["target"], "orders");
    let (version, password) = rotated(&setup, 0).await;
    assert_eq!(version, 3);
    assert!(setup.postgres.lets_in(USER, &password).await);
    let taken = api.put(PATH, json!({"target": null})).await.expect(200);
    assert_eq!(taken.json["target"], Value::Null);
    let turned = rotate(&api).await.unwrap().expect(200);
    assert_ne!(turned.json["data"]["password"], password.as_str());
    assert!(setup.postgres.lets_in(USER, &password).await, "left alone");
}

/// Invariant 17. While a secret gets its target, which takes a login there, others write values for it as if it
/// had none: by the time of their turn it has, and theirs is tried there as well.
#[tokio::test(flavor = "multi_thread")]
async fn a_value_that_waited_while_the_secret_got_a_target_is_tried_there() {
    let setup = Setup::start(1, &[]).await;
    let api = setup.cluster.admin(0);
    let plain = json!({
        "name": NAME, "kind": "automatic", "rotation_interval_secs": 86_400, "value": "v",
    });
    api.post("/v1/secrets", plain).await.expect(201);
    setup.postgres.signal(Signal::STOP);
    let put = |body: Value| {
        let api = api.clone();
        tokio::spawn(async move { api.put(PATH, body).await })
    };
    let data =
        |password: &str| json!({"username": USER, "password": password, "host": "db.example"});
    let first = put(json!({"target": "orders", "data": data(FIRST)}));
    tokio::time::sleep(Duration::from_millis(500)).await;
    let wrong = [
        json!({"data": data("wrong")}),
        json!({"data": data("wrong"), "description": "d"}),
    ];
    let others = wrong.map(put);
    tokio::time::sleep(Duration::from_millis(500)).await;
    setup.postgres.signal(Signal::CONT);
    assert_eq!(first.await.unwrap().expect(200).json["version"], 2);
    for other in others {
        let refused = other.await.unwrap();
        assert!(matches!(refused.status, 400 | 409), "{}", refused.text);
    }
    assert_eq!(setup.read(0).await, (2, FIRST.to_owned()));
}

/// It may have happened: nobody is told a password until it is known which one works.
#[tokio::test(flavor = "multi_thread")]
async fn while_it_is_open_which_password_works_none_is_given_out() {
    let _alone = alone().await;
    let mut setup = Setup::start(1, &[]).await;
    setup.create(json!({})).await;
    let (api, reader) = (setup.cluster.admin(0), setup.cluster.nodes[0].api());
    let asked = tokio::spawn({
        let api = api.clone();
        async move { rotate(&api).await }
    });
    setup.gate.stop_at(Step::Committed);
    setup.gate.stopped().await;
    // The server cannot be asked any more either.
    setup.postgres.stop();
    let began = Instant::now();
    let refused = reader.get(PATH).await.expect(503);
    assert_eq!(refused.code(), "rotation_pending");
    assert!(began.elapsed() < Duration::from_secs(10));
    // By number, whoever has to know finds both.
    let known = |version: u64| {
        let reader = reader.clone();
        async move { reader.get(&format!("{PATH}?version={version}")).await }
    };
    assert_eq!(login(&known(1).await.expect(200).json).1, FIRST);
    let next = login(&known(2).await.expect(200).json).1;
    known(3).await.expect(404);
    for value in [FIRST, &next] {
        let body = json!({"value": value});
        let verified = reader.post(&format!("{PATH}/verify"), body).await;
        assert_eq!(verified.expect(200).json["valid"], true);
    }
    let batch = json!({"names": [NAME]});
    let batch = reader.post("/v1/batch/secrets", batch).await.expect(503);
    assert_eq!(batch.code(), "rotation_pending");
    asked.await.unwrap();

    setup.postgres.run();
    let password = setup.wait_version(0, 2).await;
    assert_eq!(password, next);
    assert!(setup.postgres.lets_in(USER, &password).await);
}

/// A role that acts as another by default, and has functions of its own with the names of the system's.
#[tokio::test(flavor = "multi_thread")]
async fn it_is_the_password_of_who_signs_in_that_changes() {
    let _alone = alone().await;
    let setup = Setup::start(1, &[]).await;
    let owner = "owner-of-a-test";
    for statement in [
        format!("CREATE ROLE orders_owner LOGIN PASSWORD '{owner}'"),
        format!("GRANT orders_owner TO {USER}"),
        format!("ALTER ROLE {USER} SET role = 'orders_owner'"),
        "CREATE SCHEMA mine; CREATE FUNCTION mine.version() RETURNS text LANGUAGE sql \
         AS $$ SELECT 'another system' $$; GRANT USAGE ON SCHEMA mine TO PUBLIC"
            .to_owned(),
        format!("ALTER ROLE {USER} SET search_path = mine, pg_catalog"),
    ] {
        setup.postgres.execute(&statement).await;
    }
    setup.create(json!({})).await;
    let (_, password) = rotated(&setup, 0).await;
    assert!(setup.postgres.lets_in(USER, &password).await);
    assert!(setup.postgres.lets_in("orders_owner", owner).await);
    assert!(!setup.postgres.lets_in("orders_owner", &password).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_host_that_takes_writes_is_found() {
    let _alone = alone().await;
    let standby = Postgres::start(&["default_transaction_read_only=on"]);
    let primary = Postgres::start(&[]);
    let role =
        format!("SET transaction_read_only = off; CREATE ROLE {USER} LOGIN PASSWORD '{FIRST}'");
    standby.execute(&role).await;
    make_role(&primary).await;
    let nobody = strongroom_tests::node::free_port();
    let targets = format!(
        "orders=postgresql://127.0.0.1:{nobody},127.0.0.1:{},127.0.0.1:{}/postgres?secrets=db/*&sslmode=disable",
        standby.port, primary.port
    );
    let cluster = Cluster::start_with(1, &[("VAULT_TARGETS", &targets)]).await;
    let body = json!({
        "name": NAME, "kind": "automatic", "rotation_interval_secs": 86_400, "target": "orders",
        "data": {"username": USER, "password": FIRST, "host": "db.example"},
    });
    let api = cluster.admin(0);
    api.post("/v1/secrets", body.clone()).await.expect(201);
    let answer = rotate(&api).await.unwrap().expect(200);
    let (_, password) = login(&answer.json);
    assert!(primary.lets_in(USER, &password).await);
    assert!(
        standby.lets_in(USER, FIRST).await,
        "nothing was tried there"
    );
    // One host is away and the others refuse: the one that is away may be the primary.
    let mut wrong = body;
    wrong["name"] = json!("db/other");
    wrong["data"]["password"] = json!("wrong");
    let refused = api.post("/v1/secrets", wrong).await.expect(503);
    assert_eq!(refused.code(), "target_unavailable");
}
