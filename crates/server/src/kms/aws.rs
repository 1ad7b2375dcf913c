//! The AWS KMS adapter. Region, credentials and endpoint come from the standard AWS environment;
//! retries and deadlines are the SDK's own, configured and not wrapped in a second loop.
//!
//! What it cannot do: the SDK keeps the HTTP response that carried a plaintext data key in buffers
//! of its own, whose life nobody here decides. The buffer that it hands over is zeroized here; the
//! others are zeroed by the binary's allocator when they are freed.

mod connect;
mod error;

use aws_sdk_kms::{
    Client,
    operation::list_key_rotations::ListKeyRotationsOutput,
    primitives::Blob,
    types::{DataKeySpec, RotationType, RotationsListEntry},
};
use strongroom_core::{KmsKeyId, LogTime, SharedText, WrappedDek};
use strongroom_seal::{
    Binding, ContextStyle, DataKey, Dek, Detail, Kms, KmsDescription, KmsError, KmsFuture, KmsMode,
    Rewrapped, Rotation, RotationKind, Rotations, kms::probe_binding,
};
use zeroize::Zeroizing;

pub use connect::{AwsSettings, CONNECT_DEADLINE, ConnectError};
use error::{incomplete, kms_error};

/// AWS KMS behind the [`Kms`] port.
pub struct AwsKms {
    client: Client,
    key_id: String,
    style: ContextStyle,
    region: String,
    credentials: String,
}

impl AwsKms {
    /// Which credentials the AWS environment gave, told by the last characters of the access key
    /// id.
    #[must_use]
    pub fn credentials(&self) -> &str {
        &self.credentials
    }

    async fn generate_now(&self, binding: &Binding) -> Result<DataKey, KmsError> {
        const CALL: &str = "GenerateDataKey";
        let mut request = self
            .client
            .generate_data_key()
            .key_id(&self.key_id)
            .key_spec(DataKeySpec::Aes256);
        for (key, value) in binding.encryption_context(self.style) {
            request = request.encryption_context(key, value);
        }
        let answer = request
            .send()
            .await
            .map_err(|error| kms_error(CALL, &error))?;
        let dek = take_dek(CALL, answer.plaintext)?;
        let wrapped = answer.ciphertext_blob.ok_or_else(|| incomplete(CALL))?;
        let key_id = answer.key_id.ok_or_else(|| incomplete(CALL))?;
        Ok(DataKey::new(
            dek,
            wrapped_dek(wrapped),
            KmsKeyId(key_id.into()),
            answer.key_material_id.map(SharedText::from),
        ))
    }

    async fn decrypt(
        &self,
        wrapped: &WrappedDek,
        key_id: &KmsKeyId,
        binding: &Binding,
        style: ContextStyle,
    ) -> Result<Dek, KmsError> {
        const CALL: &str = "Decrypt";
        let mut request = self
            .client
            .decrypt()
            .key_id(&*key_id.0)
            .ciphertext_blob(Blob::new(wrapped.0.to_vec()));
        for (key, value) in binding.encryption_context(style) {
            request = request.encryption_context(key, value);
        }
        let answer = request
            .send()
            .await
            .map_err(|error| kms_error(CALL, &error))?;
        take_dek(CALL, answer.plaintext)
    }

    async fn re_encrypt(
        &self,
        wrapped: &WrappedDek,
        key_id: &KmsKeyId,
        binding: &Binding,
        style: ContextStyle,
    ) -> Result<Rewrapped, KmsError> {
        const CALL: &str = "ReEncrypt";
        let mut request = self
            .client
            .re_encrypt()
            .source_key_id(&*key_id.0)
            .destination_key_id(&self.key_id)
            .ciphertext_blob(Blob::new(wrapped.0.to_vec()));
        for (key, value) in binding.encryption_context(style) {
            request = request.source_encryption_context(key, value);
        }
        for (key, value) in binding.encryption_context(self.style) {
            request = request.destination_encryption_context(key, value);
        }
        let answer = request
            .send()
            .await
            .map_err(|error| kms_error(CALL, &error))?;
        Ok(Rewrapped {
            wrapped: wrapped_dek(answer.ciphertext_blob.ok_or_else(|| incomplete(CALL))?),
            key_id: KmsKeyId(answer.key_id.ok_or_else(|| incomplete(CALL))?.into()),
            material_id: answer.destination_key_material_id.map(SharedText::from),
        })
    }

