//! The AWS adapter through the AWS SDK, against moto. Faults are in `kms_faults.rs`.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::print_stdout
)]

use std::{sync::Arc, time::Duration};

use serde_json::json;
use strongroom_core::{KmsKeyId, SealedVersion, SecretName, WrappedDek};
use strongroom_seal::{
    Binding, ContextStyle, Keyring, KeyringConfig, Kms, KmsError, KmsMode, Operation, Outcome,
    Plaintext, RotationKind, open, probe, seal,
};
use strongroom_server::kms::aws::{AwsKms, AwsSettings};
use strongroom_tests::moto::{
    Api, Moto, REGION,
    child::{KEY, environment, is_child, run, run_child, told, with_moto},
};

fn moto_api() -> Api {
    Api::at(&told("AWS_ENDPOINT_URL_KMS"))
}

fn settings(key_id: &str, max_retries: u32) -> AwsSettings {
    AwsSettings {
        key_id: key_id.to_owned(),
        max_retries,
        context_style: ContextStyle::Name,
    }
}

async fn adapter(max_retries: u32) -> AwsKms {
    AwsKms::connect(settings(&told(KEY), max_retries))
        .await
        .unwrap()
}

fn binding(name: &str, version: u64) -> Binding {
    Binding::new(&SecretName::parse(name).unwrap(), version)
}

