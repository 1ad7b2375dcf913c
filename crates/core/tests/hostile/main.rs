//! Bytes and text from outside: nothing panics, and what is taken is canonical.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test")]

mod goldens;

use goldens::goldens;
use proptest::{collection::vec, prelude::*};
use strongroom_core::{
    Allowlist, LogTime, MountName, NodeName, PathPattern, RoleName, SecretName, State,
    TokenFingerprint, TokenName,
    codec::{
        DecodeError, FORMAT, StateDecoder, decode_applied, decode_proposal, encode_applied,
        encode_proposal, encode_state,
    },
};

fn push_all(records: &[Vec<u8>]) -> Result<State, DecodeError> {
    let mut decoder = StateDecoder::default();
    for record in records {
        decoder.push(record)?;
    }
    decoder.finish()
}

/// Whatever decodes, encodes to something that decodes to the same.
fn decode_all_ways(bytes: &[u8]) {
    if let Ok(proposal) = decode_proposal(bytes) {
        assert_eq!(decode_proposal(&encode_proposal(&proposal)), Ok(proposal));
    }
    if let Ok(applied) = decode_applied(bytes) {
        assert_eq!(decode_applied(&encode_applied(&applied)), Ok(applied));
    }
    let mut decoder = StateDecoder::default();
    // A record that fails, and then another: still no panic.
    let _ = decoder.push(bytes);
    let _ = decoder.push(bytes);
    let _ = decoder.finish();
}

fn in_format() -> impl Strategy<Value = Vec<u8>> {
    let head = prop_oneof![8 => Just(FORMAT), 1 => any::<u8>()];
    (
        head,
        vec(prop_oneof![2 => 0u8..8, 1 => any::<u8>()], 0..200),
    )
        .prop_map(|(head, mut body)| {
            body.insert(0, head);
            body
        })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2_000, ..ProptestConfig::default() })]

    #[test]
    fn any_bytes(bytes in in_format()) {
        decode_all_ways(&bytes);
    }

    #[test]
    fn any_records(records in vec(in_format(), 0..6)) {
        if let Ok(state) = push_all(&records) {
            let again: Vec<_> = encode_state(&state).collect();
            prop_assert_eq!(push_all(&again), Ok(state));
        }
    }

    #[test]
    fn any_text(text in "[a-zA-Z0-9/._*%:@,é \\x00-]{0,40}|\\PC{0,40}|[a/]{500,520}") {
        // What is taken is canonical: it is its own text, and parses to itself again.
        macro_rules! canonical {
            ($($kind:ident),*) => {$(
                if let Ok(name) = $kind::parse(&text) {
                    prop_assert_eq!(name.as_str(), &text);
                    prop_assert_eq!($kind::try_from(String::from(name.clone())), Ok(name));
                }
            )*};
        }
        canonical!(SecretName, MountName, RoleName, TokenName, NodeName, PathPattern);
        if let Ok(name) = SecretName::parse(&text) {
            prop_assert_eq!(SecretName::in_mount(name.mount(), name.path()), Ok(name.clone()));
            prop_assert!(PathPattern::parse("*").unwrap().matches(name.path()));
            let odd = |segment: &str| matches!(segment, "" | "." | "..");
            prop_assert!(!name.as_str().split('/').any(odd));
        }
        if let Ok(pattern) = PathPattern::parse(&text) {
            let body = text.strip_suffix('*').unwrap_or(&text);
            prop_assert!(pattern.matches(body));
            prop_assert!(!body.contains(['*', '%', ' ', '\0']));
        }
        if let Ok(list) = Allowlist::parse(&text) {
            prop_assert_eq!(Allowlist::parse(&list.to_string()), Ok(list));
        }
        prop_assert!(TokenFingerprint::from_hex(&text).is_none());
    }

    #[test]
    fn allowlists(entries in vec("[0-9a-f:.]{1,20}(/[0-9]{1,3})?|10\\.[0-9]{1,3}\\.0\\.0/[0-9]{1,2}", 0..6)) {
        let text = entries.join(" , ");
        match Allowlist::parse(&text) {
            Ok(list) => {
                prop_assert_eq!(list.nets().len(), entries.len());
                for net in list.nets() {
                    prop_assert!(list.contains(net.network()) && list.contains(net.broadcast()));
                    prop_assert_eq!(net.trunc(), *net);
                }
                prop_assert_eq!(Allowlist::parse(&list.to_string()), Ok(list));
            }
            Err(bad) => {
                prop_assert!(bad.iter().all(|entry| (1..=entries.len()).contains(&entry.position)));
            }
        }
    }

    #[test]
    fn times_always_have_a_text(millis in any::<u64>(), secs in any::<u64>()) {
        let time = LogTime(millis).plus_secs(secs);
        prop_assert!(time >= LogTime(millis));
        prop_assert!(time.rfc3339().ends_with('Z'));
    }
}

#[test]
fn every_byte_of_every_golden_may_be_spoilt() {
    let goldens = goldens();
    for (_, golden) in &goldens {
        for at in 0..golden.len() {
            for flip in [0x01, 0x80, 0xff] {
                let mut bytes = golden.clone();
                bytes[at] ^= flip;
                decode_all_ways(&bytes);
            }
        }
    }
    let state: Vec<_> = goldens
        .into_iter()
        .filter(|(name, _)| name == "state")
        .collect();
    let state: Vec<Vec<u8>> = state.into_iter().map(|(_, bytes)| bytes).collect();
    assert!(push_all(&state).is_ok());
    for at in 0..state.len() {
        for byte in 0..state[at].len() {
            let mut records = state.clone();
            records[at][byte] ^= 0x01;
            if let Ok(spoilt) = push_all(&records) {
                let again: Vec<_> = encode_state(&spoilt).collect();
                assert_eq!(push_all(&again), Ok(spoilt));
            }
        }
    }
}

/// A whole entry of the smallest commands takes memory in proportion to its bytes.
#[test]
fn commands_are_not_much_larger_than_their_bytes() {
    let size = size_of::<strongroom_core::Command>();
    assert!(
        size <= 512,
        "a command of one byte would take {size} in memory"
    );
}
