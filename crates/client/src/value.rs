//! What must not be kept, shown or copied by accident.

use serde::{
    Deserialize, Deserializer,
    de::{IgnoredAny, MapAccess, Visitor},
};
use serde_json::value::RawValue;
use zeroize::{Zeroize, Zeroizing};

/// A token's text. Zeroized on drop; neither Debug, Display, Clone nor Serialize.
pub struct Token(Zeroizing<String>);

impl Token {
    /// A token; line breaks and spaces around it are left out.
    #[must_use]
    pub fn new(text: String) -> Self {
        let text = Zeroizing::new(text);
        Self(Zeroizing::new(text.trim().to_owned()))
    }

    /// The text, for whoever keeps it.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl<'de> Deserialize<'de> for Token {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Ok(Self(Zeroizing::new(String::deserialize(deserializer)?)))
    }
}

/// Why something is no payload. Never holds it.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum PayloadError {
    /// The text is no JSON object.
    #[error("the data must be a JSON object")]
    NoObject,
    /// There is no such field.
    #[error("the secret has no such field")]
    NoField,
}

/// What one version of a secret holds: a single value, or the fields of a JSON object. Zeroized on drop;
/// neither Debug, Display, Clone nor Serialize.
pub struct Payload(Shape);

enum Shape {
    Value(Zeroizing<String>),
    /// JSON as text, so that no tree of copies is made of it.
    Data(Zeroizing<String>),
}

impl Payload {
    /// A single value.
    #[must_use]
    pub fn from_value(value: String) -> Self {
        Self(Shape::Value(Zeroizing::new(value)))
    }

    /// Fields, as the text of a JSON object.
    ///
    /// # Errors
    /// [`PayloadError::NoObject`] if it is none.
    pub fn from_json(json: String) -> Result<Self, PayloadError> {
        let json = Zeroizing::new(json);
        let raw: Result<&RawValue, _> = serde_json::from_str(&json);
        if raw.is_ok_and(|raw| raw.get().starts_with('{')) {
            return Ok(Self(Shape::Data(json)));
        }
        Err(PayloadError::NoObject)
    }

    /// The value, if it is a single one.
    #[must_use]
    pub fn value(&self) -> Option<&str> {
        match &self.0 {
            Shape::Value(value) => Some(value),
            Shape::Data(_) => None,
        }
    }

    /// The text of the JSON object, if there is more than a single value.
    #[must_use]
    pub fn data(&self) -> Option<&str> {
        match &self.0 {
            Shape::Value(_) => None,
            Shape::Data(json) => Some(json),
        }
    }

    /// The names of its fields, as they come. A single value is the field `value`.
    ///
    /// # Errors
    /// [`PayloadError::NoObject`] if it is damaged.
    pub fn fields(&self) -> Result<Vec<String>, PayloadError> {
        match &self.0 {
            Shape::Value(_) => Ok(vec!["value".to_owned()]),
            Shape::Data(json) => {
                let mut names = Vec::new();
                each_field(json, |name, _| names.push(name.to_owned()))?;
                Ok(names)
            }
        }
    }

    /// One field: the text of a string, the JSON of anything else. A single value is the field `value`.
    ///
    /// # Errors
    /// [`PayloadError::NoField`] if there is none.
    pub fn field(&self, wanted: &str) -> Result<Zeroizing<String>, PayloadError> {
        let json = match &self.0 {
            Shape::Value(value) if wanted == "value" => return Ok(value.clone()),
            Shape::Value(_) => return Err(PayloadError::NoField),
            Shape::Data(json) => json,
        };
        let mut found = None;
        each_field(json, |name, raw| {
            if name == wanted {
                let text: Result<Zeroizing<String>, _> = serde_json::from_str(raw);
                found = Some(text.unwrap_or_else(|_| Zeroizing::new(raw.to_owned())));
            }
        })?;
        found.ok_or(PayloadError::NoField)
    }

