//! The one table of settings. It makes the parser, the output of `--check-config`, and
//! `docs/CONFIG.md`; a setting that is not here does not exist.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::SocketAddr,
    path::PathBuf,
    time::Duration,
};

use strongroom_core::{Allowlist, NodeName, ReadGate, TargetName};
use strongroom_seal::WrappedClusterKey;
use strongroom_service::audit::SyncPolicy;
use zeroize::Zeroizing;

use super::{
    KmsMode, LogFormat,
    backup::{BackupPlace, BackupUrl},
    edge::{CLIENT_AUTH, ClientAuth, Listen, SocketPath},
    net::{HostPort, Peer, Peers, RaftListen, RaftPlaintext},
    otlp::OtlpUrl,
    secrets::{Bootstrap, BootstrapToken, ClusterKey, MasterKeys},
    shapes::{
        Addresses, AuditSync, CONSISTENCY, Choice, Count, Flag, Folder, HostNames, KmsKey,
        LogFilter, NodeId, Seconds, Shape, Size,
    },
    source::Source,
    targets::{PostgresTarget, Targets},
};

/// What holds when a setting is not given.
pub(super) enum Fallback {
    /// A value, parsed like a given one; empty: nothing.
    Value(&'static str),
    /// Something made from other settings, in words.
    Derived(&'static str),
}

/// A setting as the reference page needs it.
pub(super) struct Row {
    /// The environment variable.
    pub(super) key: &'static str,
    /// What holds without it.
    pub(super) fallback: Fallback,
    /// Whether the value must never be shown, and may come from a file.
    pub(super) sensitive: bool,
    /// What is accepted.
    pub(super) accepts: fn() -> String,
    /// What it means.
    pub(super) doc: &'static str,
}

impl Row {
    /// The variable that names a file holding the value.
    pub(super) fn file_key(&self) -> String {
        format!("{}_FILE", self.key)
    }
}

/// Whether a row may be shown.
const PUBLIC: bool = false;
/// Whether a row must not be shown.
const SENSITIVE: bool = true;

macro_rules! settings {
    ($($field:ident: $out:ty = $key:literal, $shape:expr, $fallback:expr, $sensitive:ident, $doc:literal;)+) => {
        /// Every setting, in the order of the reference page.
        pub(super) static TABLE: &[Row] = &[$(Row {
            key: $key,
            fallback: $fallback,
            sensitive: $sensitive,
            accepts: || $shape.describe(),
            doc: $doc,
        }),+];

        /// The parsed value of each row. `None`: not given and without default, or bad.
        pub(super) struct Parsed {
            $(pub(super) $field: Option<$out>,)+
        }

        impl Parsed {
            /// Reads every row, the bad ones too.
            pub(super) fn read(source: &mut Source) -> Self {
                let mut rows = TABLE.iter();
                Self { $($field: rows.next().and_then(|row| source.read(row, &$shape)),)+ }
            }
        }
    };
}

use Fallback::{Derived, Value};

const DAY: u64 = 86_400;
const WEEK: u64 = 7 * DAY;
const YEAR: u64 = 366 * DAY;
const TIB: u64 = 1 << 40;

settings! {
    node_id: NodeName = "NODE_ID", NodeId, Value("1"), PUBLIC,
        "This node's name; the only value that differs between nodes.";
    peers: Vec<Peer> = "VAULT_PEERS", Peers, Value(""), PUBLIC,
        "Raft addresses of all nodes, the same on each; the host may be a name, an IPv4 address or `[IPv6]`. `NODE_ID` must be among them. Empty: a cluster of one.";
    api_addr: Option<SocketAddr> = "VAULT_API_ADDR", Listen, Value("0.0.0.0:8200"), PUBLIC,
        "The API's listener. `none`: `VAULT_API_SOCKET` alone.";
    api_port: u64 = "VAULT_API_PORT", Count(1, 65_535), Derived("the port of `VAULT_API_ADDR`"), PUBLIC,
        "The API's port alone; it replaces the port of `VAULT_API_ADDR`.";
    api_socket: PathBuf = "VAULT_API_SOCKET", SocketPath, Value(""), PUBLIC,
        "A Unix socket that the API listens on as well, with mode 0600. It speaks plain HTTP, and whoever opens it counts as 127.0.0.1. What a process that is gone has left there is replaced. Empty: none.";
    tls_cert: PathBuf = "VAULT_TLS_CERT", Folder, Value(""), PUBLIC,
        "The file with the API's certificate and the chain to its authority, as PEM; needs `VAULT_TLS_KEY`. With both, the port speaks TLS 1.3 and 1.2 and nothing else. Changed files are used without a restart, once they fit together. Empty: plain HTTP.";
    tls_key: PathBuf = "VAULT_TLS_KEY", Folder, Value(""), PUBLIC,
        "The file with that certificate's private key, as PEM.";
    tls_client_ca: PathBuf = "VAULT_TLS_CLIENT_CA", Folder, Value(""), PUBLIC,
        "The file with the authorities of clients, as PEM: a client's certificate must be of one of them. It opens nothing by itself: addresses and tokens are asked for as ever. Empty: clients are asked for none.";
    tls_client_auth: ClientAuth = "VAULT_TLS_CLIENT_AUTH", CLIENT_AUTH, Derived("`required` with `VAULT_TLS_CLIENT_CA`"), PUBLIC,
        "Whether every client has to show a certificate, or may come without.";
    raft_addr: HostPort = "VAULT_RAFT_ADDR", RaftListen, Derived("this node's entry in `VAULT_PEERS`"), PUBLIC,
        "The listener for other nodes. With `VAULT_CLUSTER_KEY` any address; without, it must be a loopback address unless `VAULT_RAFT_PLAINTEXT` says what protects it. Without `VAULT_PEERS` there is none.";
    cluster_key: WrappedClusterKey = "VAULT_CLUSTER_KEY", ClusterKey, Value(""), SENSITIVE,
        "The key that nodes know each other by, wrapped by KMS, the same on each: with it they speak TLS and prove that they may unwrap it. `strongroom cluster-key new` prints one. Wrapped, it is worth nothing without the KMS key, and may stand in plain configuration.";
    raft_plaintext: RaftPlaintext = "VAULT_RAFT_PLAINTEXT", Choice(&[("wireguard", RaftPlaintext::Wireguard)]), Value(""), PUBLIC,
        "`wireguard`: the Raft port is plain because it is bound to this node's address inside a WireGuard overlay; a wildcard is refused. Not together with `VAULT_CLUSTER_KEY`. Empty: without a cluster key, only a loopback address is accepted.";
    data_dir: PathBuf = "VAULT_DATA_DIR", Folder, Value("./data"), PUBLIC,
        "This node's files.";
    dead_node: Duration = "VAULT_DEAD_NODE_SECS", Seconds(0, YEAR), Value("86400"), PUBLIC,
        "How long a voter has not answered the leader before the leader takes it out of the membership, so that a dead node does not count towards the quorum. Three voters that answer always remain, so a cluster of three never shrinks. The node joins again by itself when it comes back. At least 10; 0: never.";
    bootstrap_token: BootstrapToken = "VAULT_BOOTSTRAP_TOKEN", Bootstrap, Value(""), SENSITIVE,
        "First start: creates the token `bootstrap-admin` with role `admin`. Ignored for ever once any admin token has existed.";
    allowed_ips: Allowlist = "VAULT_ALLOWED_IPS", Addresses, Value(""), PUBLIC,
        "Who may read values, by address. Empty: nobody. An entry that does not parse stops the start.";
    trust_proxy: bool = "VAULT_TRUST_PROXY", Flag, Value("false"), PUBLIC,
        "Take the client's address from `X-Forwarded-For`; needs `VAULT_TRUSTED_PROXIES`.";
    proxy_protocol: bool = "VAULT_PROXY_PROTOCOL", Flag, Value("false"), PUBLIC,
        "Take the client's address from the PROXY header, version 2, that each of `VAULT_TRUSTED_PROXIES` has to send first; others must send none. Not together with `VAULT_TRUST_PROXY`.";
    trusted_proxies: Allowlist = "VAULT_TRUSTED_PROXIES", Addresses, Value(""), PUBLIC,
        "The proxies. With `VAULT_TRUST_PROXY` the client is the rightmost address of the header that is not one of them; with `VAULT_PROXY_PROTOCOL` the one that their header names, which must not be one of them either.";
    allowed_hosts: BTreeSet<String> = "VAULT_ALLOWED_HOSTS", HostNames, Value(""), PUBLIC,
        "The names that this server goes by: a request whose `Host` is another name is refused, so that no web page can have a browser read from here by a name of its own (DNS rebinding). Addresses always pass. Empty: any name.";
    read_consistency: ReadGate = "VAULT_READ_CONSISTENCY", CONSISTENCY, Value("local"), PUBLIC,
        "How native reads are answered unless a request says otherwise by `?consistency=` or `X-Read-Consistency`.";
    request_timeout: Duration = "VAULT_REQUEST_TIMEOUT_SECS", Seconds(1, 300), Value("15"), PUBLIC,
        "How long a request may take before it is answered with an error.";
    drain: Duration = "VAULT_DRAIN_SECS", Seconds(0, 300), Value("1"), PUBLIC,
        "How long a node of several goes on to answer after it was told to stop, with `readyz` 503 `stopping` and every connection ended after its answer, so that balancers and clients go elsewhere; connections that nobody uses are ended after as long again. A leader passes leadership on first.";
    kms_mode: KmsMode = "VAULT_KMS_MODE", Choice(&[("aws", KmsMode::Aws), ("local", KmsMode::Local)]), Value("aws"), PUBLIC,
        "Who wraps data keys: AWS KMS, or a key given here (development).";
    kms_key_id: String = "VAULT_KMS_KEY_ID", KmsKey, Value(""), PUBLIC,
        "Key id, ARN or alias; needed with `VAULT_KMS_MODE=aws`. Credentials, region and endpoint come from the standard AWS environment.";
    kms_hash_names: bool = "VAULT_KMS_HASH_NAMES", Flag, Value("false"), PUBLIC,
        "Put the SHA-256 of a secret's name into KMS's encryption context instead of the name, and so into CloudTrail. Versions sealed with the other setting can still be read.";
    local_master_key: Zeroizing<String> = "VAULT_LOCAL_MASTER_KEY", MasterKeys, Derived("random, and lost at exit"), SENSITIVE,
        "With `VAULT_KMS_MODE=local`: the first key wraps, all unwrap.";
    kms_max_retries: u64 = "VAULT_KMS_MAX_RETRIES", Count(0, 20), Value("5"), PUBLIC,
        "How often a throttled or unavailable KMS is asked again. 0: never.";
    dek_cache_ttl: Duration = "VAULT_DEK_CACHE_TTL_SECS", Seconds(0, DAY), Value("300"), PUBLIC,
        "How long an unwrapped data key stays in memory. 0: every read asks KMS.";
    dek_cache_entries: u64 = "VAULT_DEK_CACHE_ENTRIES", Count(0, 10_000_000), Value("100000"), PUBLIC,
        "How many unwrapped data keys stay in memory at most.";
    dek_cache_stale: Duration = "VAULT_DEK_CACHE_STALE_SECS", Seconds(0, WEEK), Value("0"), PUBLIC,
        "How much longer an unwrapped data key is kept, to be used only while KMS is unavailable or throttles. Such a read stands in the audit trail as `done_stale`. What KMS denies, or a disabled key wrapped, is never read with one; but whoever cuts a node off from KMS prolongs by this much what that node may read.";
    dek_cache_prewarm: bool = "VAULT_DEK_CACHE_PREWARM", Flag, Value("false"), PUBLIC,
        "At the start, unwrap the data keys of all current versions, as many as the cache holds, so that a fresh node also reads through an outage of KMS.";
    dek_cache_prewarm_per_sec: u64 = "VAULT_DEK_CACHE_PREWARM_PER_SEC", Count(1, 10_000), Value("50"), PUBLIC,
        "How many of them in a second. Keys unwrapped first expire first: at this pace times `VAULT_DEK_CACHE_TTL_SECS`, the first is gone when the last comes.";
    rotation_poll: Duration = "VAULT_ROTATION_POLL_SECS", Seconds(1, DAY), Value("15"), PUBLIC,
        "Upper bound on how late a due rotation starts.";
    targets: BTreeMap<TargetName, PostgresTarget> = "VAULT_TARGETS", Targets, Value(""), PUBLIC,
        "Databases that automatic secrets may be applied to, by a name that the secrets give as `target`. Without credentials: a rotation signs in with the secret's own. `secrets=` says which secrets may have it, by name or by prefix (`db/*`), and may be given several times. `sslmode=verify-full` (the default) checks the certificate against the system's roots, or those in the file `sslrootcert`; `sslmode=disable` is for loopback and WireGuard. Several hosts: the one that takes writes is used.";
    rewrap_enabled: bool = "VAULT_KMS_REWRAP_ENABLED", Flag, Value("false"), PUBLIC,
        "The worker that re-wraps data keys after the KMS key was rotated.";
    rewrap_poll: Duration = "VAULT_KMS_REWRAP_POLL_SECS", Seconds(1, YEAR), Value("86400"), PUBLIC,
        "How often that worker looks for a rotation.";
    rewrap_max_per_sec: u64 = "VAULT_KMS_REWRAP_MAX_PER_SEC", Count(0, 100_000), Value("10"), PUBLIC,
        "How many data keys it re-wraps in a second. 0: unpaced.";
    backup_url: BackupPlace = "VAULT_BACKUP_URL", BackupUrl, Value(""), PUBLIC,
        "Where the leader puts scheduled backups, each read again and rehearsed before it counts: a directory, the same on each node, which must be there (shared storage: a disk of one node is lost with it); or `s3://bucket/prefix`, with credentials, region and endpoint from the standard AWS environment variables. Empty: none are taken.";
    backup_interval: Duration = "VAULT_BACKUP_INTERVAL_SECS", Seconds(1, YEAR), Value("86400"), PUBLIC,
        "A backup is taken once the newest verified one is this old.";
    backup_keep: u64 = "VAULT_BACKUP_KEEP", Count(1, 100_000), Value("14"), PUBLIC,
        "How many verified backups of this cluster are kept there. Older ones are deleted after a new one; other files are never touched.";
    auth_max_failures: u64 = "VAULT_AUTH_MAX_FAILURES", Count(0, 1_000_000), Value("5"), PUBLIC,
        "Failed authentications after which a client address is locked out of this node. 0: no lockout.";
    auth_window: Duration = "VAULT_AUTH_WINDOW_SECS", Seconds(1, YEAR), Value("300"), PUBLIC,
        "The time in which those failures count.";
    auth_lockout: Duration = "VAULT_AUTH_LOCKOUT_SECS", Seconds(1, YEAR), Value("900"), PUBLIC,
        "How long the lockout lasts.";
    audit_dir: PathBuf = "VAULT_AUDIT_DIR", Folder, Derived("`audit` in `VAULT_DATA_DIR`"), PUBLIC,
        "Where the audit files go.";
    audit_sync: SyncPolicy = "VAULT_AUDIT_SYNC", AuditSync, Value("100ms"), PUBLIC,
        "How long a written audit record may wait for its disk sync; `always`: synced before the answer leaves.";
    audit_file_bytes: u64 = "VAULT_AUDIT_FILE_BYTES", Size(64 << 10, TIB), Value("64MiB"), PUBLIC,
        "The size at which a new audit file is begun.";
    snapshot_log_bytes: u64 = "VAULT_SNAPSHOT_LOG_BYTES", Size(64 << 10, TIB), Value("12MiB"), PUBLIC,
        "Bytes of Raft log after which a snapshot is taken and the log purged.";
    snapshot_log_entries: u64 = "VAULT_SNAPSHOT_LOG_ENTRIES", Count(10, 100_000_000), Value("20000"), PUBLIC,
        "Entries of Raft log after which a snapshot is taken and the log purged.";
    log: String = "VAULT_LOG", LogFilter, Value("info"), PUBLIC,
        "Which log lines are written.";
    log_format: LogFormat = "VAULT_LOG_FORMAT", Choice(&[("text", LogFormat::Text), ("json", LogFormat::Json)]), Value("text"), PUBLIC,
        "How log lines look.";
    otlp: String = "VAULT_OTLP_ENDPOINT", OtlpUrl, Value(""), PUBLIC,
        "A collector that is sent traces over OTLP (HTTP with protobuf), below `/v1/traces`: the stages of each request with their durations, by route, without names of secrets. `https` checks the certificate against the system's roots. Further settings of the export come from the standard `OTEL_…` environment, such as `OTEL_EXPORTER_OTLP_HEADERS`. What a collector does not take in time is dropped. Empty: no traces.";
}
