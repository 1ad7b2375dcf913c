//! `/v1/secrets` and `/v1/batch/secrets`.

mod shown;

use std::{sync::Arc, time::Duration};

use http::StatusCode;
use serde::Deserialize;
use serde_json::{Value, json, value::RawValue};
use strongroom_core::{
    Generator, Kind, ReadGate, SecretName, SecretSettings, TargetName, limits,
    name::DEFAULT_MOUNT,
    secret::{PASSWORD_FIELD, SettingsChange},
};
use strongroom_service::{
    VaultError,
    operation::{Create, Delete, ListSecrets, Rotate, Update},
    payload::{Incoming, VALUE_FIELD},
    secrets::{CreateSecret, READ, UpdateSecret, VERIFY, native_name},
};
use zeroize::Zeroizing;

use super::{
    App,
    answer::{self, Answer},
    call::Call,
    empty, json,
};

const PATH: &str = "/v1/secrets/";
const DEFAULT_LENGTH: u32 = 32;
const DEFAULT_CHARSET: &str = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789";

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct GeneratorRequest {
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
struct CreateRequest<'a> {
    name: String,
    kind: Option<KindRequest>,
    #[serde(borrow)]
    value: Option<&'a RawValue>,
    #[serde(borrow)]
    data: Option<&'a RawValue>,
    description: Option<String>,
    grace_period_secs: Option<u64>,
    max_versions: Option<u32>,
    rotation_interval_secs: Option<u64>,
    generator: Option<GeneratorRequest>,
    keep_superseded: Option<bool>,
    target: Option<String>,
}

