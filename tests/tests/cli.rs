//! The command line against a live server: command, output, exit code.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic
)]

#[path = "cli/doctor.rs"]
mod doctor;

#[path = "cli/servers.rs"]
mod servers;

#[path = "cli/transcript.rs"]
mod transcript;

use std::{
    fs,
    io::Write,
    os::unix::fs::PermissionsExt,
    path::Path,
    process::{Command, Stdio},
};

use strongroom_tests::{
    cluster::{Cluster, TOKEN},
    node::{binary, free_port},
};

/// A shell in front of one node, with a home of its own.
struct Desk<'a> {
    address: String,
    home: &'a Path,
    token: Option<&'a str>,
}

/// How a command ended.
struct End {
    code: i32,
    out: String,
    err: String,
}

impl Desk<'_> {
    fn command(&self, program: &Path) -> Command {
        let mut command = Command::new(program);
        for (key, _) in std::env::vars_os() {
            let key = key.to_string_lossy().into_owned();
            if key.starts_with("VAULT_") || key.starts_with("STRONGROOM_TOKEN") {
                command.env_remove(key);
            }
        }
        command.env_remove("XDG_CONFIG_HOME");
        command
            .env("HOME", self.home)
            .env("VAULT_ADDR", &self.address);
        if let Some(token) = self.token {
            command.env("VAULT_TOKEN", token);
        }
        command
    }

    fn with_input(&self, line: &str, input: &str) -> End {
        let mut command = self.command(&binary());
        command.args(line.split_whitespace());
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        // What reads no input may have ended by now.
        child.stdin.take().unwrap().write_all(input.as_bytes()).ok();
        let output = child.wait_with_output().unwrap();
        End {
            code: output.status.code().unwrap_or(-1),
            out: String::from_utf8(output.stdout).unwrap(),
            err: String::from_utf8(output.stderr).unwrap(),
        }
    }

    /// Runs a command that must end like this. A word of the output that begins with `20` is a time.
    #[track_caller]
    fn says(&self, line: &str, input: &str, code: i32, out: &str) {
        let end = self.with_input(line, input);
        let word = |word: &str| match word.starts_with("20") && word.contains('T') {
            true => "TIME".to_owned(),
            false => word.to_owned(),
        };
        let lines = end.out.split('\n');
        let shown = lines.map(|line| line.split(' ').map(word).collect::<Vec<_>>().join(" "));
        let shown = shown.collect::<Vec<_>>().join("\n");
        assert_eq!(
            (end.code, shown.as_str()),
            (code, out),
            "{line}: {}",
            end.err
        );
    }

    /// Runs a command that must fail with one line that holds this.
    #[track_caller]
    fn fails(&self, line: &str, input: &str, code: i32, why: &str) {
        let end = self.with_input(line, input);
        assert_eq!(
            (end.code, end.out.as_str()),
            (code, ""),
            "{line}: {}",
            end.err
        );
        assert!(end.err.contains(why), "{line}: {}", end.err);
        assert_eq!(end.err.lines().count(), 1, "{line}: {}", end.err);
    }
}

async fn one() -> (Cluster, String) {
    let cluster = Cluster::start(1).await;
    let address = format!("http://127.0.0.1:{}", cluster.nodes[0].api_port);
    (cluster, address)
}

