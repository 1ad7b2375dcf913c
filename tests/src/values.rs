//! Secrets in bulk, and what every version of them has to read as.

use std::collections::BTreeMap;

use serde_json::json;
use tokio::task::JoinSet;

use crate::{api::Api, cluster::Cluster};

const SIDE_BY_SIDE: usize = 16;

/// The values of secrets, by name; of version 1 first.
#[derive(Clone, Default)]
pub struct Values(pub BTreeMap<String, Vec<String>>);

impl Values {
    /// Makes `count` secrets named `prefix/n`, with `versions(n)` versions each.
    pub async fn write(
        cluster: &Cluster,
        prefix: &str,
        count: usize,
        versions: impl Fn(usize) -> usize,
    ) -> Self {
        let mut all = Self::default();
        for n in 0..count {
            let values = (1..=versions(n)).map(|version| format!("{prefix}-{n}-{version}"));
            all.0.insert(format!("{prefix}/{n}"), values.collect());
        }
        in_parallel(cluster, all.0.clone(), |api, name, values| async move {
            for (place, value) in values.iter().enumerate() {
                if place == 0 {
                    let body = json!({"name": name, "value": value});
                    api.post("/v1/secrets", body).await.expect(201);
                } else {
                    let path = format!("/v1/secrets/{name}");
                    let body = json!({"value": value, "cas": place});
                    api.put(&path, body).await.expect(200);
                }
            }
        })
        .await;
        all
    }

    /// How many versions there are.
    pub fn versions(&self) -> u64 {
        self.0.values().map(|values| values.len() as u64).sum()
    }

    /// Reads every version, each at one of the running nodes: all must be there.
    pub async fn check(&self, cluster: &Cluster) {
        in_parallel(cluster, self.0.clone(), |api, name, values| async move {
            for (version, value) in (1..).zip(values) {
                let path = format!("/v1/secrets/{name}?version={version}&consistency=linearizable");
                let read = api.get(&path).await;
                assert_eq!(read.status, 200, "{path}: {}", read.text);
                assert_eq!(read.json["value"], *value, "{path}");
            }
        })
        .await;
    }
}

/// Does something to every secret, at the running nodes in turn.
async fn in_parallel<F, Fut>(cluster: &Cluster, all: BTreeMap<String, Vec<String>>, work: F)
where
    F: Fn(Api, String, Vec<String>) -> Fut,
    Fut: Future<Output = ()> + Send + 'static,
{
    let running = (0..cluster.nodes.len()).filter(|node| cluster.nodes[*node].is_running());
    let apis: Vec<Api> = running.map(|node| cluster.admin(node)).collect();
    let mut tasks = JoinSet::new();
    for ((name, values), api) in all.into_iter().zip(apis.iter().cycle()) {
        if tasks.len() >= SIDE_BY_SIDE
            && let Some(done) = tasks.join_next().await
        {
            done.expect("one secret");
        }
        tasks.spawn(work(api.clone(), name, values));
    }
    while let Some(done) = tasks.join_next().await {
        done.expect("one secret");
    }
}