impl CreateRequest<'_> {
    fn settings(&mut self) -> Result<SecretSettings, VaultError> {
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

pub(super) async fn create(app: Arc<App>, call: Call) -> Answer {
    let mut request: CreateRequest<'_> = json::parse(&call.body)?;
    let name = native_name(&request.name)?;
    let permit = app
        .vault
        .authorize::<Create>(call.context, &call.token, name)
        .await?;
    let settings = request.settings()?;
    let material = Incoming::new(request.value, request.data)?;
    let written = app
        .vault
        .create_secret(permit, CreateSecret { settings, material })
        .await?;
    shown::written(written, StatusCode::CREATED)
}

pub(super) async fn list(app: Arc<App>, call: Call) -> Answer {
    let prefix = call.query("prefix")?.unwrap_or_default();
    let (after, limit) = (call.query("after")?, call.limit()?);
    let longest = after.iter().fold(prefix.len(), |n, a| n.max(a.len()));
    if longest > limits::SECRET_PATH_BYTES {
        return Err(VaultError::invalid("prefix or after is too long"));
    }
    let permit = app
        .vault
        .authorize::<ListSecrets>(call.context, &call.token, ())
        .await?;
    let page = app
        .vault
        .list_secrets(permit, DEFAULT_MOUNT, &prefix, after.as_deref(), limit)
        .await?;
    let rows: Vec<Value> = page.rows.iter().map(shown::row).collect();
    Ok(answer::json(
        StatusCode::OK,
        &json!({"secrets": rows, "next_after": page.next_after}),
    ))
}

pub(super) async fn read(app: Arc<App>, mut call: Call) -> Answer {
    // Only the refusal of an address comes before these are looked at.
    let asked = (
        call.secret_name(PATH),
        read_gate(&app, &call),
        call.number("version"),
        watch(&call),
    );
    if let Ok(Some(watch)) = &asked.3 {
        call.context.deadline += watch.wait;
    }
    let reader = app
        .vault
        .admit_reader(call.context, READ, described(&asked.0))
        .await?;
    let (name, gate, version, watch) = (asked.0?, asked.1?, asked.2?, asked.3?);
    if let Some(Watch { wait, after }) = watch {
        let known = app
            .vault
            .wait_for_version(&reader, &name, after, wait)
            .await?;
        // A secret that is not there is 404 and not "unchanged".
        if !known && app.vault.is_there(&reader, &name)? {
            return Ok(empty(StatusCode::NOT_MODIFIED));
        }
    }
    let disclosed = app.vault.read_secret(&reader, &name, version, gate).await?;
    Ok(answer::secret_json(
        StatusCode::OK,
        shown::render(&[disclosed], false)?,
    ))
}

/// `?wait=30s&after_version=3`
struct Watch {
    wait: Duration,
    after: u64,
}

fn watch(call: &Call) -> Result<Option<Watch>, VaultError> {
    let Some(wait) = call.query("wait")? else {
        return Ok(None);
    };
    let secs = wait.strip_suffix('s').unwrap_or(&wait).parse::<u64>().ok();
    let secs = secs.filter(|secs| (1..=limits::WAIT_SECS).contains(secs));
    let secs = secs.ok_or_else(|| VaultError::invalid("wait must be 1s to 300s"))?;
    let after = call
        .number("after_version")?
        .ok_or_else(|| VaultError::invalid("wait needs after_version"))?;
    if call.query("version")?.is_some() {
        return Err(VaultError::invalid("give wait or version, not both"));
    }
    Ok(Some(Watch {
        wait: Duration::from_secs(secs),
        after,
    }))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct UpdateRequest<'a> {
    #[serde(borrow)]
    value: Option<&'a RawValue>,
    #[serde(borrow)]
    data: Option<&'a RawValue>,
    cas: Option<u64>,
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

pub(super) async fn update(app: Arc<App>, call: Call) -> Answer {
    let name = call.secret_name(PATH)?;
    let request: UpdateRequest<'_> = json::parse(&call.body)?;
    let material = Incoming::new(request.value, request.data)?;
    let permit = app
        .vault
        .authorize::<Update>(call.context, &call.token, name)
        .await?;
    let target = match request.target {
        None => None,
        Some(None) => Some(None),
        Some(Some(name)) => Some(Some(target_name(name)?)),
    };
    let targeted = match &target {
        Some(changed) => changed.is_some(),
        None => permit.target().is_some(),
    };
    let generator = match request.generator {
        // A target that is new makes the generator change its field.
        None if matches!(target, Some(Some(_))) => Some(GeneratorRequest::default()),
        given => given,
    };
    let change = SettingsChange {
        description: request.description,
        grace_period_secs: request.grace_period_secs,
        max_versions: request.max_versions,
        rotation_interval_secs: request.rotation_interval_secs,
        generator: generator
            .map(|given| given.over(permit.generator(), targeted))
            .transpose()?,
        keep_superseded: request.keep_superseded,
        target,
        ..SettingsChange::default()
    };
    let request = UpdateSecret {
        cas: request.cas,
        change,
        material,
    };
    let summary = app.vault.update_secret(permit, request).await?;
    Ok(answer::json(StatusCode::OK, &shown::row(&summary)))
}

pub(super) async fn delete(app: Arc<App>, call: Call) -> Answer {
    let name = call.secret_name(PATH)?;
    let permit = app
        .vault
        .authorize::<Delete>(call.context, &call.token, name)
        .await?;
    app.vault.delete_secret(permit).await?;
    Ok(empty(StatusCode::NO_CONTENT))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct VerifyRequest {
    value: Zeroizing<String>,
}

/// `POST /v1/secrets/{name}/verify` and `…/rotate`: the verb is the last segment, since a name has
/// many.
pub(super) async fn post(app: Arc<App>, call: Call) -> Answer {
    let tail = call.tail(PATH)?;
    match tail.rsplit_once('/') {
        Some((name, "verify")) => verify(app, call, native_name(name)).await,
        Some((name, "rotate")) => rotate(app, call, native_name(name)?).await,
        _ => Ok(answer::unknown_route().await),
    }
}

async fn verify(app: Arc<App>, call: Call, name: Result<SecretName, VaultError>) -> Answer {
    let gate = read_gate(&app, &call);
    let reader = app
        .vault
        .admit_reader(call.context, VERIFY, described(&name))
        .await?;
    let (name, gate) = (name?, gate?);
    let request: VerifyRequest = json::parse(&call.body)?;
    let verified = app
        .vault
        .verify_secret(&reader, &name, &request.value, gate)
        .await?;
    let body = json!({"valid": verified.valid, "version": verified.version});
    Ok(answer::json(StatusCode::OK, &body))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RotateRequest {}

async fn rotate(app: Arc<App>, call: Call, name: SecretName) -> Answer {
    if !call.body.is_empty() {
        json::parse::<RotateRequest>(&call.body)?;
    }
    let permit = app
        .vault
        .authorize::<Rotate>(call.context, &call.token, name)
        .await?;
    let written = app.vault.rotate_secret(permit).await?;
    shown::written(written, StatusCode::OK)
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct BatchRequest {
    names: Vec<String>,
}

pub(super) async fn batch(app: Arc<App>, call: Call) -> Answer {
    let gate = read_gate(&app, &call);
    let reader = app
        .vault
        .admit_reader(call.context, READ, "a batch")
        .await?;
    let gate = gate?;
    let request: BatchRequest = json::parse(&call.body)?;
    if request.names.len() > limits::BATCH_NAMES {
        return Err(VaultError::invalid("a batch holds 256 names at most"));
    }
    let names: Vec<SecretName> = request
        .names
        .iter()
        .map(|name| native_name(name))
        .collect::<Result<_, _>>()?;
    let found = app.vault.read_batch(&reader, &names, gate).await?;
    Ok(answer::secret_json(
        StatusCode::OK,
        shown::render(&found, true)?,
    ))
}

/// The name in the audit record of a refused address; what is no name is not repeated.
fn described(name: &Result<SecretName, VaultError>) -> &str {
    name.as_ref().map_or("-", SecretName::as_str)
}

/// `?consistency=` or `X-Read-Consistency`, else the setting.
fn read_gate(app: &App, call: &Call) -> Result<ReadGate, VaultError> {
    let header = call
        .headers
        .get("x-read-consistency")
        .map(|value| value.to_str().unwrap_or("?"));
    let asked = match call.query("consistency")? {
        Some(asked) => Some(asked),
        None => header.map(str::to_owned),
    };
    match asked.as_deref() {
        None => Ok(app.read_gate),
        Some("local") => Ok(ReadGate::Local),
        Some("linearizable") => Ok(ReadGate::Linearizable),
        Some(_) => Err(VaultError::invalid(
            "consistency must be local or linearizable",
        )),
    }
}