    /// `ListKeyRotations` takes no alias and names no current material: a data key that nothing
    /// will use tells both, and needs no permission that sealing does not need.
    async fn rotations_now(&self) -> Result<Rotations, KmsError> {
        const CALL: &str = "ListKeyRotations";
        let binding = probe_binding()?;
        let probe = self.generate_now(&binding).await?;
        let mut pages = self
            .client
            .list_key_rotations()
            .key_id(&*probe.key_id().0)
            .into_paginator()
            .send();
        let mut entries = Vec::new();
        while let Some(page) = pages.next().await {
            let page: ListKeyRotationsOutput = page.map_err(|error| kms_error(CALL, &error))?;
            entries.extend(page.rotations().iter().filter_map(rotation));
        }
        entries.sort_by_key(|rotation| rotation.at);
        let current_material = probe.material_id().cloned();
        Ok(Rotations {
            key_id: probe.key_id().clone(),
            current_material,
            entries,
        })
    }
}

impl Kms for AwsKms {
    fn generate<'a>(&'a self, binding: &'a Binding) -> KmsFuture<'a, DataKey> {
        Box::pin(self.generate_now(binding))
    }

    /// Tries the other [`ContextStyle`] when KMS does not accept the configured one, so that the
    /// setting may change while versions wrapped before it live on. The price: with hashed names, a
    /// damaged version's name appears in CloudTrail once for each try to read it.
    fn unwrap<'a>(
        &'a self,
        wrapped: &'a WrappedDek,
        key_id: &'a KmsKeyId,
        binding: &'a Binding,
    ) -> KmsFuture<'a, Dek> {
        Box::pin(async move {
            match self.decrypt(wrapped, key_id, binding, self.style).await {
                Err(KmsError::Malformed(why)) => self
                    .decrypt(wrapped, key_id, binding, self.style.other())
                    .await
                    .map_err(|second| first_unless_transient(why, second)),
                result => result,
            }
        })
    }

    /// As [`Kms::unwrap`] does, accepts either style; the result has the configured one.
    fn rewrap<'a>(
        &'a self,
        wrapped: &'a WrappedDek,
        key_id: &'a KmsKeyId,
        binding: &'a Binding,
    ) -> KmsFuture<'a, Rewrapped> {
        Box::pin(async move {
            match self.re_encrypt(wrapped, key_id, binding, self.style).await {
                Err(KmsError::Malformed(why)) => self
                    .re_encrypt(wrapped, key_id, binding, self.style.other())
                    .await
                    .map_err(|second| first_unless_transient(why, second)),
                result => result,
            }
        })
    }

    fn rotations(&self) -> KmsFuture<'_, Rotations> {
        Box::pin(self.rotations_now())
    }

    fn describe(&self) -> KmsDescription {
        KmsDescription {
            mode: KmsMode::Aws,
            key: self.key_id.clone(),
            region: Some(self.region.clone()),
        }
    }
}

/// What to report when both styles failed: that the wrapped key is bad, unless the second call
/// failed for a reason that passes.
fn first_unless_transient(first: Detail, second: KmsError) -> KmsError {
    if second.is_retryable() {
        second
    } else {
        KmsError::Malformed(first)
    }
}

/// Takes the data key out of the SDK's buffer and zeroizes that buffer.
fn take_dek(call: &str, plaintext: Option<Blob>) -> Result<Dek, KmsError> {
    let bytes = Zeroizing::new(plaintext.ok_or_else(|| incomplete(call))?.into_inner());
    Dek::copy_from(&bytes).map_err(|error| KmsError::Malformed(Detail::new(&error.to_string())))
}

fn wrapped_dek(blob: Blob) -> WrappedDek {
    WrappedDek(blob.into_inner().into())
}

fn rotation(entry: &RotationsListEntry) -> Option<Rotation> {
    let at = entry.rotation_date()?.to_millis().ok()?;
    let kind = match entry.rotation_type() {
        Some(RotationType::Automatic) => RotationKind::Automatic,
        Some(RotationType::OnDemand) => RotationKind::OnDemand,
        _ => RotationKind::Other,
    };
    let material_id = entry.key_material_id().map(SharedText::from);
    Some(Rotation {
        at: LogTime(u64::try_from(at).ok()?),
        kind,
        material_id,
    })
}
