use std::{
    fs,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
};

use rcgen::{CertificateParams, KeyPair};

use super::*;
use crate::settings::ClientAuth;

/// A certificate of its own key, good from and until so many days from now.
struct Pair {
    cert: String,
    key: String,
}

fn pair(from: i64, until: i64) -> Pair {
    let key = KeyPair::generate().unwrap();
    let mut params = CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
    let now = OffsetDateTime::now_utc();
    params.not_before = now + time::Duration::days(from);
    params.not_after = now + time::Duration::days(until);
    Pair {
        cert: params.self_signed(&key).unwrap().pem(),
        key: key.serialize_pem(),
    }
}

fn settings(dir: &Path) -> TlsSettings {
    TlsSettings {
        cert: dir.join("cert.pem"),
        key: dir.join("key.pem"),
        client_ca: None,
    }
}

fn write(path: &PathBuf, content: &str) {
    fs::write(path, content).unwrap();
    fs::set_permissions(path, fs::Permissions::from_mode(0o600)).unwrap();
}

fn write_pair(settings: &TlsSettings, pair: &Pair) {
    write(&settings.cert, &pair.cert);
    write(&settings.key, &pair.key);
}

fn checked(settings: &TlsSettings) -> Result<Ready, String> {
    let files = Files::read(settings).map_err(|unusable| unusable.to_string())?;
    let checked = files.check(settings, SystemTime::now());
    checked.map_err(|unusable| unusable.to_string())
}

#[test]
fn what_does_not_fit_is_told_by_setting_and_file() {
    let dir = tempfile::tempdir().unwrap();
    let settings = settings(dir.path());
    let (good, other) = (pair(-1, 30), pair(-1, 30));
    write_pair(&settings, &good);
    let ready = checked(&settings).unwrap();
    assert!(ready.complaint.is_none());
    let left = ready.not_after.duration_since(SystemTime::now()).unwrap();
    assert_eq!(left.as_secs().div_ceil(DAY), 30);
    let half = |text: &str| text[..text.len() / 2].to_owned();
    let (late, early) = (pair(-30, -1), pair(1, 30));
    let both_keys = format!("{}{}", good.key, other.key);
    for (cert, key, words) in [
        (&good.cert, &other.key, "the key does not fit"),
        (&late.cert, &late.key, "expired at 20"),
        (&early.cert, &early.key, "not valid before 20"),
        (&half(&good.cert), &good.key, "VAULT_TLS_CERT"),
        (&good.cert, &half(&good.key), "VAULT_TLS_KEY"),
        (&String::new(), &good.key, "VAULT_TLS_CERT"),
        (&good.cert, &String::new(), "VAULT_TLS_KEY"),
        (&good.key, &good.key, "nothing usable"),
        (&good.cert, &good.cert, "nothing usable"),
        (&good.cert, &both_keys, "more than one key"),
        (&good.cert, &"x".repeat(1 << 21), "larger"),
    ] {
        write_pair(
            &settings,
            &Pair {
                cert: cert.clone(),
                key: key.clone(),
            },
        );
        let why = checked(&settings).err().unwrap();
        assert!(why.contains(words), "{words}: {why}");
        let path = dir.path().display().to_string();
        assert!(why.contains(&path) && !why.contains('\n'), "{why}");
        // Nothing of a key is quoted.
        let quoted = key.lines().filter(|line| line.len() > 40);
        assert!(!quoted.into_iter().any(|line| why.contains(line)), "{why}");
    }
    fs::remove_file(&settings.cert).unwrap();
    assert!(checked(&settings).err().unwrap().contains("VAULT_TLS_CERT"));
    rustix::fs::mknodat(
        rustix::fs::CWD,
        &settings.cert,
        rustix::fs::FileType::Fifo,
        0o600.into(),
        0,
    )
    .unwrap();
    assert!(checked(&settings).err().unwrap().contains("no file"));
}

