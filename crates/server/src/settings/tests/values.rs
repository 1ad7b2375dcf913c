//! Each setting by itself: what it takes, and that anything else is a problem that names it.

use std::{net::SocketAddr, time::Duration};

use strongroom_core::ReadGate;
use strongroom_service::audit::SyncPolicy;

use super::{
    super::{table::TABLE, *},
    fine, problems,
};

/// One byte longer than the path of a socket may be.
const LONG: &str = "/123456789012345678901234567890123456789012345678901234567890123456789012345678901234567890123456789012345/x";

/// For every key, values it must refuse.
const WRONG: &[(&str, &[&str])] = &[
    ("NODE_ID", &["a b", "a/b", "..", "a=b", "a,b", "ä"]),
    (
        "VAULT_PEERS",
        &[
            "a",
            "a=",
            "=h:1",
            "a=h",
            "a=h:0",
            "a=h:70000",
            "a=h:+1",
            "a=:1",
            "a=::1:80",
            "a=[::1]",
            "a=[x]:1",
            "a=h:1,",
            "a=h:1,a=i:1",
            "a=h:1,b=h:1",
            "a=0.0.0.0:1",
            "a=[::]:1",
            "a=10.0.0.256:1",
            "a=-x:1",
            "a=h_/:1",
            "1=h:1,2=h:2,3=h:3,4=h:4,5=h:5,6=h:6,7=h:7,8=h:8,9=h:9,10=h:10,11=h:11,12=h:12,13=h:13,14=h:14,15=h:15,16=h:16",
        ],
    ),
    (
        "VAULT_API_ADDR",
        &[
            "8200",
            "localhost:8200",
            "1.2.3.4",
            "::1:80",
            "1.2.3.4:99999",
            "none",
            "None",
        ],
    ),
    (
        "VAULT_API_SOCKET",
        &[
            "api.sock",
            "./api.sock",
            "/run/../api.sock",
            "/run/",
            "/a\0b",
            LONG,
        ],
    ),
    ("VAULT_TLS_CERT", &["a\0b"]),
    ("VAULT_TLS_KEY", &["a\0b"]),
    ("VAULT_TLS_CLIENT_CA", &["a\0b"]),
    (
        "VAULT_TLS_CLIENT_AUTH",
        &["none", "Required", "true", "optional"],
    ),
    (
        "VAULT_API_PORT",
        &["0", "65536", "x", "-1", "tcp://10.0.0.1:8200"],
    ),
    ("VAULT_RAFT_ADDR", &["8300", "h", "h:0", "h:x"]),
    (
        "VAULT_CLUSTER_KEY",
        &[
            "srck1_",
            "srck1_AAAA",
            "srck2_AAAA",
            "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=",
        ],
    ),
    ("VAULT_RAFT_PLAINTEXT", &["true", "WireGuard", "yes"]),
    ("VAULT_DATA_DIR", &["a\0b"]),
    (
        "VAULT_BOOTSTRAP_TOKEN",
        &[
            "short",
            "nineteen-characters",
            "has a space in the middle of it",
            "sha256:",
            "sha256:zz",
            "ümlaut-in-a-long-enough-token",
        ],
    ),
    (
        "VAULT_ALLOWED_IPS",
        &[
            "10.0.0.0/33",
            "10.0.0.0/8,,",
            "10.0.0",
            "localhost",
            "::/129",
            ",",
        ],
    ),
    ("VAULT_TRUST_PROXY", &["yes", "TRUE", "2", " true"]),
    ("VAULT_PROXY_PROTOCOL", &["v2", "2", "TRUE"]),
    ("VAULT_TRUSTED_PROXIES", &["10.0.0.0/33", "x"]),
    ("VAULT_ALLOWED_HOSTS", &["a b", "a,,b", "http://a", "a:80"]),
    ("VAULT_READ_CONSISTENCY", &["strong", "Local"]),
    ("VAULT_REQUEST_TIMEOUT_SECS", &["0", "301", "1.5"]),
    ("VAULT_KMS_MODE", &["gcp", "AWS"]),
    ("VAULT_KMS_KEY_ID", &["alias/a b", "ä"]),
    ("VAULT_KMS_HASH_NAMES", &["on"]),
    (
        "VAULT_LOCAL_MASTER_KEY",
        &[
            "not base64!",
            "c2hvcnQ=",
            ",",
            "MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWYwMTIzNDU2Nzg5YWJjZGVm",
        ],
    ),
    ("VAULT_DRAIN_SECS", &["-1", "301", "1s"]),
    ("VAULT_DEAD_NODE_SECS", &["-1", "31622401", "1d"]),
    ("VAULT_KMS_MAX_RETRIES", &["-1", "21", "+1"]),
    ("VAULT_DEK_CACHE_TTL_SECS", &["86401", "5m"]),
    ("VAULT_DEK_CACHE_ENTRIES", &["x", "99999999999999999999"]),
    ("VAULT_DEK_CACHE_STALE_SECS", &["604801", "1h"]),
    ("VAULT_DEK_CACHE_PREWARM", &["yes"]),
    ("VAULT_DEK_CACHE_PREWARM_PER_SEC", &["0", "10001"]),
    ("VAULT_ROTATION_POLL_SECS", &["0", "x"]),
    (
        "VAULT_BACKUP_URL",
        &[
            "backups",
            "./backups",
            "/var/../etc",
            "file:///var/backups",
            "https://bucket.s3.amazonaws.com",
            "s3:///prefix",
            "s3://ab",
            "s3://Backups",
            "s3://key:secret@backups",
            "s3://-backups",
            "s3://backups//a",
            "s3://backups/../a",
            "s3://backups/a b",
            "s3://backups?region=x",
        ],
    ),
    ("VAULT_BACKUP_INTERVAL_SECS", &["0", "31622401", "1d"]),
    ("VAULT_BACKUP_KEEP", &["0", "100001", "-1"]),
    (
        "VAULT_TARGETS",
        &[
            "orders",
            "o=mysql://h",
            "o=postgresql://u@h",
            "o=postgresql://h?x",
        ],
    ),
    ("VAULT_KMS_REWRAP_ENABLED", &["maybe"]),
    ("VAULT_KMS_REWRAP_POLL_SECS", &["0", "x"]),
    ("VAULT_KMS_REWRAP_MAX_PER_SEC", &["-1", "x"]),
    ("VAULT_AUTH_MAX_FAILURES", &["-1", "x"]),
    ("VAULT_AUTH_WINDOW_SECS", &["0", "x"]),
    ("VAULT_AUTH_LOCKOUT_SECS", &["0", "18446744073709551616"]),
    ("VAULT_AUDIT_DIR", &["a\0b"]),
    (
        "VAULT_AUDIT_SYNC",
        &["100", "0ms", "0s", "61s", "1m", "never", "-1s", "1.5s"],
    ),
    (
        "VAULT_AUDIT_FILE_BYTES",
        &["1", "0KiB", "64MB", "18446744073709551615GiB", "MiB"],
    ),
    ("VAULT_SNAPSHOT_LOG_BYTES", &["1", "x"]),
    ("VAULT_SNAPSHOT_LOG_ENTRIES", &["0", "x"]),
    ("VAULT_LOG", &["info,=,", "strongroom=loudest"]),
    ("VAULT_LOG_FORMAT", &["xml", "JSON"]),
    (
        "VAULT_OTLP_ENDPOINT",
        &[
            "collector:4318",
            "grpc://collector:4317",
            "http://",
            "http://user:secret@collector:4318",
            "http://collector:4318/v1/traces",
            "http://collector:4318/?token=x",
            "http://collector:4318/#x",
        ],
    ),
];

