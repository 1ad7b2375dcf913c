//! What every released format's bytes mean, for ever: files of bytes, decoded to the values that are
//! expected and encoded to the same bytes. See `variants.rs` for how a new variant gets its file.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test"
)]

mod newer;
mod states;
mod values;
mod variants;

use std::{collections::BTreeMap, fs, path::PathBuf};

use strongroom_core::{
    Applied, Command, LogTime, Proposal, State,
    codec::{
        DecodeError, FORMAT, StateDecoder, decode_applied, decode_proposal, encode_applied,
        encode_proposal, encode_state,
    },
};

fn folder() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/golden")
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn unhex(text: &str) -> Vec<u8> {
    let digits: Vec<u8> = text
        .trim()
        .chars()
        .map(|c| c.to_digit(16).expect("a hex digit") as u8)
        .collect();
    assert_eq!(digits.len() % 2, 0);
    digits
        .chunks(2)
        .map(|pair| pair[0] * 16 + pair[1])
        .collect()
}

/// The lines of a file of bytes. Where `UPDATE_GOLDEN` is set, a missing file is written first.
fn lines(file: &str, current: &[Vec<u8>]) -> Vec<Vec<u8>> {
    let path = folder().join(format!("{file}.hex"));
    if !path.exists() && std::env::var_os("UPDATE_GOLDEN").is_some() {
        let text: String = current.iter().map(|line| hex(line) + "\n").collect();
        fs::write(&path, text).unwrap();
    }
    let text = fs::read_to_string(&path)
        .unwrap_or_else(|error| panic!("{file}.hex: {error}; UPDATE_GOLDEN=1 writes it"));
    text.lines().map(unhex).collect()
}

/// The name of each file of proposals, with the proposals in it: one per line.
fn proposals() -> BTreeMap<String, Vec<Proposal>> {
    let mut files: BTreeMap<String, Vec<Proposal>> = BTreeMap::new();
    let of = |commands: Vec<Command>| Proposal {
        time: LogTime(1_767_323_045_678),
        commands,
        attempts: Vec::new(),
    };
    for command in values::commands()
        .into_iter()
        .chain(newer::commands())
        .chain(variants::restore_commands())
        .chain(newer::values())
    {
        let file = format!("proposal-{}", variants::command_file(&command));
        files.entry(file).or_default().push(of(vec![command]));
    }
    files.insert(
        "proposal-batch".into(),
        vec![of(vec![]), of(values::commands())],
    );
    let tried = |commands: Vec<Command>| Proposal {
        attempts: variants::attempts(commands.len()),
        ..of(commands)
    };
    files.insert(
        "proposal-attempts".into(),
        vec![
            tried(values::commands()),
            tried(vec![Command::Tick; 2]),
            tried(variants::restore_commands()),
            of(variants::restore_commands()),
        ],
    );
    let newest = values::commands().into_iter().chain(newer::commands());
    files.insert("proposal-batch_3".into(), vec![of(newest.collect())]);
    files.insert(
        "proposal-batch_5".into(),
        vec![of(newer::values()), tried(newer::values())],
    );
    files
}

fn results() -> BTreeMap<String, Vec<Applied>> {
    let mut files: BTreeMap<String, Vec<Applied>> = BTreeMap::new();
    for applied in values::applied() {
        let file = format!("applied-{}", variants::applied_file(&applied));
        files.entry(file).or_default().push(applied);
    }
    files
}

/// Every shorter form is refused, every longer one too, and a newer format by its name.
fn check_edges<T: PartialEq + std::fmt::Debug>(
    bytes: &[u8],
    decode: impl Fn(&[u8]) -> Result<T, DecodeError>,
) {
    for end in 0..bytes.len() {
        assert_eq!(
            decode(&bytes[..end]),
            Err(DecodeError::Malformed),
            "cut at {end}"
        );
    }
    let longer = [bytes, &[0]].concat();
    assert_eq!(decode(&longer), Err(DecodeError::Malformed));
    for newer in [FORMAT + 1, u8::MAX] {
        let newer_bytes = [&[newer], &bytes[1..]].concat();
        assert_eq!(decode(&newer_bytes), Err(DecodeError::NewerFormat(newer)));
    }
    assert_eq!(
        decode(&[&[0], &bytes[1..]].concat()),
        Err(DecodeError::Malformed)
    );
}

