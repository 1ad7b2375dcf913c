//! A listener for those alone who can prove that they belong here. Until they have, they cost a place
//! among strangers, a deadline, and nothing else.

use std::{
    collections::VecDeque,
    io,
    net::{IpAddr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use axum::{body::Body, response::Response};
use http::Request;
use hyper_util::server::graceful::GracefulShutdown;
use strongroom_service::lockout::block;
use tokio::{
    net::{TcpListener, TcpStream},
    sync::{Semaphore, watch},
    task::{AbortHandle, JoinSet},
    time::timeout,
};
use tokio_rustls::{TlsAcceptor, server::TlsStream};

use super::{Caller, accept, attend, end};
use crate::seldom::Seldom;

/// How long a handshake may take.
const HANDSHAKE_WITHIN: Duration = Duration::from_secs(5);
/// Handshakes at a time. A node's takes some milliseconds, so it is done before it is the oldest even
/// while others crowd in.
const HANDSHAKES: usize = 256;
/// Of them, those of one address.
const OF_ONE: usize = 64;

/// Serves whoever completes a handshake, at most `places` connections at a time, until `stop` turns
/// true; then lets open requests end. Strangers take none of these places.
pub(crate) async fn serve_tls<S, F>(
    listener: TcpListener,
    acceptor: TlsAcceptor,
    places: usize,
    mut stop: watch::Receiver<bool>,
    service: S,
) where
    S: Fn(Caller, Request<Body>) -> F + Clone + Send + Sync + 'static,
    F: Future<Output = Response> + Send + 'static,
{
    let (all, open) = (Arc::new(Semaphore::new(places)), GracefulShutdown::new());
    let mut handshakes = Handshakes::new(acceptor);
    loop {
        tokio::select! {
            accepted = accept(&listener), if handshakes.may_begin() => {
                if let Some((stream, peer)) = accepted {
                    handshakes.begin(stream, peer);
                }
            }
            Some((stream, peer)) = handshakes.next() => {
                match Arc::clone(&all).try_acquire_owned() {
                    Ok(place) => attend(&open, stream, peer, service.clone(), place),
                    Err(_) => tracing::warn!(%peer, "there are too many connections of nodes"),
                }
            }
            _ = stop.wait_for(|stop| *stop) => break,
        }
    }
    drop((listener, handshakes));
    end(open).await;
}

/// Connections that have proved nothing yet.
struct Handshakes {
    acceptor: TlsAcceptor,
    running: JoinSet<Option<(TlsStream<TcpStream>, SocketAddr)>>,
    /// The oldest first.
    waiting: VecDeque<Waiting>,
    refused: Arc<Seldom>,
}

struct Waiting {
    client: IpAddr,
    task: AbortHandle,
}

impl Handshakes {
    fn new(acceptor: TlsAcceptor) -> Self {
        Self {
            acceptor,
            running: JoinSet::new(),
            waiting: VecDeque::new(),
            refused: Arc::default(),
        }
    }

    /// Those that made way end within moments; until then there is no room for more.
    fn may_begin(&self) -> bool {
        self.running.len() < 2 * HANDSHAKES
    }

    /// Begins one more. Where there are too many, the oldest makes way: somebody who waits for nothing
    /// must keep nobody out.
    fn begin(&mut self, stream: TcpStream, peer: SocketAddr) {
        let client = block(peer.ip());
        let of_client = |waiting: &Waiting| waiting.client == client;
        let count = self.waiting.iter().filter(|other| of_client(other)).count();
        let oldest = match count >= OF_ONE {
            true => self.waiting.iter().position(of_client),
            false => (self.waiting.len() >= HANDSHAKES).then_some(0),
        };
        if let Some(made_way) = oldest.and_then(|place| self.waiting.remove(place)) {
            made_way.task.abort();
        }
        let accepting = self.acceptor.accept(stream);
        let refused = Arc::clone(&self.refused);
        let task = self.running.spawn(async move {
            let error = match timeout(HANDSHAKE_WITHIN, accepting).await {
                Ok(Ok(stream)) => return Some((stream, peer)),
                Ok(Err(error)) if error.kind() != io::ErrorKind::InvalidData => {
                    // Somebody who hung up: a node that was stopped, or whoever looks for open ports.
                    tracing::debug!(%peer, %error, "a handshake ended early");
                    return None;
                }
                Ok(Err(error)) => error.to_string(),
                Err(_) => "no handshake within the deadline".to_owned(),
            };
            if let Some(count) = refused.due() {
                tracing::warn!(
                    %peer, error, count,
                    "a connection to the Raft port was refused: it is not of a node with this cluster key"
                );
            }
            None
        });
        self.waiting.push_back(Waiting { client, task });
    }

    /// The next connection of a node. `None` while there are no handshakes.
    async fn next(&mut self) -> Option<(TlsStream<TcpStream>, SocketAddr)> {
        loop {
            let (id, done) = match self.running.join_next_with_id().await? {
                Ok(ended) => ended,
                Err(error) => (error.id(), None),
            };
            self.waiting.retain(|waiting| waiting.task.id() != id);
            if done.is_some() {
                return done;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn acceptor() -> TlsAcceptor {
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let config = rustls::ServerConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&rustls::version::TLS13])
            .unwrap()
            .with_no_client_auth()
            .with_cert_resolver(Arc::new(rustls::server::ResolvesServerCertUsingSni::new()));
        TlsAcceptor::from(Arc::new(config))
    }

    /// Somebody who says nothing, from an address of 10.0.0.0/16. The other end lives as long.
    async fn begin(handshakes: &mut Handshakes, listener: &TcpListener, n: u16) -> TcpStream {
        let other = TcpStream::connect(listener.local_addr().unwrap());
        let (other, taken) = tokio::join!(other, listener.accept());
        let [high, low] = n.to_be_bytes();
        let peer = SocketAddr::from(([10, 0, high, low], 1));
        handshakes.begin(taken.unwrap().0, peer);
        other.unwrap()
    }

    #[tokio::test]
    async fn the_oldest_makes_way_of_its_address_and_of_all() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let mut handshakes = Handshakes::new(acceptor());
        let mut others = vec![begin(&mut handshakes, &listener, 1).await];
        let first = handshakes.waiting[0].task.id();
        for _ in 0..OF_ONE + 10 {
            others.push(begin(&mut handshakes, &listener, 2).await);
        }
        // Its own, and not the older one of another address.
        assert_eq!(handshakes.waiting.len(), 1 + OF_ONE);
        assert_eq!(handshakes.waiting[0].task.id(), first);
        for n in 0..200 {
            others.push(begin(&mut handshakes, &listener, 100 + n).await);
        }
        assert_eq!(handshakes.waiting.len(), HANDSHAKES);
        assert_ne!(handshakes.waiting[0].task.id(), first);
        assert!(handshakes.may_begin());
        // Whoever hangs up leaves no place taken.
        drop(others);
        assert!(handshakes.next().await.is_none());
        assert!(handshakes.waiting.is_empty() && handshakes.running.is_empty());
    }
}
