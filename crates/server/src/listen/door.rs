//! Doors: where connections come in, and what they go through before they speak HTTP.

use std::{
    io,
    net::{IpAddr, Ipv4Addr},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use arc_swap::ArcSwap;
use rustls::ServerConfig;
use strongroom_core::{Allowlist, allowlist::canonical};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpListener, TcpStream, UnixStream},
    time::timeout,
};
use tokio_rustls::TlsAcceptor;

use super::{Socket, accept, not_accepted, proxy};
use crate::seldom::Seldom;

/// How long a proxy may take to say for whom it connects.
const HEADER_WITHIN: Duration = Duration::from_secs(5);
/// How long a handshake may take.
const HANDSHAKE_WITHIN: Duration = Duration::from_secs(10);

/// Who asks.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Caller {
    /// The other end of the connection.
    pub(crate) peer: IpAddr,
    /// Whom it was made for: the peer itself, unless that is a proxy which says so.
    pub(crate) client: IpAddr,
}

impl Caller {
    /// Somebody who connects for nobody else.
    pub(crate) fn direct(peer: IpAddr) -> Self {
        Self { peer, client: peer }
    }
}

/// Where connections come in.
pub(crate) enum Door {
    /// The network.
    Tcp(TcpListener, Passage),
    /// This machine.
    Socket(Socket),
}

/// A connection that has come in and gone through nothing yet.
pub(super) enum Arrived {
    Tcp(TcpStream, Passage),
    Socket(UnixStream),
}

/// A stream of bytes, whatever is below it.
pub(super) trait Io: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Io for T {}

impl Door {
    /// The next connection, with the address of its other end.
    pub(super) async fn accept(&self) -> Option<(Arrived, IpAddr)> {
        match self {
            Self::Tcp(listener, passage) => {
                let (stream, peer) = accept(listener).await?;
                Some((Arrived::Tcp(stream, passage.clone()), peer.ip()))
            }
            Self::Socket(socket) => match socket.accept().await {
                // Whoever may open the socket is on this machine, and counts as that.
                Ok(stream) => Some((Arrived::Socket(stream), Ipv4Addr::LOCALHOST.into())),
                Err(error) => {
                    not_accepted(&error).await;
                    None
                }
            },
        }
    }
}

impl Arrived {
    /// Goes through what its door asks for. `None`: refused, or it hung up.
    pub(super) async fn enter(self, peer: IpAddr) -> Option<(Box<dyn Io>, Caller)> {
        match self {
            Self::Tcp(stream, passage) => passage.pass(stream, peer).await,
            Self::Socket(stream) => Some((Box::new(stream), Caller::direct(peer))),
        }
    }
}

/// Connections that were refused at a door, counted.
#[derive(Default)]
pub(crate) struct Refusals {
    handshakes: Refused,
    headers: Refused,
}

/// Those of one kind: a flood of one must not hide the other in the log.
#[derive(Default)]
struct Refused {
    count: AtomicU64,
    said: Seldom,
}

impl Refusals {
    /// TLS handshakes that failed.
    pub(crate) fn handshakes(&self) -> u64 {
        self.handshakes.count.load(Ordering::Relaxed)
    }

    /// PROXY headers that were refused or missing.
    pub(crate) fn headers(&self) -> u64 {
        self.headers.count.load(Ordering::Relaxed)
    }
}

impl Refused {
    fn note(&self, peer: IpAddr, what: &str, why: &str) {
        self.count.fetch_add(1, Ordering::Relaxed);
        if let Some(count) = self.said.due() {
            tracing::warn!(%peer, why, count, "{what}");
        }
    }
}

/// What connections of the network go through. Nothing, by default.
#[derive(Clone, Default)]
pub(crate) struct Passage {
    /// Who has to say, in a PROXY header, for whom it connects; `None`: nobody is asked.
    pub(crate) proxies: Option<Arc<Allowlist>>,
    /// How TLS is spoken to those who come in now; `None`: it is not.
    pub(crate) tls: Option<Arc<ArcSwap<ServerConfig>>>,
    /// What came of it.
    pub(crate) refusals: Arc<Refusals>,
}

impl Passage {
    async fn pass(&self, mut stream: TcpStream, peer: IpAddr) -> Option<(Box<dyn Io>, Caller)> {
        let client = match &self.proxies {
            None => peer,
            Some(proxies) => self.client(&mut stream, peer, proxies).await?,
        };
        let caller = Caller { peer, client };
        match &self.tls {
            None => Some((Box::new(stream), caller)),
            Some(tls) => {
                let accepting = TlsAcceptor::from(tls.load_full()).accept(stream);
                let why = match timeout(HANDSHAKE_WITHIN, accepting).await {
                    Ok(Ok(stream)) => return Some((Box::new(stream), caller)),
                    Ok(Err(error)) if error.kind() != io::ErrorKind::InvalidData => {
                        // Somebody who hung up: a check whether the port is open, mostly.
                        tracing::debug!(%peer, %error, "a handshake ended early");
                        return None;
                    }
                    Ok(Err(error)) => error.to_string(),
                    Err(_) => "it took too long".to_owned(),
                };
                let handshakes = &self.refusals.handshakes;
                handshakes.note(peer, "a TLS handshake failed", &why);
                None
            }
        }
    }

    /// Whom the connection was made for: by the word of a proxy, and of nobody else.
    async fn client(
        &self,
        stream: &mut TcpStream,
        peer: IpAddr,
        proxies: &Allowlist,
    ) -> Option<IpAddr> {
        let said = match proxies.contains(canonical(peer)) {
            true => timeout(HEADER_WITHIN, proxy::read(stream))
                .await
                .unwrap_or(Err(proxy::Refused("it took too long"))),
            // Whoever is silent at first has sent no header.
            false => timeout(HEADER_WITHIN, proxy::refuse(stream))
                .await
                .unwrap_or(Ok(None)),
        };
        let refused = match said {
            Ok(None) => return Some(peer),
            // A proxy whose own client is a proxy hides who asks.
            Ok(Some(client)) if proxies.contains(canonical(client)) => {
                proxy::Refused("it names a proxy as the client")
            }
            Ok(Some(client)) => return Some(canonical(client)),
            Err(proxy::HUNG_UP) => {
                tracing::debug!(%peer, "a proxy hung up before it said anything");
                return None;
            }
            Err(refused) => refused,
        };
        let headers = &self.refusals.headers;
        headers.note(peer, "a PROXY header was refused", refused.0);
        None
    }
}
