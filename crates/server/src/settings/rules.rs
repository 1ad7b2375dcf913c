//! What no row can know alone: rules over several settings, and the typed result.

use std::{
    num::{NonZeroU32, NonZeroUsize},
    time::Duration,
};

use super::{
    AuditSettings, BackupSettings, Kms, KmsMode, KmsSettings, LockoutSettings, Problem,
    RewrapSettings, Settings, SnapshotSettings, edge,
    net::{HostPort, Peer, RaftListener, RaftPlaintext},
    source::Source,
    table::Parsed,
    targets::Tls,
};

pub(super) fn warning(key: &str, message: &str) -> Problem {
    Problem {
        key: key.to_owned(),
        message: message.to_owned(),
    }
}

/// Puts the settings together. `None` only if the source holds a problem that says why.
pub(super) fn assemble(
    parsed: Parsed,
    source: &mut Source,
    warnings: &mut Vec<Problem>,
) -> Option<Settings> {
    // Every rule runs, whatever the others find: all problems are reported at once.
    let kms = kms(&parsed, source, warnings);
    let prewarm = prewarm(&parsed, warnings);
    let backup = backup(&parsed, source, warnings);
    let api = edge::api(&parsed, source, warnings);
    let peers = parsed.peers.unwrap_or_default();
    let cluster_key = parsed.cluster_key;
    if cluster_key.is_some() && peers.is_empty() && !source.is_bad("VAULT_PEERS") {
        let message = "has no effect without VAULT_PEERS";
        warnings.push(warning("VAULT_CLUSTER_KEY", message));
    }
    let plaintext = plaintext(cluster_key.is_some(), parsed.raft_plaintext, source);
    let raft = raft(&peers, parsed.raft_addr, plaintext, &parsed.node_id, source);
    if peers.is_empty() && source.is_given("VAULT_RAFT_ADDR") && !source.is_bad("VAULT_PEERS") {
        warnings.push(warning(
            "VAULT_RAFT_ADDR",
            "has no effect without VAULT_PEERS",
        ));
    }

    for (name, target) in parsed.targets.iter().flatten() {
        if target.tls == Tls::Off && !target.hosts.iter().all(HostPort::is_loopback) {
            let message = format!(
                "has sslmode=disable for {name}: whoever is on the way can take over its sessions"
            );
            warnings.push(warning("VAULT_TARGETS", &message));
        }
    }

    let data_dir = parsed.data_dir?;
    let audit_dir = parsed.audit_dir.unwrap_or_else(|| data_dir.join("audit"));
    source.show("VAULT_AUDIT_DIR", audit_dir.display().to_string());

    Some(Settings {
        node_id: parsed.node_id?,
        peers,
        api: api?,
        cluster_key,
        raft,
        data_dir,
        bootstrap_token: parsed.bootstrap_token,
        allowed_ips: parsed.allowed_ips.unwrap_or_default(),
        // `trust_proxy=false` and an empty list are one thing to whoever reads the header.
        trusted_proxies: parsed
            .trusted_proxies
            .filter(|_| parsed.trust_proxy == Some(true)),
        allowed_hosts: parsed.allowed_hosts.unwrap_or_default(),
        read_consistency: parsed.read_consistency?,
        request_timeout: parsed.request_timeout?,
        drain: parsed.drain?,
        kms: KmsSettings {
            kms: kms?,
            hash_names: parsed.kms_hash_names?,
            max_retries: u32::try_from(parsed.kms_max_retries?).ok()?,
            dek_cache_ttl: parsed.dek_cache_ttl?,
            dek_cache_stale: parsed.dek_cache_stale?,
            dek_cache_entries: parsed.dek_cache_entries?,
            prewarm,
        },
        rotation_poll: parsed.rotation_poll?,
        dead_node: parsed.dead_node?,
        targets: parsed.targets.unwrap_or_default(),
        rewrap: RewrapSettings {
            enabled: parsed.rewrap_enabled?,
            poll: parsed.rewrap_poll?,
            max_per_sec: u32::try_from(parsed.rewrap_max_per_sec?).ok()?,
        },
        backup,
        lockout: LockoutSettings {
            max_failures: u32::try_from(parsed.auth_max_failures?).ok()?,
            window: parsed.auth_window?,
            lockout: parsed.auth_lockout?,
        },
        audit: AuditSettings {
            dir: audit_dir,
            sync: parsed.audit_sync?,
            file_bytes: parsed.audit_file_bytes?,
        },
        snapshot: SnapshotSettings {
            log_bytes: parsed.snapshot_log_bytes?,
            log_entries: parsed.snapshot_log_entries?,
        },
        log: parsed.log?,
        log_format: parsed.log_format?,
        otlp: parsed.otlp,
        effective: Vec::new(),
    })
}

