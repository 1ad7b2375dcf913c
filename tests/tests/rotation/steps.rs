//! The leader killed at each step of a rotation: while KMS unwraps what is current, while it makes the
//! new data key, when the command is in its log alone, and when it is committed.

use strongroom_tests::{kms_cluster::KmsCluster, moto::gate::Mode};

use super::*;

const NAME: &str = "s/step";

async fn start(cache_secs: &str) -> KmsCluster {
    let env = [POLL, ("VAULT_DEK_CACHE_TTL_SECS", cache_secs)];
    let it = KmsCluster::start(3, &env).await;
    let settings = json!({"rotation_interval_secs": 2, "keep_superseded": true,
        "max_versions": 1_000});
    create(&it.cluster.admin(0), NAME, settings)
        .await
        .expect(201);
    it
}

async fn restart(it: &mut KmsCluster, node: usize) {
    it.cluster.nodes[node].start();
    it.cluster.nodes[node].wait_ready().await;
}

/// Every node holds the same versions, each with one value, and the current one opens.
async fn assert_whole(it: &KmsCluster) -> u64 {
    let admin = it.cluster.admin(0);
    let still = json!({"rotation_interval_secs": 86_400});
    admin.put(&at(NAME), still).await.expect(200);
    // A rotation that had begun may still come to its end.
    let listed = async || row(&admin, NAME).await["version"].as_u64().unwrap();
    let (mut last, mut since) = (listed().await, Instant::now());
    while since.elapsed() < Duration::from_secs(2) {
        tokio::time::sleep(Duration::from_millis(100)).await;
        let now = listed().await;
        if now != last {
            (last, since) = (now, Instant::now());
        }
    }
    let listed = last;
    let mut values = BTreeMap::new();
    for node in &it.cluster.nodes {
        for version in 1..=listed {
            let path = format!("{}?version={version}&consistency=linearizable", at(NAME));
            let read = node.api().get(&path).await.expect(200).json;
            let known = values.entry(version).or_insert(read["value"].clone());
            assert_eq!(*known, read["value"], "version {version} has one value");
        }
        let current = node.api().get(&at(NAME)).await.expect(200).json;
        assert_eq!(current["version"], listed);
        let next = format!("{}?version={}", at(NAME), listed + 1);
        node.api().get(&next).await.expect(404);
        let (api, verify) = (node.api(), json!({"value": current["value"]}));
        let verified = api.post(&format!("{}/verify", at(NAME)), verify).await;
        assert_eq!(
            verified.expect(200).json,
            json!({"valid": true, "version": listed})
        );
    }
    let distinct: BTreeSet<String> = values.values().map(Value::to_string).collect();
    assert_eq!(distinct.len() as u64, listed, "a value repeats");
    let again = json!({"rotation_interval_secs": 2});
    admin.put(&at(NAME), again).await.expect(200);
    listed
}

/// Kills the leader once this call has arrived at KMS, which does not answer it.
async fn kill_during(it: &mut KmsCluster, call: &str) {
    it.gate.treat(&format!("TrentService.{call}"), Mode::Hold);
    let before = it.gate.calls(call);
    let until = Instant::now() + PATIENCE;
    while it.gate.calls(call) == before {
        assert!(Instant::now() < until, "{call} is never called");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let leader = it.cluster.leader().await;
    it.cluster.nodes[leader].kill();
    it.gate.treat_all_alike();
    it.cluster.leader().await;
    restart(it, leader).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_while_kms_works_for_a_rotation() {
    let _alone = alone().await;
    for (call, cache_secs) in [("Decrypt", "0"), ("GenerateDataKey", "300")] {
        let mut it = start(cache_secs).await;
        let mut before = 0;
        for _ in 0..2 {
            kill_during(&mut it, call).await;
            // The next leader does what was due.
            let listed = row(&it.cluster.admin(0), NAME).await["version"].as_u64();
            let listed = listed.unwrap();
            wait_version(&it.cluster.nodes[1].api(), NAME, listed + 1).await;
            let whole = assert_whole(&it).await;
            assert!(whole > before, "{call}: {whole}");
            before = whole;
        }
        println!("{call}: {before} versions");
    }
}

/// In the leader's log and in no other: it may come to be or not, but not in part.
#[tokio::test(flavor = "multi_thread")]
async fn killed_before_and_after_the_command_is_committed() {
    let _alone = alone().await;
    let mut it = start("300").await;
    for _ in 0..2 {
        let leader = it.cluster.leader().await;
        let followers = [(leader + 1) % 3, (leader + 2) % 3];
        for node in followers {
            it.cluster.nodes[node].signal(rustix::process::Signal::STOP);
        }
        // Due within this time; nobody takes the entry.
        let calls = it.gate.calls("GenerateDataKey");
        let until = Instant::now() + Duration::from_secs(6);
        while it.gate.calls("GenerateDataKey") == calls && Instant::now() < until {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
        it.cluster.nodes[leader].kill();
        for node in followers {
            it.cluster.nodes[node].signal(rustix::process::Signal::CONT);
        }
        it.cluster.leader().await;
        restart(&mut it, leader).await;
        assert_whole(&it).await;
    }
    for _ in 0..4 {
        // Known at a follower, and so committed: the leader may not have answered anybody yet.
        let leader = it.cluster.leader().await;
        let follower = it.cluster.nodes[(leader + 1) % 3].api();
        let listed = row(&it.cluster.admin((leader + 1) % 3), NAME).await["version"].as_u64();
        let seen = wait_version(&follower, NAME, listed.unwrap() + 1).await;
        it.cluster.nodes[leader].kill();
        it.cluster.leader().await;
        let version = seen.json["version"].as_u64().unwrap();
        let path = format!("{}?version={version}&consistency=linearizable", at(NAME));
        let read = follower.get(&path).await.expect(200).json;
        assert_eq!(read["value"], seen.json["value"]);
        restart(&mut it, leader).await;
        assert_whole(&it).await;
    }
}
