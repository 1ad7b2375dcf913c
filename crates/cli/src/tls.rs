//! `strongroom tls`.

use std::{path::Path, process::ExitCode};

use strongroom_server::{dev_ca, hygiene};

use crate::{complain, say};

pub(crate) fn dev_ca(dir: &Path, names: &[String]) -> ExitCode {
    hygiene::keep_files_private();
    hygiene::protect_memory();
    let made = match dev_ca::make(dir, names) {
        Ok(made) => made,
        Err(error) => {
            complain!("{error}");
            return ExitCode::FAILURE;
        }
    };
    let (ca, cert, key) = (quoted(&made.ca), quoted(&made.cert), quoted(&made.key));
    say!(
        "A certificate for {}, good for {} days, to try TLS out.",
        made.names.join(", "),
        dev_ca::DAYS
    );
    say!("The key of its authority is kept nowhere: it signs nothing more.");
    say!("");
    say!("Settings of the server:");
    say!("  export VAULT_TLS_CERT={cert}");
    say!("  export VAULT_TLS_KEY={key}");
    say!("");
    say!("Ask it, at the port that it listens on:");
    say!("  curl --cacert {ca} https://localhost:8200/readyz");
    ExitCode::SUCCESS
}

/// A path as a shell reads it back.
fn quoted(path: &Path) -> String {
    let text = path.display().to_string();
    let plain = |c: char| c.is_ascii_alphanumeric() || "/._-+".contains(c);
    match text.chars().all(plain) {
        true => text,
        false => format!("'{}'", text.replace('\'', r"'\''")),
    }
}
