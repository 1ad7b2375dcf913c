//! A pass over 10,000 versions with a local KMS.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use serde_json::{Value, json};
use strongroom_tests::cluster::MASTER_KEY;

use crate::{
    budget::{Budget, Figure},
    load,
    plan::Plan,
    subject::strongroom,
};

const VERSIONS: u64 = 10_000;
/// Another key of a benchmark: 32 bytes of value 1.
const NEXT_KEY: &str = "AQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQE=";
const WITHIN: Duration = Duration::from_secs(120);

pub(super) async fn run(plan: &Plan) -> Result<Vec<Figure>> {
    let keys = [MASTER_KEY, NEXT_KEY];
    let env = [
        ("VAULT_KMS_REWRAP_ENABLED", "true"),
        ("VAULT_KMS_REWRAP_MAX_PER_SEC", "0"),
    ];
    let mut cluster = strongroom::start(1, &env, None).await;
    load::create(&cluster.admin(0), "bench", 0, VERSIONS).await?;
    let mut rates = Vec::new();
    for round in 0..plan.rounds {
        // The other key comes first from now on.
        let (old, new) = (keys[round % 2], keys[(round + 1) % 2]);
        let node = &mut cluster.nodes[0];
        node.terminate();
        node.env
            .insert("VAULT_LOCAL_MASTER_KEY".to_owned(), format!("{new},{old}"));
        node.start();
        cluster.wait_ready().await;
        let admin = cluster.admin(0);
        let began = Instant::now();
        let begun = admin.post("/v1/admin/kms/rewrap", json!({})).await;
        ensure!(begun.status == 202, "{}", begun.text);
        loop {
            let status = admin.get("/v1/admin/kms/rewrap/status").await;
            let number = |field: &str| status.json.get(field).and_then(Value::as_u64);
            if number("pending") == Some(0) {
                ensure!(number("failed") == Some(0), "{}", status.text);
                break;
            }
            ensure!(began.elapsed() < WITHIN, "{}", status.text);
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        let rate = VERSIONS as f64 / began.elapsed().as_secs_f64();
        eprintln!("   {rate:.0} versions/s");
        rates.push(rate);
    }
    Ok(vec![
        Figure::of("re-wrap, unpaced, 10,000 versions, local KMS", "/s", rates)
            .held_to(Budget::at_least(2_000.0, 10_000.0)),
    ])
}
