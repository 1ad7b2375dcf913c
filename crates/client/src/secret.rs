//! What the server answers.

use serde::Deserialize;
use zeroize::Zeroizing;

/// A secret that was read. No `Debug`: it holds a value, which is zeroized on drop.
#[derive(Deserialize)]
pub struct ReadSecret {
    /// Its name.
    pub name: String,
    /// `manual` or `automatic`.
    pub kind: String,
    /// The version's number.
    pub version: u64,
    /// When the version was written, RFC 3339 in UTC.
    pub created_at: String,
    value: Option<Zeroizing<String>>,
    data: Option<Zeroizing<JsonText>>,
}

impl ReadSecret {
    /// The value, if the secret holds a single one.
    #[must_use]
    pub fn value(&self) -> Option<&str> {
        self.value.as_ref().map(|value| value.as_str())
    }

    /// The JSON text of the object that it holds, if it holds more than a single value.
    #[must_use]
    pub fn data(&self) -> Option<&str> {
        self.data.as_ref().map(|data| data.0.as_str())
    }
}

/// JSON as text, so that no tree of copies is made of it.
struct JsonText(String);

impl zeroize::Zeroize for JsonText {
    fn zeroize(&mut self) {
        self.0.zeroize();
    }
}

impl<'de> Deserialize<'de> for JsonText {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let raw = Box::<serde_json::value::RawValue>::deserialize(deserializer)?;
        Ok(Self(String::from(Box::<str>::from(raw))))
    }
}

/// A secret that was created.
#[derive(Clone, PartialEq, Eq, Debug, Deserialize)]
pub struct Created {
    /// Its name.
    pub name: String,
    /// `manual` or `automatic`.
    pub kind: String,
    /// The version's number.
    pub version: u64,
    /// When it was written, RFC 3339 in UTC.
    pub created_at: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_and_objects_are_told_apart() {
        let read = |shape: &str| {
            let json = format!(
                r#"{{"name":"a","kind":"manual","version":1,{shape},"created_at":"2026-01-01T00:00:00Z"}}"#
            );
            serde_json::from_str::<ReadSecret>(&json).map_err(|error| error.to_string())
        };
        let value = read(r#""value":"v""#).unwrap();
        assert_eq!((value.value(), value.data()), (Some("v"), None));
        let data = read(r#""data":{"user":"u","n":[1]}"#).unwrap();
        assert_eq!(
            (data.value(), data.data()),
            (None, Some(r#"{"user":"u","n":[1]}"#))
        );
        assert!(read(r#""value":1"#).is_err());
    }
}
