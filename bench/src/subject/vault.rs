//! Any server that speaks Vault's KV version 2 at `secret/`, given by URL. What `VAULT_TOKEN` opens it
//! with is not printed.

use anyhow::{Context, Result, ensure};
use serde_json::json;

use super::{NAMES, Subject};
use crate::{load, wrk::Traffic};

fn token() -> Result<String> {
    let token = std::env::var("VAULT_TOKEN").context("--vault needs VAULT_TOKEN")?;
    // It goes into a script and into a header as it is.
    let fits = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
    ensure!(token.chars().all(fits), "VAULT_TOKEN is no token");
    Ok(token)
}

/// GET of one secret, which is written before.
pub(crate) async fn read_one(url: &str) -> Result<Subject> {
    let (token, url) = (token()?, format!("{url}/v1/secret/data/bench/0"));
    let body = json!({"data": {"value": load::VALUE}});
    let written = reqwest::Client::new()
        .post(&url)
        .header("x-vault-token", &token)
        .json(&body);
    let status = written.send().await?.status();
    ensure!(
        status.is_success(),
        "the other server refuses a write: {status}"
    );
    let mut traffic = Traffic::get(url);
    // In the script, which nobody else may read: arguments are for all to see.
    traffic.script = format!("wrk.headers['X-Vault-Token'] = '{token}'\n");
    Ok(subject(traffic))
}

/// Writes of 32 bytes to as many secrets.
pub(crate) fn update(url: &str) -> Result<Subject> {
    let (token, host) = (token()?, url.trim_start_matches("http://"));
    let body = format!("{{\"data\":{{\"value\":\"{}\"}}}}", load::VALUE);
    let script = format!(
        "function request()\n  return 'POST /v1/secret/data/bench/' .. math.random(0, {}) .. ' HTTP/1.1\\r\\nHost: \
         {host}\\r\\nX-Vault-Token: {token}\\r\\nContent-Length: {}\\r\\n\\r\\n{body}'\nend\n",
        NAMES - 1,
        body.len()
    );
    Ok(subject(Traffic {
        url: url.to_owned(),
        script,
    }))
}

fn subject(traffic: Traffic) -> Subject {
    Subject {
        name: "the other server".to_owned(),
        traffic,
        pids: Vec::new(),
    }
}
