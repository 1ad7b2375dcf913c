//! Region, credentials and endpoint come from the environment, in tests as in production. A process
//! has one environment, so such a test runs its body in a child process: the same test binary, told
//! by a variable to run the body instead of preparing it.

use std::{future::Future, process::Command};

use super::{Moto, REGION};

const CHILD: &str = "STRONGROOM_KMS_TEST_CHILD";
/// Where a child finds its KMS key, or whatever else it is told.
pub const KEY: &str = "STRONGROOM_KMS_TEST_KEY";

const CREDENTIALS: [(&str, &str); 2] = [
    ("AWS_ACCESS_KEY_ID", "AKIATESTTESTTEST"),
    ("AWS_SECRET_ACCESS_KEY", "not-a-secret"),
];

/// Whether this process is such a child.
#[must_use]
pub fn is_child() -> bool {
    std::env::var_os(CHILD).is_some()
}

/// What the parent said under `key`.
///
/// # Panics
/// If it said nothing.
#[must_use]
pub fn told(key: &str) -> String {
    std::env::var(key).expect(key)
}

/// Runs the test `name` again in a child with this AWS environment and no other.
///
/// # Panics
/// If the test fails there.
pub fn run_child(name: &str, environment: &[(&str, &str)]) {
    let binary = std::env::current_exe().expect("a test binary knows its path");
    let mut child = Command::new(binary);
    child.args(["--exact", name, "--nocapture", "--test-threads=1"]);
    for (key, _) in std::env::vars_os() {
        if key.to_string_lossy().starts_with("AWS_") {
            child.env_remove(key);
        }
    }
    child
        .env(CHILD, "1")
        .env("AWS_EC2_METADATA_DISABLED", "true")
        .env("AWS_CONFIG_FILE", "/dev/null")
        .env("AWS_SHARED_CREDENTIALS_FILE", "/dev/null")
        .envs(environment.iter().copied());
    let output = child.output().expect("a test binary starts");
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(
        output.status.success() && text.contains("1 passed"),
        "{name}: {}\n{text}\n{}",
        output.status,
        String::from_utf8_lossy(&output.stderr)
    );
}

/// The environment of a client of `endpoint`, which uses `key`.
#[must_use]
pub fn environment<'a>(endpoint: &'a str, key: &'a str) -> Vec<(&'a str, &'a str)> {
    let place = [("AWS_REGION", REGION), ("AWS_ENDPOINT_URL_KMS", endpoint)];
    [&place[..], &CREDENTIALS, &[(KEY, key)]].concat()
}

/// Runs the test `name` in a child against a moto of its own, with a fresh key.
///
/// # Panics
/// If the test fails there.
pub fn with_moto(name: &str) {
    let moto = Moto::start();
    let key = moto.api().create_key();
    run_child(name, &environment(&moto.api().endpoint(), &key));
}

/// Runs a child's body.
///
/// # Panics
/// If there is no runtime.
pub fn run<F: Future<Output = ()>>(body: F) {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build();
    runtime.expect("a runtime starts").block_on(body);
}
