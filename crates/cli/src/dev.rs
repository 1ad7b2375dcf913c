//! `strongroom dev`: the server with settings of its own, to try things out.

use std::{
    collections::BTreeMap,
    fs::{self, OpenOptions},
    io::{self, Write},
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
    process::ExitCode,
};

use strongroom_server::settings;
use zeroize::Zeroizing;

use crate::{complain, say, server};

pub(crate) fn run(port: u16, data_dir: Option<PathBuf>) -> ExitCode {
    let temporary = match &data_dir {
        Some(_) => None,
        None => match tempfile::Builder::new().prefix("strongroom-dev-").tempdir() {
            Ok(dir) => Some(dir),
            Err(error) => return fail("cannot make a temporary directory", &error),
        },
    };
    let dir = data_dir.or_else(|| temporary.as_ref().map(|dir| dir.path().to_owned()));
    let Some(dir) = dir else {
        return ExitCode::FAILURE;
    };
    let keys = match DevKeys::load_or_make(&dir) {
        Ok(keys) => keys,
        Err(error) => return fail("cannot keep the development keys", &error),
    };
    let environment = BTreeMap::from(
        [
            ("VAULT_API_ADDR", format!("127.0.0.1:{port}")),
            ("VAULT_DATA_DIR", dir.join("node").display().to_string()),
            ("VAULT_KMS_MODE", "local".to_owned()),
            ("VAULT_LOCAL_MASTER_KEY", keys.master_key.to_string()),
            ("VAULT_BOOTSTRAP_TOKEN", keys.token.to_string()),
            ("VAULT_ALLOWED_IPS", "127.0.0.1/32,::1/128".to_owned()),
            ("VAULT_ALLOWED_HOSTS", "localhost".to_owned()),
            ("VAULT_LOG", "warn".to_owned()),
        ]
        .map(|(key, value)| (key.to_owned(), value)),
    );
    let loaded = match settings::load(environment) {
        Ok(loaded) => loaded,
        Err(problems) => {
            problems.iter().for_each(|problem| complain!("{problem}"));
            return ExitCode::from(2);
        }
    };
    let kept = temporary.is_none();
    server::run_with(loaded, move |address| {
        greet(address, &keys.token, &dir, kept)
    })
}

fn fail(what: &str, error: &dyn std::fmt::Display) -> ExitCode {
    complain!("{what}: {error}");
    ExitCode::FAILURE
}

fn greet(address: &str, token: &str, dir: &Path, kept: bool) {
    say!("Strongroom is running for development at http://{address}");
    if kept {
        say!("Data, master key and token are kept in {}.", dir.display());
    } else {
        say!("Everything is gone when it stops; --data-dir keeps it.");
    }
    say!("");
    say!("Admin token: {token}");
    say!("");
    say!("Write a secret:");
    say!(
        "  curl -H 'Authorization: Bearer {token}' -d '{{\"name\":\"db/password\",\"value\":\"s3cret\"}}' http://{address}/v1/secrets"
    );
    say!("Read it:");
    say!("  curl http://{address}/v1/secrets/db/password");
}

/// What a development node needs to open its data again.
struct DevKeys {
    master_key: Zeroizing<String>,
    token: Zeroizing<String>,
}

impl DevKeys {
    fn load_or_make(dir: &Path) -> io::Result<Self> {
        fs::create_dir_all(dir)?;
        let make_master_key = strongroom_server::dev_keys::master_key;
        let make_token = strongroom_server::dev_keys::admin_token;
        Ok(Self {
            master_key: keep(&dir.join("dev-master-key"), make_master_key)?,
            token: keep(&dir.join("dev-token"), make_token)?,
        })
    }
}

fn keep(path: &Path, make: fn() -> io::Result<Zeroizing<String>>) -> io::Result<Zeroizing<String>> {
    match fs::read_to_string(path) {
        Ok(text) => return Ok(Zeroizing::new(text)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(error),
    }
    let text = make()?;
    let mut file = OpenOptions::new()
        .create_new(true)
        .write(true)
        .mode(0o600)
        .open(path)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()?;
    Ok(text)
}
