//! How everything grows with the number of secrets. It takes long enough for the machine to become another
//! one meanwhile: a bare route beside the reads tells that from growth.

use anyhow::Result;

use super::{Taken, disk, in_turn, pair, rate, ratio, restart::restart};
use crate::{
    budget::Figure,
    load,
    plan::Plan,
    subject::{ceiling::Ceiling, strongroom},
    usage,
};

const STEPS: [u64; 4] = [1_000, 10_000, 100_000, 1_000_000];

pub(super) async fn run(plan: &Plan) -> Result<Vec<Figure>> {
    // All data keys are kept, so that reads are compared and not the cache's size.
    let entries = plan.most_secrets.to_string();
    let env = [("VAULT_DEK_CACHE_ENTRIES", entries.as_str())];
    let mut cluster = strongroom::start(1, &env, None).await;
    let mut figures = Vec::new();
    let mut made = 0;
    for secrets in STEPS.into_iter().filter(|step| *step <= plan.most_secrets) {
        load::create(&cluster.admin(0), "bench", made, secrets).await?;
        made = secrets;
        let ready = restart(&mut cluster).await?;
        let node = &cluster.nodes[0];
        let memory = usage::memory(node.pid())? as f64 / (1024.0 * 1024.0);
        load::read(&node.api(), "bench", secrets).await?;
        let ceiling = Ceiling::start(&node.api(), "/v1/secrets/bench/0").await?;
        let subjects = [
            strongroom::read_any(&cluster, 0, secrets),
            ceiling.read_any(secrets),
            strongroom::update(&cluster, 0),
        ];
        let taken = in_turn(plan, &subjects, 64).await?;
        let store = disk::of_store(&node.data_dir)?;
        let to_ceiling = format!("{secrets} secrets: reads to a bare route");
        figures.push(ratio(&to_ceiling, pair(&taken)?, rate));
        let whats = ["reads", "reads, bare route", "updates"];
        figures.extend(
            whats
                .iter()
                .zip(&taken)
                .map(|(what, taken)| rates(secrets, what, taken)),
        );
        figures.extend([
            Figure::of(
                format!("{secrets} secrets: memory once ready"),
                "MiB",
                [memory],
            ),
            Figure::of(
                format!("{secrets} secrets: ready after"),
                "s",
                [ready.as_secs_f64()],
            ),
            Figure::of(format!("{secrets} secrets: disk"), "MiB", [store]),
        ]);
    }
    Ok(figures)
}

fn rates(secrets: u64, what: &str, taken: &Taken) -> Figure {
    Figure::of(
        format!("{secrets} secrets: {what}"),
        "/s",
        taken.samples.iter().map(rate),
    )
}
