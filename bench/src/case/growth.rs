//! How everything grows with the number of secrets.

use anyhow::Result;

use super::{disk, in_turn, restart::restart};
use crate::{budget::Figure, load, plan::Plan, subject::strongroom, usage};

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
        let subjects = [
            strongroom::read_any(&cluster, 0, secrets),
            strongroom::update(&cluster, 0),
        ];
        let taken = in_turn(plan, &subjects, 64).await?;
        let store = disk::of_store(&node.data_dir)?;
        let rate = |place: usize| {
            taken
                .get(place)
                .into_iter()
                .flat_map(|taken| &taken.samples)
        };
        figures.extend([
            Figure::of(
                format!("{secrets} secrets: reads"),
                "/s",
                rate(0).map(|s| s.rate),
            ),
            Figure::of(
                format!("{secrets} secrets: updates"),
                "/s",
                rate(1).map(|s| s.rate),
            ),
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
