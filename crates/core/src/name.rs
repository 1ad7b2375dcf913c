//! Names, parsed once at the edge and carried as types: whoever holds one holds a canonical form.

use std::{fmt, sync::Arc};

use serde::{Deserialize, Serialize};

use crate::limits;

/// Why a name was refused. Never holds the name.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum NameError {
    /// Nothing between the separators, or nothing at all.
    #[error("a name must not be empty or hold an empty segment")]
    Empty,
    /// Longer than the limit for its kind.
    #[error("the name is too long")]
    TooLong,
    /// A segment is `.` or `..`.
    #[error("a name must not hold the segments . or ..")]
    Dots,
    /// A character outside `A-Z a-z 0-9 _ - . ~ @ + = : ,` (and `/` between segments).
    #[error("a name may hold only letters, digits, / and _ - . ~ @ + = : ,")]
    Character,
    /// No mount in front of the path.
    #[error("the name lacks its mount")]
    NoMount,
}

fn check_segment(segment: &str) -> Result<(), NameError> {
    match segment {
        "" => return Err(NameError::Empty),
        "." | ".." => return Err(NameError::Dots),
        _ => {}
    }
    let allowed = |c: u8| c.is_ascii_alphanumeric() || b"_-.~@+=:,".contains(&c);
    if segment.bytes().all(allowed) {
        Ok(())
    } else {
        Err(NameError::Character)
    }
}

fn check_label(text: &str, max: usize) -> Result<(), NameError> {
    if text.len() > max {
        return Err(NameError::TooLong);
    }
    check_segment(text)
}

fn check_path(path: &str) -> Result<(), NameError> {
    if path.len() > limits::SECRET_PATH_BYTES {
        return Err(NameError::TooLong);
    }
    path.split('/').try_for_each(check_segment)
}

macro_rules! name_type {
    ($(#[$doc:meta])* $name:ident, $check:expr) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $name(Arc<str>);

        impl $name {
            /// Parses the canonical form; see [`NameError`] for what is refused.
            pub fn parse(text: &str) -> Result<Self, NameError> {
                let check: fn(&str) -> Result<(), NameError> = $check;
                check(text)?;
                Ok(Self(Arc::from(text)))
            }

            /// The name as text.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl TryFrom<String> for $name {
            type Error = NameError;
            fn try_from(text: String) -> Result<Self, NameError> {
                Self::parse(&text)
            }
        }

        impl From<$name> for String {
            fn from(name: $name) -> Self {
                name.as_str().to_owned()
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
    };
}

name_type!(
    /// A secret's full path, mount included: `secret/db/password`.
    SecretName,
    |text| {
        let (mount, path) = text.split_once('/').ok_or(NameError::NoMount)?;
        check_label(mount, limits::MOUNT_NAME_BYTES)?;
        check_path(path)
    }
);
name_type!(
    /// The first segment of every secret's name.
    MountName,
    |text| check_label(text, limits::MOUNT_NAME_BYTES)
);
name_type!(
    /// A role's name.
    RoleName,
    |text| check_label(text, limits::LABEL_BYTES)
);
name_type!(
    /// A token's name: what people call it, never its value.
    TokenName,
    |text| check_label(text, limits::LABEL_BYTES)
);
name_type!(
    /// The operator's name for a target: a system outside that keeps a password of its own.
    TargetName,
    |text| check_label(text, limits::LABEL_BYTES)
);
name_type!(
    /// The operator's name for a node (`NODE_ID`).
    NodeName,
    |text| check_label(text, limits::LABEL_BYTES)
);

/// The mount that exists from the start, and the one the native API shows.
pub const DEFAULT_MOUNT: &str = "secret";

impl SecretName {
    /// The name of the secret at `path` in `mount`.
    pub fn in_mount(mount: &str, path: &str) -> Result<Self, NameError> {
        check_label(mount, limits::MOUNT_NAME_BYTES)?;
        check_path(path)?;
        Ok(Self(Arc::from([mount, "/", path].concat())))
    }

    /// A bound for a range over names: any text, not checked, never stored.
    pub(crate) fn unchecked(text: &str) -> Self {
        Self(Arc::from(text))
    }

    /// The mount's name.
    #[must_use]
    pub fn mount(&self) -> &str {
        self.0.split_once('/').map_or("", |(mount, _)| mount)
    }

    /// The path inside the mount.
    #[must_use]
    pub fn path(&self) -> &str {
        self.0.split_once('/').map_or("", |(_, path)| path)
    }
}

impl MountName {
    /// Whether this name differs from the mount `secret` by case alone: refused on creation, so that
    /// nobody mistakes one for the other.
    #[must_use]
    pub fn resembles_default(&self) -> bool {
        self.as_str() != DEFAULT_MOUNT && self.as_str().eq_ignore_ascii_case(DEFAULT_MOUNT)
    }
}

impl RoleName {
    /// The role that may do everything; it exists from the first start and cannot go.
    pub const ADMIN: &'static str = "admin";

    /// Whether this is the role `admin`.
    #[must_use]
    pub fn is_admin(&self) -> bool {
        self.as_str() == Self::ADMIN
    }

    /// Whether this name differs from `admin` by case alone: refused on creation, so that nobody
    /// mistakes one for the other.
    #[must_use]
    pub fn resembles_admin(&self) -> bool {
        !self.is_admin() && self.as_str().eq_ignore_ascii_case(Self::ADMIN)
    }
}

impl TokenName {
    /// The token that a bootstrap creates.
    pub const BOOTSTRAP: &'static str = "bootstrap-admin";
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secret_names_have_one_canonical_form() {
        for good in [
            "secret/db/password",
            "s/a",
            "secret/A.b_c-d~e@f+g=h:i,j",
            "secret/...",
        ] {
            assert_eq!(SecretName::parse(good).unwrap().as_str(), good);
        }
        for (bad, why) in [
            ("", NameError::NoMount),
            ("secret", NameError::NoMount),
            ("secret/", NameError::Empty),
            ("secret//a", NameError::Empty),
            ("secret/a/", NameError::Empty),
            ("/secret/a", NameError::Empty),
            ("secret/../a", NameError::Dots),
            ("secret/./a", NameError::Dots),
            ("secret/a b", NameError::Character),
            ("secret/a%2fb", NameError::Character),
            ("secret/a\0", NameError::Character),
            ("secret/ä", NameError::Character),
        ] {
            assert_eq!(SecretName::parse(bad), Err(why), "{bad:?}");
        }
    }

    #[test]
    fn names_are_bounded() {
        let longest = "x".repeat(limits::SECRET_PATH_BYTES);
        assert!(SecretName::in_mount("secret", &longest).is_ok());
        assert_eq!(
            SecretName::in_mount("secret", &format!("{longest}x")),
            Err(NameError::TooLong)
        );
        assert_eq!(
            TokenName::parse(&"t".repeat(limits::LABEL_BYTES + 1)),
            Err(NameError::TooLong)
        );
        assert_eq!(TokenName::parse("a/b"), Err(NameError::Character));
    }
}
