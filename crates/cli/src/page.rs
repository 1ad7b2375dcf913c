//! `docs/CLI.md`, out of the commands' own help.

use std::path::Path;

use clap::{Command, CommandFactory};

use crate::Arguments;

const HEAD: &str = "# The command line

<!-- Generated from the commands' own help; UPDATE_DOCS=1 cargo test -p strongroom page rewrites it. -->

| variable | |
|---|---|
| `VAULT_ADDR` | the server's address |
| `VAULT_TOKEN` | the token; before the file that `strongroom login` writes |
| `VAULT_CACERT` | a PEM file of the certificates to trust, and no others |
| `STRONGROOM_TOKEN_FILE` | where the token is kept; `~/.config/strongroom/token`. Others must not be able to read it |

| exit code | |
|---|---|
| 0 | fine, also if whoever reads the output closes the pipe |
| 1 | it failed, or was refused |
| 2 | wrong arguments or settings; nothing was done |
| 3 | the server is not reached, or says that it cannot now; of `server`, `dev` and `recover`: the data directory cannot be opened |
| 130 | Ctrl-C |

Values and tokens come from standard input or a file, and are never taken from arguments. On a terminal `secret get`
masks them unless `--show` is given; a pipe gets the bare value, without a newline.
";

fn add(page: &mut String, command: &mut Command, path: &str) {
    page.push_str(&format!("\n## {path}\n\n```text\n"));
    let help = command.render_long_help().to_string();
    for line in help.lines() {
        page.push_str(line.trim_end());
        page.push('\n');
    }
    page.push_str("```\n");
    let names: Vec<String> = command
        .get_subcommands()
        .map(|sub| sub.get_name().to_owned())
        .collect();
    for name in names.iter().filter(|name| *name != "help") {
        if let Some(sub) = command.find_subcommand_mut(name) {
            add(page, sub, &format!("{path} {name}"));
        }
    }
}

#[test]
fn the_reference_page_is_the_help() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/CLI.md");
    let mut page = HEAD.to_owned();
    let mut command = Arguments::command();
    command.build();
    add(&mut page, &mut command, "strongroom");
    if std::env::var_os("UPDATE_DOCS").is_some() {
        std::fs::write(&path, &page).unwrap();
    }
    let written = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(
        written == page,
        "docs/CLI.md is out of date; UPDATE_DOCS=1 rewrites it"
    );
}
