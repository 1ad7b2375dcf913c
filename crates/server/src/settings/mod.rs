//! The process's settings, from environment variables.
//!
//! One table ([`table`]) makes the parser, the output of `--check-config` and `docs/CONFIG.md`.
//! Values are parsed by [`shapes`], rules over several settings stand in [`rules`]. All problems
//! are reported at once, and no message repeats a value that may be a secret.

use std::{
    collections::{BTreeMap, BTreeSet},
    ffi::OsString,
    fmt::{self, Write},
    num::{NonZeroU32, NonZeroUsize},
    path::PathBuf,
    time::Duration,
};

use strongroom_core::{Allowlist, NodeName, ReadGate, TargetName};
use strongroom_seal::WrappedClusterKey;
use strongroom_service::audit::SyncPolicy;
use zeroize::Zeroizing;

mod backup;
mod docs;
mod edge;
mod net;
mod otlp;
mod rules;
mod secrets;
mod shapes;
mod source;
mod table;
mod targets;
#[cfg(test)]
mod tests;
mod unknown;

pub use backup::BackupPlace;
pub use docs::reference;
pub use edge::{ApiSettings, ClientAuth, TlsSettings};
pub use net::{HostPort, Peer, RaftListener, RaftPlaintext};
pub use secrets::BootstrapToken;
pub use targets::{PostgresTarget, Tls};

/// Something wrong with one setting. The message reads on from the key, and never holds the value
/// of a sensitive one.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Problem {
    /// The environment variable.
    pub key: String,
    /// What is wrong with it.
    pub message: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.key, self.message)
    }
}

/// `VAULT_KMS_MODE`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum KmsMode {
    Aws,
    Local,
}

/// Who wraps data keys.
pub enum Kms {
    /// AWS KMS with this key; the rest comes from the standard AWS environment.
    Aws {
        /// Key id, ARN or alias.
        key_id: String,
    },
    /// A key in this process's memory.
    Local {
        /// Base64 of 32 bytes each, separated by commas; checked. `None`: a random one.
        master_keys: Option<Zeroizing<String>>,
    },
}

/// Everything around KMS.
pub struct KmsSettings {
    /// Who wraps data keys.
    pub kms: Kms,
    /// Whether the encryption context carries the SHA-256 of a name instead of the name.
    pub hash_names: bool,
    /// Retries after the first attempt.
    pub max_retries: u32,
    /// How long unwrapped keys are kept; zero: not at all.
    pub dek_cache_ttl: Duration,
    /// How much longer they are kept for when KMS cannot be asked.
    pub dek_cache_stale: Duration,
    /// How many unwrapped keys are kept.
    pub dek_cache_entries: u64,
    /// Keys to be unwrapped in a second at the start; `None`: none.
    pub prewarm: Option<NonZeroU32>,
}

/// The re-wrap worker.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct RewrapSettings {
    /// Whether it runs by itself.
    pub enabled: bool,
    /// How often it looks for a rotation.
    pub poll: Duration,
    /// Data keys per second; 0: unpaced.
    pub max_per_sec: u32,
}

/// Scheduled backups.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct BackupSettings {
    /// Where they go.
    pub place: BackupPlace,
    /// How old the newest may be.
    pub interval: Duration,
    /// How many are kept.
    pub keep: NonZeroUsize,
}

/// When a client address is locked out.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct LockoutSettings {
    /// Failures that lead to it; 0: none do.
    pub max_failures: u32,
    /// The time in which they count.
    pub window: Duration,
    /// How long it lasts.
    pub lockout: Duration,
}

/// The audit trail's files.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct AuditSettings {
    /// Where they go.
    pub dir: PathBuf,
    /// How long a record may wait for its sync.
    pub sync: SyncPolicy,
    /// The size at which a new file is begun.
    pub file_bytes: u64,
}

/// When a Raft snapshot is taken.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct SnapshotSettings {
    /// Bytes of log since the last one.
    pub log_bytes: u64,
    /// Entries of log since the last one.
    pub log_entries: u64,
}

/// How log lines look.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum LogFormat {
    /// For people.
    Text,
    /// For machines.
    Json,
}

