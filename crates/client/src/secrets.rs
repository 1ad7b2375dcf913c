//! Secrets.

use std::{collections::BTreeMap, time::Duration};

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use zeroize::Zeroizing;

use crate::{
    Client, ClientError, Listing, Page, Payload,
    call::{Call, Repeat},
    names,
    value::JsonText,
};

const SECRETS: &str = "/v1/secrets";

/// How fresh a read has to be.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Consistency {
    /// What the node that is asked has applied, and at least what this client has seen.
    Local,
    /// Everything acknowledged before the read began.
    Linearizable,
}

/// Waiting for a version that is newer than one.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Wait {
    /// The version that the caller has; 0 waits for the secret to be made.
    pub after_version: u64,
    /// How long; 300 seconds at most.
    pub at_most: Duration,
}

/// What to read.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Read {
    /// An older version than the current one.
    pub version: Option<u64>,
    /// How fresh; as the server is configured if it is left out.
    pub consistency: Option<Consistency>,
}

impl Read {
    fn query(self, wait: Option<Wait>) -> String {
        let mut parts = Vec::new();
        if let Some(version) = self.version {
            parts.push(format!("version={version}"));
        }
        match self.consistency {
            Some(Consistency::Local) => parts.push("consistency=local".to_owned()),
            Some(Consistency::Linearizable) => parts.push("consistency=linearizable".to_owned()),
            None => {}
        }
        if let Some(wait) = wait {
            parts.push(format!("wait={}s", wait.at_most.as_secs()));
            parts.push(format!("after_version={}", wait.after_version));
        }
        match parts.is_empty() {
            true => String::new(),
            false => format!("?{}", parts.join("&")),
        }
    }
}

/// A secret that was read. Neither Debug nor Clone: it holds a value.
pub struct ReadSecret {
    /// Its name.
    pub name: String,
    /// `manual` or `automatic`.
    pub kind: String,
    /// The version's number.
    pub version: u64,
    /// When the version was written, RFC 3339 in UTC.
    pub created_at: String,
    /// What it holds.
    pub payload: Payload,
}

/// A secret that was made or rotated.
pub struct Created {
    /// Its name.
    pub name: String,
    /// `manual` or `automatic`.
    pub kind: String,
    /// The version's number.
    pub version: u64,
    /// When the version was written, RFC 3339 in UTC.
    pub created_at: String,
    /// What was generated, if the caller's address may read it.
    pub payload: Option<Payload>,
    /// Whether something was generated that this address may not read.
    pub is_omitted: bool,
}

#[derive(Deserialize)]
struct Shown {
    name: String,
    kind: String,
    version: u64,
    created_at: String,
    value: Option<Zeroizing<String>>,
    data: Option<JsonText>,
    #[serde(default)]
    value_omitted: bool,
}

impl Shown {
    fn created(self) -> Created {
        Created {
            name: self.name,
            kind: self.kind,
            version: self.version,
            created_at: self.created_at,
            payload: Payload::of(self.value, self.data),
            is_omitted: self.value_omitted,
        }
    }

    fn read(self) -> Result<ReadSecret, ClientError> {
        let payload = Payload::of(self.value, self.data).ok_or(ClientError::Malformed)?;
        Ok(ReadSecret {
            name: self.name,
            kind: self.kind,
            version: self.version,
            created_at: self.created_at,
            payload,
        })
    }
}

/// How an automatic secret's values are made.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize)]
pub struct Generator {
    /// The field that is generated.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub field: Option<String>,
    /// How long.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub length: Option<u32>,
    /// Of which characters.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub charset: Option<String>,
}

/// A change of a secret: what is left out stays. With a payload there is a new version.
#[derive(Default)]
pub struct Change {
    /// What the new version holds.
    pub payload: Option<Payload>,
    /// The version that the caller takes for the current one.
    pub cas: Option<u64>,
    /// For people.
    pub description: Option<String>,
    /// How long a superseded version still passes `verify`.
    pub grace_period_secs: Option<u64>,
    /// How many versions are kept.
    pub max_versions: Option<u32>,
    /// How often an automatic secret is rotated.
    pub rotation_interval_secs: Option<u64>,
    /// How an automatic secret's values are made.
    pub generator: Option<Generator>,
    /// The target that new values of an automatic secret are applied to.
    pub target: Option<String>,
}

/// A secret to be made.
#[derive(Default)]
pub struct NewSecret {
    /// Whether the server makes its values, and rotates it.
    pub is_automatic: bool,
    /// Everything else; `cas` is not looked at.
    pub settings: Change,
}

#[derive(Serialize)]
struct WriteBody<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    kind: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    value: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    data: Option<&'a RawValue>,
    #[serde(skip_serializing_if = "Option::is_none")]
    cas: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    description: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    grace_period_secs: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    max_versions: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    rotation_interval_secs: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    generator: Option<&'a Generator>,
    #[serde(skip_serializing_if = "Option::is_none")]
    target: Option<&'a str>,
}

impl<'a> WriteBody<'a> {
    fn of(change: &'a Change) -> Self {
        let parts = change.payload.as_ref().map(Payload::parts);
        let (value, data) = parts.unwrap_or_default();
        Self {
            name: None,
            kind: None,
            value,
            data,
            cas: change.cas,
            description: change.description.as_deref(),
            grace_period_secs: change.grace_period_secs,
            max_versions: change.max_versions,
            rotation_interval_secs: change.rotation_interval_secs,
            generator: change.generator.as_ref(),
            target: change.target.as_deref(),
        }
    }
}

