//! What ties a ciphertext and its data key to one version of one secret, and a wrapped cluster key to
//! its purpose.

use sha2::{Digest, Sha256};
use strongroom_core::SecretName;

/// How a binding spells the secret's name in the KMS encryption context. The envelope's own
/// associated data always holds the name itself.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum ContextStyle {
    /// The name, readable in CloudTrail and usable in IAM conditions.
    #[default]
    Name,
    /// The name's SHA-256 in hexadecimal, for those who want no names in CloudTrail.
    HashedName,
}

impl ContextStyle {
    /// The style that this one is not.
    #[must_use]
    pub fn other(self) -> Self {
        match self {
            Self::Name => Self::HashedName,
            Self::HashedName => Self::Name,
        }
    }
}

/// What a cluster key is bound to, instead of a name and a version.
const CLUSTER_KEY_PURPOSE: &str = "strongroom/cluster-key";

/// Name and version of what is sealed: associated data of the envelope, encryption context of KMS.
/// Neither a ciphertext nor a wrapped key opens under another binding (invariant 3).
///
/// It is held as its associated data, `name:version`. A name may hold colons, but the version is the
/// digits after the last one, so no two bindings share their bytes. A cluster key's have no colon.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Binding(Box<str>);

impl Binding {
    /// The binding of `version` of the secret `name`. Versions count from 1.
    #[must_use]
    pub fn new(name: &SecretName, version: u64) -> Self {
        let mut digits = itoa::Buffer::new();
        let text = [name.as_str(), ":", digits.format(version)].concat();
        Self(text.into_boxed_str())
    }

    /// The binding of cluster keys: it is no secret's.
    pub(crate) fn cluster_key() -> Self {
        Self(CLUSTER_KEY_PURPOSE.into())
    }

    /// The associated data: the ASCII bytes of `name:version`.
    #[must_use]
    pub fn aad(&self) -> &[u8] {
        self.0.as_bytes()
    }

    /// The KMS encryption context: `name` and `version`; `purpose` alone for a cluster key, in
    /// either style.
    #[must_use]
    pub fn encryption_context(&self, style: ContextStyle) -> Vec<(&'static str, String)> {
        match self.0.rsplit_once(':') {
            Some((name, version)) => {
                let name = match style {
                    ContextStyle::Name => name.to_owned(),
                    ContextStyle::HashedName => hex(&Sha256::digest(name)),
                };
                vec![("name", name), ("version", version.to_owned())]
            }
            None => vec![("purpose", self.0.to_string())],
        }
    }
}

/// Lower-case hexadecimal.
pub(crate) fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write;
    bytes.iter().fold(
        String::with_capacity(bytes.len().saturating_mul(2)),
        |mut text, byte| {
            // Writing to a String cannot fail.
            let _ = write!(text, "{byte:02x}");
            text
        },
    )
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn binding(name: &str, version: u64) -> Binding {
        Binding::new(&SecretName::parse(name).unwrap(), version)
    }

    #[test]
    fn bytes_and_context_are_as_documented() {
        let b = binding("secret/db/password", 12);
        assert_eq!(b.aad(), b"secret/db/password:12");
        assert_eq!(
            b.encryption_context(ContextStyle::Name),
            [
                ("name", "secret/db/password".to_owned()),
                ("version", "12".to_owned())
            ]
        );
        // printf %s secret/db/password | sha256sum
        let digest = "284b3a7d2cdd70b40a2d6666dd74d0a2e9275607ca974f5b4106af5d36bbcda2";
        assert_eq!(
            b.encryption_context(ContextStyle::HashedName),
            [("name", digest.to_owned()), ("version", "12".to_owned())]
        );
    }

    #[test]
    fn a_colon_in_the_name_moves_nothing() {
        assert_ne!(binding("s/a:1", 2).aad(), binding("s/a", 12).aad());
        assert_ne!(binding("s/a:1", 2).aad(), binding("s/a:12", 2).aad());
        assert_eq!(binding("s/a:1", 2).aad(), b"s/a:1:2");
    }

    /// No name makes a secret's version open what was wrapped as a cluster key, or the other way round.
    #[test]
    fn a_cluster_key_is_bound_as_no_version_is() {
        let cluster = Binding::cluster_key();
        assert_eq!(cluster.aad(), b"strongroom/cluster-key");
        assert!(!cluster.aad().contains(&b':'));
        for style in [ContextStyle::Name, ContextStyle::HashedName] {
            let context = cluster.encryption_context(style);
            assert_eq!(context, [("purpose", "strongroom/cluster-key".to_owned())]);
            let version = binding("strongroom/cluster-key", 1).encryption_context(style);
            assert!(version.iter().all(|(key, _)| *key != "purpose"));
        }
    }

    fn name_and_version() -> impl Strategy<Value = (String, u64)> {
        // Few letters and many colons and digits: where two bindings would meet if they could.
        ("[a1]{1,2}/[a1:]{1,5}", 0u64..120)
    }

    proptest! {
        #[test]
        fn bindings_are_one_to_one(a in name_and_version(), b in name_and_version()) {
            let same = a == b;
            let (a, b) = (binding(&a.0, a.1), binding(&b.0, b.1));
            prop_assert_eq!(same, a.aad() == b.aad());
            prop_assert_eq!(same, a == b);
            for style in [ContextStyle::Name, ContextStyle::HashedName] {
                prop_assert_eq!(same, a.encryption_context(style) == b.encryption_context(style));
            }
        }

        #[test]
        fn the_context_is_of_the_same_name_and_version((name, version) in name_and_version()) {
            let context = binding(&name, version).encryption_context(ContextStyle::Name);
            prop_assert_eq!(context, [("name", name), ("version", version.to_string())]);
        }

        #[test]
        fn the_bytes_give_the_binding_back((name, version) in name_and_version()) {
            let a = binding(&name, version);
            let text = std::str::from_utf8(a.aad()).unwrap();
            let (in_text, digits) = text.rsplit_once(':').unwrap();
            prop_assert_eq!((in_text, digits.parse()), (name.as_str(), Ok(version)));
        }
    }
}
