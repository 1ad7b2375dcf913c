//! What requests about secrets hold.

use serde::Deserialize;
use serde_json::value::RawValue;
use strongroom_core::{
    Generator, Kind, SecretSettings, TargetName, limits,
    secret::{PASSWORD_FIELD, SettingsChange},
};
use strongroom_service::{VaultError, payload::VALUE_FIELD};
use zeroize::Zeroizing;

use crate::http::json::{self, Bounded};

const DEFAULT_LENGTH: u32 = 32;
const DEFAULT_CHARSET: &str = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789";

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct GeneratorRequest {
    field: Option<String>,
    length: Option<u32>,
    charset: Option<String>,
}

impl GeneratorRequest {
    /// What is not given is as in `base`, or as ever. With a target it is the password that changes.
    fn over(self, base: Option<&Generator>, targeted: bool) -> Result<Generator, VaultError> {
        let other_field = |field: &String| field != PASSWORD_FIELD;
        if targeted && self.field.as_ref().is_some_and(other_field) {
            return Err(VaultError::invalid(
                "with a target, the generated field is password",
            ));
        }
        let default_field = if targeted {
            PASSWORD_FIELD
        } else {
            VALUE_FIELD
        };
        let base_field = base.map(|base| &base.field).filter(|_| !targeted);
        let fallback = |own: Option<String>, base: Option<&String>, default: &str| {
            own.or_else(|| base.cloned())
                .unwrap_or_else(|| default.to_owned())
        };
        Ok(Generator {
            field: fallback(self.field, base_field, default_field),
            length: self
                .length
                .or(base.map(|b| b.length))
                .unwrap_or(DEFAULT_LENGTH),
            charset: fallback(self.charset, base.map(|b| &b.charset), DEFAULT_CHARSET),
        })
    }
}

fn target_name(name: String) -> Result<TargetName, VaultError> {
    Ok(TargetName::try_from(name)?)
}

#[derive(Deserialize)]
#[serde(rename_all = "snake_case")]
enum KindRequest {
    Manual,
    Automatic,
}

// No Debug on requests: they hold values.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct CreateRequest<'a> {
    pub(super) name: String,
    kind: Option<KindRequest>,
    #[serde(borrow)]
    pub(super) value: Option<&'a RawValue>,
    #[serde(borrow)]
    pub(super) data: Option<&'a RawValue>,
    description: Option<String>,
    grace_period_secs: Option<u64>,
    max_versions: Option<u32>,
    rotation_interval_secs: Option<u64>,
    generator: Option<GeneratorRequest>,
    keep_superseded: Option<bool>,
    target: Option<String>,
}

impl CreateRequest<'_> {
    pub(super) fn settings(&mut self) -> Result<SecretSettings, VaultError> {
        let rotates = self.rotation_interval_secs.is_some()
            || self.generator.is_some()
            || self.keep_superseded.is_some()
            || self.target.is_some();
        let kind = match self.kind.as_ref().unwrap_or(&KindRequest::Manual) {
            KindRequest::Manual if rotates => {
                return Err(VaultError::invalid(
                    "rotation_interval_secs, generator, keep_superseded and target are for automatic secrets",
                ));
            }
            KindRequest::Manual => Kind::Manual,
            KindRequest::Automatic => Kind::Automatic {
                rotation_interval_secs: self.rotation_interval_secs.ok_or_else(|| {
                    VaultError::invalid("an automatic secret needs rotation_interval_secs")
                })?,
                generator: self
                    .generator
                    .take()
                    .unwrap_or_default()
                    .over(None, self.target.is_some())?,
                keep_superseded: self.keep_superseded.unwrap_or(false),
                target: self.target.take().map(target_name).transpose()?,
            },
        };
        Ok(SecretSettings {
            kind,
            description: self.description.take().unwrap_or_default(),
            grace_period_secs: self.grace_period_secs.unwrap_or(0),
            max_versions: self.max_versions.unwrap_or(0),
            ..SecretSettings::manual()
        })
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct UpdateRequest<'a> {
    #[serde(borrow)]
    pub(super) value: Option<&'a RawValue>,
    #[serde(borrow)]
    pub(super) data: Option<&'a RawValue>,
    pub(super) cas: Option<u64>,
    description: Option<String>,
    grace_period_secs: Option<u64>,
    max_versions: Option<u32>,
    rotation_interval_secs: Option<u64>,
    generator: Option<GeneratorRequest>,
    keep_superseded: Option<bool>,
    /// `null` takes the target away; left out, it stays.
    #[serde(default, deserialize_with = "json::given")]
    target: Option<Option<String>>,
}

impl UpdateRequest<'_> {
    /// Whether it brings a value, and nothing that depends on how the secret stands.
    pub(super) fn is_value_alone(&self) -> bool {
        let Self {
            value,
            data,
            cas: None,
            description: None,
            grace_period_secs: None,
            max_versions: None,
            rotation_interval_secs: None,
            generator: None,
            keep_superseded: None,
            target: None,
        } = self
        else {
            return false;
        };
        value.is_some() || data.is_some()
    }

    /// The change of settings, over what the secret has now.
    pub(super) fn change(
        &mut self,
        generator: Option<&Generator>,
        has_target: bool,
    ) -> Result<SettingsChange, VaultError> {
        let target = match self.target.take() {
            None => None,
            Some(None) => Some(None),
            Some(Some(name)) => Some(Some(target_name(name)?)),
        };
        let targeted = target.as_ref().map_or(has_target, Option::is_some);
        let given = match self.generator.take() {
            // A target that is new makes the generator change its field.
            None if matches!(target, Some(Some(_))) => Some(GeneratorRequest::default()),
            given => given,
        };
        Ok(SettingsChange {
            description: self.description.take(),
            grace_period_secs: self.grace_period_secs,
            max_versions: self.max_versions,
            rotation_interval_secs: self.rotation_interval_secs,
            generator: given
                .map(|given| given.over(generator, targeted))
                .transpose()?,
            keep_superseded: self.keep_superseded,
            target,
            ..SettingsChange::default()
        })
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct VerifyRequest {
    pub(super) value: Zeroizing<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RotateRequest {}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct BatchRequest {
    pub(super) names: Bounded<String, { limits::BATCH_NAMES }>,
}
