//! The port to the key management service. Adapters: [`LocalKms`](crate::LocalKms) here, AWS in the
//! server.

use std::{fmt, future::Future, pin::Pin};

use strongroom_core::{KmsKeyId, LogTime, SecretName, SharedText, WrappedDek};

use crate::{Binding, DataKey, Dek};

/// A future that the port returns; boxed, so that the port is usable as `dyn Kms`.
pub type KmsFuture<'a, T> = Pin<Box<dyn Future<Output = Result<T, KmsError>> + Send + 'a>>;

/// A key management service: it wraps data keys and never gives its own key away.
pub trait Kms: Send + Sync + 'static {
    /// A fresh data key, wrapped under `binding`.
    fn generate<'a>(&'a self, binding: &'a Binding) -> KmsFuture<'a, DataKey>;

    /// Unwraps what `key_id` wrapped under `binding`.
    fn unwrap<'a>(
        &'a self,
        wrapped: &'a WrappedDek,
        key_id: &'a KmsKeyId,
        binding: &'a Binding,
    ) -> KmsFuture<'a, Dek>;

    /// Wraps the same data key again, under the service's current key and material and the same
    /// binding. With AWS the data key stays inside the service.
    fn rewrap<'a>(
        &'a self,
        wrapped: &'a WrappedDek,
        key_id: &'a KmsKeyId,
        binding: &'a Binding,
    ) -> KmsFuture<'a, Rewrapped>;

    /// What the service knows about the rotations of the key that wraps now.
    fn rotations(&self) -> KmsFuture<'_, Rotations>;

    /// Which service and key this is, for logs and `/v1/admin/kms`.
    fn describe(&self) -> KmsDescription;
}

/// A data key wrapped again.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Rewrapped {
    /// The new wrapped key.
    pub wrapped: WrappedDek,
    /// The KMS key that wrapped it now.
    pub key_id: KmsKeyId,
    /// The id of that key's material, where the service gives one.
    pub material_id: Option<SharedText>,
}

/// How a rotation came about.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum RotationKind {
    /// On the service's schedule.
    Automatic,
    /// Somebody asked for it.
    OnDemand,
    /// The service names a kind that this version does not know.
    Other,
}

/// One rotation of a KMS key.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Rotation {
    /// When it happened.
    pub at: LogTime,
    /// How it came about.
    pub kind: RotationKind,
    /// The material that became current by it, where the service says so.
    pub material_id: Option<SharedText>,
}

/// The rotations of one KMS key.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Rotations {
    /// The key they belong to, as the service names it.
    pub key_id: KmsKeyId,
    /// The material that wraps now, where the service says so. `local`: the first master key.
    pub current_material: Option<SharedText>,
    /// The rotations, oldest first. Empty for a key that was never rotated, and for `local`.
    pub entries: Vec<Rotation>,
}

impl Rotations {
    /// The newest rotation.
    #[must_use]
    pub fn latest(&self) -> Option<&Rotation> {
        self.entries.iter().max_by_key(|rotation| rotation.at)
    }
}

/// Which kind of service wraps.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum KmsMode {
    /// AWS KMS.
    Aws,
    /// Master keys held by this process.
    Local,
}

impl fmt::Display for KmsMode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Aws => "aws",
            Self::Local => "local",
        })
    }
}

/// Which service and key wraps: nothing in it is secret.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct KmsDescription {
    /// The kind of service.
    pub mode: KmsMode,
    /// The key as configured; for `local` the fingerprint of the first master key.
    pub key: String,
    /// The region, where there is one.
    pub region: Option<String>,
}

/// Text for operators: one line of printable characters, bounded. Never key material, never a
/// value.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Detail(Box<str>);

impl Detail {
    const MAX_CHARS: usize = 300;

    /// Keeps the first 300 characters of `text`, with control characters made spaces.
    #[must_use]
    pub fn new(text: &str) -> Self {
        let clean = |c: char| if c.is_control() { ' ' } else { c };
        Self(
            text.chars()
                .take(Self::MAX_CHARS)
                .map(clean)
                .collect::<String>()
                .into(),
        )
    }