/// The settings of one node, checked.
pub struct Settings {
    /// This node's name.
    pub node_id: NodeName,
    /// All nodes, this one included; empty: a cluster of one.
    pub peers: Vec<Peer>,
    /// Where the API is reached.
    pub api: ApiSettings,
    /// The listener for other nodes; `None` without peers.
    pub raft: Option<RaftListener>,
    /// What nodes know each other by. Used with peers alone; `None`: they speak in the clear.
    pub cluster_key: Option<WrappedClusterKey>,
    /// This node's files.
    pub data_dir: PathBuf,
    /// What creates the first admin token.
    pub bootstrap_token: Option<BootstrapToken>,
    /// Who may read values.
    pub allowed_ips: Allowlist,
    /// Proxies whose `X-Forwarded-For` is believed; `None`: the header is ignored.
    pub trusted_proxies: Option<Allowlist>,
    /// Names that this server goes by; empty: any.
    pub allowed_hosts: BTreeSet<String>,
    /// How native reads are answered by default.
    pub read_consistency: ReadGate,
    /// A request's deadline.
    pub request_timeout: Duration,
    /// How long a node that was told to stop goes on to answer.
    pub drain: Duration,
    /// KMS and the data key cache.
    pub kms: KmsSettings,
    /// Upper bound on how late a due rotation starts.
    pub rotation_poll: Duration,
    /// How long a voter is silent before it is taken out of the membership; zero: never.
    pub dead_node: Duration,
    /// Where values of automatic secrets may be applied.
    pub targets: BTreeMap<TargetName, PostgresTarget>,
    /// The re-wrap worker.
    pub rewrap: RewrapSettings,
    /// Scheduled backups, if any.
    pub backup: Option<BackupSettings>,
    /// The brute-force lockout.
    pub lockout: LockoutSettings,
    /// The audit trail.
    pub audit: AuditSettings,
    /// When a Raft snapshot is taken.
    pub snapshot: SnapshotSettings,
    /// The filter for log lines; it parses.
    pub log: String,
    /// How log lines look.
    pub log_format: LogFormat,
    /// Where traces go, if anywhere.
    pub otlp: Option<String>,
    effective: Vec<(&'static str, String)>,
}

impl Settings {
    /// Each variable with its effective value, secrets as `(set)`, in the table's order.
    #[must_use]
    pub fn effective(&self) -> &[(&'static str, String)] {
        &self.effective
    }

    /// The effective settings, one `KEY=value` on each line.
    #[must_use]
    pub fn render(&self) -> String {
        let mut text = String::new();
        for (key, value) in &self.effective {
            // Writing to a `String` cannot fail. Escaped: a value must not forge a line.
            let _ = writeln!(text, "{key}={}", value.escape_debug());
        }
        text
    }
}

impl fmt::Debug for Settings {
    /// The effective settings, in which secrets are redacted.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map()
            .entries(self.effective.iter().map(|(key, value)| (key, value)))
            .finish()
    }
}

/// Settings fit to start with.
#[derive(Debug)]
pub struct Loaded {
    /// The settings.
    pub settings: Settings,
    /// What deserves a line in the log: unknown keys, and settings without effect.
    pub warnings: Vec<Problem>,
    unknown: Vec<Problem>,
}

/// Reads the settings of `strongroom server`.
///
/// # Errors
/// Every problem there is, unknown keys included: they often explain the others.
pub fn load(environment: BTreeMap<String, String>) -> Result<Loaded, Vec<Problem>> {
    let mut source = source::Source::new(environment);
    let unknown = unknown::unknown_keys(source.names());
    let mut warnings = unknown.clone();
    let parsed = table::Parsed::read(&mut source);
    let settings = rules::assemble(parsed, &mut source, &mut warnings);
    let (effective, mut problems) = source.finish();
    match settings {
        Some(settings) if problems.is_empty() => Ok(Loaded {
            settings: Settings {
                effective,
                ..settings
            },
            warnings,
            unknown,
        }),
        _ => {
            problems.extend(unknown);
            Err(problems)
        }
    }
}

/// The settings of a command that needs KMS and nothing else: of a node that is not set up yet, the
/// other settings may well be wrong.
///
/// # Errors
/// Every problem with those that concern KMS, or with `VAULT_CLUSTER_KEY`.
pub fn load_for_kms(mut environment: BTreeMap<String, String>) -> Result<Loaded, Vec<Problem>> {
    let prefixes = ["VAULT_KMS_", "VAULT_LOCAL_MASTER_KEY", "VAULT_CLUSTER_KEY"];
    environment.retain(|key, _| prefixes.iter().any(|prefix| key.starts_with(prefix)));
    load(environment)
}

/// What `--check-config` prints: the effective settings.
///
/// # Errors
/// Every problem there is; here an unknown key is one.
pub fn check(environment: BTreeMap<String, String>) -> Result<Loaded, Vec<Problem>> {
    let loaded = load(environment)?;
    if loaded.unknown.is_empty() {
        Ok(loaded)
    } else {
        Err(loaded.unknown)
    }
}

/// The process's environment as [`load`] takes it. Only names that could be settings are taken.
///
/// # Errors
/// Settings that are not UTF-8: replaced characters could name another file, or another key.
pub fn environment(
    variables: impl Iterator<Item = (OsString, OsString)>,
) -> Result<BTreeMap<String, String>, Vec<Problem>> {
    let (mut environment, mut problems) = (BTreeMap::new(), Vec::new());
    for (key, value) in variables {
        let Some(key) = key
            .to_str()
            .filter(|key| *key == "NODE_ID" || key.starts_with("VAULT_"))
        else {
            continue;
        };
        match value.into_string() {
            Ok(value) => drop(environment.insert(key.to_owned(), value)),
            Err(_) => problems.push(Problem {
                key: key.into(),
                message: "is not UTF-8".into(),
            }),
        }
    }
    if problems.is_empty() {
        Ok(environment)
    } else {
        Err(problems)
    }
}