    /// How long it is, in bytes.
    pub(crate) fn len(&self) -> usize {
        match &self.0 {
            Shape::Value(text) | Shape::Data(text) => text.len(),
        }
    }

    /// `value` and `data` of a request.
    pub(crate) fn parts(&self) -> (Option<&str>, Option<&RawValue>) {
        match &self.0 {
            Shape::Value(value) => (Some(value), None),
            Shape::Data(json) => (None, serde_json::from_str(json).ok()),
        }
    }

    /// From `value` and `data` of an answer.
    pub(crate) fn of(value: Option<Zeroizing<String>>, data: Option<JsonText>) -> Option<Self> {
        match (value, data) {
            (Some(value), None) => Some(Self(Shape::Value(value))),
            (None, Some(data)) => Some(Self(Shape::Data(Zeroizing::new(data.into_text())))),
            _ => None,
        }
    }
}

fn each_field(json: &str, each: impl FnMut(&str, &str)) -> Result<(), PayloadError> {
    struct Fields<F>(F);
    impl<'de, F: FnMut(&str, &str)> Visitor<'de> for Fields<F> {
        type Value = ();

        fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            f.write_str("an object")
        }

        fn visit_map<A: MapAccess<'de>>(mut self, mut map: A) -> Result<(), A::Error> {
            while let Some(name) = map.next_key::<String>()? {
                let raw: &RawValue = map.next_value()?;
                (self.0)(&name, raw.get());
            }
            map.next_key::<IgnoredAny>().map(drop)
        }
    }
    let mut deserializer = serde_json::Deserializer::from_str(json);
    let done = deserializer.deserialize_map(Fields(each));
    done.map_err(|_| PayloadError::NoObject)
}

/// JSON as it came in an answer.
pub(crate) struct JsonText(String);

impl JsonText {
    fn into_text(mut self) -> String {
        std::mem::take(&mut self.0)
    }
}

impl Drop for JsonText {
    fn drop(&mut self) {
        self.0.zeroize();
    }
}

impl<'de> Deserialize<'de> for JsonText {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let raw = Box::<RawValue>::deserialize(deserializer)?;
        Ok(Self(String::from(Box::<str>::from(raw))))
    }
}

#[cfg(test)]
mod tests {
    use static_assertions::assert_not_impl_any;

    use super::*;

    assert_not_impl_any!(Payload: std::fmt::Debug, std::fmt::Display, Clone, PartialEq, serde::Serialize);
    assert_not_impl_any!(Token: std::fmt::Debug, std::fmt::Display, Clone, PartialEq, serde::Serialize);
    assert_not_impl_any!(crate::ReadSecret: std::fmt::Debug, Clone, serde::Serialize);
    assert_not_impl_any!(crate::Client: std::fmt::Debug);

    #[test]
    fn fields_are_picked_as_they_are_meant() {
        let data = r#"{"user":"u\n\"x\"","n":[1, 2],"password":"p"}"#;
        let data = Payload::from_json(data.to_owned()).ok().unwrap();
        assert_eq!(data.fields().unwrap(), ["user", "n", "password"]);
        assert_eq!(data.field("user").unwrap().as_str(), "u\n\"x\"");
        assert_eq!(data.field("n").unwrap().as_str(), "[1, 2]");
        assert_eq!(data.field("value"), Err(PayloadError::NoField));
        let value = Payload::from_value("v".to_owned());
        assert_eq!(value.field("value").unwrap().as_str(), "v");
        assert_eq!(value.field("user"), Err(PayloadError::NoField));
    }

    #[test]
    fn what_is_no_object_is_no_data() {
        for bad in ["", "1", "[]", "\"x\"", "{", "{}x", "null"] {
            assert!(Payload::from_json(bad.to_owned()).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_token_has_no_line_break() {
        assert_eq!(Token::new("srt_x\n".to_owned()).expose(), "srt_x");
    }
}
