//! An entry as bytes: one byte for the format, then postcard. A proposal inside is in core's own
//! versioned form, so that what a command looks like is decided in one place.

use openraft::{EntryPayload, Membership};
use serde::{Deserialize, Serialize, Serializer};
use strongroom_core::codec::{self, DecodeError};

use crate::types::{Entry, LogId, NodeId, Peer};

/// The format written, and the newest that is read.
const FORMAT: u8 = 1;

/// Why bytes are not an entry.
#[derive(Debug, thiserror::Error)]
pub enum EntryDecodeError {
    /// A newer version wrote it.
    #[error(
        "an entry has format {0}, which is newer than this version reads: run the newer version again"
    )]
    NewerFormat(u8),
    /// It makes no sense.
    #[error("{0}")]
    Malformed(String),
}

#[derive(Serialize, Deserialize)]
struct Stored<'a> {
    log_id: LogId,
    #[serde(borrow)]
    payload: Payload<'a>,
}

#[derive(Serialize, Deserialize)]
enum Payload<'a> {
    Blank,
    Proposal(#[serde(borrow, serialize_with = "all_at_once")] &'a [u8]),
    Membership(Membership<NodeId, Peer>),
}

/// serde writes a slice byte by byte unless told otherwise; postcard makes the same of both.
fn all_at_once<S: Serializer>(bytes: &[u8], to: S) -> Result<S::Ok, S::Error> {
    to.serialize_bytes(bytes)
}

/// Encodes an entry.
///
/// # Errors
/// When it cannot be encoded, which no entry of ours is known to do.
pub fn encode(entry: &Entry) -> Result<Vec<u8>, EntryDecodeError> {
    let proposal;
    let payload = match &entry.payload {
        EntryPayload::Blank => Payload::Blank,
        EntryPayload::Normal(normal) => {
            proposal = codec::encode_proposal(normal);
            Payload::Proposal(&proposal)
        }
        EntryPayload::Membership(membership) => Payload::Membership(membership.clone()),
    };
    postcard::to_extend(
        &Stored {
            log_id: entry.log_id,
            payload,
        },
        vec![FORMAT],
    )
    .map_err(malformed)
}

/// Decodes an entry.
///
/// # Errors
/// See [`EntryDecodeError`].
pub fn decode(bytes: &[u8]) -> Result<Entry, EntryDecodeError> {
    let stored: Stored<'_> = match bytes.split_first() {
        Some((&FORMAT, stored)) => postcard::from_bytes(stored).map_err(malformed)?,
        Some((&newer, _)) if newer > FORMAT => return Err(EntryDecodeError::NewerFormat(newer)),
        _ => {
            return Err(EntryDecodeError::Malformed(
                "an entry has no format".to_owned(),
            ));
        }
    };
    let payload = match stored.payload {
        Payload::Blank => EntryPayload::Blank,
        Payload::Membership(membership) => EntryPayload::Membership(membership),
        Payload::Proposal(bytes) => match codec::decode_proposal(bytes) {
            Ok(proposal) => EntryPayload::Normal(proposal),
            Err(DecodeError::NewerFormat(newer)) => {
                return Err(EntryDecodeError::NewerFormat(newer));
            }
            Err(error) => return Err(malformed(error)),
        },
    };
    Ok(Entry {
        log_id: stored.log_id,
        payload,
    })
}

fn malformed(error: impl ToString) -> EntryDecodeError {
    EntryDecodeError::Malformed(error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_newer_format_is_named_and_not_guessed_at() {
        let entry = Entry::default();
        let mut bytes = encode(&entry).unwrap();
        assert_eq!(decode(&bytes).unwrap().log_id, entry.log_id);
        bytes[0] = FORMAT + 1;
        assert!(matches!(
            decode(&bytes),
            Err(EntryDecodeError::NewerFormat(2))
        ));
        assert!(matches!(decode(&[]), Err(EntryDecodeError::Malformed(_))));
        assert!(matches!(decode(&[0]), Err(EntryDecodeError::Malformed(_))));
    }
}
