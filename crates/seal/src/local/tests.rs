use base64::{Engine, engine::general_purpose::STANDARD};
use strongroom_core::SecretName;

use super::*;
use crate::{probe, test_util::unhex};

fn encoded(fill: u8) -> String {
    STANDARD.encode([fill; 32])
}

fn kms(fills: &[u8]) -> LocalKms {
    let keys: Vec<String> = fills.iter().copied().map(encoded).collect();
    LocalKms::parse(&keys.join(",")).unwrap()
}

fn binding(name: &str, version: u64) -> Binding {
    Binding::new(&SecretName::parse(name).unwrap(), version)
}

#[tokio::test]
async fn probes_and_round_trips() {
    for kms in [LocalKms::random().unwrap(), kms(&[1]), kms(&[1, 2])] {
        probe(&kms).await.unwrap();
    }
    let (kms, binding) = (kms(&[1]), binding("secret/a", 1));
    let key = kms.generate(&binding).await.unwrap();
    assert_eq!(key.wrapped().0.len(), WRAPPED_BYTES);
    assert_eq!(*key.key_id().0, *kms.describe().key);
    let dek = kms
        .unwrap(key.wrapped(), key.key_id(), &binding)
        .await
        .unwrap();
    assert!(dek.ct_eq(key.dek()));
}

#[tokio::test]
async fn another_binding_or_key_id_is_malformed() {
    let kms = kms(&[1, 2]);
    let key = kms.generate(&binding("secret/a", 1)).await.unwrap();
    for other in [
        binding("secret/a", 2),
        binding("secret/b", 1),
        binding("secret/a:1", 1),
    ] {
        let error = kms
            .unwrap(key.wrapped(), key.key_id(), &other)
            .await
            .err()
            .unwrap();
        assert!(matches!(error, KmsError::Malformed(_)), "{error}");
    }
    let second = KmsKeyId(kms.others[0].id.text().into());
    let error = kms
        .unwrap(key.wrapped(), &second, &binding("secret/a", 1))
        .await
        .err()
        .unwrap();
    assert!(matches!(error, KmsError::Malformed(_)), "{error}");
}

#[tokio::test]
async fn every_flipped_byte_and_every_length_is_refused() {
    let (kms, binding) = (kms(&[1]), binding("secret/a", 1));
    let key = kms.generate(&binding).await.unwrap();
    let good = key.wrapped().0.to_vec();
    for at in 0..good.len() {
        for bit in 0..8 {
            let mut bad = good.clone();
            bad[at] ^= 1 << bit;
            let wrapped = WrappedDek(bad.into());
            assert!(
                kms.unwrap(&wrapped, key.key_id(), &binding).await.is_err(),
                "{at}.{bit}"
            );
        }
        let cut = WrappedDek(good[..at].to_vec().into());
        assert!(
            kms.unwrap(&cut, key.key_id(), &binding).await.is_err(),
            "cut to {at}"
        );
    }
}

#[tokio::test]
async fn a_new_first_key_wraps_and_the_old_one_unwraps() {
    let binding = binding("secret/a", 1);
    let old = kms(&[1]);
    let key = old.generate(&binding).await.unwrap();

    let both = kms(&[2, 1]);
    let rotations = both.rotations().await.unwrap();
    assert_ne!(
        rotations.current_material,
        old.rotations().await.unwrap().current_material
    );
    let moved = both
        .rewrap(key.wrapped(), key.key_id(), &binding)
        .await
        .unwrap();
    assert_eq!(moved.key_id, rotations.key_id);
    assert_eq!(moved.material_id, rotations.current_material);

    let new = kms(&[2]);
    let dek = new
        .unwrap(&moved.wrapped, &moved.key_id, &binding)
        .await
        .unwrap();
    assert!(dek.ct_eq(key.dek()), "the data key is the same");
    let error = new
        .unwrap(key.wrapped(), key.key_id(), &binding)
        .await
        .err()
        .unwrap();
    assert!(matches!(&error, KmsError::Denied(_)), "{error}");
    assert!(
        error.detail().contains(&*key.key_id().0),
        "it names the missing key: {error}"
    );
}

/// Bytes of the first release; they must unwrap for ever, and wrapping must still produce them.
#[tokio::test]
async fn golden_wrapped_key() {
    let golden = WrappedDek(unhex(include_str!("../../golden/local_wrapped_v1.hex")).into());
    let (kms, binding) = (kms(&[0x11]), binding("secret/db/password", 3));
    let dek = Dek::copy_from(&[0x77; 32]).unwrap();
    let wrapped = wrap_with_nonce(&kms.first, &dek, &binding, [0x42; NONCE_BYTES]).unwrap();
    assert_eq!(hex(&wrapped.0), hex(&golden.0));
    let key_id = KmsKeyId(kms.describe().key.into());
    assert!(
        kms.unwrap(&golden, &key_id, &binding)
            .await
            .unwrap()
            .ct_eq(&dek)
    );
}

#[test]
fn unusable_settings_say_which_key_and_never_what_it_is() {
    let good = encoded(1);
    let parse = |text: &str| LocalKms::parse(text).err();
    assert_eq!(parse(""), Some(LocalKeyError::Empty { position: 1 }));
    assert_eq!(
        parse(&format!("{good},")),
        Some(LocalKeyError::Empty { position: 2 })
    );
    assert_eq!(parse("!"), Some(LocalKeyError::Base64 { position: 1 }));
    assert_eq!(
        parse(&format!("{good},a b")),
        Some(LocalKeyError::Base64 { position: 2 })
    );
    for actual in [1, 16, 31, 33, 64] {
        let text = format!("{good}, {}", STANDARD.encode(vec![9; actual]));
        let error = parse(&text).unwrap();
        assert_eq!(
            error,
            LocalKeyError::Length {
                position: 2,
                actual
            }
        );
        assert_eq!(
            error.to_string(),
            format!("master key 2 has {actual} bytes instead of 32"),
        );
    }
    let repeated = format!("{good},{},{good}", encoded(2));
    assert_eq!(
        parse(&repeated),
        Some(LocalKeyError::Repeated {
            position: 3,
            first: 1
        })
    );
}

#[test]
fn padding_and_spaces_are_optional() {
    let unpadded = encoded(1).trim_end_matches('=').to_owned();
    let kms = LocalKms::parse(&format!(" {unpadded} , {} ", encoded(2))).unwrap();
    assert_eq!(kms.key_count(), 2);
    assert_eq!(kms.describe().key, self::kms(&[1]).describe().key);
}
