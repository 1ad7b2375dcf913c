//! The dashboard and the alerts of `deploy/monitoring`: that they ask for what there is, and that alerts fire
//! when their cause is there, and not before.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::print_stdout
)]

#[path = "monitoring/causes.rs"]
mod causes;

use std::{
    collections::BTreeSet,
    fs,
    path::Path,
    process::Command,
    time::{Duration, Instant},
};

use serde_json::Value;
use strongroom_tests::prometheus::{Prometheus, program};

use causes::Lab;

/// Alerts whose cause is made here, and the job that they must fire for.
const SHOWN: [(&str, &str); 23] = [
    ("StrongroomNodeDown", "strongroom-three"),
    ("StrongroomNotReady", "strongroom-three"),
    ("StrongroomNoLeader", "strongroom-three"),
    ("StrongroomNoFailureTolerance", "strongroom-three"),
    ("StrongroomLeaderChangesOften", "strongroom-three"),
    ("StrongroomPeerLags", "strongroom-three"),
    ("StrongroomErrors", "strongroom-three"),
    ("StrongroomClockBehind", "strongroom-audit"),
    ("StrongroomAuditUnhealthy", "strongroom-audit"),
    ("StrongroomLockouts", "strongroom-audit"),
    ("StrongroomRefusalsFlood", "strongroom-audit"),
    ("StrongroomFilesRunOut", "strongroom-audit"),
    ("StrongroomDiskSyncSlow", "strongroom-disk"),
    ("StrongroomStoreFailed", "strongroom-disk"),
    ("StrongroomSnapshotsFail", "strongroom-snapshots"),
    ("StrongroomKmsBreakerOpen", "strongroom-kms"),
    ("StrongroomKmsCallsFail", "strongroom-kms"),
    ("StrongroomRewrapFails", "strongroom-kms"),
    ("StrongroomBackupOld", "strongroom-backup"),
    ("StrongroomBackupFails", "strongroom-backup"),
    ("StrongroomVersionsDoNotOpen", "strongroom-damaged"),
    ("StrongroomRotationPendingLong", "strongroom-targets"),
    ("StrongroomCertificateExpires", "strongroom-tls"),
];
/// Alerts that nothing here makes fire. The README says so.
const NOT_SHOWN: [&str; 1] = ["StrongroomWorkerPanicked"];

fn read(path: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(path);
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn rules() -> String {
    read("deploy/monitoring/alerts.yaml")
}

/// Names of metrics in a text.
fn used(text: &str) -> BTreeSet<String> {
    let words = text.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
    let metrics = words.filter(|w| w.starts_with("strongroom_") || w.starts_with("process_"));
    metrics.map(str::to_owned).collect()
}

/// What the dashboard asks for.
fn dashboard() -> Vec<String> {
    let dashboard: Value = serde_json::from_str(&read("deploy/monitoring/dashboard.json")).unwrap();
    let panels = dashboard["panels"].as_array().unwrap();
    let targets = panels.iter().flat_map(|panel| {
        let targets = panel["targets"].as_array();
        assert_eq!(targets.is_none(), panel["type"] == "row", "{panel}");
        targets.cloned().unwrap_or_default()
    });
    targets
        .map(|target| target["expr"].as_str().unwrap().to_owned())
        .collect()
}

/// Names in docs/METRICS.md, which a live page has made.
fn documented() -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    for line in read("docs/METRICS.md").lines() {
        let mut cells = line.split('|').map(str::trim).skip(1);
        let (Some(name), Some(kind)) = (cells.next(), cells.next()) else {
            continue;
        };
        let name = name.trim_matches('`');
        match kind {
            "histogram" => {
                names.extend(["bucket", "sum", "count"].map(|end| format!("{name}_{end}")));
            }
            _ => drop(names.insert(name.to_owned())),
        }
    }
    names
}

fn alerts() -> BTreeSet<String> {
    let rules = rules();
    let lines = rules.lines().map(str::trim);
    lines
        .filter_map(|line| line.strip_prefix("- alert: ").map(str::to_owned))
        .collect()
}

#[test]
fn what_is_asked_for_is_there() {
    let known = documented();
    let mut asked = used(&dashboard().join("\n"));
    assert!(asked.len() > 50, "the dashboard is not where it was");
    asked.extend(used(&rules()));
    let unknown: Vec<_> = asked.difference(&known).collect();
    assert!(unknown.is_empty(), "no node exports {unknown:?}");
}

#[test]
fn every_alert_is_explained_and_counted() {
    let shown = SHOWN.map(|(alert, _)| alert);
    let told: BTreeSet<String> = shown
        .into_iter()
        .chain(NOT_SHOWN)
        .map(str::to_owned)
        .collect();
    assert_eq!(told, alerts());
    let readme = read("deploy/monitoring/README.md");
    let count = format!("{} of the {} alerts", SHOWN.len(), told.len());
    assert!(readme.contains(&count), "the README does not say {count}");
    for alert in &told {
        let row = format!("| `{alert}` |");
        let row = readme.lines().find(|line| line.starts_with(&row));
        let row = row.unwrap_or_else(|| panic!("{alert} is not in the README"));
        let is_shown = !NOT_SHOWN.contains(&alert.as_str());
        assert_eq!(!row.ends_with("| no |"), is_shown, "{row}");
    }
}

/// The rules with seconds for minutes: what takes effect after `for`, and over which time a rate is taken.
fn hurried(rules: &str) -> String {
    let mut text = String::new();
    for line in rules.lines() {
        let indent = line.len() - line.trim_start().len();
        match line.trim().starts_with("for: ") {
            true => text.push_str(&format!("{}for: 1s", &line[..indent])),
            false => text.push_str(line),
        }
        text.push('\n');
    }
    for range in ["[5m]", "[15m]", "[30m]", "[1h]"] {
        text = text.replace(range, "[8s]");
    }
    text
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs Debian's prometheus, and PostgreSQL; scripts/test runs it"]
async fn alerts_fire_when_their_cause_is_there_and_not_before() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy/monitoring/alerts.yaml");
    let checked = Command::new(program("promtool"))
        .args(["check", "rules"])
        .arg(path)
        .output()
        .unwrap();
    assert!(checked.status.success(), "{checked:?}");

    let mut lab = Lab::start().await;
    let prometheus = Prometheus::start(&lab.jobs(), &hurried(&rules())).await;
    tokio::time::sleep(Duration::from_secs(10)).await;
    let names = prometheus.names().await;
    let asked = used(&(rules() + &dashboard().join("\n")));
    let unknown: Vec<_> = asked.difference(&names).collect();
    assert!(unknown.is_empty(), "no live node exports {unknown:?}");
    let firing = prometheus.firing().await;
    assert!(firing.is_empty(), "nothing is wrong yet: {firing:?}");

    let causes = lab.make_causes();
    let mut missing: BTreeSet<_> = SHOWN
        .map(|(alert, job)| (alert.to_owned(), job.to_owned()))
        .into();
    let began = Instant::now();
    let watched = async {
        while !missing.is_empty() {
            for alert in prometheus.firing().await {
                if missing.remove(&alert) {
                    println!("{:>4.1?} {} {}", began.elapsed(), alert.0, alert.1);
                }
            }
            assert!(
                began.elapsed() < Duration::from_secs(150),
                "never seen to fire: {missing:?}"
            );
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    };
    tokio::join!(causes, watched);
    let of = SHOWN.len() + NOT_SHOWN.len();
    println!("{} of {of} alerts were seen to fire", SHOWN.len());
}
