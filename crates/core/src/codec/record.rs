//! What a state is stored as, piece by piece.

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::{FIRST, SECOND, encode};
use crate::{
    Admission, ClusterId, Effect, LogPosition, LogTime, Material, MountName, NodeName, Pending,
    RequestId, RestoreId, Role, RoleName, SealedVersion, Secret, SecretName, SecretSettings,
    SecretVersion, TokenGrant, TokenName, command::MountSettings, rewrap::RewrapState,
};

/// One piece.
#[derive(Serialize, Deserialize)]
pub(crate) enum Record {
    Head {
        position: Option<LogPosition>,
        time: LogTime,
        cluster_id: Option<ClusterId>,
        admin_token_existed: bool,
        format: u8,
    },
    Mount(MountName, MountSettings),
    Role(RoleName, Role),
    Token(TokenName, TokenGrant),
    Secret {
        name: SecretName,
        settings: SecretSettings,
        created_at: LogTime,
        updated_at: LogTime,
        next_rotation_at: Option<LogTime>,
        current_version: u64,
    },
    /// Belongs to the last `Secret` before it.
    Version {
        number: u64,
        created_at: LogTime,
        superseded_until: Option<LogTime>,
        deleted_at: Option<LogTime>,
        sealed: Option<SealedVersion>,
        pass: u64,
    },
    End,
    Rewrap(RewrapState),
    /// Follows the versions of the last `Secret` before it.
    Pending {
        created_at: LogTime,
        sealed: SealedVersion,
        pass: u64,
        applying_since: Option<LogTime>,
    },
    /// What a request did. The oldest first.
    Outcome {
        request: RequestId,
        index: u64,
        effect: Effect,
    },
    /// Outcomes up to this index may have been forgotten.
    Forgotten(u64),
    /// A restore under way; its parts follow.
    Restore {
        id: RestoreId,
        since: LogTime,
    },
    RestorePart {
        number: u64,
        bytes: Bytes,
    },
    Node(NodeName, Admission),
    /// The entry that last changed a role or a token.
    Access(u64),
}

pub(super) fn secret_record(name: &SecretName, secret: &Secret) -> Vec<u8> {
    encode(
        match secret.settings.kind.target() {
            None => FIRST,
            Some(_) => SECOND,
        },
        &Record::Secret {
            name: name.clone(),
            settings: secret.settings.clone(),
            created_at: secret.created_at,
            updated_at: secret.updated_at,
            next_rotation_at: secret.next_rotation_at,
            current_version: secret.current_version,
        },
    )
}

pub(super) fn version_record(version: &SecretVersion) -> Vec<u8> {
    encode(
        FIRST,
        &Record::Version {
            number: version.number,
            created_at: version.created_at,
            superseded_until: version.superseded_until,
            deleted_at: version.deleted_at,
            sealed: match &version.material {
                Material::Sealed(sealed) => Some(SealedVersion::clone(sealed)),
                Material::Destroyed => None,
            },
            pass: version.pass,
        },
    )
}

pub(super) fn pending_record(pending: &Pending) -> Option<Vec<u8>> {
    let record = Record::Pending {
        created_at: pending.version.created_at,
        sealed: SealedVersion::clone(pending.sealed()?),
        pass: pending.version.pass,
        applying_since: pending.applying_since,
    };
    Some(encode(SECOND, &record))
}