#[test]
fn a_key_that_everybody_may_read_is_complained_of() {
    let dir = tempfile::tempdir().unwrap();
    let settings = settings(dir.path());
    write_pair(&settings, &pair(-1, 30));
    for (mode, complains) in [(0o600, false), (0o640, false), (0o644, true), (0o604, true)] {
        fs::set_permissions(&settings.key, fs::Permissions::from_mode(mode)).unwrap();
        let complaint = checked(&settings).unwrap().complaint;
        assert_eq!(complaint.is_some(), complains, "{mode:o}");
    }
}

#[test]
fn the_authority_of_clients_is_part_of_it() {
    let dir = tempfile::tempdir().unwrap();
    let good = pair(-1, 30);
    for auth in [ClientAuth::Required, ClientAuth::Optional] {
        let mut settings = settings(dir.path());
        write_pair(&settings, &good);
        let before = Files::read(&settings).unwrap().digest();
        let path = dir.path().join("ca.pem");
        settings.client_ca = Some((path.clone(), auth));
        assert!(
            checked(&settings)
                .err()
                .unwrap()
                .contains("VAULT_TLS_CLIENT_CA")
        );
        for none in ["", "no certificate", &good.key, &good.cert[..90]] {
            write(&path, none);
            let why = checked(&settings).err().unwrap();
            assert!(why.contains("VAULT_TLS_CLIENT_CA"), "{why}");
        }
        write(&path, &good.cert);
        assert_ne!(checked(&settings).unwrap().digest, before);
        fs::remove_file(&path).unwrap();
    }
}

#[tokio::test]
async fn changed_files_go_into_use_when_they_stay_and_fit() {
    let dir = tempfile::tempdir().unwrap();
    let settings = settings(dir.path());
    write_pair(&settings, &pair(-1, 30));
    let stats = Arc::new(TlsStats::default());
    let tls = ApiTls::open(settings.clone(), Arc::clone(&stats)).unwrap();
    let mut seen = Seen {
        in_use: tls.first,
        changed: None,
        told: None,
        warned: None,
    };
    let first = tls.in_use.load_full();
    let is_first = || Arc::ptr_eq(&first, &tls.in_use.load_full());
    tls.look(&mut seen, false).await;
    let next = pair(-1, 60);
    write(&settings.cert, &next.cert);
    // Not the key yet. It is told once, however long it takes.
    for _ in 0..5 {
        tls.look(&mut seen, false).await;
    }
    assert!(is_first() && stats.refused() == 1);
    write(&settings.key, &next.key);
    tls.look(&mut seen, false).await;
    assert!(is_first() && stats.reloads() == 0);
    tls.look(&mut seen, false).await;
    assert!(!is_first() && stats.reloads() == 1);
    let left = stats.seconds_left(SystemTime::now()).unwrap();
    assert!(left > 45 * 86_400, "{left}");
    // Told to, it does not wait.
    write_pair(&settings, &pair(-1, 30));
    tls.look(&mut seen, true).await;
    assert_eq!((stats.reloads(), stats.refused()), (2, 1));
    // What is changed and changed back was never anything.
    let kept = fs::read_to_string(&settings.cert).unwrap();
    fs::remove_file(&settings.cert).unwrap();
    tls.look(&mut seen, false).await;
    write(&settings.cert, &kept);
    for _ in 0..3 {
        tls.look(&mut seen, false).await;
    }
    assert_eq!((stats.reloads(), stats.refused()), (2, 1));
}

#[test]
fn an_end_that_is_near_is_warned_of_once_a_day() {
    let dir = tempfile::tempdir().unwrap();
    let settings = settings(dir.path());
    for (days, warns) in [(13, true), (15, false)] {
        write_pair(&settings, &pair(-1, days));
        let tls = ApiTls::open(settings.clone(), Arc::default()).unwrap();
        let mut warned = None;
        tls.warn_of_the_end(&mut warned);
        assert_eq!(warned.is_some(), warns, "{days}");
        let before = warned;
        tls.warn_of_the_end(&mut warned);
        assert_eq!(warned, before);
        if let Some(a_day_ago) = Instant::now().checked_sub(WARNED_EVERY) {
            warned = Some(a_day_ago);
            tls.warn_of_the_end(&mut warned);
            assert_eq!(warned != Some(a_day_ago), warns, "{days}");
        }
    }
}
