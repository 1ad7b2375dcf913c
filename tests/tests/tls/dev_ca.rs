//! `strongroom tls dev-ca`, as somebody uses it who tries TLS out.

use std::{
    path::Path,
    process::{Command, Output},
};

use serde_json::Value;
use strongroom_tests::node::binary;

use super::*;

fn dev_ca(dir: &Path, names: &[&str]) -> Output {
    let mut command = Command::new(binary());
    command.args(["tls", "dev-ca"]).arg(dir);
    for name in names {
        command.args(["--name", name]);
    }
    command.output().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_it_prints_works() {
    let mut cluster = Cluster::prepare(1, &[]);
    // A directory that a shell would take apart.
    let dir = cluster.dir.path().join("it's for trying");
    let made = dev_ca(&dir, &["vault.example", "10.0.0.7"]);
    assert!(made.status.success(), "{made:?}");
    let out = String::from_utf8(made.stdout).unwrap();
    for file in ["ca.pem", "server.pem", "server-key.pem"] {
        let mode = fs::metadata(dir.join(file)).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600, "{file}");
    }
    assert_eq!(fs::read_dir(&dir).unwrap().count(), 3);
    let lines = |begin: &str| -> Vec<String> {
        let lines = out.lines().map(str::trim);
        lines
            .filter(|line| line.starts_with(begin))
            .map(str::to_owned)
            .collect()
    };
    // The settings, as a shell takes them.
    let exports = lines("export ");
    assert_eq!(exports.len(), 2, "{out}");
    for export in &exports {
        let key = export["export ".len()..].split('=').next().unwrap();
        let script = format!("{export}; printf %s \"${key}\"");
        let said = Command::new("sh").args(["-c", &script]).output().unwrap();
        let value = String::from_utf8(said.stdout).unwrap();
        cluster.nodes[0].env.insert(key.to_owned(), value);
    }
    let node = &mut cluster.nodes[0];
    node.start();
    says(node, "the API listens").await;
    let curls = lines("curl ");
    assert_eq!(curls.len(), 1, "{out}");
    let here = curls[0].replace(":8200", &format!(":{}", node.api_port));
    let ask = |curl: &str| {
        let script = curl.replace(
            "curl ",
            "curl -sS --noproxy '*' --retry 20 --retry-all-errors ",
        );
        Command::new("sh").args(["-c", &script]).output().unwrap()
    };
    let said = ask(&here);
    let said: Value = serde_json::from_slice(&said.stdout).unwrap_or_else(|_| panic!("{said:?}"));
    assert_eq!(said["ready"], true, "{said}");
    // By the names that were given as well, and by no other.
    let named = |name: &str| {
        let resolve = format!("curl --resolve {name}:{}:127.0.0.1 ", node.api_port);
        let curl = here.replace("curl ", &resolve).replace("localhost", name);
        let script = curl.replace("curl ", "curl -sS --noproxy '*' ");
        Command::new("sh").args(["-c", &script]).output().unwrap()
    };
    assert!(named("vault.example").status.success());
    assert_eq!(named("other.example").status.code(), Some(60));
    assert!(node.terminate().success());
    // Nothing is overwritten.
    let before = fs::read(dir.join("server-key.pem")).unwrap();
    let again = dev_ca(&dir, &[]);
    assert_eq!(again.status.code(), Some(1));
    let err = String::from_utf8(again.stderr).unwrap();
    assert!(err.contains("ca.pem") && err.contains("exists"), "{err}");
    assert_eq!(fs::read(dir.join("server-key.pem")).unwrap(), before);
    // A name that is none makes nothing.
    let other = cluster.dir.path().join("other");
    for bad in ["http://a", "a b", "10.0.0.256"] {
        let refused = dev_ca(&other, &[bad]);
        assert_eq!(refused.status.code(), Some(1), "{refused:?}");
        assert!(!other.exists());
    }
}
