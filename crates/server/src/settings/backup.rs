//! Where scheduled backups go: `VAULT_BACKUP_URL`.

use std::{
    fmt,
    path::{Component, Path, PathBuf},
};

use super::shapes::Shape;

const SCHEME: &str = "s3://";
/// Longest prefix in a bucket, in bytes: keys end at 1,024, and a name comes after it.
const PREFIX_BYTES: usize = 512;

/// A place for backups.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum BackupPlace {
    /// A directory that is there already.
    Directory(PathBuf),
    /// A bucket of S3.
    Bucket {
        /// Its name.
        bucket: String,
        /// What keys begin with, without a slash at either end; may be empty.
        prefix: String,
    },
}

impl fmt::Display for BackupPlace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Directory(directory) => directory.display().fmt(f),
            Self::Bucket { bucket, prefix } => write!(f, "{SCHEME}{bucket}/{prefix}"),
        }
    }
}

/// A directory or a bucket.
pub(super) struct BackupUrl;

impl Shape for BackupUrl {
    type Out = BackupPlace;
    fn describe(&self) -> String {
        "the absolute path of a directory, or `s3://bucket/prefix`".into()
    }
    fn parse(&self, text: &str) -> Result<BackupPlace, Vec<String>> {
        let place = match text.strip_prefix(SCHEME) {
            Some(rest) => parse_bucket(rest),
            None => parse_directory(text),
        };
        place.map_or_else(|| self.refuse(), Ok)
    }
}

fn parse_bucket(rest: &str) -> Option<BackupPlace> {
    let (bucket, prefix) = rest.split_once('/').unwrap_or((rest, ""));
    let prefix = prefix.strip_suffix('/').unwrap_or(prefix);
    let plain = |c: u8| c.is_ascii_lowercase() || c.is_ascii_digit();
    let fits = (3..=63).contains(&bucket.len())
        && bucket.bytes().all(|c| plain(c) || b".-".contains(&c))
        && bucket.bytes().next().is_some_and(plain)
        && bucket.bytes().last().is_some_and(plain);
    let segment = |segment: &str| {
        let plain = |c: u8| c.is_ascii_alphanumeric() || b"._-=".contains(&c);
        ![".", "..", ""].contains(&segment) && segment.bytes().all(plain)
    };
    let prefixed = prefix.is_empty() || prefix.split('/').all(segment);
    (fits && prefixed && prefix.len() <= PREFIX_BYTES).then(|| BackupPlace::Bucket {
        bucket: bucket.to_owned(),
        prefix: prefix.to_owned(),
    })
}

/// Without `..` and symbolic surprises in the text: what is shown is what is meant.
fn parse_directory(text: &str) -> Option<BackupPlace> {
    let path = Path::new(text);
    let plain = |part| matches!(part, Component::RootDir | Component::Normal(_));
    let fits = path.is_absolute() && path.components().all(plain) && !text.contains('\0');
    fits.then(|| BackupPlace::Directory(path.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_is_shown_as_it_is_given() {
        for (text, shown) in [
            ("/var/backups", "/var/backups"),
            ("/", "/"),
            ("s3://backups", "s3://backups/"),
            ("s3://backups/", "s3://backups/"),
            (
                "s3://team.backups-1/strongroom/eu=1",
                "s3://team.backups-1/strongroom/eu=1",
            ),
            ("s3://backups/strongroom/", "s3://backups/strongroom"),
        ] {
            let place = BackupUrl.parse(text).unwrap();
            assert_eq!(place.to_string(), shown);
        }
    }
}
