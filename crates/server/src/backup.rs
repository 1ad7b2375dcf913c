//! Checking a backup, for the command line.

use std::{fs::File, io::Read, path::Path};

use strongroom_core::{Material, State, backup::Reader};
use strongroom_seal::{Binding, Keyring, open};

use crate::{RunError, keyring, settings::Settings};

const PIECE_BYTES: usize = 64 * 1024;
/// How long KMS may take for one data key.
const WITHIN: std::time::Duration = std::time::Duration::from_secs(10);
/// Values that cannot be opened and are named; the rest is counted.
const NAMED: usize = 20;

/// Reads a backup and checks its structure and its checksum.
///
/// # Errors
/// What is wrong with it, in words.
pub fn read(path: &Path) -> Result<State, String> {
    let wrong = |error: &dyn std::fmt::Display| format!("{}: {error}", path.display());
    let mut file = File::open(path).map_err(|error| wrong(&error))?;
    let (mut reader, mut piece) = (Reader::default(), vec![0; PIECE_BYTES]);
    loop {
        let read = file.read(&mut piece).map_err(|error| wrong(&error))?;
        let Some(read) = piece.get(..read).filter(|read| !read.is_empty()) else {
            break;
        };
        reader.push(read).map_err(|error| wrong(&error))?;
    }
    reader.finish().map_err(|error| wrong(&error))
}

/// What a backup holds, in words.
#[must_use]
pub fn describe(state: &State) -> String {
    let versions: usize = state
        .secrets()
        .map(|(_, secret)| secret.versions.len())
        .sum();
    let cluster = state
        .cluster_id()
        .map_or("-".to_owned(), |id| id.to_string());
    let index = state.position().map_or(0, |position| position.index);
    format!(
        "a whole backup of cluster {cluster} at index {index}, {}: {} secrets with {versions} versions, \
         {} roles, {} tokens",
        state.time().rfc3339(),
        state.secret_count(),
        state.roles_after(None).count(),
        state.tokens_after(None).count(),
    )
}

/// Opens every value that the backup holds, with the KMS that the settings name. Returns how many.
///
/// # Errors
/// [`RunError::Settings`] or [`RunError::Failed`] if KMS does not work, or with the versions that do
/// not open.
pub fn open_all(state: &State, settings: &Settings) -> Result<usize, RunError> {
    let failed = |error: std::io::Error| RunError::Failed(error.to_string());
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(failed)?;
    runtime.block_on(async {
        let keyring = keyring::open(settings, None).await?.keyring;
        let (mut opened, mut wrong) = (0, Vec::new());
        for (name, secret) in state.secrets() {
            for version in secret.all_versions() {
                let Material::Sealed(sealed) = &version.material else {
                    continue;
                };
                let binding = Binding::new(name, version.number);
                match opens(&keyring, &binding, sealed).await {
                    Ok(()) => opened += 1,
                    Err(why) => wrong.push(format!("{name}:{}: {why}", version.number)),
                }
            }
        }
        if wrong.is_empty() {
            return Ok(opened);
        }
        let named = wrong.iter().take(NAMED).cloned().collect::<Vec<_>>();
        Err(RunError::Failed(format!(
            "{} of {} values do not open:\n{}",
            wrong.len(),
            wrong.len() + opened,
            named.join("\n")
        )))
    })
}

async fn opens(
    keyring: &Keyring,
    binding: &Binding,
    sealed: &strongroom_core::SealedVersion,
) -> Result<(), String> {
    let found = keyring.dek(binding, sealed, WITHIN).await;
    let found = found.map_err(|error| error.to_string())?;
    let opened = open(&found.dek, binding, sealed);
    opened.map(drop).map_err(|error| error.to_string())
}
