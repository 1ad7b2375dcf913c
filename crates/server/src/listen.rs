//! A listener: connections, bounded in number and in time, ended gracefully.

mod pace;
mod places;
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
    server::graceful::GracefulShutdown,
};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpListener, TcpStream},
    sync::{OwnedSemaphorePermit, Semaphore, watch},
};
use tokio_io_timeout::TimeoutStream;

use pace::Paced;
use places::{Open, TurnedAway};

pub(crate) use places::{Places, places};
pub(crate) use tls::serve_tls;

/// How long a client may take to send a request's head, idle time between requests included.
const HEAD_WITHIN: Duration = Duration::from_secs(60);
/// How long a client may leave its answers unread before its connection ends: it holds a place.
const READ_BY_CLIENT_WITHIN: Duration = Duration::from_secs(30);
/// Largest request head, in bytes.
const HEAD_BYTES: usize = 64 * 1024;
/// Connections that the system keeps for a listener until they are accepted.
const BACKLOG: u32 = 1_024;
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
///
/// Connections that nobody uses end after `linger`: whoever asks on one that is being closed does not
/// learn whether the question was heard. By then the service should end each with its answer.
pub(crate) async fn serve<S, F>(
    listener: TcpListener,
    places: Places,
    mut stop: watch::Receiver<bool>,
    linger: Duration,
    service: S,
) where
    S: Fn(IpAddr, Request<Body>) -> F + Clone + Send + Sync + 'static,
    F: Future<Output = Response> + Send + 'static,
{
    let (all, by_client) = (Arc::new(Semaphore::new(places.all)), Open::default());
    let (open, mut turned_away) = (GracefulShutdown::new(), TurnedAway::default());
    let mut admit = |accepted: Option<Accepted>| {
        let Some((stream, peer, place)) = accepted else {
            return;
        };
        match by_client.count(peer.ip(), &places) {
            Some(counted) => {
                attend(&open, stream, peer, service.clone(), (place, counted));
            }
            None => turned_away.note(peer.ip()),
        }
    };
    loop {
        tokio::select! {
            accepted = accept_in_place(&listener, &all) => admit(accepted),
            _ = stop.wait_for(|stop| *stop) => break,
        }
    }
    // Who has connected already believes to be heard.
    for _ in 0..BACKLOG {
        // Outside of the budget of a task, which would end before the backlog does.
        match tokio::task::unconstrained(accept_in_place(&listener, &all)).now_or_never() {
            Some(accepted) => admit(accepted),
            None => break,
        }
    }
    drop(listener);
    let everybody = u32::try_from(places.all).unwrap_or(u32::MAX);
    if tokio::time::timeout(linger, all.acquire_many(everybody))
        .await
        .is_err()
    {
        tracing::debug!("some connections are open that nobody uses");
    }
    end(open).await;
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
    S: Fn(IpAddr, Request<Body>) -> F + Send + Sync + 'static,
    F: Future<Output = Response> + Send + 'static,
{
    let answer = service_fn(move |request: Request<Incoming>| {
        let served = service(peer.ip(), request.map(Body::new));
        async move { Ok::<_, Infallible>(served.await) }
    });
    let mut stream = TimeoutStream::new(stream);
    stream.set_write_timeout(Some(READ_BY_CLIENT_WITHIN));
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_WITHIN)
        .max_buf_size(HEAD_BYTES)
        .serve_connection(TokioIo::new(Paced::new(Box::pin(stream))), answer);
    let connection = open.watch(connection);
    tokio::spawn(async move {
        if let Err(error) = connection.await {
            tracing::debug!(%error, "a connection ended early");
        }
        drop(holds);
    });
}

/// Lets open requests end.
async fn end(open: GracefulShutdown) {
    if tokio::time::timeout(GRACE, open.shutdown()).await.is_err() {
        tracing::warn!("some requests did not end in time");
    }
}

type Accepted = (TcpStream, SocketAddr, OwnedSemaphorePermit);

async fn accept_in_place(listener: &TcpListener, places: &Arc<Semaphore>) -> Option<Accepted> {
    let place = Arc::clone(places).acquire_owned().await.ok()?;
    let (stream, peer) = accept(listener).await?;
    Some((stream, peer, place))
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
            // Out of file handles, mostly: give connections time to end.
            tracing::warn!(%error, "a connection was not accepted");
            tokio::time::sleep(Duration::from_millis(50)).await;
            None
        }
    }
}