#[test]
fn wraps_unwraps_and_refuses_another_context() {
    if !is_child() {
        return with_moto("wraps_unwraps_and_refuses_another_context");
    }
    run(async {
        let kms = adapter(5).await;
        let description = kms.describe();
        assert_eq!(
            (description.mode, description.region),
            (KmsMode::Aws, Some(REGION.to_owned()))
        );
        assert_eq!(kms.credentials(), "access key …TEST");
        probe(&kms).await.unwrap();

        let right = binding("secret/db/password", 3);
        let key = kms.generate(&right).await.unwrap();
        assert_eq!(key.key_id().0, told(KEY).into(), "the key's ARN");
        let (wrapped, key_id) = (key.wrapped().clone(), key.key_id().clone());
        let payload = Plaintext::copy_from(br#"{"value":"x"}"#);
        let sealed = seal(key, &right, &payload).unwrap();
        let dek = kms.unwrap(&wrapped, &key_id, &right).await.unwrap();
        assert!(open(&dek, &right, &sealed).unwrap().ct_eq(&payload));

        for wrong in [
            binding("secret/db/password", 4),
            binding("secret/db/passwore", 3),
        ] {
            let error = kms.unwrap(&wrapped, &key_id, &wrong).await.err().unwrap();
            assert!(matches!(error, KmsError::Malformed(_)), "{error}");
            let error = kms.rewrap(&wrapped, &key_id, &wrong).await.err().unwrap();
            assert!(matches!(error, KmsError::Malformed(_)), "{error}");
        }
        let mut damaged = wrapped.0.to_vec();
        *damaged.last_mut().unwrap() ^= 1;
        let error = kms
            .unwrap(&WrappedDek(damaged.into()), &key_id, &right)
            .await
            .err()
            .unwrap();
        assert!(matches!(error, KmsError::Malformed(_)), "{error}");

        // The key that the version names is pinned. (moto denies; AWS says IncorrectKey.)
        let other = KmsKeyId(moto_api().create_key().into());
        let error = kms.unwrap(&wrapped, &other, &right).await.err().unwrap();
        assert!(
            matches!(error, KmsError::Denied(_) | KmsError::Malformed(_)),
            "{error}"
        );
        // A key that does not exist.
        let gone = AwsKms::connect(settings("alias/nothing", 5)).await.unwrap();
        let error = gone.generate(&right).await.err().unwrap();
        assert!(matches!(&error, KmsError::Denied(_)), "{error}");
    });
}

#[test]
fn the_style_of_names_may_change() {
    if !is_child() {
        return with_moto("the_style_of_names_may_change");
    }
    run(async {
        let key = told(KEY);
        let connect = |context_style| {
            AwsKms::connect(AwsSettings {
                context_style,
                ..settings(&key, 0)
            })
        };
        let plain = connect(ContextStyle::Name).await.unwrap();
        let hashed = connect(ContextStyle::HashedName).await.unwrap();
        let name = binding("secret/a", 1);
        let before = plain.generate(&name).await.unwrap();
        hashed
            .unwrap(before.wrapped(), before.key_id(), &name)
            .await
            .unwrap();
        let moved = hashed
            .rewrap(before.wrapped(), before.key_id(), &name)
            .await
            .unwrap();
        hashed
            .unwrap(&moved.wrapped, &moved.key_id, &name)
            .await
            .unwrap();
        plain
            .unwrap(&moved.wrapped, &moved.key_id, &name)
            .await
            .unwrap();
        let other = binding("secret/b", 1);
        let error = plain
            .unwrap(&moved.wrapped, &moved.key_id, &other)
            .await
            .err()
            .unwrap();
        assert!(matches!(error, KmsError::Malformed(_)), "{error}");
    });
}

#[test]
fn rewraps_onto_another_key() {
    if !is_child() {
        return with_moto("rewraps_onto_another_key");
    }
    run(async {
        let old = adapter(5).await;
        let target = moto_api().create_key();
        let new = AwsKms::connect(settings(&target, 5)).await.unwrap();
        let name = binding("secret/db/password", 3);
        let key = old.generate(&name).await.unwrap();
        let (wrapped, key_id) = (key.wrapped().clone(), key.key_id().clone());
        let sealed = seal(key, &name, &Plaintext::copy_from(b"{}")).unwrap();

        let moved = new.rewrap(&wrapped, &key_id, &name).await.unwrap();
        assert_eq!(*moved.key_id.0, *target);
        assert_ne!(moved.wrapped, wrapped);
        let dek = new
            .unwrap(&moved.wrapped, &moved.key_id, &name)
            .await
            .unwrap();
        assert_eq!(
            open(&dek, &name, &sealed).unwrap().expose(),
            b"{}",
            "the same data key"
        );
    });
}

#[test]
fn lists_rotations_of_a_key_or_alias() {
    if !is_child() {
        return with_moto("lists_rotations_of_a_key_or_alias");
    }
    run(async {
        let kms = adapter(5).await;
        let arn = told(KEY);
        let rotations = kms.rotations().await.unwrap();
        assert_eq!(
            (&*rotations.key_id.0, rotations.latest()),
            (arn.as_str(), None)
        );

        let alias = json!({ "AliasName": "alias/strongroom", "TargetKeyId": arn });
        moto_api().kms("CreateAlias", &alias);
        for _ in 0..3 {
            moto_api().kms("RotateKeyOnDemand", &json!({ "KeyId": arn }));
        }
        let by_alias = AwsKms::connect(settings("alias/strongroom", 5))
            .await
            .unwrap();
        for kms in [kms, by_alias] {
            let rotations = kms.rotations().await.unwrap();
            assert_eq!(
                (&*rotations.key_id.0, rotations.entries.len()),
                (arn.as_str(), 3)
            );
            let latest = rotations.latest().unwrap();
            assert_eq!(latest.kind, RotationKind::OnDemand);
            assert!(
                latest.at.0 > 1_700_000_000_000,
                "milliseconds: {:?}",
                latest.at
            );
        }
    });
}

#[test]
fn a_keyring_seals_and_reads_through_aws() {
    if !is_child() {
        return with_moto("a_keyring_seals_and_reads_through_aws");
    }
    run(async {
        let kms = Arc::new(adapter(5).await);
        let keyring = Keyring::new(kms, KeyringConfig::default());
        keyring.probe(Duration::from_secs(3)).await.unwrap();
        let name = binding("secret/a", 1);
        let fresh = keyring.data_key(&name).await.unwrap();
        let sealed: SealedVersion = seal(fresh, &name, &Plaintext::copy_from(b"{}")).unwrap();
        for _ in 0..3 {
            let within = Duration::from_secs(10);
            let dek = keyring.dek(&name, &sealed, within).await.unwrap().dek;
            assert_eq!(open(&dek, &name, &sealed).unwrap().expose(), b"{}");
            keyring.clear();
        }
        let stats = keyring.stats();
        assert_eq!((stats.hits, stats.misses), (1, 2));
        assert_eq!(
            stats.count(Operation::Unwrap, Outcome::Ok),
            3,
            "with the probe"
        );
    });
}

/// moto checks IAM here: the same user may generate and may not decrypt.
#[test]
fn a_user_without_permission_is_denied() {
    if !is_child() {
        let moto = Moto::start();
        let key = moto.api().create_key();
        let (access, secret) = moto.api().user_who_may("kms:GenerateDataKey");
        let endpoint = moto.api().endpoint();
        let mut all = environment(&endpoint, &key);
        all.extend([
            ("AWS_ACCESS_KEY_ID", &*access),
            ("AWS_SECRET_ACCESS_KEY", &*secret),
        ]);
        return run_child("a_user_without_permission_is_denied", &all);
    }
    run(async {
        let (kms, name) = (adapter(5).await, binding("secret/a", 1));
        let key = kms.generate(&name).await.unwrap();
        let error = kms
            .unwrap(key.wrapped(), key.key_id(), &name)
            .await
            .err()
            .unwrap();
        assert!(matches!(error, KmsError::Denied(_)), "{error}");
        let error = kms
            .rewrap(key.wrapped(), key.key_id(), &name)
            .await
            .err()
            .unwrap();
        assert!(matches!(error, KmsError::Denied(_)), "{error}");
        let error = kms.rotations().await.err().unwrap();
        assert!(matches!(error, KmsError::Denied(_)), "{error}");
    });
}
