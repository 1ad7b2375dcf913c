//! JSON from outside: bounded in depth before it is parsed, and refused in words that hold nothing of
//! it but the name of an unknown field.

use std::{fmt, marker::PhantomData};

use serde::{
    Deserialize, Deserializer,
    de::{SeqAccess, Visitor},
};
use strongroom_core::limits;
use strongroom_service::VaultError;

/// Parses a request body.
pub(crate) fn parse<'a, T: Deserialize<'a>>(body: &'a [u8]) -> Result<T, VaultError> {
    if too_deep(body) {
        return Err(VaultError::invalid("the JSON is nested too deeply"));
    }
    serde_json::from_slice(body).map_err(|error| VaultError::Invalid(explain(&error)))
}

/// Tells a field that is `null` from one that is not there, with `#[serde(default)]` beside it.
pub(crate) fn given<'a, D: Deserializer<'a>, T: Deserialize<'a>>(
    field: D,
) -> Result<Option<Option<T>>, D::Error> {
    Option::<T>::deserialize(field).map(Some)
}

/// How the refusal of a long list begins. No message of serde's begins with what it found.
const TOO_MANY: &str = "a list is too long: ";

/// A list of at most `MOST` items: what is longer is refused before it is held.
pub(crate) struct Bounded<T, const MOST: usize>(pub(crate) Vec<T>);

impl<T, const MOST: usize> Default for Bounded<T, MOST> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<'a, T: Deserialize<'a>, const MOST: usize> Deserialize<'a> for Bounded<T, MOST> {
    fn deserialize<D: Deserializer<'a>>(list: D) -> Result<Self, D::Error> {
        list.deserialize_seq(Items(PhantomData))
    }
}

struct Items<T, const MOST: usize>(PhantomData<T>);

impl<'a, T: Deserialize<'a>, const MOST: usize> Visitor<'a> for Items<T, MOST> {
    type Value = Bounded<T, MOST>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "a list of at most {MOST} items")
    }

    fn visit_seq<A: SeqAccess<'a>>(self, mut list: A) -> Result<Self::Value, A::Error> {
        let mut items = Vec::new();
        while let Some(item) = list.next_element()? {
            if items.len() == MOST {
                let why = format_args!("{TOO_MANY}{MOST} items are allowed");
                return Err(serde::de::Error::custom(why));
            }
            items.push(item);
        }
        Ok(Bounded(items))
    }
}

/// Whether brackets outside of strings nest deeper than [`limits::JSON_DEPTH`].
fn too_deep(body: &[u8]) -> bool {
    let (mut depth, mut in_string, mut escaped) = (0usize, false, false);
    for byte in body {
        match (in_string, *byte) {
            (true, _) if escaped => escaped = false,
            (true, b'\\') => escaped = true,
            (true, b'"') => in_string = false,
            (false, b'"') => in_string = true,
            (false, b'{' | b'[') => {
                depth += 1;
                if depth > limits::JSON_DEPTH {
                    return true;
                }
            }
            (false, b'}' | b']') => depth = depth.saturating_sub(1),
            _ => {}
        }
    }
    false
}

/// serde's messages quote what they found; only field names may pass, and only such as look like one.
fn explain(error: &serde_json::Error) -> String {
    let text = error.to_string();
    if text.starts_with(TOO_MANY) {
        return text;
    }
    for (start, what) in [
        ("unknown field `", "unknown field"),
        ("missing field `", "missing field"),
        ("duplicate field `", "duplicate field"),
    ] {
        let Some(name) = text
            .strip_prefix(start)
            .and_then(|rest| rest.split('`').next())
        else {
            continue;
        };
        let shown = (1..=64).contains(&name.len())
            && name
                .bytes()
                .all(|c| c.is_ascii_alphanumeric() || c == b'_' || c == b'-');
        return if shown {
            format!("{what} `{name}`")
        } else {
            what.to_owned()
        };
    }
    let what = match error.classify() {
        serde_json::error::Category::Data => "a field has the wrong type or a value out of range",
        serde_json::error::Category::Eof => "the JSON ends too early",
        _ => "malformed JSON",
    };
    format!("{what}, at line {} column {}", error.line(), error.column())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Deserialize, Debug)]
    #[serde(deny_unknown_fields)]
    struct Request {
        #[allow(dead_code)]
        number: u64,
    }

    #[test]
    fn long_lists_are_refused_with_their_limit() {
        let parsed = |body: &str| parse::<Bounded<u8, 2>>(body.as_bytes());
        assert_eq!(parsed("[1,2]").unwrap().0, [1, 2]);
        let refused = parsed("[1,2,3]").err().unwrap().to_string();
        assert!(
            refused.starts_with("a list is too long: 2 items"),
            "{refused}"
        );
        assert!(parsed("{}").is_err());
    }

    fn refusal(body: &str) -> String {
        parse::<Request>(body.as_bytes()).unwrap_err().to_string()
    }

    #[test]
    fn refusals_name_fields_and_never_values() {
        assert_eq!(
            refusal(r#"{"number":1,"extra":2}"#),
            "unknown field `extra`"
        );
        assert_eq!(refusal("{}"), "missing field `number`");
        for body in [
            r#"{"number":"hunter2"}"#,
            r#"{"hunter2 is a value":1}"#,
            r#"{"number":hunter2}"#,
            r#"{"number":1"hunter2"}"#,
            "\"hunter2\"",
            "hunter2",
        ] {
            let text = refusal(body);
            assert!(!text.contains("hunter2"), "{text}");
        }
    }

    #[test]
    fn depth_is_bounded_outside_of_strings() {
        let deep = |n: usize| format!("{}{}", "[".repeat(n), "]".repeat(n));
        assert!(!too_deep(deep(limits::JSON_DEPTH).as_bytes()));
        assert!(too_deep(deep(limits::JSON_DEPTH + 1).as_bytes()));
        assert!(too_deep("[".repeat(500_000).as_bytes()));
        assert!(!too_deep(
            format!(r#"["\"{}"]"#, "[".repeat(100)).as_bytes()
        ));
        assert!(!too_deep("[]".repeat(100).as_bytes()));
    }
}
