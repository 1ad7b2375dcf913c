//! Leaders killed during a pass.

use super::*;

#[tokio::test(flavor = "multi_thread")]
async fn a_pass_outlives_its_leader_and_moves_nothing_twice() {
    let _alone = alone().await;
    let mut it = kms_cluster("100").await;
    let key = key_of(&it).await;
    wait_status(&it.cluster.admin(0), "adopted", adopted).await;
    let values = Values::write(&it.cluster, "l", 500, |_| 1).await;
    it.call("RotateKeyOnDemand", &json!({"KeyId": key}));
    let mut kills = 0;
    for moved in [100, 300] {
        let enough = |status: &Value| status["rewrapped"].as_u64().unwrap() >= moved;
        wait_status(&it.cluster.admin(0), "under way", enough).await;
        let leader = it.cluster.leader().await;
        it.cluster.nodes[leader].kill();
        kills += 1;
        let survivor = follower_of(leader);
        let next = it.cluster.leader().await;
        println!("killed {leader}, now {next} leads");
        status(&it.cluster.admin(survivor)).await;
        it.cluster.nodes[leader].start();
        it.cluster.nodes[leader].wait_ready().await;
    }
    let done = wait_status(&it.cluster.admin(0), "ended", ended).await;
    assert_eq!(done["pass_id"], 1);
    assert_eq!(done["pending"], 0);
    assert_eq!(done["failed"], 0);
    assert_eq!(done["rewrapped"], 500);
    let asked = it.gate.calls("ReEncrypt");
    println!("{asked} calls to ReEncrypt for 500 versions with {kills} leaders killed");
    // Those under way when a leader dies are asked for again: a tenth of a second's worth each time.
    // The SDK may have asked a few times more by itself.
    assert!((500..=500 + 10 * kills + 50).contains(&asked), "{asked}");
    restart_all(&mut it.cluster, "VAULT_DEK_CACHE_TTL_SECS", "0").await;
    values.check(&it.cluster).await;
}

/// A kill at the two ends of a pass, where little tells that there is one.
#[tokio::test(flavor = "multi_thread")]
async fn a_pass_outlives_a_leader_at_its_first_and_last_step() {
    let _alone = alone().await;
    let mut it = kms_cluster("3").await;
    let key = key_of(&it).await;
    wait_status(&it.cluster.admin(0), "adopted", adopted).await;
    let values = Values::write(&it.cluster, "e", 8, |_| 1).await;
    // The pass has begun, and nothing is moved: KMS takes the call and never answers.
    it.gate.treat("TrentService.ReEncrypt", Mode::Hold);
    it.call("RotateKeyOnDemand", &json!({"KeyId": key}));
    let running = |status: &Value| status["running"] == true;
    let found = wait_status(&it.cluster.admin(0), "running", running).await;
    assert_eq!(found["pending"], 8);
    kill_and_restart(&mut it).await;
    it.gate.treat_all_alike();
    // All but the last are moved, or all are and the end is not recorded yet.
    let almost = |status: &Value| status["pending"].as_u64() <= Some(1);
    let found = wait_status(&it.cluster.admin(0), "almost over", almost).await;
    println!(
        "killed with {} pending, running {}",
        found["pending"], found["running"]
    );
    kill_and_restart(&mut it).await;
    let done = wait_status(&it.cluster.admin(0), "ended", ended).await;
    assert_eq!((&done["pass_id"], &done["pending"]), (&json!(1), &json!(0)));
    assert_eq!(
        (&done["rewrapped"], &done["failed"]),
        (&json!(8), &json!(0))
    );
    assert_eq!(done["watermark"], done["target"]);
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert_eq!(status(&it.cluster.admin(0)).await["pass_id"], 1);
    restart_all(&mut it.cluster, "VAULT_DEK_CACHE_TTL_SECS", "0").await;
    values.check(&it.cluster).await;
}

async fn kill_and_restart(it: &mut KmsCluster) {
    let leader = it.cluster.leader().await;
    it.cluster.nodes[leader].kill();
    it.cluster.leader().await;
    it.cluster.nodes[leader].start();
    it.cluster.nodes[leader].wait_ready().await;
}
