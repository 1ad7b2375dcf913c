//! Bytes with a version in front. What a released version wrote is decoded for ever (invariant 6);
//! golden files in `tests/golden/` hold every released form.
//!
//! A proposal is one format byte and a postcard body. A state is a stream of records, each one
//! format byte and a postcard body, so that neither writing nor reading one needs memory for all of
//! it at once; every record is smaller than 1 MiB.

mod record;
mod state;

use serde::{Serialize, de::DeserializeOwned};

use crate::{Applied, Command, Effect, Proposal, Rejection};

pub(crate) use record::Record;
pub use state::{StateDecoder, encode_content, encode_state};

/// The newest format of commands, results and state records that this version reads. Each value is
/// written in the oldest format that holds it, so that nodes which know no newer one can read it.
///
/// 1: sealing, roles and tokens. 2: re-wrap passes, and rotations that are applied to a target. 3: requests
/// that may be tried again, restores, and which nodes may be members. 4: nothing new is written; who reads
/// it takes commands from other nodes many at a time. 5: writes that say on which access they were allowed.
pub const FORMAT: u8 = 5;
/// The format since which it is said which request a command is a try of.
pub const ATTEMPTS: u8 = THIRD;
/// The format since which a node takes commands from another many at a time.
pub const TOGETHER: u8 = 4;
/// The format since which a state knows when [access](crate::State::access) last changed.
pub const ACCESS: u8 = 5;
/// The format that every version reads.
pub const FIRST: u8 = 1;
const SECOND: u8 = 2;
const THIRD: u8 = 3;

/// Why bytes could not be decoded.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum DecodeError {
    /// Written by a newer version.
    #[error("format {0} is newer than this version reads")]
    NewerFormat(u8),
    /// Not what an encoder wrote.
    #[error("malformed bytes")]
    Malformed,
    /// A state that ends before its end record, or goes on after it.
    #[error("the state is cut short or out of order")]
    Incomplete,
}

fn encode<T: Serialize>(format: u8, value: &T) -> Vec<u8> {
    #[expect(
        clippy::expect_used,
        reason = "an empty entry or record would be replicated and stop every node that reads it; \
                  a panic here stops one request, before anything is proposed"
    )]
    // Writing to a Vec fails only for values whose length is not known, and ours are.
    postcard::to_extend(value, vec![format]).expect("every value has an encoding")
}

fn decode<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, DecodeError> {
    match bytes.split_first() {
        Some((FIRST..=FORMAT, body)) => match postcard::take_from_bytes(body) {
            Ok((value, [])) => Ok(value),
            _ => Err(DecodeError::Malformed),
        },
        Some((&newer, _)) if newer > FORMAT => Err(DecodeError::NewerFormat(newer)),
        _ => Err(DecodeError::Malformed),
    }
}

/// Encodes a proposal. One that fits into an older format has no attempts in its encoding.
#[must_use]
pub fn encode_proposal(proposal: &Proposal) -> Vec<u8> {
    let since = proposal.commands.iter().map(Command::since).max();
    let since = since.unwrap_or(FIRST);
    if proposal.attempts.iter().any(Option::is_some) || since >= THIRD {
        encode(since.max(THIRD), proposal)
    } else {
        encode(since, &(&proposal.time, &proposal.commands))
    }
}

/// Decodes a proposal.
///
/// # Errors
/// See [`DecodeError`].
pub fn decode_proposal(bytes: &[u8]) -> Result<Proposal, DecodeError> {
    if let Some(FIRST..THIRD) = bytes.first() {
        let (time, commands) = decode(bytes)?;
        let attempts = Vec::new();
        return Ok(Proposal {
            time,
            commands,
            attempts,
        });
    }
    let proposal: Proposal = decode(bytes)?;
    let fits = [0, proposal.commands.len()].contains(&proposal.attempts.len());
    if fits {
        Ok(proposal)
    } else {
        Err(DecodeError::Malformed)
    }
}

/// Encodes what became of a command.
#[must_use]
pub fn encode_applied(applied: &Applied) -> Vec<u8> {
    let format = match applied {
        Applied::Effect(Effect::Pass { .. }) => SECOND,
        Applied::Rejected(Rejection::OutcomeForgotten) => THIRD,
        Applied::Rejected(Rejection::AccessChanged) => ACCESS,
        Applied::Effect(_) | Applied::Rejected(_) => FIRST,
    };
    encode(format, applied)
}

/// Decodes what became of a command.
///
/// # Errors
/// See [`DecodeError`].
pub fn decode_applied(bytes: &[u8]) -> Result<Applied, DecodeError> {
    decode(bytes)
}
