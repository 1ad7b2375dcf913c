//! What `instructions` counts: each piece of work, done so many times in a process that valgrind watches.

use std::{net::Ipv4Addr, path::Path, sync::Arc, time::Duration};

use anyhow::{Context, Result, anyhow, ensure};
use axum::{
    Router,
    body::{Body, to_bytes},
    http::{Request, StatusCode},
};
use bytes::Bytes;
use clap::ValueEnum;
use strongroom_core::{
    Allowlist, Command, KmsKeyId, ReadGate, Replica, SecretName, SecretSettings, TargetName,
    WrappedDek, codec, replica::PortFuture,
};
use strongroom_raft::{DataDir, Node, NodeConfig, Rpc, Transport, TransportError};
use strongroom_seal::{Binding, DataKey, Dek, Keyring, KeyringConfig, LocalKms, Plaintext};
use strongroom_server::http::{
    self, App, BodyPlaces, Detached, EdgeStats, HttpMetrics, Origins, PeerAddress, Streams,
};
use strongroom_service::{
    Vault, VaultConfig,
    audit::{Audit, AuditConfig, Entry, SyncPolicy},
    lockout::LockoutPolicy,
    rewrap::RewrapPolicy,
    targets::{Login, TargetError, TargetFuture, TargetSession, Targets},
};
use tokio::runtime::{Builder, Runtime};

/// Before anything is counted: caches are filled, buffers have grown, names are resolved.
const WARM_UP: u64 = 200;
const WITHIN: Duration = Duration::from_secs(60);
const PAYLOAD: &[u8] = br#"{"value":"correct horse battery staple 123"}"#;
const READER: Ipv4Addr = Ipv4Addr::LOCALHOST;

/// A piece of work.
#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
pub(crate) enum Work {
    /// `GET /v1/secrets/bench/0`, from the router to the last byte of the body.
    Read,
    /// Sealing a payload and opening it.
    Envelope,
    /// One record of the audit trail: rendered, hashed and written.
    Audit,
}

impl Work {
    pub(crate) const ALL: [Self; 3] = [Self::Read, Self::Envelope, Self::Audit];

    pub(crate) fn what(self) -> &'static str {
        match self {
            Self::Read => "native read, router to body",
            Self::Envelope => "seal and open, 44 bytes",
            Self::Audit => "audit record",
        }
    }

    /// How often it is done in the shorter run: often enough that what goes on beside it does not show.
    pub(crate) fn times(self) -> u64 {
        match self {
            Self::Read => 20_000,
            Self::Envelope => 20_000,
            Self::Audit => 10_000,
        }
    }

    /// Does it so many times, after a warm-up.
    pub(crate) fn run(self, times: u64) -> Result<()> {
        let times = WARM_UP + times;
        let dir = tempfile::tempdir()?;
        // One thread for the work: fewer ways to take turns, so that runs are alike.
        let runtime = Builder::new_current_thread().enable_all().build()?;
        match self {
            Self::Read => reads(&runtime, dir.path(), times),
            Self::Envelope => envelopes(times),
            Self::Audit => {
                let audit = audit(dir.path())?;
                runtime.block_on(async {
                    for _ in 0..times {
                        audit.write_of_request(record()).await?;
                    }
                    Ok(())
                })
            }
        }
    }
}

fn envelopes(times: u64) -> Result<()> {
    let binding = Binding::new(&name()?, 1);
    let plaintext = Plaintext::copy_from(PAYLOAD);
    for _ in 0..times {
        let dek = || Dek::copy_from(&[9; 32]);
        let wrapped = WrappedDek(Bytes::from_static(&[7; 184]));
        let key = DataKey::new(dek()?, wrapped, KmsKeyId("key".into()), None);
        let sealed = strongroom_seal::seal(key, &binding, &plaintext)?;
        let opened = strongroom_seal::open(&dek()?, &binding, &sealed)?;
        ensure!(opened.ct_eq(&plaintext), "another payload came back");
    }
    Ok(())
}

fn record() -> Entry {
    Entry {
        request_id: "0123456789abcdef0123456789abcdef".into(),
        actor: "reader".to_owned(),
        client_ip: Some(READER.into()),
        peer_ip: Some(READER.into()),
        action: "secret.read".into(),
        target: "secret/bench/0".to_owned(),
        outcome: "done".into(),
        status: Some(200),
    }
}

fn reads(runtime: &Runtime, dir: &Path, times: u64) -> Result<()> {
    // Raft has threads of its own, as in the server.
    let raft = Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()?;
    let node = raft.block_on(start_node(dir))?;
    let app = Arc::new(runtime.block_on(app(dir, Arc::<Node>::clone(&node)))?);
    let router = http::router(Arc::clone(&app));
    runtime.block_on(async {
        for _ in 0..times {
            read(&app, &router).await?;
        }
        anyhow::Ok(())
    })?;
    raft.block_on(node.shutdown());
    Ok(())
}