    /// The text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Detail {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The detail of [`KmsError::Unavailable`] when nobody was asked.
pub(crate) const BREAKER_OPEN: &str =
    "the circuit breaker is open after calls that got no answer; KMS is asked again within seconds";

/// Why KMS did not do what it was asked. The detail is for operators, not for callers of the API.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum KmsError {
    /// The service refused these credentials, or does not know the key.
    #[error("KMS denied the call: {0}")]
    Denied(Detail),
    /// The key exists and may not be used: disabled, or waiting for its deletion.
    #[error("the KMS key is disabled: {0}")]
    KeyDisabled(Detail),
    /// Too many calls.
    #[error("KMS throttled the call: {0}")]
    Throttled(Detail),
    /// No answer in time, or an answer that blames the service.
    #[error("KMS is unavailable: {0}")]
    Unavailable(Detail),
    /// The wrapped key is damaged, or was wrapped under another binding or key.
    #[error("KMS refused the wrapped key or its binding: {0}")]
    Malformed(Detail),
    /// The service cannot do this for this key.
    #[error("KMS does not support the call: {0}")]
    Unsupported(Detail),
}

impl KmsError {
    /// Whether the same call may succeed later with nothing changed.
    #[must_use]
    pub fn is_retryable(&self) -> bool {
        matches!(self, Self::Throttled(_) | Self::Unavailable(_))
    }

    /// Whether no call was made, because the breaker is open.
    #[must_use]
    pub fn is_refused_by_breaker(&self) -> bool {
        matches!(self, Self::Unavailable(detail) if detail.as_str() == BREAKER_OPEN)
    }

    /// The text for operators.
    #[must_use]
    pub fn detail(&self) -> &str {
        match self {
            Self::Denied(detail)
            | Self::KeyDisabled(detail)
            | Self::Throttled(detail)
            | Self::Unavailable(detail)
            | Self::Malformed(detail)
            | Self::Unsupported(detail) => detail.as_str(),
        }
    }
}

/// The name that probes are bound to. Versions count from 1, so that version 0 of it belongs to no
/// secret.
pub const PROBE_NAME: &str = "strongroom/probe";

/// The binding of probes.
///
/// # Errors
/// Never, unless [`PROBE_NAME`] stops being a name.
pub fn probe_binding() -> Result<Binding, KmsError> {
    let refused = |_| KmsError::Malformed(Detail::new("the probe's name is refused"));
    let name = SecretName::parse(PROBE_NAME).map_err(refused)?;
    Ok(Binding::new(&name, 0))
}

/// Asks for one data key and unwraps it again.
///
/// # Errors
/// What the service answered; [`KmsError::Malformed`] if the two keys differ.
pub async fn probe(kms: &dyn Kms) -> Result<(), KmsError> {
    let binding = probe_binding()?;
    let fresh = kms.generate(&binding).await?;
    let unwrapped = kms
        .unwrap(fresh.wrapped(), fresh.key_id(), &binding)
        .await?;
    same_key(&unwrapped, fresh.dek())
}

pub(crate) fn same_key(unwrapped: &Dek, fresh: &Dek) -> Result<(), KmsError> {
    if unwrapped.ct_eq(fresh) {
        Ok(())
    } else {
        Err(KmsError::Malformed(Detail::new(
            "it unwrapped the probe's data key to another key",
        )))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_throttled_and_unavailable_are_retryable() {
        let detail = || Detail::new("why");
        for (error, retryable) in [
            (KmsError::Denied(detail()), false),
            (KmsError::KeyDisabled(detail()), false),
            (KmsError::Throttled(detail()), true),
            (KmsError::Unavailable(detail()), true),
            (KmsError::Malformed(detail()), false),
            (KmsError::Unsupported(detail()), false),
        ] {
            assert_eq!(error.is_retryable(), retryable, "{error}");
            assert_eq!(error.detail(), "why");
        }
    }

    #[test]
    fn details_are_one_bounded_line() {
        let detail = Detail::new(&format!("a\nb\r\x1b[31m{}", "x".repeat(1_000)));
        assert!(detail.as_str().starts_with("a b  [31mx"));
        assert_eq!(detail.as_str().chars().count(), 300);
    }

    #[test]
    fn the_latest_rotation_is_the_newest_in_any_order() {
        let rotation = |at| Rotation {
            at: LogTime(at),
            kind: RotationKind::OnDemand,
            material_id: None,
        };
        let key_id = KmsKeyId("k".into());
        let mut all = Rotations {
            key_id,
            current_material: None,
            entries: vec![],
        };
        assert_eq!(all.latest(), None);
        all.entries = vec![rotation(5), rotation(9), rotation(7)];
        assert_eq!(all.latest(), Some(&rotation(9)));
    }
}
