//! A listener: connections, bounded in number and in time, ended gracefully.

mod door;
mod pace;
mod places;
mod proxy;
mod socket;
mod tls;

use std::{
    convert::Infallible,
    io,
    net::{IpAddr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use axum::{body::Body, response::Response};
use futures_util::FutureExt;
use http::Request;
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    server::graceful::{GracefulShutdown, Watcher},
};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpListener, TcpStream},
    sync::{OwnedSemaphorePermit, Semaphore, watch},
};
use tokio_io_timeout::TimeoutStream;

use door::{Arrived, Io};
use pace::Paced;
use places::Open;

pub(crate) use door::{Caller, Door, Passage, Refusals};
pub(crate) use places::{Places, places};
pub(crate) use socket::Socket;
pub(crate) use tls::serve_tls;

use crate::seldom::Seldom;

/// How long a client may take to send a request's head, idle time between requests included.
const HEAD_WITHIN: Duration = Duration::from_secs(60);
/// How long a client may leave its answers unread before its connection ends: it holds a place.
const READ_BY_CLIENT_WITHIN: Duration = Duration::from_secs(30);
/// Largest request head, in bytes.
const HEAD_BYTES: usize = 64 * 1024;
/// Connections that the system keeps for a listener until they are accepted.
const BACKLOG: u32 = 1_024;
/// How long whoever is still at the door may take once the others are told to end.
const AT_THE_DOOR: Duration = Duration::from_secs(1);
/// How long open requests may take at shutdown.
const GRACE: Duration = Duration::from_secs(10);

/// Binds a listener that can be bound again right after a restart.
///
/// # Errors
/// What the operating system says, with the address.
pub(crate) fn bind(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = match address {
        SocketAddr::V4(_) => tokio::net::TcpSocket::new_v4(),
        SocketAddr::V6(_) => tokio::net::TcpSocket::new_v6(),
    }?;
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(BACKLOG)
}

/// Serves at most `places` connections at a time until `stop` turns true; then lets open requests end.
/// What a connection has to go through at its door takes one of these places as well.
///
/// Connections that nobody uses end after `linger`: whoever asks on one that is being closed does not
/// learn whether the question was heard. By then the service should end each with its answer.
pub(crate) async fn serve<S, F>(
    door: Door,
    places: Places,
    mut stop: watch::Receiver<bool>,
    linger: Duration,
    service: S,
) where
    S: Fn(Caller, Request<Body>) -> F + Clone + Send + Sync + 'static,
    F: Future<Output = Response> + Send + 'static,
{
    let all = Arc::new(Semaphore::new(places.all));
    let everybody = u32::try_from(places.all).unwrap_or(u32::MAX);
    let shares = Arc::new(Shares {
        places,
        open: Open::default(),
        turned_away: Seldom::default(),
    });
    let open = GracefulShutdown::new();
    let stopping = stop.clone();
    let admit = |accepted: Option<Accepted>| {
        let Some((arrived, peer, place)) = accepted else {
            return;
        };
        if let Some(counted) = shares.count(peer) {
            let (shares, holds) = (Arc::clone(&shares), (place, counted));
            let closed = closed(stopping.clone(), linger);
            let entered = async move {
                tokio::select! {
                    entered = arrived.enter(peer) => entered,
                    () = closed => None,
                }
            };
            begin(&open, entered, peer, shares, service.clone(), holds);
        }
    };
    loop {
        tokio::select! {
            accepted = accept_in_place(&door, &all) => admit(accepted),
            _ = stop.wait_for(|stop| *stop) => break,
        }
    }
    // Who has connected already believes to be heard.
    for _ in 0..BACKLOG {
        // Outside of the budget of a task, which would end before the backlog does.
        match tokio::task::unconstrained(accept_in_place(&door, &all)).now_or_never() {
            Some(accepted) => admit(accepted),
            None => break,
        }
    }
    drop(door);
    if tokio::time::timeout(linger, all.acquire_many(everybody))
        .await
        .is_err()
    {
        tracing::debug!("some connections are open that nobody uses");
    }
    end(open).await;
}

/// Returns when nobody is waited for at the door any more: whoever has said nothing yet must not hold up
/// the end.
async fn closed(mut stop: watch::Receiver<bool>, linger: Duration) {
    // An error means that nobody can tell any more: as good as a stop.
    let _ = stop.wait_for(|stop| *stop).await;
    tokio::time::sleep(linger + AT_THE_DOOR).await;
}

