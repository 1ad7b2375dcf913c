//! The commands that the README shows, run as they stand there: three nodes, and the command line.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::print_stdout
)]

use std::{fs, net::TcpListener, os::unix::fs::symlink, path::Path, process::Command};

use strongroom_tests::node::binary;

/// The shell commands of the first block after this line.
fn block(readme: &str, after: &str) -> String {
    let (_, rest) = readme
        .split_once(after)
        .unwrap_or_else(|| panic!("{after}"));
    let (_, block) = rest.split_once("```sh\n").expect("a block");
    block.split_once("```").expect("its end").0.to_owned()
}

/// Three digits that stand for `830` and `820`: with a node's number after them they are ports, here
/// of five digits, and free.
fn free_prefix(after: u16) -> u16 {
    let free = |prefix: &u16| {
        (1..=3).all(|node| TcpListener::bind(("127.0.0.1", prefix * 10 + node)).is_ok())
    };
    let start = u16::try_from(std::process::id() % 800).unwrap();
    let mut all = (1_200..3_100)
        .cycle()
        .skip(usize::from(start + after))
        .take(1_900);
    all.find(free).expect("free ports")
}

#[test]
fn three_nodes_and_the_command_line_work_as_the_readme_shows_them() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let readme = fs::read_to_string(root.join("README.md")).unwrap();
    let nodes = block(&readme, "## Three nodes on one machine");
    let (build, nodes) = nodes.split_once('\n').unwrap();
    assert_eq!(build, "cargo build --release --locked -p strongroom");
    let tool = block(&readme, "The same by the command line:");
    let key = block(
        &readme,
        "Nodes on several machines know each other by a cluster key",
    );

    let home = tempfile::tempdir().unwrap();
    let bin = home.path().join("bin");
    fs::create_dir(&bin).unwrap();
    symlink(binary(), bin.join("strongroom")).unwrap();
    symlink("/bin/cat", bin.join("some-program")).unwrap();
    let raft = free_prefix(0);
    let api = free_prefix(900);
    let nodes = nodes
        .replace("target/release/strongroom", "strongroom")
        .replace("127.0.0.1:830", &format!("127.0.0.1:{raft}"))
        .replace("127.0.0.1:820", &format!("127.0.0.1:{api}"));
    // What is typed at its prompt.
    let typed = "echo \"$VAULT_BOOTSTRAP_TOKEN\" | strongroom login ";
    let tool = tool.replacen("strongroom login ", typed, 1);
    let script = format!(
        "set -euo pipefail\n\
         trap 'kill $(jobs -p) 2>/dev/null || true' EXIT\n\
         trap 'exit 1' TERM\n\
         {nodes}\n\
         export VAULT_ADDR=http://127.0.0.1:{api}1\n\
         {tool}\n\
         {key}\n\
         test -n \"$VAULT_CLUSTER_KEY\"\n"
    );
    let path = std::env::var("PATH").unwrap();
    let mut command = Command::new("timeout");
    for (name, _) in std::env::vars_os() {
        let name = name.to_string_lossy().into_owned();
        if name.starts_with("VAULT_") || name.starts_with("STRONGROOM_TOKEN") {
            command.env_remove(name);
        }
    }
    let output = command
        .args(["60", "bash", "-c", &script])
        .current_dir(home.path())
        .env("HOME", home.path())
        .env_remove("XDG_CONFIG_HOME")
        .env("PATH", format!("{}:{path}", bin.display()))
        .output()
        .unwrap();
    let out = String::from_utf8(output.stdout).unwrap();
    let err = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.success(), "{}\n{out}\n{err}", output.status);
    for part in [
        r#""name":"db/password","version":1"#,
        r#""value":"s3cret""#,
        r#""failure_tolerance":1"#,
        "the token is good",
        "db/password: version 2",
    ] {
        assert!(out.contains(part), "no {part} in\n{out}\n{err}");
    }
    assert!(out.ends_with("s3cret"), "{out}");
}
