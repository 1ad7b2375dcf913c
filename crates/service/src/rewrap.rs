//! Re-wrapping: moving every live version's data key onto the KMS key's current material.
//!
//! KMS moves a wrapped data key from one material to another by itself (`ReEncrypt`): the data key is
//! never in this process, and ciphertext, nonce and AAD stay as they are. Progress is replicated per
//! version, so a pass goes on after a change of leader where it was.

mod progress;
mod worker;

use progress::FAILURES;
pub(crate) use progress::{Progress, View};
pub(crate) use worker::worker;

use std::{collections::BTreeMap, time::Duration};

use serde::{Deserialize, Serialize};
use strongroom_core::{
    Command, Effect, LogTime, Material, State,
    rewrap::{RewrapState, Watermark},
};
use strongroom_seal::{
    KmsError,
    kms::{Detail, probe_binding},
};

use crate::{
    authorize::Authorized,
    error::VaultError,
    kms_health::in_time,
    operation::{Rewrap, ViewRewrap},
    vault::Vault,
};

/// Said of a failure whose reason no node remembers.
const FORGOTTEN: &str = "the audit trail of the node that led then says why";

/// When and how fast versions are rewrapped.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct RewrapPolicy {
    /// Whether a rotation of the KMS key begins a pass by itself. A forced pass runs in any case.
    pub enabled: bool,
    /// How often rotations are looked for.
    pub poll: Duration,
    /// Versions a second; 0: as fast as it goes.
    pub max_per_sec: u32,
}

/// How rotations of the KMS key are noticed.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Method {
    /// KMS lists them.
    Rotations,
    /// It does not, for this key or account: the material's id in the answer to a probe is compared.
    Probe,
    /// Nor does a probe name its material: rotations are not noticed, and a pass must be asked for.
    #[serde(rename = "none")]
    Nothing,
}

impl Method {
    /// The word on the wire.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Rotations => "list_key_rotations",
            Self::Probe => "material_probe",
            Self::Nothing => "none",
        }
    }
}

/// A pass that was asked for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct BegunPass {
    /// The pass that runs.
    pub id: u64,
    /// Versions it has still to move.
    pub pending: u64,
}

/// How re-wrapping stands.
#[derive(Clone, Debug)]
pub struct RewrapStatus {
    /// Whether rotations begin passes by themselves.
    pub enabled: bool,
    /// Versions that the running pass has still to move.
    pub pending: u64,
    /// The replicated part.
    pub state: RewrapState,
    /// Versions with a value, by the KMS key that wraps theirs: a key may be disabled when it is in
    /// here no more.
    pub versions_by_key: BTreeMap<String, u64>,
    /// Versions that could not be moved, with the reason.
    pub failures: BTreeMap<String, String>,
    /// What went wrong last, at the leader.
    pub last_error: Option<String>,
    /// How rotations are noticed, once the leader has looked for them.
    pub method: Option<Method>,
}

impl Vault {
    /// Begins a pass over all live versions, or finds the one that runs. It also moves versions onto
    /// another key when the configured one has changed.
    ///
    /// # Errors
    /// KMS's and the replica's errors; [`VaultError::AuditUnavailable`] with nothing changed.
    pub async fn begin_rewrap(&self, permit: Authorized<Rewrap>) -> Result<BegunPass, VaultError> {
        let effect = async {
            // Answered with even while KMS is away.
            if let Some(running) = &permit.state.rewrap().running {
                return Ok(BegunPass {
                    id: running.id,
                    pending: pending(&permit.state),
                });
            }
            let (target, _) = in_time(&permit.context, self.current_material()).await?;
            let begun = self
                .submit(&permit.context, Command::BeginPass { target })
                .await?;
            let Effect::Pass { id } = begun else {
                return Err(VaultError::bug(
                    "an effect of another kind",
                    &"pass expected",
                ));
            };
            let state = self.fresh_state(&permit.context).await?;
            Ok(BegunPass {
                id,
                pending: pending(&state),
            })
        };
        self.audited(&permit, 202, effect).await
    }

