//! What Prometheus reads: that the numbers are true, and that docs/METRICS.md has each of them.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::print_stdout
)]

use std::{
    fmt::Write as _,
    fs,
    path::Path,
    time::{Duration, Instant},
};

use serde_json::json;
use strongroom_tests::{
    cluster::Cluster,
    metrics::Page,
    node::{Node, PATIENCE},
    tls::{self, Ca},
};

const INTRODUCTION: &str = "\
# Metrics

<!-- Generated from a page that a live leader answered; UPDATE_DOCS=1 cargo test -p strongroom-tests --test metrics rewrites it. -->

What `GET /metrics` of a leader with scheduled backups, and of a node that speaks TLS, shows, in the order of their names. Counters are since the
start of the process. A histogram `x` is read as `x_bucket`, `x_sum` and `x_count`. Names of secrets, values, tokens and
addresses are in no label: `route` is one of the routes in [API](API.md) as the router writes it, or `other`; `peer` is a
`NODE_ID`; all others have a few words that are written in the code.

Without `VAULT_TLS_CERT` there is nothing about TLS. Without `VAULT_BACKUP_URL` there is nothing about backups; without a backup there is no age of one. A follower has no
`strongroom_raft_peer_lag_entries` and no age of backups. A node that was removed has no voters. A worker that has never
come to an end of a round has no time of it. The dashboard and the alerts that use these are in
[deploy/monitoring](../deploy/monitoring/README.md).

| metric | type | labels | meaning |
|---|---|---|---|
";

fn table(page: &Page) -> String {
    let mut text = INTRODUCTION.to_owned();
    for (name, family) in &page.families {
        let suffix = if family.kind == "counter" {
            "_total"
        } else {
            ""
        };
        let labels: Vec<_> = family.labels().iter().map(|l| format!("`{l}`")).collect();
        let (kind, labels) = (&family.kind, labels.join(", "));
        let help = family.help.trim_end_matches('.');
        writeln!(text, "| `{name}{suffix}` | {kind} | {labels} | {help} |").unwrap();
    }
    text
}

