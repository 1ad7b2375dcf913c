//! `/v1/secrets` and `/v1/batch/secrets`.

mod requests;
mod shown;

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use http::StatusCode;
use serde_json::{Value, json};
use strongroom_core::{ReadGate, SecretName, limits, name::DEFAULT_MOUNT};
use strongroom_service::{
    Reader, RequestContext, VaultError,
    operation::{Create, Delete, ListSecrets, Rotate, Update},
    payload::Incoming,
    secrets::{CreateSecret, READ, UpdateSecret, VERIFY, native_name},
};

use super::{
    App,
    answer::{self, Answer},
    call::Call,
    carried::{Pool, to_its_end, until_recorded},
    empty, json,
    names::{INDEX, READ_CONSISTENCY},
};
use requests::{BatchRequest, CreateRequest, RotateRequest, UpdateRequest, VerifyRequest};

const PATH: &str = "/v1/secrets/";

pub(super) async fn create(app: Arc<App>, call: Box<Call>) -> Answer {
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

pub(super) async fn list(app: Arc<App>, call: Box<Call>) -> Answer {
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

/// Waiting is not carried to its end when the client hangs up: there may be many who wait, and nothing
/// has happened yet. What goes on the record is.
pub(super) async fn read(app: Arc<App>, call: Box<Call>) -> Answer {
    // Only the refusal of an address comes before these are looked at.
    let asked = Asked {
        name: call.secret_name(PATH),
        gate: read_gate(&app, &call),
        version: call.number("version"),
        watch: watch(&call),
    };
    // The rest is not needed any more, and the wait may be long.
    let context = call.into_context();
    // Each in a box of its own: the one should not have to be as large as the other.
    let Ok(Some(watch)) = asked.watch else {
        let seen = context.seen.clone();
        let now = Box::pin(read_now(Arc::clone(&app), context, asked));
        return until_recorded(&app, seen, now).await;
    };
    Box::pin(read_next(app, context, asked, watch)).await
}

async fn read_next(
    app: Arc<App>,
    context: Box<RequestContext>,
    asked: Asked,
    Watch { wait, after }: Watch,
) -> Answer {
    let admitted = {
        let (app, target) = (Arc::clone(&app), described(&asked.name).to_owned());
        async move { app.vault.admit_reader(context, READ, &target).await }
    };
    let reader = to_its_end(&app, Pool::Reads, Box::pin(admitted)).await?;
    let (name, gate) = (asked.name?, asked.gate?);
    app.vault
        .wait_for_version(&reader, &name, after, wait)
        .await?;
    // The answer has a time of its own.
    let reader = reader.until(Instant::now() + app.request_timeout);
    let own = Arc::clone(&app);
    let ended = async move {
        if own.vault.is_unchanged(&reader, &name, after).await? {
            return Ok(empty(StatusCode::NOT_MODIFIED));
        }
        disclose(&own, &reader, &name, None, gate).await
    };
    to_its_end(&app, Pool::Reads, Box::pin(ended)).await
}

/// What a read asks for, as far as it makes sense.
struct Asked {
    name: Result<SecretName, VaultError>,
    gate: Result<ReadGate, VaultError>,
    version: Result<Option<u64>, VaultError>,
    watch: Result<Option<Watch>, VaultError>,
}

async fn read_now(app: Arc<App>, context: Box<RequestContext>, asked: Asked) -> Answer {
    let target = described(&asked.name);
    let reader = app.vault.admit_reader(context, READ, target).await?;
    let (name, gate, version) = (asked.name?, asked.gate?, asked.version?);
    asked.watch?;
    disclose(&app, &reader, &name, version, gate).await
}

async fn disclose(
    app: &App,
    reader: &Reader,
    name: &SecretName,
    version: Option<u64>,
    gate: ReadGate,
) -> Answer {
    let disclosed = app.vault.read_secret(reader, name, version, gate).await?;
    Ok(answer::secret_json(
        StatusCode::OK,
        shown::render(&[disclosed], false)?,
    ))
}

/// `?wait=30s&after_version=3`
#[derive(Clone, Copy)]
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

pub(super) async fn update(app: Arc<App>, call: Box<Call>) -> Answer {
    let name = call.secret_name(PATH)?;
    let mut request: UpdateRequest<'_> = json::parse(&call.body)?;
    let material = Incoming::new(request.value, request.data)?;
    if request.is_value_alone() {
        let put = app
            .vault
            .put_value(call.context, &call.token, name, material);
        return Ok(answer::json(StatusCode::OK, &shown::row(&put.await?)));
    }
    // In a box, as below: who puts a value takes no room for the rest.
    let permit = app
        .vault
        .authorize::<Update>(call.context, &call.token, name);
    let permit = Box::pin(permit).await?;
    let change = request.change(permit.generator(), permit.target().is_some())?;
    let request = UpdateSecret {
        cas: request.cas,
        change,
        material,
    };
    let summary = Box::pin(app.vault.update_secret(permit, request)).await?;
    Ok(answer::json(StatusCode::OK, &shown::row(&summary)))
}

pub(super) async fn delete(app: Arc<App>, call: Box<Call>) -> Answer {
    let name = call.secret_name(PATH)?;
    let permit = app
        .vault
        .authorize::<Delete>(call.context, &call.token, name)
        .await?;
    app.vault.delete_secret(permit).await?;
    Ok(empty(StatusCode::NO_CONTENT))
}

/// `POST /v1/secrets/{name}/verify` and `…/rotate`: the verb is the last segment, since a name has
/// many.
pub(super) async fn post(app: Arc<App>, call: Box<Call>) -> Answer {
    let (tail, own) = (call.tail(PATH)?, Arc::clone(&app));
    match tail.rsplit_once('/') {
        Some((name, "verify")) => {
            let verified = verify(own, call, native_name(name));
            to_its_end(&app, Pool::Reads, Box::pin(verified)).await
        }
        Some((name, "rotate")) => {
            let rotated = rotate(own, call, native_name(name)?);
            to_its_end(&app, Pool::Others, Box::pin(rotated)).await
        }
        _ => Ok(answer::unknown_route().await),
    }
}

async fn verify(app: Arc<App>, call: Box<Call>, name: Result<SecretName, VaultError>) -> Answer {
    let gate = read_gate(&app, &call);
    let reader = app
        .vault
        .admit_reader(Box::new(call.context), VERIFY, described(&name))
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

async fn rotate(app: Arc<App>, call: Box<Call>, name: SecretName) -> Answer {
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

pub(super) async fn batch(app: Arc<App>, call: Box<Call>) -> Answer {
    let gate = read_gate(&app, &call);
    let reader = app
        .vault
        .admit_reader(Box::new(call.context), READ, "a batch")
        .await?;
    let gate = gate?;
    let request: BatchRequest = json::parse(&call.body)?;
    let names: Vec<SecretName> = request
        .names
        .0
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

/// `?consistency=` or `X-Read-Consistency`, else the setting; and a local read sees at least the index in
/// `X-Strongroom-Index`. A linearizable one does so anyhow.
fn read_gate(app: &App, call: &Call) -> Result<ReadGate, VaultError> {
    let header = call
        .headers
        .get(READ_CONSISTENCY)
        .map(|value| value.to_str().unwrap_or("?"));
    let asked = match call.query("consistency")? {
        Some(asked) => Some(asked),
        None => header.map(str::to_owned),
    };
    let index = call.headers.get(INDEX).map(|value| {
        let index = value.to_str().ok().and_then(|text| text.parse().ok());
        index.ok_or_else(|| VaultError::invalid("X-Strongroom-Index must be a number"))
    });
    let (gate, index) = match asked.as_deref() {
        None => (app.read_gate, index.transpose()?),
        Some("local") => (ReadGate::Local, index.transpose()?),
        Some("linearizable") => (ReadGate::Linearizable, index.transpose()?),
        Some(_) => {
            return Err(VaultError::invalid(
                "consistency must be local or linearizable",
            ));
        }
    };
    Ok(match (gate, index) {
        (ReadGate::Local, Some(index)) => ReadGate::AtLeast(index),
        (gate, _) => gate,
    })
}
