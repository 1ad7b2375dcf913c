//! `strongroom secret`.

use std::{
    collections::BTreeMap,
    io::{self, IsTerminal},
    time::Duration,
};

use clap::Subcommand;
use serde_json::{json, value::RawValue};
use strongroom_client::{
    Change, Client, Consistency, Created, NewSecret, Page, Payload, Read, ReadSecret, SecretRow,
    Wait,
};
use zeroize::Zeroizing;

use super::{
    connect::To,
    exit::Failure,
    input::Source,
    render::{self, facts, line, or_dash, table},
};

const MASK: &str = "********";

#[derive(Subcommand)]
pub(crate) enum Command {
    /// Write a value: a new version, or a new secret if there is none of that name.
    Put(Put),
    /// Print the value as it is; on a terminal it is masked, unless --show is given.
    Get(Get),
    /// List the secrets that the token may act on.
    List {
        /// Only names that begin with this.
        prefix: Option<String>,
    },
    /// List the versions that can still be read; each is read for it, and recorded as read.
    History {
        /// The secret's name.
        name: String,
        /// How many versions at most, newest first.
        #[arg(long, default_value_t = 10)]
        limit: usize,
    },
    /// Rotate an automatic secret now.
    Rotate {
        /// The secret's name.
        name: String,
    },
    /// Put an older version's value again, as a new version.
    Rollback {
        /// The secret's name.
        name: String,
        /// The version; the one before the current one if it is left out.
        #[arg(long)]
        to: Option<u64>,
    },
    /// Check whether a value is the current one, or inside its grace. Exit code 1 if not.
    Verify {
        /// The secret's name.
        name: String,
        #[command(flatten)]
        source: Source,
    },
    /// Delete a secret with all its versions.
    Delete {
        /// The secret's name.
        name: String,
    },
}

#[derive(clap::Args)]
pub(crate) struct Put {
    /// The secret's name.
    name: String,
    #[command(flatten)]
    source: Source,
    /// What is read is a JSON object, whose fields the secret then has.
    #[arg(long)]
    data: bool,
    /// Write only if this is the current version; 0 if the secret must be new.
    #[arg(long)]
    cas: Option<u64>,
    /// For people.
    #[arg(long)]
    description: Option<String>,
}

#[derive(clap::Args)]
pub(crate) struct Get {
    /// The secret's name.
    name: String,
    /// An older version.
    #[arg(long)]
    version: Option<u64>,
    /// One field of the data, alone.
    #[arg(long)]
    field: Option<String>,
    /// Show the value on a terminal too.
    #[arg(long)]
    show: bool,
    /// See everything acknowledged before this read.
    #[arg(long)]
    linearizable: bool,
    /// Wait so many seconds for a version newer than --after-version.
    #[arg(
        long,
        value_name = "SECONDS",
        requires = "after_version",
        conflicts_with = "version"
    )]
    wait: Option<u64>,
    /// The version that is known already.
    #[arg(long, requires = "wait")]
    after_version: Option<u64>,
}

pub(crate) async fn run(to: &To, command: &Command) -> Result<(), Failure> {
    let client = to.client()?;
    match command {
        Command::Put(put) => write(&client, to, put).await,
        Command::Get(get) => read(&client, to, get).await,
        Command::List { prefix } => list(&client, to, prefix.clone()).await,
        Command::History { name, limit } => {
            let versions = client.history(name, *limit).await?;
            show_history(to, &versions)
        }
        Command::Rotate { name } => show_created(to, &client.rotate(name).await?),
        Command::Rollback { name, to: version } => {
            let done = client.rollback(name, *version).await?;
            match to.json {
                true => render::json(&json!({"from": done.from, "version": done.row.version})),
                false => line(&format!(
                    "{name}: version {} holds what version {} held",
                    done.row.version, done.from
                )),
            }
        }
        Command::Verify { name, source } => {
            let value = source.value("Value").await?;
            let verified = client.verify(name, &value).await?;
            match (to.json, verified.valid) {
                (true, _) => render::json(&verified)?,
                (false, true) => line(&format!("valid: version {}", verified.version))?,
                (false, false) => {}
            }
            match verified.valid {
                true => Ok(()),
                false => Err(Failure::Failed("the value is not valid".to_owned())),
            }
        }
        Command::Delete { name } => {
            client.delete(name).await?;
            match to.json {
                true => render::json(&json!({"name": name, "deleted": true})),
                false => line(&format!("{name} is deleted")),
            }
        }
    }
}

async fn write(client: &Client, to: &To, put: &Put) -> Result<(), Failure> {
    let mut text = put.source.value("Value").await?;
    let text = std::mem::take(&mut *text);
    let payload = match put.data {
        true => Payload::from_json(text).map_err(|error| Failure::Usage(error.to_string()))?,
        false => Payload::from_value(text),
    };
    let mut change = Change {
        payload: Some(payload),
        cas: put.cas.filter(|cas| *cas > 0),
        description: put.description.clone(),
        ..Change::default()
    };
    if put.cas != Some(0) {
        match client.put(&put.name, &change).await {
            // One that is expected to be there is not made.
            Err(error) if error.code() == Some("not_found") && put.cas.is_none() => {}
            other => return show_row(to, &other?),
        }
    }
    change.cas = None;
    let new = NewSecret {
        is_automatic: false,
        settings: change,
    };
    show_created(to, &client.create(&put.name, &new).await?)
}

