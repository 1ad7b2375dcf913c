//! When rotations happen.

use super::*;

#[tokio::test(flavor = "multi_thread")]
async fn the_schedule_survives_a_leader() {
    let _alone = alone().await;
    let mut cluster = Cluster::start_with(3, &[POLL]).await;
    let settings =
        json!({"rotation_interval_secs": 3, "keep_superseded": true, "max_versions": 100});
    create(&cluster.admin(0), "l/a", settings).await.expect(201);
    for round in 0..3 {
        let leader = cluster.leader().await;
        let there = cluster.admin((leader + 1) % 3);
        let now = "/v1/secrets/l/a?consistency=linearizable";
        let now = there.get(now).await.expect(200).json["version"].as_u64();
        let next = wait_version(&there, "l/a", now.unwrap() + 1).await.json;
        // Just before the next one is due.
        tokio::time::sleep(Duration::from_millis(2_700)).await;
        cluster.nodes[leader].kill();
        let version = next["version"].as_u64().unwrap() + 1;
        let rotated = wait_version(&there, "l/a", version).await.json;
        let took = between(&next["created_at"], &rotated["created_at"]);
        println!("round {round}: rotated {took:.2} s after the last, without its leader");
        assert!((3.0..20.0).contains(&took), "{took}");
        cluster.nodes[leader].start();
        cluster.nodes[leader].wait_ready().await;
    }
    let times = history(&cluster.admin(0), "l/a").await;
    assert!(
        intervals(&times).iter().all(|secs| *secs >= 3.0),
        "{times:?}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn after_downtime_there_is_one_rotation_and_no_burst() {
    let _alone = alone().await;
    let mut cluster = Cluster::start_with(3, &[POLL]).await;
    let settings =
        json!({"rotation_interval_secs": 2, "keep_superseded": true, "max_versions": 100});
    for name in ["d/a", "d/b"] {
        create(&cluster.admin(0), name, settings.clone())
            .await
            .expect(201);
    }
    wait_version(&cluster.admin(0), "d/a", 2).await;
    cluster.nodes.iter_mut().for_each(Node::kill);
    tokio::time::sleep(Duration::from_secs(9)).await;
    cluster.nodes.iter_mut().for_each(Node::start);
    cluster.wait_ready().await;
    tokio::time::sleep(Duration::from_secs(5)).await;
    for name in ["d/a", "d/b"] {
        let times = history(&cluster.admin(1), name).await;
        let intervals = intervals(&times);
        println!("{name}: {intervals:.2?}");
        let (long, rest): (Vec<f64>, Vec<f64>) = intervals.iter().partition(|secs| **secs > 8.0);
        assert_eq!(long.len(), 1, "{intervals:?}");
        assert!(
            rest.iter().all(|secs| *secs >= 2.0),
            "no burst: {intervals:?}"
        );
        let last = *intervals.last().unwrap();
        assert!(last < 8.0, "it goes on: {intervals:?}");
    }
}

/// Clocks that are set ahead and back, or back alone: what counts is how much time has passed.
#[tokio::test(flavor = "multi_thread")]
async fn the_schedule_survives_a_clock_that_jumps() {
    let _alone = alone().await;
    let mut cluster = Cluster::prepare(3, &[POLL]);
    let scratch = cluster.dir.path().to_owned();
    let install = |node: &mut Node| WrongClock::install(node, &scratch);
    let clocks: Vec<_> = cluster.nodes.iter_mut().map(install).collect();
    cluster.nodes.iter_mut().for_each(Node::start);
    cluster.wait_ready().await;
    let api = cluster.admin(0);
    let settings = json!({
        "rotation_interval_secs": 2, "grace_period_secs": 1, "keep_superseded": true,
        "max_versions": 100,
    });
    create(&api, "j", settings).await.expect(201);
    let version = async || row(&api, "j").await["version"].as_u64().unwrap();
    let set = |secs| clocks.iter().for_each(|clock| clock.set(secs));
    // Each jump, and how many versions six seconds may bring: three, and one for the jump ahead; fewer on a
    // busy machine.
    for (what, secs) in [("ahead", 3_600), ("right again", 0), ("back", -3_600)] {
        set(secs);
        tokio::time::sleep(Duration::from_millis(500)).await;
        let before = version().await;
        tokio::time::sleep(Duration::from_secs(6)).await;
        let turned = version().await - before;
        assert!(
            (1..=4).contains(&turned),
            "{what}: {turned} rotations in 6 s"
        );
    }
    // A token's life, too, is as long as it was meant to be.
    let token = json!({"name": "short", "role": "admin", "ttl_secs": 3});
    let made = api.post("/v1/tokens", token).await.expect(201);
    let short = cluster.nodes[1].api();
    let short = short.with_token(made.json["token"].as_str().unwrap());
    short.get("/v1/secrets").await.expect(200);
    tokio::time::sleep(Duration::from_secs(4)).await;
    short.get("/v1/secrets").await.expect(401);
}

#[tokio::test(flavor = "multi_thread")]
async fn many_rotate_on_time() {
    let _alone = alone().await;
    // Everybody may read: the worker is nobody, and what it makes is not read by that.
    let everybody = ("VAULT_ALLOWED_IPS", "0.0.0.0/0,::/0");
    let cluster = Cluster::start_with(3, &[POLL, everybody]).await;
    let settings =
        json!({"rotation_interval_secs": 3, "keep_superseded": true, "max_versions": 1_000});
    let names: Vec<String> = (0..300).map(|n| format!("m/{n}")).collect();
    for some in names.chunks(20) {
        let admin = cluster.admin(0);
        let made: Vec<_> = some
            .iter()
            .map(|name| {
                let (admin, name, settings) = (admin.clone(), name.clone(), settings.clone());
                tokio::spawn(async move { create(&admin, &name, settings).await.expect(201) })
            })
            .collect();
        for made in made {
            made.await.unwrap();
        }
    }
    tokio::time::sleep(Duration::from_secs(12)).await;
    for node in &cluster.nodes {
        let read = |record: &Value| {
            record["action"] == "secret.read" && record["client_ip"] != "127.0.0.1"
        };
        assert!(!audit_records(node).iter().any(read));
    }
    let mut late = Vec::new();
    for name in &names {
        let times = history(&cluster.admin(1), name).await;
        assert!(times.len() >= 4, "{name}: {times:?}");
        late.extend(intervals(&times).iter().map(|secs| secs - 3.0));
    }
    late.sort_by(f64::total_cmp);
    let at = |share: f64| late[((late.len() - 1) as f64 * share) as usize];
    println!(
        "{} rotations of 300 secrets: late by {:.2} s at p50, {:.2} s at p99, {:.2} s at most",
        late.len(),
        at(0.5),
        at(0.99),
        at(1.0)
    );
    assert!(at(0.0) >= 0.0, "{}", at(0.0));
    assert!(at(0.5) < 2.0, "{}", at(0.5));
}

/// Who rotates by hand when a rotation is due anyway gets one, and not two.
#[tokio::test(flavor = "multi_thread")]
async fn the_worker_leaves_alone_what_somebody_else_has_rotated() {
    let _alone = alone().await;
    let cluster = Cluster::start_with(3, &[POLL]).await;
    let settings =
        json!({"rotation_interval_secs": 1, "keep_superseded": true, "max_versions": 1_000});
    let names: Vec<String> = (0..40).map(|n| format!("t/{n}")).collect();
    for name in &names {
        create(&cluster.admin(0), name, settings.clone())
            .await
            .expect(201);
    }
    let tasks: Vec<_> = (0..)
        .zip(&names)
        .map(|(n, name)| {
            let (api, name) = (cluster.admin(n % 3), name.clone());
            tokio::spawn(async move {
                let (mut mine, until) = (BTreeSet::new(), Instant::now() + Duration::from_secs(12));
                while Instant::now() < until {
                    let path = format!("{}/rotate", at(&name));
                    let rotated = api.post(&path, json!({})).await.expect(200).json;
                    mine.insert(rotated["version"].as_u64().unwrap());
                    // From a little before until a little after it is due.
                    let (n, round) = (n as u64, mine.len() as u64);
                    let pause = 960 + (n * 7 + round * 13) % 60;
                    tokio::time::sleep(Duration::from_millis(pause)).await;
                }
                mine
            })
        })
        .collect();
    let mut all = Vec::new();
    for task in tasks {
        all.push(task.await.unwrap());
    }
    let (mut by_worker, mut early) = (0, Vec::new());
    for (name, mine) in names.iter().zip(all) {
        let times = history(&cluster.admin(0), name).await;
        for (version, secs) in (2..).zip(intervals(&times)) {
            if !mine.contains(&version) {
                by_worker += 1;
                if secs < 1.0 {
                    early.push((name, version, secs));
                }
            }
        }
    }
    println!(
        "{by_worker} by the worker, {} of them before their time",
        early.len()
    );
    assert!(by_worker > 20);
    assert!(early.is_empty(), "{early:?}");
}
