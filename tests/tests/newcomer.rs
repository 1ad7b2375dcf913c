//! What somebody new does: from nothing to a secret that is written and read in TLS, from another machine. That
//! one is a network namespace of its own, so this needs what `tests/src/faults/net.rs` does.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::print_stdout
)]

use std::{
    io::Write,
    path::Path,
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use strongroom_tests::{
    cluster::{Cluster, TOKEN},
    faults::net::{self, Net},
    node::binary,
};

/// How long it may take to be ready.
const PATIENCE: Duration = Duration::from_secs(30);

/// The client's side: a home without anything in it.
struct Client<'a> {
    home: &'a Path,
    address: String,
    ca: String,
}

impl Client<'_> {
    fn run(&self, arguments: &[&str], input: &str) -> (i32, String, String) {
        let mut child = Command::new(binary())
            .args(arguments)
            .env_clear()
            .env("HOME", self.home)
            .env("VAULT_ADDR", &self.address)
            .env("VAULT_CACERT", &self.ca)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        // What reads no input may have ended by now.
        child.stdin.take().unwrap().write_all(input.as_bytes()).ok();
        let output = child.wait_with_output().unwrap();
        let text = |bytes| String::from_utf8(bytes).unwrap();
        let code = output.status.code().unwrap_or(-1);
        (code, text(output.stdout), text(output.stderr))
    }
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs root and network namespaces; scripts/test runs it"]
async fn a_secret_is_written_and_read_in_tls_from_another_machine() {
    if let Some(why) = net::missing() {
        panic!("this cannot be tested here: {why}");
    }
    let began = Instant::now();
    let net = Net::up(1);
    let there = net.address(0);
    let outside = net.outside().to_string();
    let mut cluster = Cluster::prepare(1, &[("VAULT_ALLOWED_IPS", outside.as_str())]);
    let dir = cluster.dir.path().to_owned();
    let (ca_dir, home) = (dir.join("ca"), dir.join("home"));
    let made = Command::new(binary())
        .args(["tls", "dev-ca", ca_dir.to_str().unwrap(), "--name"])
        .arg(there.to_string())
        .output()
        .unwrap();
    assert!(made.status.success(), "{made:?}");
    let node = &mut cluster.nodes[0];
    node.netns = Some((net.space(0), there));
    node.env.extend(
        [
            ("VAULT_API_ADDR", format!("{there}:8200")),
            (
                "VAULT_TLS_CERT",
                ca_dir.join("server.pem").display().to_string(),
            ),
            (
                "VAULT_TLS_KEY",
                ca_dir.join("server-key.pem").display().to_string(),
            ),
        ]
        .map(|(key, value)| (key.to_owned(), value)),
    );
    node.start();
    let client = Client {
        home: &home,
        address: format!("https://{there}:8200"),
        ca: ca_dir.join("ca.pem").display().to_string(),
    };
    while client.run(&["status"], "").0 != 0 {
        assert!(
            began.elapsed() < PATIENCE,
            "{}",
            cluster.nodes[0].log_text()
        );
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let ready = began.elapsed();
    let (code, _, said) = client.run(&["login"], TOKEN);
    assert_eq!(code, 0, "{said}");
    let (code, out, said) = client.run(&["secret", "put", "db/password"], "s3cret");
    assert_eq!(
        (code, out.as_str()),
        (0, "db/password: version 1\n"),
        "{said}"
    );
    let (code, out, said) = client.run(&["secret", "get", "db/password"], "");
    assert_eq!((code, out.as_str()), (0, "s3cret"), "{said}");
    println!(
        "ready after {ready:.1?}, read after {:.1?}",
        began.elapsed()
    );
    // Who does not know the authority gets nothing.
    let stranger = Client {
        ca: String::new(),
        ..client
    };
    let (code, out, said) = stranger.run(&["secret", "get", "db/password"], "");
    assert_eq!((code, out.as_str()), (3, ""), "{said}");
}
