//! Names in paths: checked before they become part of a URL, since `..`, `?` and `#` would make another
//! request of it.

use strongroom_core::{RoleName, SecretName, name::DEFAULT_MOUNT};

use crate::ClientError;

/// The path of a secret's routes.
pub(crate) fn secret(name: &str) -> Result<String, ClientError> {
    match SecretName::in_mount(DEFAULT_MOUNT, name) {
        Ok(name) => Ok(format!("/v1/secrets/{}", name.path())),
        Err(error) => Err(ClientError::Unusable(error.to_string())),
    }
}

/// The path below `root` of a role, a token or a node, whose names all have the same form.
pub(crate) fn label(root: &str, name: &str) -> Result<String, ClientError> {
    match RoleName::parse(name) {
        Ok(name) => Ok(format!("{root}/{name}")),
        Err(error) => Err(ClientError::Unusable(error.to_string())),
    }
}

/// Text in a query. What is not plain is percent-encoded.
pub(crate) fn query(text: &str) -> String {
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~/".contains(&byte) {
            encoded.push(char::from(byte));
        } else {
            encoded.push_str(&format!("%{byte:02X}"));
        }
    }
    encoded
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_stays_one_name() {
        assert_eq!(secret("db/a.b").unwrap(), "/v1/secrets/db/a.b");
        for bad in ["", "..", "a/../b", "a?b", "a#b", "a%2fb", "a b", "/a", "a/"] {
            assert!(secret(bad).is_err(), "{bad}");
        }
        assert!(label("/v1/roles", "a/b").is_err());
        assert_eq!(query("a&b=ü"), "a%26b%3D%C3%BC");
    }
}