#[test]
fn proposals_mean_what_they_meant() {
    for (file, proposals) in proposals() {
        let encoded: Vec<_> = proposals.iter().map(encode_proposal).collect();
        let golden = lines(&file, &encoded);
        assert_eq!(golden.len(), proposals.len(), "{file}");
        for (bytes, proposal) in golden.iter().zip(&proposals) {
            assert_eq!(decode_proposal(bytes).as_ref(), Ok(proposal), "{file}");
            assert_eq!(hex(bytes), hex(&encode_proposal(proposal)), "{file}");
            check_edges(bytes, decode_proposal);
        }
    }
}

#[test]
fn results_mean_what_they_meant() {
    for (file, results) in results() {
        let encoded: Vec<_> = results.iter().map(encode_applied).collect();
        let golden = lines(&file, &encoded);
        assert_eq!(golden.len(), results.len(), "{file}");
        for (bytes, applied) in golden.iter().zip(&results) {
            assert_eq!(decode_applied(bytes).as_ref(), Ok(applied), "{file}");
            assert_eq!(hex(bytes), hex(&encode_applied(applied)), "{file}");
            check_edges(bytes, decode_applied);
        }
    }
}

fn decode_state(records: &[Vec<u8>]) -> Result<State, DecodeError> {
    let mut decoder = StateDecoder::default();
    for record in records {
        decoder.push(record)?;
    }
    decoder.finish()
}

fn check_state(file: &str, state: State) -> Vec<Vec<u8>> {
    let encoded: Vec<_> = encode_state(&state).collect();
    let golden = lines(file, &encoded);
    assert_eq!(decode_state(&golden), Ok(state));
    assert_eq!(golden, encoded);
    golden
}

#[test]
fn a_state_means_what_it_meant() {
    check_state("state-formed", states::formed_state());
    let restoring = check_state("state-restoring", states::restoring_state());
    check_records(&restoring, &[0, 1, 2, 6, 11, 12]);
    check_records(
        &check_state("state-tried", states::tried_state()),
        &[0, 1, 2, 4, 6, 9, 10],
    );
    let golden = check_state("state", states::state());
    check_records(&golden, &[0, 1, 2, 3, 4, 5, 6, 7, 8]);
    let golden = check_state("state-3", newer::state(3));
    check_records(&golden, &[0, 1, 2, 3, 4, 5, 6, 7, 8, 13]);
    let golden = check_state("state-5", newer::state(5));
    check_records(&golden, &[0, 1, 2, 3, 4, 5, 6, 7, 8, 13, 14]);
}

/// Which kinds of records a state has, and that it is whole or refused.
fn check_records(golden: &[Vec<u8>], expected: &[u8]) {
    // The second byte says which kind of record it is; `records.rs` in the crate names them.
    let kinds: std::collections::BTreeSet<u8> = golden.iter().map(|record| record[1]).collect();
    let kinds: Vec<_> = kinds.into_iter().collect();
    assert_eq!(kinds, expected);
    for at in 0..golden.len() {
        assert_eq!(decode_state(&golden[..at]), Err(DecodeError::Incomplete));
        check_edges(&golden[at], |bytes| {
            let mut records = golden.to_vec();
            records[at] = bytes.to_vec();
            decode_state(&records)
        });
    }
}

/// Each variant has a value, each value a file, and no file is without a value.
#[test]
fn no_variant_and_no_file_is_left_out() {
    let (proposals, results) = (proposals(), results());
    for name in variants::COMMANDS {
        assert!(
            proposals.contains_key(&format!("proposal-{name}")),
            "{name} has no value"
        );
    }
    for name in variants::APPLIED {
        assert!(
            results.contains_key(&format!("applied-{name}")),
            "{name} has no value"
        );
    }
    assert_eq!(proposals.len(), variants::COMMANDS.len() + 4);
    assert_eq!(results.len(), variants::APPLIED.len());
    for entry in fs::read_dir(folder()).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_some_and(|extension| extension == "hex") {
            let file = path.file_stem().unwrap().to_str().unwrap();
            let known = proposals.contains_key(file) || results.contains_key(file);
            assert!(
                known
                    || matches!(
                        file,
                        "state"
                            | "state-formed"
                            | "state-tried"
                            | "state-restoring"
                            | "state-3"
                            | "state-5"
                    ),
                "{file}.hex is of no use"
            );
        }
    }
}