    /// How re-wrapping stands.
    ///
    /// # Errors
    /// [`VaultError::AuditUnavailable`].
    pub async fn rewrap_status(
        &self,
        permit: Authorized<ViewRewrap>,
    ) -> Result<RewrapStatus, VaultError> {
        self.audited_look(&permit, true).await?;
        let view = self.merged_rewrap_view().await;
        Ok(RewrapStatus {
            enabled: self.config.rewrap.enabled,
            pending: pending(&permit.state),
            versions_by_key: versions_by_key(&permit.state),
            failures: failures(&permit.state, view.failures),
            state: permit.state.rewrap().clone(),
            last_error: view.last_error,
            method: view.method,
        })
    }

    /// Versions that the running pass has still to move, as far as this node had applied a few seconds
    /// ago: counting them is a walk over all versions, and anybody may ask for metrics.
    #[must_use]
    pub fn rewraps_pending(&self) -> u64 {
        let count = || self.replica.local().map_or(0, |state| pending(&state));
        self.rewrap.counted(count)
    }

    /// What the configured key wraps with now, and how that was found out.
    pub(crate) async fn current_material(&self) -> Result<(Watermark, Method), KmsError> {
        let found = match self.keyring.rotations().await {
            Ok(rotations) => {
                let rotation_at = rotations.latest().map(|rotation| rotation.at);
                let material_id = rotations.current_material;
                let watermark = Watermark {
                    key_id: rotations.key_id,
                    rotation_at,
                    material_id,
                };
                (watermark, Method::Rotations)
            }
            Err(KmsError::Denied(detail) | KmsError::Unsupported(detail)) => {
                let probe = self.keyring.data_key(&probe_binding()?).await?;
                let key_id = probe.key_id().clone();
                let material_id = probe.material_id().cloned();
                let method = match &material_id {
                    Some(_) => Method::Probe,
                    None => Method::Nothing,
                };
                self.warn_once(method, &detail);
                let watermark = Watermark {
                    key_id,
                    rotation_at: None::<LogTime>,
                    material_id,
                };
                (watermark, method)
            }
            Err(error) => return Err(error),
        };
        self.rewrap.note_method(found.1);
        Ok(found)
    }

    fn warn_once(&self, method: Method, detail: &Detail) {
        if self.rewrap.method() == Some(method) {
            return;
        }
        match method {
            Method::Nothing => tracing::warn!(
                %detail,
                "KMS does not list the key's rotations, nor name its material: rotations are not noticed, \
                 ask for a pass after each"
            ),
            _ => tracing::warn!(
                %detail,
                "KMS does not list the key's rotations; the material of a probe is compared instead"
            ),
        }
    }
}

fn versions_by_key(state: &State) -> BTreeMap<String, u64> {
    let mut counts = BTreeMap::<String, u64>::new();
    for (_, secret) in state.secrets() {
        for version in secret.all_versions() {
            if let Material::Sealed(sealed) = &version.material {
                match counts.get_mut(&*sealed.kms_key_id.0) {
                    Some(count) => *count += 1,
                    None => {
                        counts.insert(sealed.kms_key_id.0.to_string(), 1);
                    }
                }
            }
        }
    }
    counts
}

/// The versions that could not be moved. Nodes may remember what has been moved or deleted since,
/// and forget what has not: without a pass, all that is pending has failed.
fn failures(state: &State, mut known: BTreeMap<String, String>) -> BTreeMap<String, String> {
    let ended = state.rewrap().running.is_none();
    state
        .pending_rewraps()
        .filter_map(|(name, version, _)| {
            let which = format!("{name}:{}", version.number);
            let why = known.remove(&which);
            let why = why.or_else(|| ended.then(|| FORGOTTEN.to_owned()))?;
            Some((which, why))
        })
        .take(FAILURES)
        .collect()
}

fn pending(state: &State) -> u64 {
    state.pending_rewraps().count() as u64
}
