//! Which nodes may be members, as operators decide it by command.

use serde::{Deserialize, Serialize};

/// What was decided about the nodes of a name. Stored for ever: add variants at the end.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum Admission {
    /// A node of this name may join, whether `VAULT_PEERS` lists it or not.
    Allowed,
    /// It stays out, even if `VAULT_PEERS` lists it.
    Removed,
}
