//! Where the API is reached: its port, plain or in TLS, and its socket.

use std::{fmt::Write, net::SocketAddr, sync::Arc, time::Duration};

use strongroom_core::allowlist::canonical;
use strongroom_service::Vault;
use tokio::{net::TcpListener, sync::watch};

use crate::{
    api_tls::{ApiTls, TlsStats},
    http::{
        self, App, BodyPlaces, Detached, EdgeStats, HttpMetrics, Origins, PeerAddress, Streams,
    },
    listen::{self, Caller, Door, Passage, Places, Refusals, Socket},
    run_error::RunError,
    settings::{ApiSettings, Settings},
};

/// One in so many places is the socket's: what comes by the network must not keep this machine out.
const SHARE_OF_SOCKET: usize = 8;

/// The API's listeners, at which nobody is heard yet.
pub(crate) struct ApiPort {
    tcp: Option<TcpListener>,
    socket: Option<Socket>,
    tls: Option<Arc<ApiTls>>,
    stats: EdgeStats,
    /// Where they are, in words.
    pub(crate) address: String,
}

/// Reads what TLS on the API is made of.
///
/// # Errors
/// [`RunError::Settings`] if it cannot be used.
pub(crate) fn open_tls(
    settings: &ApiSettings,
) -> Result<(Option<Arc<ApiTls>>, EdgeStats), RunError> {
    let stats = EdgeStats {
        tls: Arc::new(TlsStats::default()),
        refusals: Arc::new(Refusals::default()),
    };
    let tls = settings.tls.clone().filter(|_| settings.addr.is_some());
    let tls = tls.map(|tls| ApiTls::open(tls, Arc::clone(&stats.tls)));
    match tls.transpose() {
        Ok(tls) => Ok((tls.map(Arc::new), stats)),
        Err(unusable) => Err(RunError::Settings(unusable.to_string())),
    }
}

/// Binds a port.
///
/// # Errors
/// [`RunError::Failed`], with the setting that names the address.
pub(crate) fn bind(address: SocketAddr, key: &str) -> Result<TcpListener, RunError> {
    listen::bind(address)
        .map_err(|error| RunError::Failed(format!("cannot listen on {address} ({key}): {error}")))
}

impl ApiPort {
    /// Binds the port and the socket.
    ///
    /// # Errors
    /// [`RunError::Failed`], with the setting that names the place.
    pub(crate) async fn bind(
        settings: &ApiSettings,
        (tls, stats): (Option<Arc<ApiTls>>, EdgeStats),
    ) -> Result<Self, RunError> {
        let mut address = String::new();
        let tcp = settings.addr.map(|addr| bind(addr, "VAULT_API_ADDR"));
        let tcp = tcp.transpose()?;
        if let Some(bound) = tcp.as_ref().and_then(|tcp| tcp.local_addr().ok()) {
            address = bound.to_string();
        }
        let mut socket = None;
        if let Some(path) = &settings.socket {
            let shown = path.display();
            let bound = Socket::bind(path).await.map_err(|error| {
                let what = format!("cannot listen on {shown} (VAULT_API_SOCKET)");
                RunError::Failed(format!("{what}: {error}"))
            })?;
            socket = Some(bound);
            let and = if address.is_empty() { "" } else { " and " };
            // Writing to a `String` cannot fail.
            let _ = write!(address, "{and}{shown}");
        }
        Ok(Self {
            tcp,
            socket,
            tls,
            stats,
            address,
        })
    }

    /// Answers until `stop` turns true, and ends gracefully then.
    pub(crate) async fn serve(
        self,
        settings: &Settings,
        vault: Arc<Vault>,
        stop: watch::Receiver<bool>,
    ) {
        let app = Arc::new(app(settings, vault, self.stats.clone()));
        let router = http::router(Arc::clone(&app));
        let answer = move |caller: Caller, request: ::http::Request<axum::body::Body>| {
            let Caller { peer, client } = caller;
            let from = PeerAddress { peer, client };
            http::serve(Arc::clone(&app), router.clone(), from, request)
        };
        let linger = match settings.peers.is_empty() {
            true => Duration::ZERO,
            false => settings.drain,
        };
        let all = listen::places(crate::hygiene::raise_file_limit());
        let of_socket = self.socket.as_ref().map_or(0, |_| all / SHARE_OF_SOCKET);
        let passage = Passage {
            proxies: settings.api.proxies.clone().map(Arc::new),
            tls: self.tls.as_ref().map(|tls| tls.in_use()),
            refusals: self.stats.refusals,
        };
        let (at_socket, stops) = (answer.clone(), stop.clone());
        let socket = async {
            if let Some(socket) = self.socket {
                let places = Places::of_anybody(of_socket);
                listen::serve(Door::Socket(socket), places, stops, linger, at_socket).await;
            }
        };
        let port = async {
            if let Some(listener) = self.tcp {
                let places = places(settings, all - of_socket);
                listen::serve(Door::Tcp(listener, passage), places, stop, linger, answer).await;
            }
        };
        let fresh = async {
            match &self.tls {
                Some(tls) => tls.keep_fresh().await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            ((), ()) = async { tokio::join!(socket, port) } => {}
            () = fresh => {}
        }
    }
}

fn places(settings: &Settings, all: usize) -> Places {
    let proxies = settings.trusted_proxies.as_ref();
    let proxies = proxies.or(settings.api.proxies.as_ref()).cloned();
    let proxies = proxies.unwrap_or_default();
    Places {
        all,
        of_one: all / 2,
        // A proxy has everybody's connections, and this machine its own.
        unlimited: Box::new(move |peer| {
            let peer = canonical(peer);
            peer.is_loopback() || proxies.contains(peer)
        }),
    }
}

fn app(settings: &Settings, vault: Arc<Vault>, stats: EdgeStats) -> App {
    App {
        vault,
        trusted_proxies: settings.trusted_proxies.clone(),
        read_gate: settings.read_consistency,
        request_timeout: settings.request_timeout,
        metrics: HttpMetrics::new(stats),
        body_places: BodyPlaces::default(),
        origins: Origins {
            hosts: settings.allowed_hosts.clone(),
        },
        streams: Streams::default(),
        detached: Detached::default(),
    }
}
