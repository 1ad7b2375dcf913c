//! What commands weigh in an entry.

use std::collections::BTreeMap;

use super::Command;
use crate::{Permission, Rule, SealedVersion};

impl Command {
    /// Bytes this command weighs in an entry: no less than its encoding, and not much more.
    #[must_use]
    pub fn weight(&self) -> usize {
        /// Names, a generator and numbers, at their longest.
        const OVERHEAD: usize = 1_024;
        const LONGEST_NUMBER: usize = 10;
        const LONGEST_CIDR: usize = 20;
        OVERHEAD
            + match self {
                Self::CreateSecret {
                    settings, sealed, ..
                } => {
                    settings.description.len()
                        + pairs_weight(&settings.custom_metadata)
                        + sealed.as_ref().map_or(0, SealedVersion::weight)
                }
                Self::PutSecret {
                    change, version, ..
                } => {
                    change.description.as_ref().map_or(0, String::len)
                        + change.custom_metadata.as_ref().map_or(0, pairs_weight)
                        + version
                            .as_ref()
                            .map_or(0, |version| version.sealed.weight())
                }
                Self::DeleteVersions { versions, .. }
                | Self::UndeleteVersions { versions, .. }
                | Self::DestroyVersions { versions, .. } => LONGEST_NUMBER * versions.len(),
                Self::CreateRole {
                    description,
                    permissions,
                    rules,
                    ..
                } => description.len() + permissions_weight(permissions) + rules_weight(rules),
                Self::SetPermissions { permissions, .. } => permissions_weight(permissions),
                Self::SetRules { rules, .. } => rules_weight(rules),
                Self::CreateToken { bound_cidrs, .. } => LONGEST_CIDR * bound_cidrs.nets().len(),
                Self::Form { .. }
                | Self::Bootstrap { .. }
                | Self::Tick
                | Self::CreateMount { .. }
                | Self::TuneMount { .. }
                | Self::DeleteMount { .. }
                | Self::DeleteSecret { .. }
                | Self::DeleteRole { .. }
                | Self::RevokeToken { .. }
                | Self::UseToken { .. }
                | Self::MarkRotation { .. }
                | Self::EndRotation { .. }
                | Self::RaiseFormat { .. }
                | Self::BeginRestore { .. }
                | Self::EndRestore { .. }
                | Self::AdmitNode { .. } => 0,
                Self::RestorePart { bytes, .. } => bytes.len(),
                Self::BeginRotation { version, .. } | Self::PutValue { version, .. } => {
                    version.sealed.weight()
                }
                Self::AdoptWatermark { watermark } | Self::BeginPass { target: watermark } => {
                    watermark.key_id.0.len()
                        + watermark.material_id.as_ref().map_or(0, |id| id.len())
                }
                Self::RewrapVersion {
                    replaces,
                    wrapped,
                    kms_key_id,
                    material_id,
                    ..
                } => {
                    replaces.0.len()
                        + wrapped.0.len()
                        + kms_key_id.0.len()
                        + material_id.as_ref().map_or(0, |id| id.len())
                }
                Self::EndPass { last_error, .. } => last_error.as_ref().map_or(0, String::len),
            }
    }
}

fn pairs_weight(pairs: &BTreeMap<String, String>) -> usize {
    pairs
        .iter()
        .map(|(key, value)| 4 + key.len() + value.len())
        .sum()
}

fn permissions_weight(permissions: &[Permission]) -> usize {
    permissions
        .iter()
        .map(|permission| 8 + permission.path.as_str().len())
        .sum()
}

fn rules_weight(rules: &[Rule]) -> usize {
    rules
        .iter()
        .map(|rule| 8 + rule.path.as_str().len() + rule.capabilities.len())
        .sum()
}