fn kms(parsed: &Parsed, source: &mut Source, warnings: &mut Vec<Problem>) -> Option<Kms> {
    match parsed.kms_mode? {
        KmsMode::Aws => {
            if parsed.local_master_key.is_some() {
                let message = "has no effect with VAULT_KMS_MODE=aws";
                warnings.push(warning("VAULT_LOCAL_MASTER_KEY", message));
            }
            if parsed.kms_key_id.is_none() && !source.is_bad("VAULT_KMS_KEY_ID") {
                source.problem(
                    "VAULT_KMS_KEY_ID",
                    "is needed with VAULT_KMS_MODE=aws (the default); for a trial without AWS, \
                     set VAULT_KMS_MODE=local",
                );
            }
            parsed.kms_key_id.clone().map(|key_id| Kms::Aws { key_id })
        }
        KmsMode::Local => {
            let shared = parsed.peers.as_ref().is_some_and(|peers| peers.len() > 1);
            if shared
                && parsed.local_master_key.is_none()
                && !source.is_bad("VAULT_LOCAL_MASTER_KEY")
            {
                source.problem(
                    "VAULT_LOCAL_MASTER_KEY",
                    "is needed with several nodes: each would have a random key of its own",
                );
            } else if parsed.cluster_key.is_some()
                && parsed.local_master_key.is_none()
                && !source.is_bad("VAULT_LOCAL_MASTER_KEY")
            {
                source.problem(
                    "VAULT_LOCAL_MASTER_KEY",
                    "is needed with VAULT_CLUSTER_KEY: a random key unwraps nothing",
                );
            }
            if parsed.kms_key_id.is_some() {
                let message = "has no effect with VAULT_KMS_MODE=local";
                warnings.push(warning("VAULT_KMS_KEY_ID", message));
            }
            Some(Kms::Local {
                master_keys: parsed.local_master_key.clone(),
            })
        }
    }
}

/// Unwrapping in advance, and what needs a cache to have an effect.
fn prewarm(parsed: &Parsed, warnings: &mut Vec<Problem>) -> Option<NonZeroU32> {
    let wanted = parsed.dek_cache_prewarm == Some(true);
    let off = parsed.dek_cache_ttl == Some(Duration::ZERO) || parsed.dek_cache_entries == Some(0);
    let message = "has no effect without a data key cache (VAULT_DEK_CACHE_TTL_SECS, \
                   VAULT_DEK_CACHE_ENTRIES)";
    if off && wanted {
        warnings.push(warning("VAULT_DEK_CACHE_PREWARM", message));
    }
    if off && parsed.dek_cache_stale.is_some_and(|stale| !stale.is_zero()) {
        warnings.push(warning("VAULT_DEK_CACHE_STALE_SECS", message));
    }
    let per_sec = u32::try_from(parsed.dek_cache_prewarm_per_sec?).ok()?;
    NonZeroU32::new(per_sec).filter(|_| wanted && !off)
}

fn backup(parsed: &Parsed, source: &Source, warnings: &mut Vec<Problem>) -> Option<BackupSettings> {
    let Some(place) = parsed.backup_url.clone() else {
        let others = ["VAULT_BACKUP_INTERVAL_SECS", "VAULT_BACKUP_KEEP"];
        for key in others {
            if source.is_given(key) && !source.is_bad("VAULT_BACKUP_URL") {
                warnings.push(warning(key, "has no effect without VAULT_BACKUP_URL"));
            }
        }
        return None;
    };
    let keep = usize::try_from(parsed.backup_keep?).ok()?;
    Some(BackupSettings {
        place,
        interval: parsed.backup_interval?,
        keep: NonZeroUsize::new(keep)?,
    })
}

/// What protects the Raft port. One word for it: two could mean different things.
fn plaintext(
    has_cluster_key: bool,
    given: Option<RaftPlaintext>,
    source: &mut Source,
) -> Option<RaftPlaintext> {
    if source.is_bad("VAULT_RAFT_PLAINTEXT") || source.is_bad("VAULT_CLUSTER_KEY") {
        return None;
    }
    match (has_cluster_key, given) {
        (true, Some(_)) => {
            let message = "cannot be set with VAULT_CLUSTER_KEY: the port is plain, or it is not";
            source.problem("VAULT_RAFT_PLAINTEXT", message);
            None
        }
        (true, None) => Some(RaftPlaintext::Never),
        (false, given) => Some(given.unwrap_or(RaftPlaintext::LoopbackOnly)),
    }
}

/// The Raft listener, which exists only with peers, and plain only where that is safe.
fn raft(
    peers: &[Peer],
    address: Option<HostPort>,
    plaintext: Option<RaftPlaintext>,
    node_id: &Option<strongroom_core::NodeName>,
    source: &mut Source,
) -> Option<RaftListener> {
    let own = peers
        .iter()
        .find(|peer| Some(&peer.name) == node_id.as_ref());
    if own.is_none() && !peers.is_empty() && node_id.is_some() {
        source.problem("NODE_ID", "is not among the ids in VAULT_PEERS");
    }
    if peers.is_empty() || source.is_bad("VAULT_RAFT_ADDR") {
        return None;
    }
    let listen = address.or_else(|| own.map(|own| own.address.clone()))?;
    source.show("VAULT_RAFT_ADDR", listen.to_string());
    match RaftListener::new(listen, plaintext?) {
        Ok(listener) => Some(listener),
        Err(message) => {
            source.problem("VAULT_RAFT_ADDR", message);
            None
        }
    }
}
