//! Every command that asks a server, with all that it prints and its exit code, as
//! `tests/fixtures/cli-transcript.txt` has it. `UPDATE_DOCS=1` writes that anew, to be read before it is kept.

use std::path::PathBuf;

use serde_json::json;

use super::*;

const FIXTURE: &str = "fixtures/cli-transcript.txt";

/// Commands in their order, each with what it reads. `DIR` is a directory.
const LINES: &[(&str, &str)] = &[
    ("login", TOKEN),
    ("status", ""),
    ("secret put app/key", "one"),
    (
        "secret put app/key --cas 1 --description rotated-by-hand",
        "two",
    ),
    (
        "secret put app/login --data",
        r#"{"username":"u","password":"p"}"#,
    ),
    ("secret get app/key", ""),
    ("secret get app/login --field password", ""),
    ("secret get app/key --json --version 1", ""),
    ("secret get app/none", ""),
    ("secret list", ""),
    ("secret list app/l", ""),
    ("secret history app/key", ""),
    ("secret verify app/key", "two"),
    ("secret verify app/key", "one"),
    ("secret rollback app/key --to 1", ""),
    ("secret rotate app/generated", ""),
    ("secret rotate app/key", ""),
    ("secret delete app/key", ""),
    ("secret delete app/key", ""),
    ("role create deploy --allow update:app/*", ""),
    ("role list", ""),
    ("role show deploy", ""),
    ("token create ci --role deploy", ""),
    ("token list", ""),
    ("token revoke ci", ""),
    ("role delete deploy", ""),
    ("kms status", ""),
    ("kms rewrap", ""),
    ("cluster status", ""),
    ("cluster add 7", ""),
    ("cluster remove 7", ""),
    ("cluster handover", ""),
    ("backup create DIR/b", ""),
    ("backup verify DIR/b", ""),
    ("restore DIR/b", ""),
    ("restore DIR/none", ""),
    ("audit query --action token.revoke", ""),
    ("audit tail --limit 2", ""),
    ("audit verify DIR/none", ""),
    ("secret get", ""),
    ("secret put app/key value-in-arguments", ""),
];

/// What differs from run to run, by a word that says what it is.
fn normalized(text: &str, dir: &str, address: &str) -> String {
    let host = address.trim_start_matches("http://");
    let text = without_times(&text.replace(dir, "DIR").replace(host, "HOST"));
    let word = |word: &str| {
        let bare = word.trim_matches(|c: char| !c.is_ascii_alphanumeric());
        let is_number = bare.len() > 1 && bare.bytes().all(|c| c.is_ascii_digit());
        let is_id = bare.len() == 32 && bare.bytes().all(|c| c.is_ascii_hexdigit());
        let shown = match bare {
            _ if is_id => "ID",
            // Of records and entries: how many there are is not for here.
            _ if is_number => "N",
            _ if bare.starts_with("srt_") => "TOKEN",
            _ => return word.to_owned(),
        };
        word.replace(bare, shown)
    };
    let line = |line: &str| {
        let words: Vec<String> = line.split(' ').map(word).collect();
        words.join(" ")
    };
    let lines: Vec<String> = text.split('\n').map(line).collect();
    lines.join("\n")
}

/// With `TIME` for each time, which all have one width.
fn without_times(text: &str) -> String {
    const SHAPE: &[u8] = b"0000-00-00T00:00:00.000Z";
    let is_time = |at: &[u8]| {
        let alike = |(c, shape): (&u8, &u8)| match shape {
            b'0' => c.is_ascii_digit(),
            _ => c == shape,
        };
        at.len() == SHAPE.len() && at.iter().zip(SHAPE).all(alike)
    };
    let (mut shown, mut rest) = (String::new(), text);
    while let Some(next) = rest.chars().next() {
        let is_one = rest.as_bytes().get(..SHAPE.len()).is_some_and(is_time);
        let taken = if is_one { SHAPE.len() } else { next.len_utf8() };
        match is_one {
            true => shown.push_str("TIME"),
            false => shown.push(next),
        }
        rest = &rest[taken..];
    }
    shown
}

#[tokio::test(flavor = "multi_thread")]
async fn every_command_says_what_it_is_written_down_to_say() {
    let (cluster, address) = one().await;
    let generated = json!({
        "name": "app/generated", "kind": "automatic", "rotation_interval_secs": 86_400,
    });
    cluster
        .admin(0)
        .post("/v1/secrets", generated)
        .await
        .expect(201);
    let dir = cluster.dir.path().to_str().unwrap();
    let desk = Desk {
        address: address.clone(),
        home: cluster.dir.path(),
        token: None,
    };
    let mut transcript = String::new();
    for (line, input) in LINES {
        let end = desk.with_input(&line.replace("DIR", dir), input);
        let said = format!("{}{}", end.out, end.err);
        let said = normalized(&said, dir, &address);
        let end_of_line = if said.is_empty() || said.ends_with('\n') {
            ""
        } else {
            "⏎\n"
        };
        transcript.push_str(&format!(
            "$ strongroom {line}\n{said}{end_of_line}[{}]\n\n",
            end.code
        ));
    }
    assert!(!transcript.contains(TOKEN) && !transcript.contains("value-in-arguments\n["));
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join(FIXTURE);
    if std::env::var_os("UPDATE_DOCS").is_some() {
        fs::write(&path, &transcript).unwrap();
    }
    let written = fs::read_to_string(&path).unwrap_or_default();
    for (now, before) in transcript.split("\n\n").zip(written.split("\n\n")) {
        assert_eq!(now, before);
    }
    assert_eq!(transcript, written);
}
