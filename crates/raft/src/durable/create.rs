//! Making a store that is there whole or not at all: a half-written `conf` makes one unreadable, so it is created aside,
//! synced, and renamed into place.

use std::{fs, path::Path};

use super::{not_opened, open_sled};
use crate::{files, keys::Key, open_error::OpenError, store_format::FORMAT};

/// Creates an empty store aside and renames it into place, so that a half-created one is never seen.
pub(super) fn create(data_dir: &Path, dir: &Path) -> Result<(), OpenError> {
    let aside = data_dir.join("log.new");
    if aside.exists() {
        fs::remove_dir_all(&aside).map_err(OpenError::io(&aside))?;
    }
    let failed = |error| not_opened(&aside, error);
    let (db, _) = open_sled(&aside)?;
    // It has no journal yet.
    db.insert(Key::FORMAT, &[FORMAT - 1]).map_err(failed)?;
    db.flush().map_err(failed)?;
    drop(db);
    files::sync_tree(&aside).map_err(OpenError::io(&aside))?;
    fs::rename(&aside, dir).map_err(OpenError::io(dir))?;
    files::sync_dir(data_dir).map_err(OpenError::io(data_dir))
}