/// Who has how many of the places.
struct Shares {
    places: Places,
    open: Open,
    turned_away: Seldom,
}

impl Shares {
    /// Counts one more connection of a client, unless it has its share already.
    fn count(&self, client: IpAddr) -> Option<places::Counted> {
        let counted = self.open.count(client, &self.places);
        if counted.is_none()
            && let Some(closed) = self.turned_away.due()
        {
            tracing::warn!(%client, closed, "a client has too many connections; more are closed");
        }
        counted
    }
}

/// Serves one connection once it has `entered`, on a task of its own.
fn begin<S, F>(
    open: &GracefulShutdown,
    entered: impl Future<Output = Option<(Box<dyn Io>, Caller)>> + Send + 'static,
    peer: IpAddr,
    shares: Arc<Shares>,
    service: S,
    holds: impl Send + 'static,
) where
    S: Fn(Caller, Request<Body>) -> F + Send + Sync + 'static,
    F: Future<Output = Response> + Send + 'static,
{
    // A shutdown waits for who is at the door as well.
    let watcher = open.watcher();
    tokio::spawn(async move {
        if let Some((stream, caller)) = entered.await {
            // Behind a proxy, the share is the client's.
            let counted = match caller.client == peer {
                true => Some(None),
                false => shares.count(caller.client).map(Some),
            };
            if let Some(_counted) = counted {
                converse(watcher, stream, caller, service).await;
            }
        }
        drop(holds);
    });
}

/// Serves one connection on a task of its own. What it `holds` is dropped with it.
fn attend<T, S, F>(
    open: &GracefulShutdown,
    stream: T,
    peer: SocketAddr,
    service: S,
    holds: impl Send + 'static,
) where
    T: AsyncRead + AsyncWrite + Send + 'static,
    S: Fn(Caller, Request<Body>) -> F + Send + Sync + 'static,
    F: Future<Output = Response> + Send + 'static,
{
    let watcher = open.watcher();
    tokio::spawn(async move {
        converse(watcher, stream, Caller::direct(peer.ip()), service).await;
        drop(holds);
    });
}

/// Answers requests on one connection until it ends.
async fn converse<T, S, F>(watcher: Watcher, stream: T, caller: Caller, service: S)
where
    T: AsyncRead + AsyncWrite + Send + 'static,
    S: Fn(Caller, Request<Body>) -> F + Send + Sync + 'static,
    F: Future<Output = Response> + Send + 'static,
{
    let answer = service_fn(move |request: Request<Incoming>| {
        service(caller, request.map(Body::new)).map(Ok::<_, Infallible>)
    });
    let mut stream = TimeoutStream::new(stream);
    stream.set_write_timeout(Some(READ_BY_CLIENT_WITHIN));
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_WITHIN)
        .max_buf_size(HEAD_BYTES)
        .serve_connection(TokioIo::new(Paced::new(Box::pin(stream))), answer);
    if let Err(error) = watcher.watch(connection).await {
        tracing::debug!(%error, "a connection ended early");
    }
}

/// Lets open requests end.
async fn end(open: GracefulShutdown) {
    if tokio::time::timeout(GRACE, open.shutdown()).await.is_err() {
        tracing::warn!("some requests did not end in time");
    }
}

type Accepted = (Arrived, IpAddr, OwnedSemaphorePermit);

async fn accept_in_place(door: &Door, places: &Arc<Semaphore>) -> Option<Accepted> {
    let place = Arc::clone(places).acquire_owned().await.ok()?;
    let (arrived, peer) = door.accept().await?;
    Some((arrived, peer, place))
}

async fn accept(listener: &TcpListener) -> Option<(TcpStream, SocketAddr)> {
    match listener.accept().await {
        Ok((stream, peer)) => {
            if let Err(error) = stream.set_nodelay(true) {
                tracing::debug!(%error, "TCP_NODELAY was not set");
            }
            Some((stream, peer))
        }
        Err(error) => {
            not_accepted(&error).await;
            None
        }
    }
}

/// Out of file handles, mostly: gives connections time to end.
async fn not_accepted(error: &io::Error) {
    tracing::warn!(%error, "a connection was not accepted");
    tokio::time::sleep(Duration::from_millis(50)).await;
}
