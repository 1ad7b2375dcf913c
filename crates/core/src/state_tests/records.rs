//! The stream of records that a state is stored and sent as.

use std::collections::BTreeSet;

use proptest::prelude::*;

use super::{
    strategy::{Leader, draws},
    *,
};
use crate::{
    Attempt, RequestId, RestoreId,
    codec::{DecodeError, Record},
};

/// A state with every kind of record in it.
fn full() -> State {
    let mut sut = Sut::new();
    sut.ok(Command::RaiseFormat {
        to: crate::codec::ACCESS,
    });
    sut.ok(Command::Bootstrap {
        fingerprint: print(1),
    });
    sut.ok(create("secret/a", automatic(10), Some(1)));
    sut.ok(put("secret/a", 2, None));
    sut.ok(put("secret/b", 1, None));
    let targeted = SecretSettings {
        kind: with_target(automatic(10).kind),
        ..automatic(10)
    };
    sut.ok(create("secret/z", targeted, Some(1)));
    sut.ok(Command::BeginRotation {
        name: secret("secret/z"),
        cas: 1,
        version: NewVersion {
            number: 2,
            sealed: sealed(2),
        },
    });
    sut.ok(Command::BeginPass {
        target: watermark("key", None),
    });
    sut.ok(Command::AdmitNode {
        name: NodeName::parse("4").unwrap(),
        admission: Admission::Allowed,
    });
    let mut state = sut.state;
    for command in [
        Command::BeginRestore {
            id: RestoreId([1; 16]),
        },
        Command::RestorePart {
            id: RestoreId([1; 16]),
            number: 0,
            bytes: Bytes::from_static(b"part"),
        },
    ] {
        let at = state.position().unwrap();
        let applied = state.apply(at, state.time(), command);
        applied.into_result().unwrap();
    }
    let attempt = Attempt {
        request: RequestId([1; 16]),
        since: 0,
    };
    let at = LogPosition {
        index: state.position().unwrap().index + 1,
        ..state.position().unwrap()
    };
    state.apply_attempt(at, state.time(), Some(attempt), Command::Tick);
    state
}

fn records(state: &State) -> Vec<Vec<u8>> {
    encode_state(state).collect()
}

fn decode(records: &[Vec<u8>]) -> Result<State, DecodeError> {
    let mut decoder = StateDecoder::default();
    for record in records {
        decoder.push(record)?;
    }
    decoder.finish()
}

fn kind(record: &[u8]) -> &'static str {
    // A new kind of record does not compile here: it needs a line in `values::state` in `tests/golden` too.
    match postcard::from_bytes::<Record>(&record[1..]).unwrap() {
        Record::Head { .. } => "head",
        Record::Mount(..) => "mount",
        Record::Role(..) => "role",
        Record::Token(..) => "token",
        Record::Secret { .. } => "secret",
        Record::Version { .. } => "version",
        Record::End => "end",
        Record::Rewrap(_) => "rewrap",
        Record::Pending { .. } => "pending",
        Record::Outcome { .. } => "outcome",
        Record::Forgotten(_) => "forgotten",
        Record::Restore { .. } => "restore",
        Record::RestorePart { .. } => "restore part",
        Record::Node(..) => "node",
        Record::Access(_) => "access",
    }
}

#[test]
fn every_kind_is_written_in_order() {
    let records = records(&full());
    let kinds: Vec<_> = records.iter().map(|record| kind(record)).collect();
    let (a, b) = (
        ["secret", "version", "version"],
        ["secret", "version", "secret", "version", "pending"],
    );
    let expected = [
        &[
            "head",
            "rewrap",
            "restore",
            "restore part",
            "forgotten",
            "outcome",
            "mount",
            "role",
            "token",
        ][..],
        &a[..],
        &b[..],
        &["node", "access", "end"][..],
    ];
    assert_eq!(kinds, expected.concat());
    assert_eq!(kinds.iter().collect::<BTreeSet<_>>().len(), 15);
}

/// A node that knows neither re-wrap passes nor targets can read everything until there has been one.
#[test]
fn records_are_written_in_the_oldest_format_that_holds_them() {
    let formats = |state: &State| -> Vec<(&str, u8)> {
        records(state)
            .iter()
            .map(|record| (kind(record), record[0]))
            .collect()
    };
    let newer: Vec<_> = formats(&full())
        .into_iter()
        .filter(|(_, format)| *format > 1)
        .collect();
    // The secret is the one with a target.
    let tried = [
        ("restore", 3),
        ("restore part", 3),
        ("forgotten", 3),
        ("outcome", 3),
    ];
    let turned = [("secret", 2), ("pending", 2)];
    let last = [("node", 3), ("access", 5)];
    assert_eq!(
        newer,
        [&[("rewrap", 2)][..], &tried, &turned, &last].concat()
    );
    let mut never = full();
    never.outcomes = Default::default();
    never.stage(None);
    never.rewrap = Default::default();
    never.secrets.remove(&secret("secret/z"));
    never.nodes.clear();
    never.access = 0;
    assert!(formats(&never).iter().all(|(_, format)| *format == 1));
}