#[test]
fn every_key_refuses_wrong_values_by_name() {
    for row in TABLE {
        let (_, wrong) = WRONG
            .iter()
            .find(|(key, _)| *key == row.key)
            .unwrap_or_else(|| panic!("{} has no test", row.key));
        for value in *wrong {
            // Together with peers, so that a bad address is seen whatever else holds.
            let found = problems(&[(row.key, value)]);
            assert!(
                found.iter().any(|p| p.key == row.key),
                "{}={value:?}: {found:?}",
                row.key
            );
            assert!(
                found.iter().all(|p| p.key == row.key),
                "{}={value:?}: {found:?}",
                row.key
            );
        }
    }
    assert_eq!(WRONG.len(), TABLE.len());
}

#[test]
fn an_empty_value_is_none() {
    let all: Vec<_> = TABLE.iter().map(|row| (row.key, "")).collect();
    let kept: Vec<_> = all
        .into_iter()
        .filter(|(key, _)| *key != "VAULT_KMS_MODE")
        .collect();
    assert_eq!(
        fine(&kept).settings.effective(),
        fine(&[]).settings.effective()
    );
}

#[test]
fn everything_wrong_is_reported_at_once() {
    let all: Vec<_> = WRONG.iter().map(|(key, wrong)| (*key, wrong[0])).collect();
    let found = problems(&all);
    for (key, _) in WRONG {
        assert!(
            found.iter().any(|problem| problem.key == *key),
            "{key} is not in {found:?}"
        );
    }
}

