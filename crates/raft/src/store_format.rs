//! Which format a store has, and which this build reads.

use std::path::Path;

use crate::{
    durable::{Disk, DiskError},
    keys::Key,
    open_error::OpenError,
};

/// The format this build writes, and the newest it reads: since 2 a journal holds what sled may not have yet.
pub const FORMAT: u8 = 2;

impl Disk {
    /// Checks that this build reads the store.
    ///
    /// # Errors
    /// It does not, or it cannot be told.
    pub(crate) fn check_format(&self, data_dir: &Path) -> Result<(), OpenError> {
        match self
            .get(&Key::FORMAT)
            .map_err(|e| self.corrupt(e.reason))?
            .as_deref()
        {
            Some(&[found]) if found <= FORMAT => Ok(()),
            Some(&[found]) => Err(OpenError::NewerFormat {
                dir: data_dir.to_owned(),
                found,
            }),
            _ => Err(self.corrupt("the format is not recorded".to_owned())),
        }
    }

    /// Checks that the store is of a format from before the journal.
    pub(crate) fn check_has_no_journal(&self) -> Result<(), OpenError> {
        match self.get(&Key::FORMAT).map_err(|e| self.unusable(e))? {
            Some(format) if format == [FORMAT] => {
                Err(self.corrupt("how far its journal went is missing".to_owned()))
            }
            _ => Ok(()),
        }
    }

    /// Records the format of this build. Durable after the next barrier.
    pub(crate) fn note_format(&self) -> Result<(), DiskError> {
        self.put(&Key::FORMAT, Some(&[FORMAT]))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::durable::Barrier;

    #[test]
    fn a_newer_format_is_refused_by_name() {
        let dir = tempfile::tempdir().unwrap();
        let disk = Disk::open(dir.path(), Barrier::Full).unwrap();
        disk.put(&Key::FORMAT, Some(&[FORMAT + 1])).unwrap();
        drop(disk);
        let refused = Disk::open(dir.path(), Barrier::Full).err().unwrap();
        assert!(
            matches!(refused, OpenError::NewerFormat { found: 3, .. }),
            "{refused}"
        );
    }
}