#[test]
fn a_stream_that_is_cut_doubled_or_out_of_order_is_refused() {
    let state = full();
    let whole = records(&state);
    assert_eq!(decode(&whole), Ok(state));
    for at in 0..whole.len() {
        assert_eq!(
            decode(&whole[..at]),
            Err(DecodeError::Incomplete),
            "cut at {at}"
        );
        let mut doubled = whole.clone();
        doubled.insert(at, whole[at].clone());
        assert!(decode(&doubled).is_err(), "{} doubled", kind(&whole[at]));
        let mut late = whole.clone();
        late.push(whole[at].clone());
        assert_eq!(
            decode(&late),
            Err(DecodeError::Incomplete),
            "{at} after the end"
        );
    }
    // A pending version twice, or before the current one.
    let pending = whole.len() - 4;
    let mut early = whole.clone();
    early.swap(pending - 1, pending);
    assert_eq!(decode(&early), Err(DecodeError::Malformed));
    // A version without its secret, the newest version missing, versions swapped.
    let without = |gone: usize| {
        let mut records = whole.clone();
        records.remove(gone);
        decode(&records)
    };
    assert_eq!(without(0), Err(DecodeError::Incomplete));
    assert_eq!(without(11), Err(DecodeError::Malformed));
    let mut swapped = whole.clone();
    swapped.swap(10, 11);
    assert_eq!(decode(&swapped), Err(DecodeError::Malformed));
    // A whole secret twice.
    let first = whole
        .iter()
        .position(|record| kind(record) == "secret")
        .unwrap();
    let versions = whole[first + 1..]
        .iter()
        .take_while(|record| kind(record) == "version");
    let mut twice = whole.clone();
    for record in whole[first..=first + versions.count()].iter().rev() {
        twice.insert(first, record.clone());
    }
    assert_eq!(decode(&twice), Err(DecodeError::Malformed));
    let mut early = whole.clone();
    early.swap(8, 10);
    assert_eq!(decode(&early), Err(DecodeError::Incomplete));
}

#[test]
fn a_newer_format_is_told_apart_from_damage() {
    let newer = [crate::codec::FORMAT + 1, 0, 0, 0];
    let mut decoder = StateDecoder::default();
    assert_eq!(
        decoder.push(&newer),
        Err(DecodeError::NewerFormat(newer[0]))
    );
    assert_eq!(decoder.push(&[0, 0]), Err(DecodeError::Malformed));
    assert_eq!(decoder.push(&[]), Err(DecodeError::Malformed));
}

#[test]
fn two_tokens_cannot_share_a_fingerprint_by_way_of_a_snapshot() {
    let mut state = full();
    let grant = state.tokens.values().next().unwrap().clone();
    state.tokens.insert(token("twin"), grant);
    assert_eq!(decode(&records(&state)), Err(DecodeError::Malformed));
}

#[test]
fn a_record_of_the_largest_of_everything_stays_below_a_mebibyte() {
    use crate::{Capability, PathPattern, Rule, limits};
    let mut sut = Sut::new();
    let path = PathPattern::parse(&"p".repeat(limits::SECRET_PATH_BYTES)).unwrap();
    let capabilities = vec![Capability::Read; 7];
    sut.ok(Command::CreateRole {
        name: role("dev"),
        description: "d".repeat(limits::DESCRIPTION_BYTES),
        is_admin: false,
        permissions: vec![],
        rules: vec![
            Rule {
                path,
                capabilities,
                deny: false
            };
            limits::ROLE_RULES
        ],
    });
    let mut largest = sealed(1);
    largest.ciphertext = vec![0; limits::CIPHERTEXT_BYTES].into();
    largest.wrapped_dek.0 = vec![0; limits::WRAPPED_DEK_BYTES].into();
    largest.material_id = Some("m".repeat(limits::LABEL_BYTES).into());
    let target = Watermark {
        key_id: KmsKeyId("k".repeat(limits::KMS_KEY_ID_BYTES).into()),
        rotation_at: Some(LogTime(u64::MAX)),
        material_id: largest.material_id.clone(),
    };
    sut.ok(Command::AdoptWatermark {
        watermark: target.clone(),
    });
    for _ in 0..2 {
        let target = target.clone();
        sut.ok(Command::BeginPass { target });
        sut.run(Command::EndPass {
            id: 1,
            failed: u64::MAX,
            last_error: Some("é".repeat(1024 * 1024)),
        })
        .unwrap();
    }
    sut.ok(Command::BeginPass { target });
    sut.ok(Command::CreateSecret {
        name: secret("secret/a"),
        settings: SecretSettings::manual(),
        sealed: Some(largest),
    });
    for record in encode_state(&sut.state) {
        assert!(
            record.len() < 1024 * 1024,
            "{} of {}",
            kind(&record),
            record.len()
        );
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, ..ProptestConfig::default() })]

    /// Records that are shuffled, lost, doubled or spoilt never panic, and what still decodes is a
    /// whole state: it encodes to itself, and goes on working.
    #[test]
    fn spoilt_streams(
        draws in draws(12),
        spoils in proptest::collection::vec((any::<u16>(), any::<u16>(), any::<u8>(), 0..5), 1..4),
    ) {
        let mut leader = Leader::default();
        for draw in &draws {
            leader.propose(draw, |_, _, _, _| ());
        }
        let mut records = records(&leader.state);
        for (a, b, byte, how) in spoils {
            let (a, b) = (usize::from(a) % records.len(), usize::from(b));
            match how {
                0 => { let other = b % records.len(); records.swap(a, other) }
                1 if records.len() > 1 => { records.remove(a); }
                2 => { let copy = records[a].clone(); records.insert(b % records.len(), copy) }
                3 => { let end = b % (records[a].len() + 1); records[a].truncate(end) }
                _ => if let Some(at) = b.checked_rem(records[a].len()) { records[a][at] ^= byte },
            }
        }
        if let Ok(state) = decode(&records) {
            prop_assert_eq!(rebuilt(&state), state.clone());
            let time = state.time();
            for draw in &draws {
                let mut next = state.clone();
                for draft in &draw.drafts {
                    // Numbers near the largest are damage that no draft is made for.
                    if next.secrets().all(|(_, s)| s.current_version < u64::MAX - 1) {
                        next.apply(LogPosition::default(), time, draft.command(&state));
                    }
                }
            }
        }
    }
}
