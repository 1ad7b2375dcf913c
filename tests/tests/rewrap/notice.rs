//! How rotations of the KMS key are noticed.

use super::*;

/// moto names no material: the gate does.
fn name_material(it: &KmsCluster, material: &str) {
    let fields = json!({"KeyMaterialId": material});
    it.gate.answer_with("GenerateDataKey", fields);
    let fields = json!({"DestinationKeyMaterialId": material});
    it.gate.answer_with("ReEncrypt", fields);
}

/// Without `ListKeyRotations` the material of a probe is compared.
#[tokio::test(flavor = "multi_thread")]
async fn a_key_whose_rotations_are_not_listed_is_probed() {
    let _alone = alone().await;
    for code in ["AccessDeniedException", "UnsupportedOperationException"] {
        let it = KmsCluster::start(1, &[]).await;
        name_material(&it, "material-1");
        let values = Values::write(&it.cluster, "p", 5, |_| 1).await;
        it.gate.refuse("TrentService.ListKeyRotations", code);
        let mut it = it;
        let node = &mut it.cluster.nodes[0];
        node.env
            .insert("VAULT_KMS_REWRAP_ENABLED".into(), "true".into());
        node.env
            .insert("VAULT_KMS_REWRAP_POLL_SECS".into(), "1".into());
        it.restart(0).await;
        let baseline = wait_status(&it.cluster.admin(0), "adopted", adopted).await;
        assert_eq!(baseline["method"], "material_probe", "{baseline}");
        tokio::time::sleep(Duration::from_secs(3)).await;
        let log = it.cluster.nodes[0].log_text();
        let said = log.matches("does not list the key's rotations").count();
        assert_eq!(said, 1, "{log}");
        assert_eq!(it.gate.calls("ReEncrypt"), 0);
        // Other material: a pass begins by itself.
        name_material(&it, "material-2");
        let done = wait_status(&it.cluster.admin(0), "ended", ended).await;
        assert_eq!(
            (&done["rewrapped"], &done["failed"]),
            (&json!(5), &json!(0))
        );
        assert_eq!(done["watermark"]["material_id"], "material-2");
        // The same material again is nothing new.
        tokio::time::sleep(Duration::from_secs(3)).await;
        assert_eq!(status(&it.cluster.admin(0)).await["pass_id"], 1);
        assert_eq!(it.gate.calls("ReEncrypt"), 5);
        values.check(&it.cluster).await;
    }
}

/// Neither a list nor the name of the material: that it cannot be noticed is said.
#[tokio::test(flavor = "multi_thread")]
async fn a_key_that_tells_nothing_is_said_to() {
    let _alone = alone().await;
    let env = [
        ("VAULT_KMS_REWRAP_ENABLED", "true"),
        ("VAULT_KMS_REWRAP_POLL_SECS", "1"),
    ];
    let it = KmsCluster::start(1, &env).await;
    let values = Values::write(&it.cluster, "n", 5, |_| 1).await;
    it.gate
        .refuse("TrentService.ListKeyRotations", "AccessDeniedException");
    let told = |status: &Value| status["method"] == "none";
    wait_status(&it.cluster.admin(0), "without a method", told).await;
    let key = key_of(&it).await;
    it.call("RotateKeyOnDemand", &json!({"KeyId": key}));
    tokio::time::sleep(Duration::from_secs(3)).await;
    assert_eq!(it.gate.calls("ReEncrypt"), 0);
    let log = it.cluster.nodes[0].log_text();
    assert_eq!(log.matches("rotations are not noticed").count(), 1, "{log}");
    // A pass may be asked for.
    begin(&it.cluster.admin(0)).await;
    let done = wait_status(&it.cluster.admin(0), "ended", ended).await;
    assert_eq!(done["rewrapped"], 5);
    values.check(&it.cluster).await;
}

/// What is newest may stand on a later page.
#[tokio::test(flavor = "multi_thread")]
async fn rotations_are_read_to_the_last_page() {
    let _alone = alone().await;
    let it = kms_cluster("0").await;
    it.gate.ask_with("ListKeyRotations", json!({"Limit": 1}));
    let key = key_of(&it).await;
    wait_status(&it.cluster.admin(0), "adopted", adopted).await;
    let values = Values::write(&it.cluster, "q", 5, |_| 1).await;
    let mut rotated = BTreeSet::new();
    for pass in 1..=3 {
        it.call("RotateKeyOnDemand", &json!({"KeyId": key}));
        let over = |status: &Value| ended(status) && status["pass_id"] == pass;
        let done = wait_status(&it.cluster.admin(0), "ended", over).await;
        assert_eq!(
            (&done["rewrapped"], &done["failed"]),
            (&json!(5), &json!(0))
        );
        rotated.insert(done["watermark"]["rotation_at"].to_string());
    }
    assert_eq!(rotated.len(), 3);
    values.check(&it.cluster).await;
}