async fn read(app: &Arc<App>, router: &Router) -> Result<()> {
    let request = Request::get("/v1/secrets/bench/0")
        .header("host", "127.0.0.1:8200")
        .header("user-agent", "bench")
        .header("accept", "*/*")
        .body(Body::empty())?;
    let from = PeerAddress {
        peer: READER.into(),
        client: READER.into(),
    };
    let response = http::serve(Arc::clone(app), router.clone(), from, request).await;
    ensure!(response.status() == StatusCode::OK, "{}", response.status());
    let body = to_bytes(response.into_body(), usize::MAX).await?;
    ensure!(!body.is_empty(), "there is no body");
    Ok(())
}

fn name() -> Result<SecretName> {
    SecretName::in_mount("secret", "bench/0").map_err(|error| anyhow!("{error}"))
}

async fn start_node(dir: &Path) -> Result<Arc<Node>> {
    let config = NodeConfig {
        name: "bench".to_owned(),
        peers: std::collections::BTreeMap::new(),
        version: "bench".to_owned(),
        decodes: codec::FORMAT,
        snapshot_log_bytes: 32 << 20,
        snapshot_log_entries: 20_000,
    };
    let data_dir = DataDir::open(&dir.join("data"), "bench")?;
    Ok(Arc::new(
        Node::start(data_dir, config, Arc::new(Alone)).await?,
    ))
}

async fn app(dir: &Path, node: Arc<Node>) -> Result<App> {
    let kms = Arc::new(LocalKms::random()?);
    let keyring = Arc::new(Keyring::new(kms, KeyringConfig::default()));
    let binding = Binding::new(&name()?, 1);
    let key = keyring.data_key(&binding).await?;
    let sealed = strongroom_seal::seal(key, &binding, &Plaintext::copy_from(PAYLOAD))?;
    let create = Command::CreateSecret {
        name: name()?,
        settings: SecretSettings::manual(),
        sealed: Some(sealed),
    };
    until_formed(&node).await?;
    node.submit(create, WITHIN).await?;
    let config = VaultConfig {
        allowed: Allowlist::parse("127.0.0.0/8").map_err(|wrong| anyhow!("{wrong:?}"))?,
        lockout: LockoutPolicy {
            max_failures: 5,
            window: WITHIN,
            lockout: WITHIN,
        },
        bootstrap: None,
        poll: WITHIN,
        rewrap: RewrapPolicy {
            enabled: false,
            poll: WITHIN,
            max_per_sec: 0,
        },
        dead_node: Duration::ZERO,
        prewarm: None,
    };
    let vault = Vault::new(node, keyring, audit(dir)?, Arc::new(NoTargets), config);
    Ok(App {
        vault: Arc::new(vault),
        trusted_proxies: None,
        read_gate: ReadGate::Local,
        request_timeout: WITHIN,
        metrics: HttpMetrics::new(EdgeStats::default()),
        body_places: BodyPlaces::default(),
        origins: Origins::default(),
        streams: Streams::default(),
        detached: Detached::default(),
    })
}

/// A command that comes before the cluster has its identity is rejected.
async fn until_formed(node: &Node) -> Result<()> {
    let formed = async {
        while !node.local().is_ok_and(|state| state.cluster_id().is_some()) {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    let formed = tokio::time::timeout(WITHIN, formed).await;
    formed.context("the node of one has not become a cluster")
}

/// Synced once in a while: how often depends on the time, and is to be as good as nothing.
fn audit(dir: &Path) -> Result<Audit> {
    Ok(Audit::open(AuditConfig {
        dir: dir.join("audit"),
        node: "bench".to_owned(),
        sync: SyncPolicy::Within(Duration::from_millis(100)),
        file_bytes: 64 << 20,
        // Slow by the clock is any write beside which another thread had its turn, since valgrind lets one run at a
        // time; which way the next second's records take must not depend on that.
        slow_write: WITHIN,
    })?)
}

/// A node of one has nobody to talk to.
struct Alone;

impl Transport for Alone {
    fn ask<'a>(
        &'a self,
        _address: &'a str,
        _rpc: Rpc,
        _body: Vec<u8>,
        _within: Duration,
    ) -> PortFuture<'a, Result<Bytes, TransportError>> {
        Box::pin(async { Err(TransportError::Unreachable) })
    }
}

struct NoTargets;

impl Targets for NoTargets {
    fn serves(&self, _target: &TargetName, _secret: &SecretName) -> bool {
        false
    }

    fn sign_in<'a>(
        &'a self,
        _target: &'a TargetName,
        _login: &'a Login,
    ) -> TargetFuture<'a, Box<dyn TargetSession>> {
        Box::pin(async { Err(TargetError::Unavailable("there are none".to_owned())) })
    }
}
