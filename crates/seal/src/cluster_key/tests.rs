use std::{sync::Arc, time::Duration};

use super::*;
use crate::{
    Binding, BreakerConfig, Keyring, KeyringConfig, Kms, KmsError, LocalKms, test_util::unhex,
};

/// Printed by the first version that had cluster keys, under a master key of 32 zero bytes.
const GOLDEN: &str = include_str!("golden-v1.txt");
const ZEROS: &str = "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=";
const ONES: &str = "AQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQE=";
const WITHIN: Duration = Duration::from_secs(60);

fn keyring(keys: &str) -> Keyring {
    let config = KeyringConfig {
        ttl: WITHIN,
        stale: Duration::ZERO,
        max_entries: 10,
        deadline: WITHIN,
        breaker: BreakerConfig::default(),
    };
    Keyring::new(Arc::new(LocalKms::parse(keys).unwrap()), config)
}

async fn seed(keyring: &Keyring, wrapped: &WrappedClusterKey) -> Result<AuthoritySeed, KmsError> {
    let key = keyring.cluster_key(wrapped, WITHIN).await?;
    Ok(key.authority_seed().unwrap())
}

#[test]
fn the_seed_is_hkdf_of_the_key() {
    let bytes: Vec<u8> = (0..32).collect();
    let key = ClusterKey::new(Dek::copy_from(&bytes).unwrap());
    // Python: hmac(hmac(32 zero bytes, key), label + 0x01), both with SHA-256
    let expected = unhex("57f363205520ab286a69f47443e001852a299ba5519b918e67416b5104316674");
    assert_eq!(key.authority_seed().unwrap().expose()[..], expected[..]);
}

#[tokio::test]
async fn what_was_printed_once_is_read_for_ever() {
    let wrapped = WrappedClusterKey::parse(GOLDEN.trim_end()).unwrap();
    assert_eq!(wrapped.to_string(), GOLDEN.trim_end());
    assert_eq!(&*wrapped.key_id().0, "local:36be0c7d3f132950");
    let seed = seed(&keyring(ZEROS), &wrapped).await.unwrap();
    let expected = unhex("9d0a1294d986b9418e4cca118460d4854ae94383f7f820bb50a449af38377f13");
    assert_eq!(seed.expose()[..], expected[..]);
}

#[tokio::test]
async fn a_key_survives_its_text_and_a_rewrap_and_no_other_key() {
    let zeros = keyring(ZEROS);
    let fresh = zeros.new_cluster_key().await.unwrap();
    let read = WrappedClusterKey::parse(&fresh.to_string()).unwrap();
    assert_eq!(read, fresh);
    let first = seed(&zeros, &read).await.unwrap();
    let both = keyring(&format!("{ONES},{ZEROS}"));
    let moved = both.rewrap_cluster_key(&read).await.unwrap();
    assert_ne!((&moved, moved.key_id()), (&read, read.key_id()));
    let ones = keyring(ONES);
    let second = seed(&ones, &moved).await.unwrap();
    assert_eq!(first.expose(), second.expose());
    assert!(matches!(
        seed(&ones, &read).await.err(),
        Some(KmsError::Denied(_))
    ));
    let another = zeros.new_cluster_key().await.unwrap();
    assert_ne!(
        seed(&zeros, &another).await.unwrap().expose(),
        first.expose()
    );
    assert_eq!(zeros.stats().entries, 0, "no cache keeps it");
}

/// KMS tells a cluster key from a secret's data key, whatever the secret is called.
#[tokio::test]
async fn a_data_key_is_no_cluster_key() {
    let kms = LocalKms::parse(ZEROS).unwrap();
    let name = strongroom_core::SecretName::parse("strongroom/cluster-key").unwrap();
    let secret = Binding::new(&name, 1);
    let data_key = kms.generate(&secret).await.unwrap();
    let (wrapped, key_id) = data_key.into_wrapped();
    let disguised = WrappedClusterKey::new(wrapped, key_id);
    let refused = seed(&keyring(ZEROS), &disguised).await.err();
    assert!(matches!(refused, Some(KmsError::Malformed(_))));
    let cluster = keyring(ZEROS).new_cluster_key().await.unwrap();
    let refused = kms
        .unwrap(cluster.wrapped(), cluster.key_id(), &secret)
        .await;
    assert!(matches!(refused.err(), Some(KmsError::Malformed(_))));
}

#[test]
fn every_cut_and_every_changed_character_is_noticed() {
    let text = GOLDEN.trim_end();
    for length in 0..text.len() {
        assert!(WrappedClusterKey::parse(&text[..length]).is_err());
    }
    for place in 0..text.len() {
        let mut bytes = text.as_bytes().to_vec();
        bytes[place] = if bytes[place] == b'A' { b'B' } else { b'A' };
        let changed = String::from_utf8(bytes).unwrap();
        assert!(WrappedClusterKey::parse(&changed).is_err(), "{place}");
    }
    for (form, why) in [
        (String::new(), ClusterKeyError::Form),
        (ZEROS.to_owned(), ClusterKeyError::Form),
        (text.replace("srck1_", "srck2_"), ClusterKeyError::Form),
        (text.repeat(200), ClusterKeyError::Form),
        (format!("{text}="), ClusterKeyError::Damaged),
        (format!("{text} "), ClusterKeyError::Damaged),
    ] {
        assert_eq!(WrappedClusterKey::parse(&form).err(), Some(why));
    }
    // A check that fits what does not make sense.
    for held in [
        &b""[..],
        b"\0",
        b"\0\0x",
        b"\0\x01x",
        b"\0\x01\xffx",
        b"\x01\0x",
    ] {
        let bytes = [held, &check(held)].concat();
        let text = format!("{PREFIX}{}", URL_SAFE_NO_PAD.encode(bytes));
        assert_eq!(
            WrappedClusterKey::parse(&text).err(),
            Some(ClusterKeyError::Damaged)
        );
    }
}
