//! Loading data before something is measured.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use anyhow::{Result, ensure};
use serde_json::json;
use strongroom_tests::api::Api;
use tokio::task::JoinSet;

const SIDE_BY_SIDE: u64 = 64;
/// 32 bytes: what a password or a key mostly is.
pub(crate) const VALUE: &str = "correct-horse-battery-staple-032";

/// Makes the secrets `prefix/N` for N from `from` to `to`, the latter left out.
pub(crate) async fn create(api: &Api, prefix: &str, from: u64, to: u64) -> Result<()> {
    let prefix = prefix.to_owned();
    each(from..to, api, move |api, n| {
        let body = json!({"name": format!("{prefix}/{n}"), "value": VALUE});
        async move {
            let made = api.try_send("POST", "/v1/secrets", &[], Some(body.to_string()));
            let made = made.await?;
            ensure!(made.status == 201, "{}", made.text);
            Ok(())
        }
    })
    .await
}

/// Gives each of the first `count` of them `more` versions.
pub(crate) async fn update(api: &Api, prefix: &str, count: u64, more: u64) -> Result<()> {
    let prefix = prefix.to_owned();
    each(0..count * more, api, move |api, n| {
        let path = format!("/v1/secrets/{prefix}/{}", n % count);
        let body = json!({"value": VALUE}).to_string();
        async move {
            let made = api.try_send("PUT", &path, &[], Some(body)).await?;
            ensure!(made.status == 200, "{}", made.text);
            Ok(())
        }
    })
    .await
}

/// Reads each of the first `count` once, so that what is kept of them is.
pub(crate) async fn read(api: &Api, prefix: &str, count: u64) -> Result<()> {
    let prefix = prefix.to_owned();
    each(0..count, api, move |api, n| {
        let path = format!("/v1/secrets/{prefix}/{n}");
        async move {
            let read = api.try_get(&path).await?;
            ensure!(read.status == 200, "{}", read.text);
            Ok(())
        }
    })
    .await
}

async fn each<F, Fut>(range: std::ops::Range<u64>, api: &Api, work: F) -> Result<()>
where
    F: Fn(Api, u64) -> Fut + Clone + Send + Sync + 'static,
    Fut: Future<Output = Result<()>> + Send,
{
    let next = Arc::new(AtomicU64::new(range.start));
    let mut tasks: JoinSet<Result<()>> = JoinSet::new();
    for _ in 0..SIDE_BY_SIDE {
        let (next, api, work) = (Arc::clone(&next), api.clone(), work.clone());
        tasks.spawn(async move {
            loop {
                let n = next.fetch_add(1, Ordering::Relaxed);
                if n >= range.end {
                    return Ok(());
                }
                work(api.clone(), n).await?;
            }
        });
    }
    while let Some(done) = tasks.join_next().await {
        done??;
    }
    Ok(())
}
