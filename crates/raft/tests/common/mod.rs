//! Entries whose every byte follows from their term and index, so that a test can tell whether one
//! is intact.
#![allow(dead_code)]

use openraft::{EntryPayload, storage::RaftLogStorageExt, testing::log_id};
use strongroom_core::{
    ClusterId, Command, KmsKeyId, LogTime, Proposal, SealedVersion, SecretName, SecretSettings,
    WrappedDek,
};
use strongroom_raft::{
    log_store::{LogStore, entry_codec},
    types::{Entry, StorageError},
};

/// A number that follows from the others.
pub fn mix(a: u64, b: u64) -> u64 {
    let mut x = a.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ b.wrapping_add(0x2545_f491_4f6c_dd1d);
    for _ in 0..3 {
        x ^= x >> 31;
        x = x.wrapping_mul(0xbf58_476d_1ce4_e5b9);
    }
    x ^ (x >> 29)
}

/// A small entry, or about every fortieth time one of some 600 KB.
pub fn entry(term: u64, index: u64) -> Entry {
    let seed = mix(term, index);
    let size = if seed % 40 == 7 {
        600_000
    } else {
        40 + seed % 900
    };
    entry_of(term, index, usize::try_from(size).unwrap())
}

/// An entry with a ciphertext of `size` bytes. Those over the limit for a value are rejected when
/// applied, so they weigh on the log alone.
pub fn entry_of(term: u64, index: u64, size: usize) -> Entry {
    let seed = mix(term, index);
    let ciphertext: Vec<u8> = (0..size as u64 / 8 + 1)
        .flat_map(|word| mix(seed, word).to_le_bytes())
        .take(size)
        .collect();
    let name = SecretName::parse(&format!("secret/n{}", index % 64)).unwrap();
    let sealed = SealedVersion {
        ciphertext: ciphertext.into(),
        nonce: [7; 24],
        wrapped_dek: WrappedDek(vec![1; 64].into()),
        kms_key_id: KmsKeyId("test".into()),
        material_id: None,
    };
    let commands = vec![
        Command::Form {
            cluster_id: ClusterId([1; 16]),
        },
        Command::DeleteSecret { name: name.clone() },
        Command::CreateSecret {
            name,
            settings: SecretSettings::manual(),
            sealed: Some(sealed),
        },
    ];
    let proposal = Proposal {
        time: LogTime(index),
        commands,
        attempts: Vec::new(),
    };
    Entry {
        log_id: log_id(term, 1, index),
        payload: EntryPayload::Normal(proposal),
    }
}

/// Whether an entry is byte for byte the one of its term and index.
pub fn intact(found: &Entry) -> bool {
    let expected = entry(found.log_id.leader_id.term, found.log_id.index);
    entry_codec::encode(found).unwrap() == entry_codec::encode(&expected).unwrap()
}

/// Appends and waits for the barrier.
pub async fn append(log: &mut LogStore, entries: Vec<Entry>) -> Result<(), StorageError> {
    log.blocking_append(entries).await
}
