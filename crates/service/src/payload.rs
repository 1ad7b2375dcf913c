//! The payload of a version: one JSON object. `{"value": …}` is what the native field `value` is
//! sugar for.
//!
//! JSON text is spliced, not rebuilt: values stay in the buffers they came in, and every buffer made
//! here is zeroized.

use std::{borrow::Cow, collections::BTreeMap};

use serde::Deserialize;
use serde_json::value::RawValue;
use strongroom_core::{
    limits,
    secret::{PASSWORD_FIELD, USERNAME_FIELD},
};
use strongroom_seal::{Plaintext, plaintext::ct_eq};
use zeroize::Zeroizing;

use crate::{VaultError, targets::Login};

/// The field that `value` stands for.
pub const VALUE_FIELD: &str = "value";

/// A payload's fields, as JSON text.
type Fields<'a> = BTreeMap<Cow<'a, str>, &'a RawValue>;

/// What a request brings: a string as JSON text, an object as JSON text, or nothing.
#[derive(Clone, Copy)]
pub enum Incoming<'a> {
    /// `value`
    Value(&'a RawValue),
    /// `data`
    Data(&'a RawValue),
    /// Neither.
    Nothing,
}

impl<'a> Incoming<'a> {
    /// At most one of the two.
    ///
    /// # Errors
    /// [`VaultError::Invalid`] for both.
    pub fn new(
        value: Option<&'a RawValue>,
        data: Option<&'a RawValue>,
    ) -> Result<Self, VaultError> {
        match (value, data) {
            (Some(_), Some(_)) => Err(VaultError::invalid("give value or data, not both")),
            (Some(value), None) => Ok(Self::Value(value)),
            (None, Some(data)) => Ok(Self::Data(data)),
            (None, None) => Ok(Self::Nothing),
        }
    }

    /// Whether there is nothing.
    #[must_use]
    pub fn is_nothing(self) -> bool {
        matches!(self, Self::Nothing)
    }

    /// Whether a value has to be generated for `field`.
    #[must_use]
    pub fn lacks(self, field: &str) -> bool {
        match self {
            Self::Value(_) => field != VALUE_FIELD,
            // What is no object is refused when the payload is made.
            Self::Data(data) => serde_json::from_str::<Fields<'_>>(data.get())
                .is_ok_and(|fields| !fields.contains_key(field)),
            Self::Nothing => true,
        }
    }

    /// The payload, with `generated` set into its field unless the request brought one for it.
    ///
    /// # Errors
    /// [`VaultError::Invalid`] for a `value` that is no string or `data` that is no object,
    /// [`VaultError::TooLarge`].
    pub fn payload(self, generated: Option<(&str, &str)>) -> Result<Plaintext, VaultError> {
        let mut value = None;
        let mut fields = Fields::new();
        match self {
            Self::Value(text) => {
                value = Some(text);
                // Decoded once, so that what is stored can be decoded when it is compared.
                decode_string(text).ok_or(VaultError::invalid("value must be a string"))?;
            }
            Self::Data(data) => {
                let not_an_object = VaultError::invalid("data must be an object");
                fields = serde_json::from_str(data.get()).map_err(|_| not_an_object)?;
            }
            Self::Nothing => {}
        }
        if let Some(value) = value {
            fields.insert(Cow::Borrowed(VALUE_FIELD), value);
        }
        let generated = generated.filter(|(field, _)| !fields.contains_key(*field));
        let generated =
            generated.map(|(field, text)| encode_string(text).map(|json| (field, json)));
        let generated = generated.transpose()?;
        write_object(
            &fields,
            generated
                .as_ref()
                .map(|(field, json)| (*field, json.as_slice())),
        )
    }
}

fn encode_string(text: &str) -> Result<Zeroizing<Vec<u8>>, VaultError> {
    // Six bytes a character is the most that JSON's escapes take: the buffer never moves.
    let mut json = Zeroizing::new(Vec::with_capacity(text.len() * 6 + 2));
    serde_json::to_writer(&mut *json, text)
        .map_err(|error| VaultError::bug("encoding a generated value", &error))?;
    Ok(json)
}

fn write_object(
    fields: &Fields<'_>,
    extra: Option<(&str, &[u8])>,
) -> Result<Plaintext, VaultError> {
    let entries = || {
        let fields = fields
            .iter()
            .map(|(key, json)| (key.as_ref(), json.get().as_bytes()));
        fields.chain(extra)
    };
    let most: usize = entries()
        .map(|(key, json)| key.len() * 6 + json.len() + 4)
        .sum::<usize>()
        + 2;
    let mut object = Zeroizing::new(Vec::with_capacity(most));
    for (index, (key, json)) in entries().enumerate() {
        object.push(if index == 0 { b'{' } else { b',' });
        serde_json::to_writer(&mut *object, key)
            .map_err(|error| VaultError::bug("encoding a field name", &error))?;
        object.push(b':');
        object.extend_from_slice(json);
    }
    if object.is_empty() {
        object.push(b'{');
    }
    object.push(b'}');
    if object.len() > limits::PAYLOAD_BYTES {
        return Err(VaultError::TooLarge("the value is over 512 KiB"));
    }
    Ok(Plaintext::new(object))
}

/// A payload with the string `text` in `field`, every other field as it was.
///
/// # Errors
/// [`VaultError::TooLarge`].
pub fn with_field(
    payload: Option<&Plaintext>,
    field: &str,
    text: &str,
) -> Result<Plaintext, VaultError> {
    let mut fields = match payload {
        Some(payload) => serde_json::from_slice::<Fields<'_>>(payload.expose())
            .map_err(|_| VaultError::bug("a payload is not an object", &"stored payload"))?,
        None => Fields::new(),
    };
    fields.remove(field);
    let json = encode_string(text)?;
    write_object(&fields, Some((field, json.as_slice())))
}

/// Who signs in at a target, and with which password; `None` if the payload does not hold both as
/// strings.
#[must_use]
pub fn login(payload: &Plaintext) -> Option<Login> {
    let fields = serde_json::from_slice::<Fields<'_>>(payload.expose()).ok()?;
    let text = |field: &str| {
        let text = decode_string(fields.get(field)?)?;
        (!text.is_empty()).then(|| Plaintext::copy_from(text.as_bytes()))
    };
    Some(Login {
        username: text(USERNAME_FIELD)?,
        password: text(PASSWORD_FIELD)?,
    })
}

/// A JSON string's text; `None` if it is no string.
fn decode_string(json: &RawValue) -> Option<Zeroizing<String>> {
    serde_json::from_str::<String>(json.get())
        .ok()
        .map(Zeroizing::new)
}

/// How a payload is shown.
pub enum Shown<'a> {
    /// As `value`: the payload is `{"value": "…"}`.
    Value(&'a str),
    /// As `data`.
    Data(&'a str),
}

/// How to show a payload; the text is JSON.
///
/// # Errors
/// [`VaultError::Internal`] if it is not UTF-8, which sealing rules out.
pub fn shown(payload: &Plaintext) -> Result<Shown<'_>, VaultError> {
    #[derive(Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Sugar<'a> {
        #[serde(borrow)]
        value: &'a RawValue,
    }
    let text = std::str::from_utf8(payload.expose())
        .map_err(|error| VaultError::bug("a payload is not UTF-8", &error))?;
    match serde_json::from_str::<Sugar<'_>>(text) {
        Ok(Sugar { value }) if value.get().starts_with('"') => Ok(Shown::Value(value.get())),
        _ => Ok(Shown::Data(text)),
    }
}