fn show_row(to: &To, row: &SecretRow) -> Result<(), Failure> {
    match to.json {
        true => render::json(&json!({"name": row.name, "version": row.version})),
        false => line(&format!("{}: version {}", row.name, row.version)),
    }
}

/// A generated value is not shown: `get` is there for it.
fn show_created(to: &To, created: &Created) -> Result<(), Failure> {
    match to.json {
        true => render::json(&json!({"name": created.name, "version": created.version})),
        false => line(&format!("{}: version {}", created.name, created.version)),
    }
}

async fn read(client: &Client, to: &To, get: &Get) -> Result<(), Failure> {
    let consistency = get.linearizable.then_some(Consistency::Linearizable);
    let secret = match (get.wait, get.after_version) {
        (Some(seconds), Some(after_version)) => {
            let wait = Wait {
                after_version,
                at_most: Duration::from_secs(seconds),
            };
            let found = client.wait(&get.name, consistency, wait).await?;
            found.ok_or_else(|| {
                Failure::Failed(format!(
                    "no version after {after_version} within {seconds} s"
                ))
            })?
        }
        _ => {
            let read = Read {
                version: get.version,
                consistency,
            };
            client.read(&get.name, &read).await?
        }
    };
    show_secret(to, get, &secret)
}

fn show_secret(to: &To, get: &Get, secret: &ReadSecret) -> Result<(), Failure> {
    let payload = &secret.payload;
    let picked = match &get.field {
        Some(field) => Some(payload.field(field)?),
        None => None,
    };
    let is_masked = io::stdout().is_terminal() && !get.show;
    if is_masked {
        let fields = payload.fields()?;
        let version = secret.version.to_string();
        let mut shown = vec![("name", secret.name.clone()), ("version", version)];
        shown.push(("written", secret.created_at.clone()));
        shown.extend(fields.iter().map(|field| (field.as_str(), MASK.to_owned())));
        facts(&shown)?;
        return line("--show shows it; a pipe gets it as it is");
    }
    if to.json {
        return write_json(secret);
    }
    let whole = payload.value().or(payload.data());
    let text = picked.as_ref().map(|text| text.as_str()).or(whole);
    render::write(text.unwrap_or_default().as_bytes())
}

fn write_json(secret: &ReadSecret) -> Result<(), Failure> {
    let raw = |text: &str| RawValue::from_string(text.to_owned());
    let failed = |error: serde_json::Error| Failure::Failed(error.to_string());
    let (key, value) = match (secret.payload.value(), secret.payload.data()) {
        (Some(value), _) => ("value", serde_json::to_string(value).map_err(failed)?),
        (_, data) => ("data", data.unwrap_or("{}").to_owned()),
    };
    let value = Zeroizing::new(value);
    let mut fields = BTreeMap::from([(key, raw(&value).map_err(failed)?)]);
    for (name, text) in [
        ("name", json!(secret.name)),
        ("kind", json!(secret.kind)),
        ("version", json!(secret.version)),
        ("created_at", json!(secret.created_at)),
    ] {
        fields.insert(name, raw(&text.to_string()).map_err(failed)?);
    }
    let mut text = Zeroizing::new(Vec::with_capacity(value.len() + 4096));
    serde_json::to_writer(&mut *text, &fields).map_err(failed)?;
    text.push(b'\n');
    render::write(&text)
}

async fn list(client: &Client, to: &To, prefix: Option<String>) -> Result<(), Failure> {
    let mut page = Page {
        prefix,
        ..Page::default()
    };
    let mut rows = Vec::new();
    loop {
        let found = client.list(&page).await?;
        rows.extend(found.rows);
        page.after = found.next_after;
        if page.after.is_none() {
            break;
        }
    }
    if to.json {
        return render::json(&rows);
    }
    let cells = |row: &SecretRow| {
        let next = or_dash(row.next_rotation_at.as_ref());
        let version = row.version.to_string();
        let (name, kind) = (row.name.clone(), row.kind.clone());
        vec![
            name,
            kind,
            version,
            row.updated_at.clone(),
            next,
            row.description.clone(),
        ]
    };
    let rows: Vec<_> = rows.iter().map(cells).collect();
    table(
        &[
            "NAME",
            "KIND",
            "VERSION",
            "CHANGED",
            "NEXT ROTATION",
            "DESCRIPTION",
        ],
        &rows,
    )
}

fn show_history(to: &To, versions: &[ReadSecret]) -> Result<(), Failure> {
    if to.json {
        let shown = versions.iter();
        let shown = shown.map(|one| json!({"version": one.version, "created_at": one.created_at}));
        return render::json(&shown.collect::<Vec<_>>());
    }
    let rows = versions.iter();
    let rows = rows.map(|one| vec![one.version.to_string(), one.created_at.clone()]);
    table(&["VERSION", "WRITTEN"], &rows.collect::<Vec<_>>())
}
