//! How this node asks others: HTTP, inside TLS where there is a cluster key.

use std::{
    collections::HashMap,
    error::Error,
    io,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use bytes::{Bytes, BytesMut};
use http::{HeaderValue, Method, Request, StatusCode, Uri};
use http_body_util::{BodyExt, Full};
use hyper_rustls::{FixedServerNameResolver, HttpsConnectorBuilder, MaybeHttpsStream};
use hyper_util::{
    client::legacy::{self, Client, connect::HttpConnector},
    rt::{TokioExecutor, TokioIo, TokioTimer},
};
use strongroom_core::replica::PortFuture;
use strongroom_raft::{Rpc, Transport, TransportError};
use tokio::{
    net::TcpStream,
    sync::Semaphore,
    time::{Instant, timeout_at},
};
use tower::{BoxError, timeout::Timeout, util::BoxCloneSyncService};

use super::{MARK, MESSAGE_BYTES, PREFIX};
use crate::{
    raft_tls::{RaftTls, TlsError},
    seldom::Seldom,
};

/// How long a connection may take to be made, its handshake included.
const CONNECT_WITHIN: Duration = Duration::from_secs(1);
/// Questions to one node at a time, Raft's own aside: what clients ask must leave places for those.
const QUESTIONS: usize = 128;
/// Connections kept to one node while nothing is asked, and for how long.
const IDLE: usize = 8;
const IDLE_FOR: Duration = Duration::from_secs(20);

type Stream = MaybeHttpsStream<TokioIo<TcpStream>>;
type Connector = BoxCloneSyncService<Uri, Stream, BoxError>;
type HttpClient = Client<Connector, Full<Bytes>>;

/// Asks other nodes over HTTP. Raft's own messages have connections of their own.
pub(crate) struct HttpTransport {
    scheme: &'static str,
    raft: HttpClient,
    questions: HttpClient,
    places: Mutex<HashMap<String, Arc<Semaphore>>>,
    strangers: Seldom,
}

impl HttpTransport {
    /// With `tls`, other nodes prove who they are, and this one does. Without, nobody does.
    pub(crate) fn new(tls: Option<&RaftTls>) -> Result<Self, TlsError> {
        let connector = connector(tls)?;
        let client = || {
            Client::builder(TokioExecutor::new())
                .timer(TokioTimer::new())
                .pool_timer(TokioTimer::new())
                .pool_idle_timeout(IDLE_FOR)
                .pool_max_idle_per_host(IDLE)
                .build(connector.clone())
        };
        Ok(Self {
            scheme: if tls.is_some() { "https" } else { "http" },
            raft: client(),
            questions: client(),
            places: Mutex::default(),
            strangers: Seldom::default(),
        })
    }

    /// The places of one node. There are as many nodes as the settings list, and a few of the past.
    fn places(&self, address: &str) -> Arc<Semaphore> {
        let mut places = self.places.lock().unwrap_or_else(PoisonError::into_inner);
        match places.get(address) {
            Some(found) => Arc::clone(found),
            None => {
                let made = Arc::new(Semaphore::new(QUESTIONS));
                places.insert(address.to_owned(), Arc::clone(&made));
                made
            }
        }
    }

    async fn send(
        &self,
        client: &HttpClient,
        (address, rpc): (&str, Rpc),
        body: Vec<u8>,
        deadline: Instant,
    ) -> Result<Bytes, TransportError> {
        let request = Request::builder()
            .method(Method::POST)
            .uri(format!(
                "{}://{address}{PREFIX}{}",
                self.scheme,
                rpc.as_str()
            ))
            .header(MARK, HeaderValue::from_static("1"))
            .body(Full::from(body))
            // Not sent, and never will be: the address is none.
            .map_err(|_| TransportError::Unreachable)?;
        let asked = async {
            let asked = client.request(request).await;
            let response = asked.map_err(|error| self.failure(address, &error))?;
            if response.status() != StatusCode::OK {
                return Err(TransportError::Failed);
            }
            let (mut answer, mut body) = (BytesMut::new(), response.into_body());
            while let Some(frame) = body.frame().await {
                let Ok(data) = frame.map_err(|_| TransportError::Failed)?.into_data() else {
                    continue;
                };
                if answer.len() + data.len() > MESSAGE_BYTES {
                    return Err(TransportError::Failed);
                }
                answer.extend_from_slice(&data);
            }
            Ok(answer.freeze())
        };
        timeout_at(deadline, asked)
            .await
            .map_err(|_| TransportError::TimedOut)?
    }

    fn failure(&self, address: &str, error: &legacy::Error) -> TransportError {
        tracing::trace!(?error, "a question to another node failed");
        if let Some(error) = of_tls(error)
            && let Some(count) = self.strangers.due()
        {
            tracing::warn!(
                address, %error, count,
                "no trust between this node and another: do both have the same VAULT_CLUSTER_KEY, and the right time?"
            );
        }
        // A connect that timed out has sent nothing either.
        if error.is_connect() {
            TransportError::Unreachable
        } else {
            TransportError::Failed
        }
    }
}

fn connector(tls: Option<&RaftTls>) -> Result<Connector, TlsError> {
    let mut tcp = HttpConnector::new();
    tcp.set_nodelay(true);
    tcp.enforce_http(false);
    Ok(match tls {
        Some(tls) => {
            let name = FixedServerNameResolver::new(RaftTls::server_name()?);
            let tls = HttpsConnectorBuilder::new()
                .with_tls_config(tls.client_config()?)
                .https_only()
                .with_server_name_resolver(name)
                .enable_http1()
                .wrap_connector(tcp);
            Connector::new(Timeout::new(tls, CONNECT_WITHIN))
        }
        None => {
            use tower::ServiceExt;
            let plain = tcp.map_response(Stream::Http);
            Connector::new(Timeout::new(plain, CONNECT_WITHIN))
        }
    })
}

/// What TLS said, where it was TLS: the error is wrapped in several of the operating system's kind,
/// which do not name what they hold as their source.
fn of_tls<'a>(error: &'a (dyn Error + 'static)) -> Option<&'a rustls::Error> {
    if let Some(found) = error.downcast_ref() {
        return Some(found);
    }
    let held = error.downcast_ref().and_then(io::Error::get_ref);
    match held {
        Some(held) => of_tls(held),
        None => of_tls(error.source()?),
    }
}

impl Transport for HttpTransport {
    fn ask<'a>(
        &'a self,
        address: &'a str,
        rpc: Rpc,
        body: Vec<u8>,
        within: Duration,
    ) -> PortFuture<'a, Result<Bytes, TransportError>> {
        Box::pin(async move {
            let deadline = Instant::now() + within;
            if rpc.is_rafts_own() {
                return self.send(&self.raft, (address, rpc), body, deadline).await;
            }
            let place = timeout_at(deadline, self.places(address).acquire_owned());
            // Not asked yet, so it was not heard.
            let Ok(Ok(_place)) = place.await else {
                return Err(TransportError::Unreachable);
            };
            self.send(&self.questions, (address, rpc), body, deadline)
                .await
        })
    }
}
