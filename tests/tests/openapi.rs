//! The document that describes the API, and whether the server does what it says: schemathesis makes requests
//! of it, sensible ones and others, and compares each answer.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::print_stdout
)]

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
    time::Duration,
};

use serde_json::{Value, json};
use strongroom_server::http::{Who, route_list};
use strongroom_tests::cluster::{Cluster, TOKEN};

/// Cases for each route, of each kind.
const EXAMPLES: u32 = 25;
/// The same requests each time.
const SEED: u32 = 20_261_125;
/// Far more than it takes.
const WITHIN: Duration = Duration::from_secs(180);

/// What the document may be asked for and what counts as wrong. 503 has a meaning here, and is checked
/// against the document like any other status. A read that waits does so for as short as it can.
const CONFIG: &str = "\
[parameters]
\"query.wait\" = \"1s\"

[checks.not_a_server_error]
expected-statuses = [\"2xx\", \"3xx\", \"4xx\", \"503\"]
";
const CHECKS: &str = "not_a_server_error,status_code_conformance,content_type_conformance,\
    response_headers_conformance,response_schema_conformance";

fn executable() -> PathBuf {
    let workspace = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let venv = std::env::var_os("STRONGROOM_VENV").map_or(workspace.join(".venv"), PathBuf::from);
    let executable = venv.join("bin/schemathesis");
    assert!(
        executable.is_file(),
        "{} is missing: pip install -r tests/requirements.txt",
        executable.display()
    );
    executable
}

async fn document(cluster: &Cluster) -> Value {
    let api = cluster.nodes[0].api();
    api.get("/v1/openapi.json").await.expect(200).json
}

#[tokio::test(flavor = "multi_thread")]
async fn document_and_server_have_the_same_routes_and_codes() {
    let cluster = Cluster::start(1).await;
    let document = document(&cluster).await;
    let mut found = BTreeSet::new();
    for (path, methods) in document["paths"].as_object().unwrap() {
        for (method, operation) in methods.as_object().unwrap() {
            let needs_token = operation["security"].is_array();
            found.insert((method.to_uppercase(), path.clone(), needs_token));
        }
    }
    let routes = route_list().into_iter().map(|(method, path, who)| {
        let needs_token = matches!(who, Who::Role | Who::Admin);
        let path = path.replace("{*name}", "{name}");
        (method.to_owned(), path, needs_token)
    });
    assert_eq!(found, routes.collect());

    let mut codes = BTreeSet::new();
    for (status, response) in document["components"]["responses"].as_object().unwrap() {
        let schema = &response["content"]["application/json"]["schema"];
        for code in schema["properties"]["code"]["enum"].as_array().unwrap() {
            let status = status.trim_start_matches('e').to_owned();
            codes.insert((status, code.as_str().unwrap().to_owned()));
        }
    }
    let api = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/API.md");
    let text = fs::read_to_string(api).unwrap();
    let rows = text.lines().filter_map(|line| {
        let mut cells = line.split('|').map(str::trim).skip(1);
        let (status, code) = (cells.next()?, cells.next()?);
        status.parse::<u16>().ok()?;
        Some((status.to_owned(), code.trim_matches('`').to_owned()))
    });
    assert_eq!(codes, rows.collect());
}

#[tokio::test(flavor = "multi_thread")]
async fn what_schemathesis_asks_is_answered_as_the_document_says() {
    let executable = executable();
    let cluster = Cluster::start_with(1, &[("VAULT_AUTH_MAX_FAILURES", "0")]).await;
    let admin = cluster.admin(0);
    // What the examples in the document name.
    let secret = json!({"name": "example", "kind": "automatic", "rotation_interval_secs": 3600});
    admin.post("/v1/secrets", secret).await.expect(201);
    admin
        .post("/v1/roles", json!({"name": "example"}))
        .await
        .expect(201);
    let scratch = tempfile::tempdir().unwrap();
    fs::write(scratch.path().join("schemathesis.toml"), CONFIG).unwrap();
    let url = format!(
        "http://127.0.0.1:{}/v1/openapi.json",
        cluster.nodes[0].api_port
    );
    let ran = tokio::process::Command::new(executable)
        .args(["run", &url, "--checks", CHECKS])
        .args(["--phases", "examples,coverage,fuzzing"])
        .args(["--header", &format!("Authorization: Bearer {TOKEN}")])
        .args(["--max-examples", &EXAMPLES.to_string()])
        .args(["--seed", &SEED.to_string()])
        .args(["--request-timeout", "20", "--generation-database", "none"])
        .args([
            "--suppress-health-check",
            "all",
            "--no-color",
            "--warnings",
            "off",
        ])
        .arg("--continue-on-failure")
        .current_dir(scratch.path())
        .kill_on_drop(true)
        .output();
    let ran = tokio::time::timeout(WITHIN, ran).await.expect("in time");
    let ran = ran.expect("schemathesis runs");
    let text = String::from_utf8_lossy(&ran.stdout);
    assert!(
        ran.status.success(),
        "{text}\n{}",
        String::from_utf8_lossy(&ran.stderr)
    );
    let cases = text.lines().filter(|line| line.contains("generated"));
    println!(
        "schemathesis: {}",
        cases.collect::<Vec<_>>().join("; ").trim()
    );
    // The node is as well as before.
    cluster.nodes[0].wait_ready().await;
}