async fn until(what: &str, node: &Node, fits: impl Fn(&Page) -> bool) -> Page {
    let began = Instant::now();
    loop {
        let page = Page::of(node).await;
        if fits(&page) {
            return page;
        }
        let raft = page.families.iter().filter(|(name, _)| {
            ["backup", "raft", "voters"]
                .iter()
                .any(|word| name.contains(word))
        });
        let raft: Vec<_> = raft.map(|(name, family)| (name, &family.samples)).collect();
        assert!(began.elapsed() < PATIENCE, "{what}: {raft:?}");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

/// Names by their units, so that nobody has to guess.
fn check_names(page: &Page) {
    for (name, family) in &page.families {
        let ours = name.starts_with("strongroom_") || name.starts_with("process_");
        assert!(ours, "{name}");
        assert!(!name.ends_with("_total"), "{name}: the library adds it");
        assert!(!family.help.is_empty(), "{name} does not say what it is");
        let timed = name.ends_with("_seconds");
        assert!(family.kind != "histogram" || timed, "{name} has no unit");
        let few = family.samples.len() <= 200;
        assert!(few, "{name} has {} samples", family.samples.len());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_metric_is_in_the_document_and_tells_the_truth() {
    let backups = tempfile::tempdir().unwrap();
    let url = backups.path().display().to_string();
    let mut cluster = Cluster::start_with(3, &[("VAULT_BACKUP_URL", &url)]).await;
    let leader = cluster.leader().await;
    let admin = cluster.admin(leader);
    for n in 0..5 {
        let secret = json!({"name": format!("counted/{n}"), "value": "v"});
        admin.post("/v1/secrets", secret).await.expect(201);
    }
    let reader = cluster.nodes[leader].api();
    for _ in 0..7 {
        reader.get("/v1/secrets/counted/1").await.expect(200);
    }
    reader
        .post("/v1/roles", json!({"name": "r"}))
        .await
        .expect(401);
    let node = &cluster.nodes[leader];
    let page = until("a verified backup and reachable voters", node, |page| {
        page.sum("strongroom_backup_verified_age_seconds", &[])
            .is_some()
            && page.sum("strongroom_voters_reachable", &[]) == Some(3.0)
            && page.sum("strongroom_raft_peer_lag_entries", &[]) == Some(0.0)
    })
    .await;
    check_names(&page);
    for (name, at_least) in [
        ("strongroom_seal_duration_seconds_count", 5.0),
        ("strongroom_open_duration_seconds_count", 7.0),
        ("strongroom_raft_commit_duration_seconds_count", 5.0),
        ("strongroom_raft_append_duration_seconds_count", 5.0),
        ("strongroom_store_sync_duration_seconds_count", 5.0),
        ("strongroom_audit_write_duration_seconds_count", 12.0),
        ("strongroom_audit_sync_duration_seconds_count", 1.0),
        ("strongroom_raft_term", 1.0),
        ("strongroom_raft_elections_total", 1.0),
        ("strongroom_raft_leader_changes_total", 1.0),
        ("strongroom_store_bytes", 1.0),
        ("process_start_time_seconds", 1.7e9),
    ] {
        assert!(page.value(name) >= at_least, "{name}: {}", page.value(name));
    }
    for name in [
        "strongroom_seal_failures_total",
        "strongroom_open_failures_total",
        "strongroom_clock_behind_seconds",
        "strongroom_worker_panics_total",
        "strongroom_refusals_unrecorded_total",
    ] {
        assert_eq!(page.value(name), 0.0, "{name}");
    }
    assert_eq!(page.value("strongroom_raft_has_leader"), 1.0);
    assert_eq!(page.value("strongroom_http_requests_in_flight"), 1.0);
    assert_eq!(
        page.value("strongroom_raft_committed_index"),
        page.value("strongroom_applied_index")
    );
    let admitted = |gate| page.sum("strongroom_admissions_total", &[("gate", gate)]);
    assert_eq!(admitted("address"), Some(7.0));
    assert!(admitted("token") >= Some(5.0));
    let backed_up = [("worker", "backup"), ("outcome", "ok")];
    assert_eq!(
        page.sum("strongroom_worker_rounds_total", &backed_up),
        Some(1.0)
    );
    let at = page.sum("strongroom_worker_last_round_timestamp_seconds", &backed_up);
    assert!(at > Some(1.7e9), "{at:?}");

    // A node that speaks TLS has more to tell.
    let ca = Ca::new("test");
    let (in_tls, _files) = tls::start(&ca, &[]).await;
    let answer = tls::Client::of(&ca).get(&in_tls.nodes[0], "/metrics").await;
    let mut all = Page::parse(&answer.unwrap().text);
    check_names(&all);
    assert!(all.value("strongroom_tls_certificate_expiry_seconds") > 0.0);
    all.families.extend(page.families);
    check_document(&all);

    // A member that is away lags behind more with every entry, and comes back.
    let follower = (0..3).find(|node| *node != leader).unwrap();
    cluster.nodes[follower].kill();
    for n in 0..20 {
        let change = json!({"value": format!("{n}")});
        admin.put("/v1/secrets/counted/1", change).await.expect(200);
    }
    let id = cluster.nodes[follower].id.clone();
    let lag = |page: &Page| page.sum("strongroom_raft_peer_lag_entries", &[("peer", &id)]);
    let node = &cluster.nodes[leader];
    until("the one that is away lags", node, |page| {
        lag(page) >= Some(20.0)
    })
    .await;
    cluster.nodes[follower].start();
    let node = &cluster.nodes[leader];
    until("it has caught up", node, |page| lag(page) == Some(0.0)).await;
}

fn check_document(page: &Page) {
    let text = table(page);
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/METRICS.md");
    if std::env::var_os("UPDATE_DOCS").is_some() {
        fs::write(&path, &text).unwrap();
    }
    let found = fs::read_to_string(&path).unwrap_or_default();
    assert_eq!(
        found, text,
        "docs/METRICS.md is out of date; UPDATE_DOCS=1 rewrites it"
    );
    println!("{} metrics, each in docs/METRICS.md", page.families.len());
}
