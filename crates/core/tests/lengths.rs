//! A length that claims a great deal, wherever a length might stand, allocates next to nothing.
//!
//! Address space is what is measured, so that memory which is asked for and never touched counts.
//! One test, in a process of its own: nothing else allocates beside it.
#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test")]

#[path = "hostile/goldens.rs"]
mod goldens;

use strongroom_core::codec::{StateDecoder, decode_applied, decode_proposal};

/// More than the decoder ever takes in advance (1 MiB for each list), with room to spare.
const BOUND: usize = 16 * 1024 * 1024;

/// This process's address space in bytes: `VmSize` now, `VmPeak` the most there has been.
fn space(which: &str) -> usize {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with(which)).unwrap();
    let kib = line.split_whitespace().nth(1).unwrap();
    kib.parse::<usize>().unwrap() * 1024
}

fn room(bytes: usize) -> Vec<u8> {
    std::hint::black_box(Vec::with_capacity(bytes))
}

#[test]
fn a_claimed_length_allocates_nothing() {
    let claims: [&[u8]; 4] = [
        &[0xff, 0xff, 0xff, 0xff, 0x0f],
        &[0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01],
        &[0x80, 0x80, 0x80, 0x80, 0x10],
        &[0x80, 0x80, 0x80, 0x40],
    ];
    let goldens = goldens::goldens();
    // Starting the thread reserved more than is left: fill that up, or growth would hide in it.
    let _ballast = room(space("VmPeak:") - space("VmSize:"));
    let before = space("VmPeak:");
    for (_, golden) in &goldens {
        for at in 1..golden.len() {
            for claim in claims {
                let bytes = [&golden[..at], claim, &golden[at + 1..]].concat();
                let _ = decode_proposal(&bytes);
                let _ = decode_applied(&bytes);
                let _ = StateDecoder::default().push(&bytes);
            }
        }
    }
    let grown = space("VmPeak:") - before;
    assert!(grown < BOUND, "{} KiB", grown / 1024);

    // The measure works: what a believed length would take does show.
    drop(room(4 * BOUND));
    assert!(space("VmPeak:") - before >= 4 * BOUND);
}
