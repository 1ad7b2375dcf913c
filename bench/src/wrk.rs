//! The load generator: `wrk`, told by a script what to send.

use std::{path::Path, time::Duration};

use anyhow::{Context, Result, bail, ensure};
use serde::{Deserialize, Serialize};
use tokio::process::Command;

/// What one run of `wrk` came to.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub(crate) struct Sample {
    /// Answers a second.
    pub(crate) rate: f64,
    pub(crate) p50_micros: f64,
    pub(crate) p99_micros: f64,
    /// Processor time of the servers for an answer, in microseconds; 0 if it is not known.
    pub(crate) cpu_micros: f64,
    /// The longest sync of a program that has nothing to do with the servers, meanwhile; 0 if there was none.
    pub(crate) control_micros: f64,
}

/// What the script prints at the end.
#[derive(Deserialize)]
struct Printed {
    requests: f64,
    micros: f64,
    errors: u64,
    p50: f64,
    p99: f64,
}

const AT_THE_END: &str = r#"
function done(summary, latency, requests)
  local e = summary.errors
  io.write(string.format(
    'RESULT {"requests":%d,"micros":%d,"errors":%d,"p50":%d,"p99":%d}\n',
    summary.requests, summary.duration, e.connect + e.read + e.write + e.status + e.timeout,
    latency:percentile(50), latency:percentile(99)))
end
"#;

/// What is sent.
#[derive(Clone)]
pub(crate) struct Traffic {
    pub(crate) url: String,
    /// Lua that makes requests; none: the URL is asked for again and again.
    pub(crate) script: String,
}

impl Traffic {
    /// GET of one URL.
    pub(crate) fn get(url: String) -> Self {
        Self {
            url,
            script: String::new(),
        }
    }

    /// GET of `{base}{prefix}N` for random N below `count`.
    pub(crate) fn get_random(base: &str, prefix: &str, count: u64) -> Self {
        let host = base.trim_start_matches("http://");
        let script = format!(
            "function request()\n  return 'GET {prefix}' .. math.random(0, {}) .. \
             ' HTTP/1.1\\r\\nHost: {host}\\r\\n\\r\\n'\nend\n",
            count - 1
        );
        Self {
            url: base.to_owned(),
            script,
        }
    }

    /// The same at a rate: each of the connections waits between an answer and its next request, at
    /// random, so long that all together send this many a second.
    pub(crate) fn paced(mut self, per_sec: f64, connections: usize) -> Self {
        let most = 2.0 * 1_000.0 * connections as f64 / per_sec;
        self.script.push_str(&format!(
            "\nfunction delay()\n  local wanted = math.random() * {most}\n  local whole = math.floor(wanted)\n  \
             if math.random() < wanted - whole then whole = whole + 1 end\n  return whole\nend\n"
        ));
        self
    }
}

/// Sends it over so many connections for so long. Answers other than 2xx and 3xx are an error: a server
/// that refuses is fast.
pub(crate) async fn run(
    traffic: &Traffic,
    connections: usize,
    time: Duration,
    scratch: &Path,
) -> Result<Sample> {
    let script = scratch.join(format!("traffic-{}.lua", fastrand::u64(..)));
    let seeded = format!(
        "math.randomseed({})\n{}{AT_THE_END}",
        fastrand::u32(1..),
        traffic.script
    );
    std::fs::write(&script, seeded)?;
    let mut wrk = Command::new("wrk");
    wrk.args(["--threads", "1", "--latency", "--timeout", "30s"])
        .args(["--connections", &connections.to_string()])
        .args(["--duration", &format!("{}s", time.as_secs().max(1))])
        .arg("--script")
        .arg(&script);
    let ran = wrk.arg(&traffic.url).kill_on_drop(true).output().await;
    let ran = ran.context("wrk does not start: install Debian's package wrk")?;
    std::fs::remove_file(&script)?;
    let text = String::from_utf8_lossy(&ran.stdout);
    ensure!(ran.status.success(), "wrk failed: {text}");
    let Some(line) = text.lines().find_map(|line| line.strip_prefix("RESULT ")) else {
        bail!("wrk printed no result: {text}");
    };
    let printed: Printed = serde_json::from_str(line)?;
    ensure!(
        printed.errors == 0,
        "{} requests failed: {text}",
        printed.errors
    );
    ensure!(printed.requests > 0.0, "nothing was answered: {text}");
    Ok(Sample {
        rate: printed.requests / (printed.micros / 1e6),
        p50_micros: printed.p50,
        p99_micros: printed.p99,
        cpu_micros: 0.0,
        control_micros: 0.0,
    })
}
