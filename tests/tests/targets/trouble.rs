//! A server that is away, lets anybody in, was changed by hand, or has gone back in time.

use super::*;

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_is_away_delays_a_rotation_and_no_read() {
    let _alone = alone().await;
    let mut setup = Setup::start(1, &[("VAULT_REQUEST_TIMEOUT_SECS", "3")]).await;
    setup.create(json!({})).await;
    setup.postgres.stop();
    let api = setup.cluster.admin(0);
    let tried = rotate(&api).await.unwrap().expect(503);
    assert_eq!(tried.code(), "rotation_pending");
    assert!(tried.headers.contains_key("retry-after"));
    assert_eq!(row(&api).await["rotation_pending"], true);
    let (version, password) = setup.read(0).await;
    assert_eq!((version, password.as_str()), (1, FIRST));
    let away = json!({"data": {"username": USER, "password": FIRST}});
    let refused = api.put(PATH, away).await.expect(503);
    assert_eq!(refused.code(), "target_unavailable");

    setup.postgres.run();
    let password = setup.wait_version(0, 2).await;
    assert!(setup.postgres.lets_in(USER, &password).await);
    wait_pending(&api, false).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_password_set_by_hand_is_told_and_taken_over() {
    let _alone = alone().await;
    let setup = Setup::start(1, &[]).await;
    setup.create(json!({})).await;
    let by_hand = "set-by-hand-in-a-test";
    let statement = format!("ALTER ROLE {USER} PASSWORD '{by_hand}'");
    setup.postgres.execute(&statement).await;
    let api = setup.cluster.admin(0);
    let asked = tokio::spawn({
        let api = api.clone();
        async move { rotate(&api).await }
    });
    wait_pending(&api, true).await;
    let refuses = |node: &str| node.contains("refuses these credentials");
    let until = Instant::now() + Duration::from_secs(60);
    while !refuses(&setup.cluster.nodes[0].log_text()) {
        assert!(Instant::now() < until);
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    let (version, password) = setup.read(0).await;
    assert_eq!((version, password.as_str()), (1, FIRST), "as ever");
    let data = json!({"username": USER, "password": by_hand, "host": "db.example"});
    let taken = api.put(PATH, json!({"data": data})).await.expect(200);
    assert_eq!(taken.json["version"], 2);
    assert_eq!(taken.json["rotation_pending"], false);
    asked.await.unwrap();
    let (version, password) = rotated(&setup, 0).await;
    assert_eq!(version, 3);
    assert!(setup.postgres.lets_in(USER, &password).await);
}

/// A login that proves nothing: any password would be taken for the one that works.
#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_lets_anybody_in_is_no_target() {
    let _alone = alone().await;
    let mut setup = Setup::start(1, &[]).await;
    setup.create(json!({})).await;
    setup.postgres.stop();
    setup.postgres.trust_everybody();
    setup.postgres.run();
    let api = setup.cluster.admin(0);
    let data = json!({"username": USER, "password": FIRST});
    let refused = api.put(PATH, json!({"data": data})).await.expect(503);
    assert_eq!(refused.code(), "target_unavailable");
    let log = setup.cluster.nodes[0].log_text();
    assert!(log.contains("with any password"), "{log}");
}

/// A target is not taken from a secret while it is open which of its passwords works.
#[tokio::test(flavor = "multi_thread")]
async fn the_password_that_may_work_is_not_thrown_away() {
    let _alone = alone().await;
    let mut setup = Setup::start(1, &[]).await;
    setup.create(json!({})).await;
    let api = setup.cluster.admin(0);
    let asked = tokio::spawn({
        let api = api.clone();
        async move { rotate(&api).await }
    });
    setup.gate.stop_at(Step::Committed);
    setup.gate.stopped().await;
    setup.postgres.stop();
    let refused = api.put(PATH, json!({"target": null})).await.expect(409);
    assert_eq!(refused.code(), "in_use");
    asked.await.unwrap();
    setup.postgres.run();
    setup.wait_version(0, 2).await;
    api.put(PATH, json!({"target": null})).await.expect(200);
}

/// After a restore, or a fail-over to a copy that lagged, an older password works again.
#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_went_back_in_time_is_caught_up_with() {
    let _alone = alone().await;
    let setup = Setup::start(1, &[]).await;
    // Without any grace: the last password that worked is kept all the same, and given to nobody.
    setup.create(json!({})).await;
    let (_, second) = rotated(&setup, 0).await;
    rotated(&setup, 0).await;
    tokio::time::sleep(Duration::from_secs(3)).await;
    let reader = setup.cluster.nodes[0].api();
    for version in [1, 2] {
        let past = reader.get(&format!("{PATH}?version={version}")).await;
        past.expect(404);
    }
    let statement = format!("ALTER ROLE {USER} PASSWORD '{second}'");
    setup.postgres.execute(&statement).await;
    let (version, password) = rotated(&setup, 0).await;
    assert_eq!(version, 4);
    assert!(setup.postgres.lets_in(USER, &password).await);
}
