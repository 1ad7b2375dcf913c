//! The wiring: settings in, a running node out.

use std::{
    collections::BTreeMap,
    sync::Arc,
    time::{Duration, Instant},
};

use strongroom_raft::{DataDir, Node, NodeConfig};
use strongroom_service::{
    Vault, VaultConfig,
    audit::{self, Audit, AuditConfig, Entry},
    backup::Backups,
    lockout::LockoutPolicy,
    rewrap::RewrapPolicy,
    workers,
};
use tokio::{
    net::TcpListener,
    runtime::{Builder, Handle, Runtime},
    sync::watch,
    task::JoinHandle,
};
use tokio_rustls::TlsAcceptor;

use crate::{
    api_port::{self, ApiPort},
    backup_store::ConfiguredStore,
    keyring,
    listen::{self, Door, Passage, Places},
    raft_port,
    raft_tls::{RaftTls, TlsError},
    run_error::RunError,
    settings::{BackupSettings, Kms, Settings},
    targets::ConfiguredTargets,
};

/// Connections of other nodes at a time: each keeps a few, and has some dozens when it passes on many
/// requests.
const RAFT_CONNECTIONS: usize = 2_048;
/// This version, as others are told.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");
/// How long the announcement of a cluster of one waits for it to be ready.
const ANNOUNCED_WITHIN: Duration = Duration::from_secs(5);

fn runtime(name: &'static str, threads: usize) -> Result<Runtime, RunError> {
    Builder::new_multi_thread()
        .thread_name(name)
        .worker_threads(threads)
        .enable_all()
        .build()
        .map_err(|error| RunError::Failed(format!("cannot start threads: {error}")))
}

/// Runs one node until `stop` turns true. `announce` is called once the API listens, with where it does.
///
/// Raft has threads of its own: what a request waits for never delays a heartbeat.
///
/// # Errors
/// See [`RunError`].
pub fn run(
    settings: Settings,
    stop: watch::Receiver<bool>,
    announce: impl FnOnce(&str) + Send,
) -> Result<(), RunError> {
    let processors = std::thread::available_parallelism().map_or(2, usize::from);
    let api = runtime("api", processors.max(2))?;
    // Where there are two processors, a second thread for Raft would only pass work to and fro.
    let raft = runtime("raft", if processors > 2 { 2 } else { 1 })?;
    let result = api.block_on(start(settings, stop, announce, &raft));
    raft.shutdown_timeout(Duration::from_secs(5));
    api.shutdown_timeout(Duration::from_secs(5));
    result
}

