//! `strongroom backup create` and `strongroom restore`.

use std::path::{Path, PathBuf};

use strongroom_server::backup;

use super::{
    connect::To,
    exit::Failure,
    render::{self, line},
};

#[derive(clap::Args)]
pub(crate) struct Restore {
    #[command(flatten)]
    to: To,
    /// The backup.
    file: PathBuf,
    /// Also if it is of another cluster, and there are secrets.
    #[arg(long)]
    force: bool,
}

/// The file has its name only once it was read again and is whole.
pub(crate) async fn create(to: &To, file: &Path) -> Result<(), Failure> {
    let failed =
        |error: &dyn std::fmt::Display| Failure::Failed(format!("{}: {error}", file.display()));
    if file.exists() {
        return Err(Failure::Usage(format!(
            "{} is there already",
            file.display()
        )));
    }
    let client = to.client()?;
    let folder = file
        .parent()
        .filter(|folder| !folder.as_os_str().is_empty());
    let kept = tempfile::NamedTempFile::new_in(folder.unwrap_or(Path::new(".")));
    let kept = kept.map_err(|error| failed(&error))?;
    let copy = kept.as_file().try_clone().map_err(|error| failed(&error))?;
    let mut taken = tokio::fs::File::from_std(copy);
    let bytes = client.backup(&mut taken).await?;
    taken.sync_all().await.map_err(|error| failed(&error))?;
    let state = backup::read(kept.path()).map_err(Failure::Failed)?;
    kept.persist_noclobber(file)
        .map_err(|error| failed(&error.error))?;
    match to.json {
        true => render::json(&serde_json::json!({"file": file, "bytes": bytes})),
        false => line(&backup::describe(&state)),
    }
}

pub(crate) async fn restore(arguments: &Restore) -> Result<(), Failure> {
    let Restore { to, file, force } = arguments;
    let client = to.client()?;
    // Before anything is sent: the server would say so only at the end.
    backup::read(file).map_err(Failure::Failed)?;
    let opened = tokio::fs::File::open(file).await;
    let opened = opened.map_err(|error| Failure::Failed(format!("{}: {error}", file.display())))?;
    let restored = client.restore(opened, *force).await?;
    match to.json {
        true => render::json(&restored),
        false => line(&format!(
            "restored {} secrets, as of {}",
            restored.secrets, restored.taken_at
        )),
    }
}
