//! What the files of scheduled backups are called: of which cluster, when, and up to where in the log.
//! The names are all that is known of them before they are read.

use std::fmt;

use strongroom_core::{ClusterId, LogTime};
use time::{
    OffsetDateTime, PrimitiveDateTime, format_description::BorrowedFormatItem,
    macros::format_description,
};

const PREFIX: &str = "strongroom-";
/// What every whole backup ends with.
const ENDING: &str = ".backup";
/// What is added to it until a rehearsal has shown that it restores.
const UNVERIFIED: &str = ".unverified";
/// To the second, so that it can stand in any file name.
const COMPACT: &[BorrowedFormatItem<'_>] =
    format_description!("[year][month][day]T[hour][minute][second]Z");

/// A backup in a store, by its name. Later ones are greater.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) struct BackupName {
    /// When it was taken, to the second.
    pub(super) time: LogTime,
    /// The log index up to which it holds everything.
    pub(super) index: u64,
    cluster: [u8; 16],
}

impl BackupName {
    /// A name for a backup taken now.
    pub(super) fn new(cluster: ClusterId, time: LogTime, index: u64) -> Self {
        Self {
            time: LogTime(time.0 - time.0 % 1_000),
            index,
            cluster: cluster.0,
        }
    }

    /// What the file is called until it is verified.
    pub(super) fn unverified(&self) -> String {
        format!("{self}{UNVERIFIED}")
    }

    /// The backup of this cluster that a file is, and whether it was verified. `None`: it is something
    /// else.
    pub(super) fn parse(file: &str, cluster: ClusterId) -> Option<(Self, bool)> {
        let (stem, verified) = match file.strip_suffix(UNVERIFIED) {
            Some(stem) => (stem, false),
            None => (file, true),
        };
        let stem = stem.strip_suffix(ENDING)?.strip_prefix(PREFIX)?;
        let stem = stem.strip_prefix(&cluster.to_string())?.strip_prefix('-')?;
        let (time, index) = stem.split_once('-')?;
        let time = PrimitiveDateTime::parse(time, COMPACT).ok()?.assume_utc();
        let secs = u64::try_from(time.unix_timestamp()).ok()?;
        let name = Self::new(cluster, LogTime(secs * 1_000), index.parse().ok()?);
        // Nothing that this would not write: `+1` or `007` is somebody else's.
        let written = match verified {
            true => name.to_string(),
            false => name.unverified(),
        };
        (written == file).then_some((name, verified))
    }
}

impl fmt::Display for BackupName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let secs = i64::try_from(self.time.0 / 1_000).map_err(|_| fmt::Error)?;
        let time = OffsetDateTime::from_unix_timestamp(secs).map_err(|_| fmt::Error)?;
        let time = time.format(COMPACT).map_err(|_| fmt::Error)?;
        let cluster = ClusterId(self.cluster);
        write!(f, "{PREFIX}{cluster}-{time}-{}{ENDING}", self.index)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const OURS: ClusterId = ClusterId([0xab; 16]);

    #[test]
    fn a_name_says_of_what_and_when_and_is_read_again() {
        let name = BackupName::new(OURS, LogTime(1_767_323_045_678), 812);
        let file = name.to_string();
        let hex = "ab".repeat(16);
        assert_eq!(
            file,
            format!("strongroom-{hex}-20260102T030405Z-812.backup")
        );
        assert_eq!(BackupName::parse(&file, OURS), Some((name, true)));
        assert_eq!(
            BackupName::parse(&name.unverified(), OURS),
            Some((name, false))
        );
        let later = BackupName::new(OURS, LogTime(1_767_323_046_000), 0);
        let further = BackupName::new(OURS, LogTime(1_767_323_045_999), 813);
        assert!(later > further && further > name);
    }

    #[test]
    fn a_file_of_another_cluster_or_another_kind_is_none() {
        let file = BackupName::new(OURS, LogTime(1_767_323_045_678), 812).to_string();
        assert_eq!(BackupName::parse(&file, ClusterId([1; 16])), None);
        for other in [
            "",
            "notes.txt",
            ".backup",
            &file.replace(".backup", ""),
            &file.replace("T0", "t0"),
            &file.replace("-812", "-+812"),
            &file.replace("-812", "-0812"),
            &file.replace("-812", ""),
            &file.replace("20260102", "20260132"),
            &format!("{file}.unverified.unverified"),
            &format!("{file}#1"),
            &format!("old-{file}"),
        ] {
            assert_eq!(BackupName::parse(other, OURS), None, "{other}");
        }
    }
}