async fn start(
    settings: Settings,
    stop: watch::Receiver<bool>,
    announce: impl FnOnce(&str) + Send,
    raft: &Runtime,
) -> Result<(), RunError> {
    let api_tls = api_port::open_tls(&settings.api)?;
    let targets = Arc::new(ConfiguredTargets::new(&settings.targets)?);
    let backups = settings.backup.as_ref().map(backups).transpose()?;
    let cluster_key = settings.cluster_key.as_ref();
    let cluster_key = cluster_key.filter(|_| settings.raft.is_some());
    let keyring::Opened {
        keyring,
        cluster_key,
    } = keyring::open(&settings, cluster_key).await?;
    let tls = cluster_key.map(|key| RaftTls::new(&key)).transpose()?;
    let tls = tls.map(|tls| keep_fresh(tls, raft));
    let data_dir = DataDir::open(&settings.data_dir, settings.node_id.as_str())?;
    refuse_a_random_key_over_data(&settings)?;
    let api = ApiPort::bind(&settings.api, api_tls).await?;
    let api_address = api.address.clone();
    let raft_listener = match &settings.raft {
        Some(listener) => {
            let address = listener.resolve().await.map_err(RunError::Settings)?;
            let bind = async move { api_port::bind(address, "VAULT_RAFT_ADDR") };
            Some(in_runtime(raft, bind).await?)
        }
        None => None,
    };
    let audit = open_audit(&settings).await?;
    raft.spawn(audit.relief(Handle::current()));
    let node = Arc::new(start_node(&settings, data_dir, tls.clone(), raft).await?);
    if let Some(kept) = node.store_set_aside() {
        let entry = Entry::of_node("store.set_aside", kept.display().to_string());
        // If it cannot be written, nothing is served, and the log has told it.
        let _ = audit.write(entry).await;
    }
    let (stop_raft, raft_stops) = watch::channel(false);
    let raft_server = match raft_listener {
        Some(listener) => Some(serve_raft(
            listener,
            tls.as_deref(),
            &node,
            raft_stops,
            raft,
        )?),
        None => None,
    };
    let vault = Vault::new(
        Arc::<Node>::clone(&node),
        keyring,
        audit,
        targets,
        vault_config(&settings),
    );
    let vault = Arc::new(vault.with_backups(backups));
    workers::start(&vault);
    let alone = settings.peers.is_empty();
    let announcing = async {
        if alone {
            until_ready(&vault, &stop).await;
        }
        announce(&api_address);
    };
    let (close_api, api_closes) = watch::channel(false);
    let serving = api.serve(&settings, Arc::clone(&vault), api_closes);
    let draining = async {
        // An error means that nobody can ask any more: as good as a stop.
        let _ = stop.clone().wait_for(|stop| *stop).await;
        tracing::info!("stopping");
        vault.begin_stop();
        if !alone {
            drain(&node, raft, settings.drain).await;
        }
        // The receiver is gone if the server has ended by itself.
        let _ = close_api.send(true);
    };
    tokio::join!(serving, announcing, draining);
    in_runtime(raft, {
        let node = Arc::clone(&node);
        async move { node.shutdown().await }
    })
    .await;
    // The receiver is gone if the server has ended by itself.
    let _ = stop_raft.send(true);
    if let Some(server) = raft_server
        && let Err(error) = server.await
    {
        tracing::warn!(%error, "the Raft listener did not end cleanly");
    }
    vault.record_uncounted().await;
    record(vault.audit(), "audit.stop").await;
    Ok(())
}

/// A node of several has others that go on: they get the lead, and then the clients.
async fn drain(node: &Arc<Node>, raft: &Runtime, within: Duration) {
    let began = Instant::now();
    let own = Arc::clone(node);
    in_runtime(raft, async move { own.step_down().await }).await;
    tokio::time::sleep(within.saturating_sub(began.elapsed())).await;
}

/// Renews this node's certificate while Raft's threads run.
fn keep_fresh(tls: RaftTls, raft: &Runtime) -> Arc<RaftTls> {
    let authority = tls.fingerprint();
    tracing::info!(
        authority,
        "nodes prove to each other that they have the cluster key"
    );
    let tls = Arc::new(tls);
    let kept = Arc::clone(&tls);
    raft.spawn(async move { kept.keep_fresh().await });
    tls
}

fn serve_raft(
    listener: TcpListener,
    tls: Option<&RaftTls>,
    node: &Arc<Node>,
    stop: watch::Receiver<bool>,
    raft: &Runtime,
) -> Result<JoinHandle<()>, TlsError> {
    let node = Arc::clone(node);
    let answer = move |_peer, request| raft_port::answer(Arc::clone(&node), request);
    Ok(match tls {
        Some(tls) => {
            let acceptor = TlsAcceptor::from(Arc::new(tls.server_config()?));
            raft.spawn(listen::serve_tls(
                listener,
                acceptor,
                RAFT_CONNECTIONS,
                stop,
                answer,
            ))
        }
        None => {
            let places = Places::of_anybody(RAFT_CONNECTIONS);
            raft.spawn(listen::serve(
                Door::Tcp(listener, Passage::default()),
                places,
                stop,
                Duration::ZERO,
                answer,
            ))
        }
    })
}

