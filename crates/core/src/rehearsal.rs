//! A rehearsal: whether a backup that was written somewhere, and read again from there, restores what was
//! backed up.

use crate::{Applied, LogPosition, Rejection, RestoreId, State, codec::encode_content, restore};

/// Why a backup is none.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum RehearsalError {
    /// It is a whole backup, and not of this state.
    #[error("what was read again is another backup than was written")]
    Another,
    /// Restoring it fails.
    #[error("a restore of it is refused ({0})")]
    Refused(Rejection),
    /// A restore makes something else of it.
    #[error("a restore of it does not give what was backed up")]
    Differs,
}

/// Restores `read_again` into a state that holds nothing, by the same commands as a cluster would, and
/// compares every record with `taken`. Takes as much memory again as the state, and its backup.
///
/// # Errors
/// See [`RehearsalError`].
pub fn rehearse(taken: &State, read_again: &State) -> Result<(), RehearsalError> {
    if !encode_content(taken).eq(encode_content(read_again)) {
        return Err(RehearsalError::Another);
    }
    let mut scratch = State {
        format: read_again.format,
        cluster_id: read_again.cluster_id,
        ..State::default()
    };
    let id = RestoreId([0; 16]);
    for (command, index) in restore::commands(read_again, id, false, None).zip(1..) {
        let at = LogPosition { term: 1, index };
        if let Applied::Rejected(rejection) = scratch.apply(at, read_again.time, command) {
            return Err(RehearsalError::Refused(rejection));
        }
    }
    // The heads differ: they tell the log's place.
    let same = encode_content(taken)
        .skip(1)
        .eq(encode_content(&scratch).skip(1));
    same.then_some(()).ok_or(RehearsalError::Differs)
}