#[tokio::test(flavor = "multi_thread")]
async fn secrets_are_written_read_and_set_back() {
    let (cluster, address) = one().await;
    let desk = Desk {
        address,
        home: cluster.dir.path(),
        token: Some(TOKEN),
    };
    desk.says(
        "secret put db/password",
        "one\n",
        0,
        "db/password: version 1\n",
    );
    desk.says("secret get db/password", "", 0, "one\n");
    desk.says(
        "secret put db/password --cas 1",
        "two",
        0,
        "db/password: version 2\n",
    );
    desk.says("secret get db/password", "", 0, "two");
    desk.says("secret get db/password --version 1", "", 0, "one\n");
    desk.fails("secret put db/password --cas 1", "x", 1, "version_mismatch");
    desk.fails("secret put db/password --cas 0", "x", 1, "already_exists");
    desk.says(
        "secret history db/password",
        "",
        0,
        "VERSION  WRITTEN\n2        TIME\n1        TIME\n",
    );
    desk.says("secret verify db/password", "two", 0, "valid: version 2\n");
    desk.fails("secret verify db/password", "three", 1, "not valid");
    desk.says(
        "secret rollback db/password",
        "",
        0,
        "db/password: version 3 holds what version 1 held\n",
    );
    desk.says("secret get db/password --linearizable", "", 0, "one\n");
    desk.fails(
        "secret rollback db/password --to 3",
        "",
        2,
        "none before it",
    );
    desk.fails("secret rotate db/password", "", 1, "invalid_request");
    let user = r#"{"user":"u","n":[1]}"#;
    desk.says("secret put app/db --data", user, 0, "app/db: version 1\n");
    desk.says("secret get app/db --field user", "", 0, "u");
    desk.fails("secret get app/db --field none", "", 1, "no such field");
    desk.fails("secret put app/db --data", "[]", 2, "JSON object");
    let listed = desk.with_input("secret list app/ --json", "");
    assert!(listed.out.contains("\"app/db\"") && !listed.out.contains("db/password"));
    let json = desk.with_input("secret get app/db --json", "");
    let json: serde_json::Value = serde_json::from_str(&json.out).unwrap();
    assert_eq!(json["data"]["user"], "u");
    desk.fails(
        "secret get app/db --wait 1 --after-version 1",
        "",
        1,
        "no version after 1",
    );
    desk.says("secret delete app/db", "", 0, "app/db is deleted\n");
    desk.fails("secret get app/db", "", 1, "not_found");
    desk.fails("secret get ../admin/kms", "", 2, "segments");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_is_checked_and_kept_for_its_owner_alone() {
    let (cluster, address) = one().await;
    let desk = Desk {
        address,
        home: cluster.dir.path(),
        token: None,
    };
    let file = cluster.dir.path().join(".config/strongroom/token");
    desk.fails("login", "not-the-token-000000000000", 1, "unauthenticated");
    assert!(!file.exists());
    let end = desk.with_input("login", &format!("{TOKEN}\n"));
    assert_eq!(end.code, 0, "{}", end.err);
    assert!(!end.out.contains(TOKEN) && !end.err.contains(TOKEN));
    assert_eq!(fs::read_to_string(&file).unwrap(), TOKEN);
    assert_eq!(
        fs::metadata(&file).unwrap().permissions().mode() & 0o777,
        0o600
    );
    desk.says("secret put k", "v", 0, "k: version 1\n");
    fs::set_permissions(&file, fs::Permissions::from_mode(0o644)).unwrap();
    desk.fails("secret list", "", 2, "others may read this token");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_goes_wrong_is_one_line_and_a_code_and_repeats_no_value() {
    let (cluster, address) = one().await;
    let mut desk = Desk {
        address,
        home: cluster.dir.path(),
        token: Some("not-the-token-000000000000"),
    };
    desk.fails("secret put k", "v", 1, "unauthenticated");
    desk.token = Some(TOKEN);
    for line in [
        "secret put k hunter2",
        "secret verify k hunter2",
        "login hunter2",
    ] {
        desk.fails(line, "v", 2, "from arguments");
        assert!(
            !desk.with_input(line, "v").err.contains("hunter2"),
            "{line}"
        );
    }
    desk.fails("secret get none", "", 1, "not_found");
    desk.fails(
        "secret put k --file /does/not/exist",
        "",
        2,
        "/does/not/exist",
    );
    desk.fails("secret list --ca /does/not/exist", "", 2, "/does/not/exist");
    desk.fails("secret list --address nowhere", "", 2, "no address");
    let nobody = format!("secret list --address http://127.0.0.1:{}", free_port());
    desk.fails(&nobody, "", 3, "no connection");
    desk.says(
        "secret put long",
        &"x\n".repeat(100_000),
        0,
        "long: version 1\n",
    );
    let line = format!("{} secret get long | head -1", binary().display());
    let mut shell = desk.command(Path::new("sh"));
    let piped = shell.args(["-c", &line]).output().unwrap();
    assert_eq!((&*piped.stdout, &*piped.stderr), (&b"x\n"[..], &b""[..]));
    let line = format!("{} secret get long > /dev/full", binary().display());
    let mut shell = desk.command(Path::new("sh"));
    assert_eq!(shell.args(["-c", &line]).status().unwrap().code(), Some(1));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_terminal_shows_a_value_only_when_told_to() {
    let (cluster, address) = one().await;
    let desk = Desk {
        address,
        home: cluster.dir.path(),
        token: Some(TOKEN),
    };
    desk.says("secret put k", "hunter2", 0, "k: version 1\n");
    let on_terminal = |line: &str| {
        let line = format!("{} {line}", binary().display());
        let mut script = desk.command(Path::new("script"));
        script
            .args(["-qec", &line, "/dev/null"])
            .stdin(Stdio::null());
        String::from_utf8(script.output().expect("script, of util-linux").stdout).unwrap()
    };
    let masked = on_terminal("secret get k");
    assert!(
        masked.contains("********") && !masked.contains("hunter2"),
        "{masked}"
    );
    let json = on_terminal("secret get k --json");
    assert!(!json.contains("hunter2"), "{json}");
    assert_eq!(on_terminal("secret get k --show").trim(), "hunter2");
}

#[tokio::test(flavor = "multi_thread")]
async fn operators_see_and_change_what_there_is() {
    let (cluster, address) = one().await;
    let desk = Desk {
        address,
        home: cluster.dir.path(),
        token: Some(TOKEN),
    };
    desk.says("secret put k", "v", 0, "k: version 1\n");
    let status = desk.with_input("status", "");
    assert!(
        status.code == 0 && status.out.contains("ready:     yes"),
        "{}",
        status.out
    );
    let role = "ACTION  PATH\nupdate  app/*\n";
    desk.says("role create deploy --allow update:app/*", "", 0, role);
    desk.fails("role create bad --allow update", "", 2, "ACTION:PATH");
    desk.says("role show deploy", "", 0, role);
    assert!(
        desk.with_input("role list", "")
            .out
            .contains("deploy  no     1")
    );
    let made = desk.with_input("token create ci --role deploy --ttl 60", "");
    assert!(made.code == 0 && made.out.starts_with("srt_") && !made.out.ends_with('\n'));
    let listed = desk.with_input("token list", "");
    assert!(
        listed.out.contains("ci") && !listed.out.contains(&made.out),
        "{}",
        listed.out
    );
    desk.fails("role delete deploy", "", 1, "in_use");
    desk.says("token revoke ci", "", 0, "ci is revoked\n");
    desk.says("role delete deploy", "", 0, "deploy is deleted\n");
    assert!(
        desk.with_input("kms status", "")
            .out
            .contains("mode:      local")
    );
    let moved = desk.with_input("kms rewrap", "");
    assert!(
        moved.code == 0 && moved.out.starts_with("done: "),
        "{}",
        moved.err
    );
    assert!(
        desk.with_input("cluster status", "")
            .out
            .contains("1     leader  yes")
    );
    desk.says("cluster add 2", "", 0, "2: waiting\n");
    desk.says("cluster remove 2", "", 0, "2 is removed\n");
    desk.fails("cluster remove 1", "", 1, "quorum_at_risk");
    desk.fails("cluster handover", "", 3, "no_successor");
    let file = cluster.dir.path().join("b").display().to_string();
    let taken = desk.with_input(&format!("backup create {file}"), "");
    assert!(taken.out.starts_with("a whole backup"), "{}", taken.err);
    desk.fails(&format!("backup create {file}"), "", 2, "there already");
    desk.says("secret put k", "w", 0, "k: version 2\n");
    let restored = desk.with_input(&format!("restore {file}"), "");
    assert!(
        restored.out.starts_with("restored 1 secrets"),
        "{}",
        restored.err
    );
    desk.says("secret get k --linearizable", "", 0, "v");
    fs::write(&file, "no backup").unwrap();
    let end = desk.with_input(&format!("restore {file}"), "");
    assert_eq!(end.code, 1, "{}", end.err);
    let tail = desk.with_input("audit tail --limit 5", "");
    assert_eq!(tail.out.lines().count(), 5, "{}", tail.err);
    let denied = desk.with_input("audit query --action secret.read --json", "");
    assert!(denied.out.lines().count() >= 1, "{}", denied.err);
    assert!(
        denied
            .out
            .lines()
            .all(|line| line.contains("\"secret.read\""))
    );
}

#[test]
fn completions_and_man_pages_are_made() {
    let dir = tempfile::tempdir().unwrap();
    let desk = Desk {
        address: "http://127.0.0.1:1".to_owned(),
        home: dir.path(),
        token: None,
    };
    for shell in ["bash", "zsh", "fish"] {
        let made = desk.with_input(&format!("completions {shell}"), "");
        assert!(made.code == 0 && made.out.contains("rollback"), "{shell}");
        let file = dir.path().join(shell);
        fs::write(&file, made.out).unwrap();
        match Command::new(shell).arg("-n").arg(&file).status() {
            Ok(status) => assert!(status.success(), "{shell}"),
            Err(_) => eprintln!("note: no {shell} here, so its completions were not parsed"),
        }
    }
    let pages = dir.path().join("man");
    desk.says(&format!("man {}", pages.display()), "", 0, "");
    for page in ["strongroom.1", "strongroom-secret-put.1"] {
        let text = fs::read_to_string(pages.join(page)).unwrap();
        assert!(text.contains(".TH"), "{page}");
    }
}
