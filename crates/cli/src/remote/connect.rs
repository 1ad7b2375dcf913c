//! Which server is asked, and with which token.

use std::{
    env, fs,
    io::ErrorKind,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
};

use strongroom_client::{Client, Token};

use super::exit::Failure;

const DEFAULT_ADDRESS: &str = "http://127.0.0.1:8200";

/// Which server, and how to answer.
#[derive(clap::Args)]
pub(crate) struct To {
    /// The server's address. Without it: VAULT_ADDR, or http://127.0.0.1:8200.
    #[arg(long, global = true, value_name = "URL")]
    address: Option<String>,
    /// Trust the certificates in this PEM file alone. Without it: VAULT_CACERT, or this machine's.
    #[arg(long, global = true, value_name = "FILE")]
    ca: Option<PathBuf>,
    /// Print JSON, for programs.
    #[arg(long, global = true)]
    pub(crate) json: bool,
}

impl To {
    /// A client with the token of VAULT_TOKEN or of the file, if there is one.
    pub(crate) fn client(&self) -> Result<Client, Failure> {
        let client = self.without_token()?;
        Ok(match token()? {
            Some(token) => client.with_token(token),
            None => client,
        })
    }

    pub(crate) fn without_token(&self) -> Result<Client, Failure> {
        let address = self.address.clone().or_else(|| variable("VAULT_ADDR"));
        let mut builder = Client::builder(address.as_deref().unwrap_or(DEFAULT_ADDRESS));
        let ca = self.ca.clone();
        if let Some(path) = ca.or_else(|| variable("VAULT_CACERT").map(PathBuf::from)) {
            let pem = fs::read(&path)
                .map_err(|error| Failure::Usage(format!("{}: {error}", path.display())))?;
            builder = builder.ca_pem(&pem);
        }
        Ok(builder.build()?)
    }
}

/// A variable that is set, and not to nothing.
fn variable(name: &str) -> Option<String> {
    env::var(name).ok().filter(|value| !value.is_empty())
}

fn token() -> Result<Option<Token>, Failure> {
    if let Some(token) = variable("VAULT_TOKEN") {
        return Ok(Some(Token::new(token)));
    }
    match token_file() {
        Some(path) => read_token(&path),
        None => Ok(None),
    }
}

/// Where the token is kept.
pub(crate) fn token_file() -> Option<PathBuf> {
    if let Some(path) = variable("STRONGROOM_TOKEN_FILE") {
        return Some(path.into());
    }
    let config = variable("XDG_CONFIG_HOME").map(PathBuf::from);
    let config = config.or_else(|| variable("HOME").map(|home| Path::new(&home).join(".config")));
    config.map(|config| config.join("strongroom").join("token"))
}

fn read_token(path: &Path) -> Result<Option<Token>, Failure> {
    let wrong = |why: &str| Failure::Usage(format!("{}: {why}", path.display()));
    let mode = match fs::metadata(path) {
        Ok(found) => found.mode(),
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(wrong(&error.to_string())),
    };
    if mode & 0o077 != 0 {
        return Err(wrong(
            "others may read this token: chmod 600, or better a new token",
        ));
    }
    let text = fs::read_to_string(path).map_err(|error| wrong(&error.to_string()))?;
    Ok(Some(Token::new(text)))
}