#[test]
fn the_defaults_are_those_of_the_contract() {
    let settings = fine(&[]).settings;
    assert_eq!(settings.node_id.as_str(), "1");
    assert!(settings.peers.is_empty() && settings.raft.is_none());
    let api = ApiSettings {
        addr: Some(SocketAddr::from(([0, 0, 0, 0], 8200))),
        socket: None,
        tls: None,
        proxies: None,
    };
    assert_eq!(settings.api, api);
    assert_eq!(settings.data_dir.to_str(), Some("./data"));
    assert_eq!(settings.audit.dir.to_str(), Some("./data/audit"));
    assert_eq!(
        settings.audit.sync,
        SyncPolicy::Within(Duration::from_millis(100))
    );
    assert_eq!(settings.audit.file_bytes, 64 << 20);
    assert!(settings.bootstrap_token.is_none() && settings.trusted_proxies.is_none());
    assert!(settings.allowed_ips.is_empty());
    assert_eq!(settings.read_consistency, ReadGate::Local);
    assert_eq!(settings.request_timeout, Duration::from_secs(15));
    assert_eq!(
        (settings.kms.max_retries, settings.kms.hash_names),
        (5, false)
    );
    assert_eq!(settings.kms.dek_cache_ttl, Duration::from_secs(300));
    assert_eq!(settings.kms.dek_cache_stale, Duration::ZERO);
    assert_eq!(settings.kms.dek_cache_entries, 100_000);
    assert_eq!(settings.kms.prewarm, None);
    assert_eq!(settings.rotation_poll, Duration::from_secs(15));
    let rewrap = RewrapSettings {
        enabled: false,
        poll: Duration::from_secs(86_400),
        max_per_sec: 10,
    };
    assert_eq!(settings.rewrap, rewrap);
    let (window, lockout) = (Duration::from_secs(300), Duration::from_secs(900));
    assert_eq!(
        settings.lockout,
        LockoutSettings {
            max_failures: 5,
            window,
            lockout
        }
    );
    assert_eq!(
        settings.snapshot,
        SnapshotSettings {
            log_bytes: 12 << 20,
            log_entries: 20_000
        }
    );
    assert_eq!(
        (settings.log.as_str(), settings.log_format),
        ("info", LogFormat::Text)
    );
}

#[test]
fn values_arrive_as_written() {
    let loaded = fine(&[
        ("VAULT_AUDIT_SYNC", "always"),
        ("VAULT_AUDIT_FILE_BYTES", "128KiB"),
        ("VAULT_SNAPSHOT_LOG_BYTES", "65536"),
        ("VAULT_TRUST_PROXY", "1"),
        ("VAULT_TRUSTED_PROXIES", "10.0.0.1, fd00::/8"),
        ("VAULT_ALLOWED_IPS", "10.0.0.0/8,::1"),
        ("VAULT_READ_CONSISTENCY", "linearizable"),
        ("VAULT_LOG", "warn,strongroom_raft=debug"),
        ("VAULT_LOG_FORMAT", "json"),
        ("VAULT_OTLP_ENDPOINT", "https://collector.example/otlp"),
    ]);
    let settings = loaded.settings;
    assert_eq!(settings.audit.sync, SyncPolicy::Always);
    assert_eq!(settings.audit.file_bytes, 128 << 10);
    assert_eq!(settings.snapshot.log_bytes, 65_536);
    assert!(
        settings
            .trusted_proxies
            .unwrap()
            .contains("fd00::7".parse().unwrap())
    );
    assert!(settings.allowed_ips.contains("10.1.2.3".parse().unwrap()));
    assert!(!settings.allowed_ips.contains("11.1.2.3".parse().unwrap()));
    assert_eq!(settings.read_consistency, ReadGate::Linearizable);
    assert_eq!(settings.log_format, LogFormat::Json);
    let collector = settings.otlp.as_deref();
    assert_eq!(collector, Some("https://collector.example/otlp"));
    let two = fine(&[("VAULT_AUDIT_SYNC", "2s")]).settings.audit.sync;
    assert_eq!(two, SyncPolicy::Within(Duration::from_secs(2)));
}

#[test]
fn hosts_are_names_or_addresses() {
    for (text, ip) in [
        ("node-1.internal:8300", None),
        ("10.0.0.1:8300", Some("10.0.0.1")),
        ("[fd00::1]:8300", Some("fd00::1")),
    ] {
        let parsed = HostPort::parse(text).unwrap();
        assert_eq!(parsed.to_string(), text);
        assert_eq!(parsed.ip(), ip.map(|ip| ip.parse().unwrap()));
        assert_eq!(parsed.port(), 8300);
    }
}