/// What is there was sealed under another key: nothing could be read, and what is written now would be
/// lost at exit.
fn refuse_a_random_key_over_data(settings: &Settings) -> Result<(), RunError> {
    let random = matches!(&settings.kms.kms, Kms::Local { master_keys: None });
    if random && settings.data_dir.join("log").exists() {
        return Err(RunError::Settings(format!(
            "VAULT_LOCAL_MASTER_KEY is not set, and {} holds data that another key has sealed: set it, \
             or use another VAULT_DATA_DIR",
            settings.data_dir.display()
        )));
    }
    Ok(())
}

/// A cluster of one depends on nobody: what is announced works at once.
async fn until_ready(vault: &Vault, stop: &watch::Receiver<bool>) {
    let deadline = Instant::now() + ANNOUNCED_WITHIN;
    while vault.ready().is_err() && !*stop.borrow() && Instant::now() < deadline {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

async fn in_runtime<T: Send + 'static>(
    runtime: &Runtime,
    work: impl Future<Output = T> + Send + 'static,
) -> T {
    match runtime.spawn(work).await {
        Ok(done) => done,
        Err(error) => std::panic::resume_unwind(error.into_panic()),
    }
}

fn backups(settings: &BackupSettings) -> Result<Backups, RunError> {
    Ok(Backups {
        store: Arc::new(ConfiguredStore::new(&settings.place)?),
        interval: settings.interval,
        keep: settings.keep,
    })
}

fn vault_config(settings: &Settings) -> VaultConfig {
    VaultConfig {
        allowed: settings.allowed_ips.clone(),
        lockout: LockoutPolicy {
            max_failures: settings.lockout.max_failures,
            window: settings.lockout.window,
            lockout: settings.lockout.lockout,
        },
        bootstrap: settings.bootstrap_token.as_ref().map(|token| token.0),
        poll: settings.rotation_poll,
        rewrap: RewrapPolicy {
            enabled: settings.rewrap.enabled,
            poll: settings.rewrap.poll,
            max_per_sec: settings.rewrap.max_per_sec,
        },
        dead_node: settings.dead_node,
        prewarm: settings.kms.prewarm,
    }
}

async fn start_node(
    settings: &Settings,
    data_dir: DataDir,
    tls: Option<Arc<RaftTls>>,
    raft: &Runtime,
) -> Result<Node, RunError> {
    let transport = async move { raft_port::HttpTransport::new(tls.as_deref()) };
    let transport = in_runtime(raft, transport).await?;
    let peers: BTreeMap<String, String> = settings
        .peers
        .iter()
        .map(|peer| (peer.name.to_string(), peer.address.to_string()))
        .collect();
    let config = NodeConfig {
        name: settings.node_id.to_string(),
        peers,
        version: VERSION.to_owned(),
        decodes: strongroom_core::codec::FORMAT,
        snapshot_log_bytes: settings.snapshot.log_bytes,
        snapshot_log_entries: settings.snapshot.log_entries,
    };
    Ok(in_runtime(raft, Node::start(data_dir, config, Arc::new(transport))).await?)
}

async fn open_audit(settings: &Settings) -> Result<Audit, RunError> {
    let config = AuditConfig {
        dir: settings.audit.dir.clone(),
        node: settings.node_id.to_string(),
        sync: settings.audit.sync,
        file_bytes: settings.audit.file_bytes,
        slow_write: audit::SLOW_WRITE,
    };
    let audit = tokio::task::spawn_blocking(move || Audit::open(config))
        .await
        .map_err(|error| RunError::Failed(error.to_string()))?
        .map_err(|error| RunError::Failed(error.to_string()))?;
    record(&audit, "audit.start").await;
    Ok(audit)
}

async fn record(audit: &Audit, action: &'static str) {
    if audit.write(Entry::of_node(action, VERSION)).await.is_err() {
        tracing::error!(action, "the audit trail cannot be written");
    }
}
