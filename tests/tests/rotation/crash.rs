//! Leaders killed while values turn over.

use super::*;

/// Rotates these secrets without end, wherever it can; what was acknowledged, by name and version.
async fn rotator(
    apis: Vec<Api>,
    names: Vec<String>,
    stop: Arc<AtomicBool>,
) -> BTreeMap<(String, u64), String> {
    let mut acknowledged = BTreeMap::new();
    let mut n = 0;
    while !stop.load(Ordering::Relaxed) {
        n += 1;
        let (api, name) = (&apis[n % apis.len()], &names[n % names.len()]);
        let (path, body) = (format!("{}/rotate", at(name)), Some("{}".to_owned()));
        match api.try_send("POST", &path, &[], body).await {
            Ok(answer) if answer.status == 200 => {
                let version = answer.json["version"].as_u64().unwrap();
                let value = answer.json["value"].as_str().unwrap().to_owned();
                let earlier = acknowledged.insert((name.clone(), version), value);
                assert_eq!(earlier, None, "{name} {version} was given out twice");
            }
            Ok(answer) => assert_eq!(answer.status, 503, "{}", answer.text),
            Err(_) => tokio::time::sleep(Duration::from_millis(20)).await,
        }
    }
    acknowledged
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rotation_is_never_half_done() {
    let _alone = alone().await;
    let kills = std::env::var("STRONGROOM_ROTATION_KILLS").ok();
    let kills: u32 = kills.map_or(6, |text| text.parse().unwrap());
    let mut cluster = Cluster::start_with(3, &[POLL]).await;
    let settings =
        json!({"rotation_interval_secs": 1, "keep_superseded": true, "max_versions": 1_000});
    let names: Vec<String> = (0..12).map(|n| format!("h/{n}")).collect();
    for name in &names {
        create(&cluster.admin(0), name, settings.clone())
            .await
            .expect(201);
    }
    let stop = Arc::new(AtomicBool::new(false));
    let apis: Vec<Api> = (0..3).map(|node| cluster.admin(node)).collect();
    // Two for each half of the secrets: they meet each other, and the worker.
    let rotators: Vec<_> = (0..4)
        .map(|n: usize| {
            let half = names.iter().skip(n % 2).step_by(2).cloned().collect();
            tokio::spawn(rotator(apis.clone(), half, Arc::clone(&stop)))
        })
        .collect();
    let mut random = [0; 4];
    for _ in 0..kills {
        getrandom::fill(&mut random).unwrap();
        let pause = 300 + u64::from(u32::from_le_bytes(random) % 1_500);
        tokio::time::sleep(Duration::from_millis(pause)).await;
        let leader = cluster.leader().await;
        cluster.nodes[leader].kill();
        cluster.leader().await;
        cluster.nodes[leader].start();
        cluster.nodes[leader].wait_ready().await;
    }
    stop.store(true, Ordering::Relaxed);
    let mut acknowledged = BTreeMap::new();
    for task in rotators {
        acknowledged.extend(task.await.unwrap());
    }
    // No longer due while it is looked at.
    for name in &names {
        let change = json!({"rotation_interval_secs": 3_600});
        cluster.admin(0).put(&at(name), change).await.expect(200);
    }
    let mut versions = 0;
    for name in &names {
        let listed = row(&cluster.admin(1), name).await["version"]
            .as_u64()
            .unwrap();
        versions += listed;
        let mut values = BTreeSet::new();
        for version in 1..=listed {
            let api = cluster.nodes[version as usize % 3].api();
            let path = format!("{}?version={version}&consistency=linearizable", at(name));
            let read = api.get(&path).await.expect(200).json;
            let value = read["value"].as_str().unwrap().to_owned();
            if let Some(told) = acknowledged.get(&(name.clone(), version)) {
                assert_eq!(*told, value, "{name} {version}");
            }
            values.insert(value);
        }
        assert_eq!(values.len() as u64, listed, "{name}: a value repeats");
        for (node, api) in apis.iter().enumerate() {
            let path = format!("{}?consistency=linearizable", at(name));
            let current = api.get(&path).await.expect(200).json;
            assert_eq!(current["version"], listed, "at node {node}");
            let verify = json!({"value": current["value"]});
            let verify = api.post(&format!("{}/verify", at(name)), verify).await;
            assert_eq!(
                verify.expect(200).json,
                json!({"valid": true, "version": listed})
            );
            let next = format!("{}?version={}", at(name), listed + 1);
            api.get(&next).await.expect(404);
        }
    }
    let lost = acknowledged
        .keys()
        .filter(|(name, _)| !names.contains(name));
    assert_eq!(lost.count(), 0);
    println!(
        "{versions} versions, {} by request, {kills} leaders killed",
        acknowledged.len()
    );
    assert!(acknowledged.len() > 20);
}
