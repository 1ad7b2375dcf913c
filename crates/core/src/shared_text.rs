//! Texts of which there are few, in places of which there are many.

use std::{cell::RefCell, fmt, ops::Deref, sync::Arc};

use serde::{Deserialize, Deserializer, Serialize, de};

use crate::limits;

/// How many texts a thread remembers.
const REMEMBERED: usize = 4;

thread_local! {
    static RECENT: RefCell<[Option<Arc<str>>; REMEMBERED]> = const { RefCell::new([const { None }; REMEMBERED]) };
}

/// A text that is the same for many: which KMS key wrapped a data key, which of its materials. Equal ones that are made
/// or read one after the other on a thread share their bytes, and so do clones. Encoded, it is a string.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(transparent)]
pub struct SharedText(Arc<str>);

impl From<&str> for SharedText {
    fn from(text: &str) -> Self {
        // Whatever is longer comes to nothing, and must not stay with the thread that has read it.
        if text.len() > limits::KMS_KEY_ID_BYTES {
            return Self(Arc::from(text));
        }
        RECENT.with_borrow_mut(|recent| {
            let known = recent.iter().flatten().find(|known| &***known == text);
            if let Some(known) = known {
                return Self(Arc::clone(known));
            }
            let new = Arc::from(text);
            recent.rotate_right(1);
            if let Some(first) = recent.first_mut() {
                *first = Some(Arc::clone(&new));
            }
            Self(new)
        })
    }
}

impl From<String> for SharedText {
    fn from(text: String) -> Self {
        text.as_str().into()
    }
}

impl Deref for SharedText {
    type Target = str;

    fn deref(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for SharedText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&*self.0, f)
    }
}

impl fmt::Display for SharedText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for SharedText {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct Text;

        impl de::Visitor<'_> for Text {
            type Value = SharedText;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a string")
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<SharedText, E> {
                Ok(text.into())
            }
        }

        from.deserialize_str(Text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn share(one: &SharedText, other: &SharedText) -> bool {
        Arc::ptr_eq(&one.0, &other.0)
    }

    #[test]
    fn what_is_too_long_for_an_id_is_not_remembered() {
        let longest = || SharedText::from("k".repeat(limits::KMS_KEY_ID_BYTES));
        assert!(share(&longest(), &longest()));
        let longer = || SharedText::from("k".repeat(limits::KMS_KEY_ID_BYTES + 1));
        assert!(longer() == longer() && !share(&longer(), &longer()));
    }

    #[test]
    fn equal_texts_share_their_bytes_as_long_as_they_are_remembered() {
        let first = SharedText::from("key-0");
        assert!(share(&first, &"key-0".into()));
        assert!(share(&first, &String::from("key-0").into()));
        let read: SharedText =
            postcard::from_bytes(&postcard::to_stdvec("key-0").unwrap()).unwrap();
        assert!(share(&first, &read));
        let others: Vec<SharedText> = (1..=REMEMBERED)
            .map(|n| format!("key-{n}").into())
            .collect();
        assert!(others.iter().all(|other| *other != first));
        let again = SharedText::from("key-0");
        assert!(again == first && !share(&first, &again));
    }

    #[test]
    fn it_is_encoded_as_a_string() {
        let text = SharedText::from("arn:aws:kms:k");
        let as_string = "arn:aws:kms:k".to_owned();
        assert_eq!(
            postcard::to_stdvec(&text).unwrap(),
            postcard::to_stdvec(&as_string).unwrap()
        );
        assert_eq!(
            format!("{text:?} {text}"),
            format!("{as_string:?} {as_string}")
        );
    }
}