/// A secret in a list. Unknown fields are passed over.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct SecretRow {
    /// Its name.
    pub name: String,
    /// `manual` or `automatic`.
    pub kind: String,
    /// The current version's number.
    pub version: u64,
    /// For people.
    pub description: String,
    /// When it was made.
    pub created_at: String,
    /// When it was last changed.
    pub updated_at: String,
    /// How often it is rotated, if it is automatic.
    pub rotation_interval_secs: Option<u64>,
    /// How long a superseded version still passes `verify`.
    pub grace_period_secs: u64,
    /// When it is rotated next, if it is automatic.
    pub next_rotation_at: Option<String>,
    /// Its target, if it has one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub target: Option<String>,
    /// Whether a new value is on its way to its target.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rotation_pending: Option<bool>,
}

/// What [`Client::verify`] answers.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Verified {
    /// Whether the current version, or one inside its grace, holds the value.
    pub valid: bool,
    /// The version that does, or else the current one.
    pub version: u64,
}

impl Client {
    /// Reads a secret. The client's address must be allowlisted.
    ///
    /// # Errors
    /// See [`ClientError`]; the code is `not_found` if there is no such secret or version.
    pub async fn read(&self, name: &str, read: &Read) -> Result<ReadSecret, ClientError> {
        let path = format!("{}{}", names::secret(name)?, read.query(None));
        let shown: Shown = self.ask(Call::get(path).by_address()).await?;
        shown.read()
    }

    /// Waits until there is a newer version, and reads it. `None` if the time is over without one.
    ///
    /// # Errors
    /// See [`ClientError`]; the code is `not_found` if there is no such secret at the end.
    pub async fn wait(
        &self,
        name: &str,
        consistency: Option<Consistency>,
        wait: Wait,
    ) -> Result<Option<ReadSecret>, ClientError> {
        let read = Read {
            version: None,
            consistency,
        };
        let path = format!("{}{}", names::secret(name)?, read.query(Some(wait)));
        let call = Call::get(path).by_address().waiting(wait.at_most);
        let came = self.send(call).await?;
        if came.status == reqwest::StatusCode::NOT_MODIFIED {
            return Ok(None);
        }
        let shown: Shown =
            serde_json::from_slice(&came.body).map_err(|_| ClientError::Malformed)?;
        shown.read().map(Some)
    }

    /// Reads several secrets, 256 at most. What is not found is left out.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn read_batch(&self, names: &[&str]) -> Result<Vec<ReadSecret>, ClientError> {
        #[derive(Deserialize)]
        struct Batch {
            secrets: Vec<Shown>,
        }
        let body = BTreeMap::from([("names", names)]);
        let call = Call::post("/v1/batch/secrets").repeat(Repeat::Freely);
        let batch: Batch = self.ask(call.by_address().json(0, &body)?).await?;
        batch.secrets.into_iter().map(Shown::read).collect()
    }

    /// Makes a secret.
    ///
    /// # Errors
    /// See [`ClientError`]; the code is `already_exists` if it is there.
    pub async fn create(&self, name: &str, new: &NewSecret) -> Result<Created, ClientError> {
        names::secret(name)?;
        let body = WriteBody {
            name: Some(name),
            kind: new.is_automatic.then_some("automatic"),
            cas: None,
            ..WriteBody::of(&new.settings)
        };
        let payload = new.settings.payload.as_ref();
        let repeat = match payload {
            Some(_) if !new.is_automatic => Repeat::Keyed,
            _ => Repeat::Never,
        };
        let call = Call::post(SECRETS).repeat(repeat);
        let call = call.json(payload.map_or(0, Payload::len), &body)?;
        self.ask::<Shown>(call).await.map(Shown::created)
    }

    /// Changes a secret, by a new version if there is a payload.
    ///
    /// # Errors
    /// See [`ClientError`]; the code is `version_mismatch` if `cas` is not the current version.
    pub async fn put(&self, name: &str, change: &Change) -> Result<SecretRow, ClientError> {
        let secret = change.payload.as_ref().map_or(0, Payload::len);
        let call = Call::put(names::secret(name)?).json(secret, &WriteBody::of(change))?;
        self.ask(call).await
    }

    /// Deletes a secret with all its versions.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn delete(&self, name: &str) -> Result<(), ClientError> {
        let call = Call::delete(names::secret(name)?);
        self.send(call).await.map(drop)
    }

    /// A page of the secrets that the token's role may do anything to.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn list(&self, page: &Page) -> Result<Listing<SecretRow>, ClientError> {
        #[derive(Deserialize)]
        struct Rows {
            secrets: Vec<SecretRow>,
            next_after: Option<String>,
        }
        let rows: Rows = self.ask(Call::get(page.query(SECRETS))).await?;
        Ok(Listing {
            rows: rows.secrets,
            next_after: rows.next_after,
        })
    }

    /// Rotates an automatic secret now.
    ///
    /// # Errors
    /// See [`ClientError`]; the code is `rotation_pending` if its target has not taken the new value yet.
    pub async fn rotate(&self, name: &str) -> Result<Created, ClientError> {
        let path = format!("{}/rotate", names::secret(name)?);
        let call = Call::post(path).repeat(Repeat::Never);
        self.ask::<Shown>(call).await.map(Shown::created)
    }

    /// Whether a secret's current version, or one inside its grace, holds a value.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn verify(&self, name: &str, value: &str) -> Result<Verified, ClientError> {
        let path = format!("{}/verify", names::secret(name)?);
        let body = BTreeMap::from([("value", value)]);
        let call = Call::post(path).repeat(Repeat::Freely).by_address();
        self.ask(call.json(value.len(), &body)?).await
    }
}