/// Whether the string in `field` of the payload is `wanted`. Takes the same time whatever the
/// strings hold, their lengths aside.
#[must_use]
pub fn field_is(payload: &Plaintext, field: &str, wanted: &str) -> bool {
    let Ok(fields) = serde_json::from_slice::<Fields<'_>>(payload.expose()) else {
        return false;
    };
    fields
        .get(field)
        .and_then(|json| decode_string(json))
        .is_some_and(|held| ct_eq(held.as_bytes(), wanted.as_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn raw(json: &str) -> &RawValue {
        serde_json::from_str(json).unwrap()
    }

    fn text(payload: &Plaintext) -> &str {
        std::str::from_utf8(payload.expose()).unwrap()
    }

    #[test]
    fn value_is_sugar_for_an_object_and_comes_back_as_value() {
        let payload = Incoming::Value(raw(r#""a\"b\u00e9""#))
            .payload(None)
            .unwrap();
        assert_eq!(text(&payload), r#"{"value":"a\"b\u00e9"}"#);
        assert!(matches!(
            shown(&payload),
            Ok(Shown::Value(r#""a\"b\u00e9""#))
        ));
        assert!(field_is(&payload, "value", "a\"bé"));
        assert!(!field_is(&payload, "value", "a\"b"));
        assert!(!field_is(&payload, "other", "a\"bé"));
    }

    #[test]
    fn data_stays_an_object_whatever_it_holds() {
        for json in [
            r#"{"a":1,"b":{"c":[]}}"#,
            "{}",
            r#"{"value":1}"#,
            r#"{"value":"x","y":2}"#,
        ] {
            let payload = Incoming::Data(raw(json)).payload(None).unwrap();
            assert_eq!(text(&payload), json);
            assert!(matches!(shown(&payload), Ok(Shown::Data(_))));
        }
    }

    #[test]
    fn generated_values_fill_their_field_only_if_it_is_free() {
        let json = raw(r#"{"username":"u"}"#);
        let payload = Incoming::Data(json)
            .payload(Some(("password", "p\"w")))
            .unwrap();
        assert_eq!(text(&payload), r#"{"username":"u","password":"p\"w"}"#);
        let json = raw(r#"{"password":"mine"}"#);
        let payload = Incoming::Data(json)
            .payload(Some(("password", "other")))
            .unwrap();
        assert_eq!(text(&payload), r#"{"password":"mine"}"#);
        assert!(
            Incoming::Data(raw("{}")).lacks("password") && !Incoming::Data(json).lacks("password")
        );
        let payload = Incoming::Nothing.payload(Some(("value", "v"))).unwrap();
        assert_eq!(text(&payload), r#"{"value":"v"}"#);
    }

    #[test]
    fn a_rotated_field_is_replaced_and_the_others_stay() {
        let payload = Plaintext::copy_from(br#"{"a":[1,2],"password":"old","z":"\u00e9"}"#);
        let rotated = with_field(Some(&payload), "password", "n\"ew").unwrap();
        assert_eq!(
            text(&rotated),
            r#"{"a":[1,2],"z":"\u00e9","password":"n\"ew"}"#
        );
        assert_eq!(
            text(&with_field(None, "value", "v").unwrap()),
            r#"{"value":"v"}"#
        );
    }

    #[test]
    fn a_login_is_two_strings() {
        let payload = |json: &str| Plaintext::copy_from(json.as_bytes());
        let found = login(&payload(r#"{"a":1,"password":"p\u00e9","username":"app"}"#)).unwrap();
        assert_eq!(found.username.expose(), b"app");
        assert_eq!(found.password.expose(), "pé".as_bytes());
        for lacking in [
            r#"{"username":"app"}"#,
            r#"{"password":"p"}"#,
            r#"{"username":"app","password":1}"#,
            r#"{"username":"","password":"p"}"#,
            r#"{"username":null,"password":"p"}"#,
            "{}",
        ] {
            assert!(login(&payload(lacking)).is_none(), "{lacking}");
        }
    }

    #[test]
    fn wrong_types_and_sizes_are_refused() {
        for json in ["1", "{}", "null", r#""\ud800""#] {
            assert!(Incoming::Value(raw(json)).payload(None).is_err(), "{json}");
        }
        for json in ["1", "[]", "\"x\"", "null"] {
            assert!(Incoming::Data(raw(json)).payload(None).is_err(), "{json}");
        }
        let longest = format!("\"{}\"", "x".repeat(limits::PAYLOAD_BYTES - 12));
        assert!(Incoming::Value(raw(&longest)).payload(None).is_ok());
        let longer = format!("\"{}\"", "x".repeat(limits::PAYLOAD_BYTES - 11));
        let refused = Incoming::Value(raw(&longer)).payload(None);
        assert!(matches!(refused, Err(VaultError::TooLarge(_))));
        assert!(Incoming::new(Some(raw("1")), Some(raw("2"))).is_err());
    }
}
