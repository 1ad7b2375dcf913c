//! Strongroom.

use anyhow::{Result, ensure};
use strongroom_tests::{
    api::Api,
    cluster::{Cluster, TOKEN},
};

use super::{NAMES, Subject};
use crate::{load, server::SlowSyncs, wrk::Traffic};

/// Started and ready, with the settings of a fresh installation. `slow`: each sync takes longer.
pub(crate) async fn start(nodes: usize, env: &[(&str, &str)], slow: Option<&SlowSyncs>) -> Cluster {
    let mut cluster = Cluster::prepare(nodes, env);
    for node in &mut cluster.nodes {
        node.behind = slow.map(SlowSyncs::before).unwrap_or_default();
        node.start();
    }
    cluster.wait_ready().await;
    cluster
}

/// The processes.
pub(crate) fn pids(cluster: &Cluster) -> Vec<u32> {
    cluster.nodes.iter().map(|node| node.pid()).collect()
}

/// The address of a node.
pub(crate) fn base(cluster: &Cluster, node: usize) -> String {
    format!("http://127.0.0.1:{}", cluster.nodes[node].api_port)
}

/// GET of one secret of 32 bytes at a node.
pub(crate) fn read_one(cluster: &Cluster, node: usize) -> Subject {
    Subject {
        name: "strongroom".to_owned(),
        traffic: Traffic::get(format!("{}/v1/secrets/bench/0", base(cluster, node))),
        pids: pids(cluster),
    }
}

/// GET of the secrets `bench/N` for N below `count`.
pub(crate) fn read_any(cluster: &Cluster, node: usize, count: u64) -> Subject {
    Subject {
        name: "strongroom".to_owned(),
        traffic: Traffic::get_random(&base(cluster, node), "/v1/secrets/bench/", count),
        pids: pids(cluster),
    }
}

/// PUT of new values of 32 bytes to [`NAMES`] secrets at a node.
pub(crate) fn update(cluster: &Cluster, node: usize) -> Subject {
    let base = base(cluster, node);
    let host = base.trim_start_matches("http://");
    let body = format!("{{\"value\":\"{}\"}}", load::VALUE);
    let script = format!(
        "function request()\n  return 'PUT /v1/secrets/bench/' .. math.random(0, {}) .. ' HTTP/1.1\\r\\nHost: {host}\
         \\r\\nAuthorization: Bearer {TOKEN}\\r\\nContent-Length: {}\\r\\n\\r\\n{body}'\nend\n",
        NAMES - 1,
        body.len()
    );
    Subject {
        name: "strongroom".to_owned(),
        traffic: Traffic { url: base, script },
        pids: pids(cluster),
    }
}

/// The answer to a GET: its head, and its body.
pub(crate) async fn answer(api: &Api, path: &str) -> Result<(Vec<(String, String)>, String)> {
    let answer = api.try_get(path).await?;
    ensure!(answer.status == 200, "{}", answer.text);
    let head = answer.headers.iter().map(|(name, value)| {
        let value = String::from_utf8_lossy(value.as_bytes()).into_owned();
        (name.as_str().to_owned(), value)
    });
    Ok((head.collect(), answer.text))
}
