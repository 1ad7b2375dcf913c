//! A Prometheus server as a process of its own, which scrapes nodes and evaluates rules on what they say.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::Instant,
};

use serde_json::Value;
use tempfile::TempDir;

use crate::{
    api::Api,
    node::{PATIENCE, free_port},
};

/// Where Debian's package `prometheus` was unpacked or installed: `$STRONGROOM_PROMETHEUS_BIN`, `.prometheus`
/// in the workspace, or the system's.
///
/// # Panics
/// If it is nowhere; the message says how to get it.
pub fn program(name: &str) -> PathBuf {
    let workspace = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let told = std::env::var_os("STRONGROOM_PROMETHEUS_BIN").map(PathBuf::from);
    let places = [workspace.join(".prometheus/usr/bin"), "/usr/bin".into()];
    let found = told.into_iter().chain(places).map(|dir| dir.join(name));
    let mut found = found.filter(|path| path.is_file());
    found.next().unwrap_or_else(|| {
        panic!("{name} is nowhere: scripts/test unpacks Debian's prometheus into .prometheus")
    })
}

/// A running server, killed on drop.
pub struct Prometheus {
    child: Child,
    api: Api,
    _dir: TempDir,
}

impl Prometheus {
    /// Scrapes the ports of each job, in TLS if its name ends with `-tls`, twice a second, and evaluates these rules as often.
    pub async fn start(jobs: &[(&str, Vec<u16>)], rules: &str) -> Self {
        let dir = tempfile::tempdir().expect("a directory");
        let mut config = "global: {scrape_interval: 500ms, scrape_timeout: 400ms, \
             evaluation_interval: 500ms}\nrule_files: [rules.yaml]\nscrape_configs:\n"
            .to_owned();
        for (job, ports) in jobs {
            let targets: Vec<_> = ports.iter().map(|p| format!("127.0.0.1:{p}")).collect();
            let targets = format!("[{{targets: {targets:?}}}]");
            // The certificate's authority is the test's own.
            let scheme = match job.ends_with("-tls") {
                true => "scheme: https, tls_config: {insecure_skip_verify: true}, ",
                false => "",
            };
            config.push_str(&format!(
                "- {{job_name: {job}, {scheme}static_configs: {targets}}}\n"
            ));
        }
        fs::write(dir.path().join("prometheus.yaml"), config).expect("a file");
        fs::write(dir.path().join("rules.yaml"), rules).expect("a file");
        let port = free_port();
        let log = fs::File::create(dir.path().join("log")).expect("a file");
        let child = Command::new(program("prometheus"))
            .arg(format!("--web.listen-address=127.0.0.1:{port}"))
            .arg("--config.file=prometheus.yaml")
            .arg("--storage.tsdb.path=data")
            .current_dir(dir.path())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .expect("prometheus starts");
        let api = Api::new(&format!("http://127.0.0.1:{port}"));
        let until = Instant::now() + PATIENCE;
        while api
            .try_get("/-/ready")
            .await
            .map_or(0, |answer| answer.status)
            != 200
        {
            let log = || fs::read_to_string(dir.path().join("log")).unwrap_or_default();
            assert!(Instant::now() < until, "{}", log());
            tokio::time::sleep(std::time::Duration::from_millis(100)).await;
        }
        Self {
            child,
            api,
            _dir: dir,
        }
    }

    async fn data(&self, path: &str) -> Value {
        let answer = self.api.get(path).await.expect(200);
        answer.json["data"].clone()
    }

    /// The alerts that fire now, each with its job.
    pub async fn firing(&self) -> BTreeSet<(String, String)> {
        let data = self.data("/api/v1/alerts").await;
        let alerts = data["alerts"].as_array().expect("alerts");
        let label = |alert: &Value, label: &str| {
            let label = alert["labels"][label].as_str();
            label.unwrap_or_default().to_owned()
        };
        alerts
            .iter()
            .filter(|alert| alert["state"] == "firing")
            .map(|alert| (label(alert, "alertname"), label(alert, "job")))
            .collect()
    }

    /// The names of all that was scraped.
    pub async fn names(&self) -> BTreeSet<String> {
        let data = self.data("/api/v1/label/__name__/values").await;
        let names = data.as_array().expect("names").iter();
        names
            .filter_map(|name| name.as_str().map(str::to_owned))
            .collect()
    }
}

impl Drop for Prometheus {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}
