use std::{
    net::SocketAddr,
    sync::atomic::{AtomicUsize, Ordering::Relaxed},
};

use axum::{body::Body, response::Response};
use http::Request;
use http_body_util::BodyExt;
use strongroom_raft::{Rpc, Transport, TransportError};
use strongroom_seal::{BreakerConfig, Keyring, KeyringConfig, LocalKms, WrappedClusterKey};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    sync::watch,
    time::Instant,
};
use tokio_rustls::TlsAcceptor;

use super::*;
use crate::{listen, raft_port::HttpTransport};

const ZEROS: &str = "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=";
const GOLDEN: &str = include_str!("../../../seal/src/cluster_key/golden-v1.txt");
const WITHIN: Duration = Duration::from_secs(30);

fn keyring() -> Keyring {
    let config = KeyringConfig {
        ttl: WITHIN,
        stale: Duration::ZERO,
        max_entries: 10,
        deadline: WITHIN,
        breaker: BreakerConfig::default(),
    };
    Keyring::new(Arc::new(LocalKms::parse(ZEROS).unwrap()), config)
}

async fn golden() -> ClusterKey {
    let wrapped = WrappedClusterKey::parse(GOLDEN.trim_end()).unwrap();
    keyring().cluster_key(&wrapped, WITHIN).await.unwrap()
}

async fn another() -> ClusterKey {
    let keyring = keyring();
    let wrapped = keyring.new_cluster_key().await.unwrap();
    keyring.cluster_key(&wrapped, WITHIN).await.unwrap()
}

/// A listener of a node that says "heard" to everything, and how often it did.
struct Listener {
    address: SocketAddr,
    heard: Arc<AtomicUsize>,
    _stop: watch::Sender<bool>,
}

fn listener(tls: &RaftTls) -> Listener {
    let socket = listen::bind(SocketAddr::from(([127, 0, 0, 1], 0))).unwrap();
    let address = socket.local_addr().unwrap();
    let (heard, (stop, stops)) = (Arc::new(AtomicUsize::new(0)), watch::channel(false));
    let acceptor = TlsAcceptor::from(Arc::new(tls.server_config().unwrap()));
    let count = Arc::clone(&heard);
    let answer = move |_, request: Request<Body>| {
        count.fetch_add(1, Relaxed);
        async {
            // A connection whose request was not taken is not used again.
            request.into_body().collect().await.unwrap();
            Response::new(Body::from("heard"))
        }
    };
    tokio::spawn(listen::serve_tls(socket, acceptor, 10, stops, answer));
    Listener {
        address,
        heard,
        _stop: stop,
    }
}

impl Listener {
    async fn asked_by(&self, transport: &HttpTransport) -> Result<(), TransportError> {
        let address = self.address.to_string();
        let asked = transport.ask(&address, Rpc::Status, vec![1; 10_000], WITHIN);
        asked.await.map(|answer| assert_eq!(answer, "heard"))
    }
}

/// All nodes of a cluster, whatever their version, derive the same authority.
#[tokio::test]
async fn the_same_key_gives_the_same_authority_for_ever() {
    let (one, two) = (golden().await, golden().await);
    let one = Authority::derive(&one.authority_seed().unwrap()).unwrap();
    let two = Authority::derive(&two.authority_seed().unwrap()).unwrap();
    assert_eq!(one.fingerprint(), "68fa9047d9d05ac7");
    assert_eq!(one.fingerprint(), two.fingerprint());
    assert_eq!(one.root, two.root);
    let other = RaftTls::new(&another().await).unwrap();
    assert_ne!(other.fingerprint(), one.fingerprint());
}

#[tokio::test]
async fn nodes_with_one_key_hear_each_other_and_nobody_else() {
    let (ours, theirs) = (golden().await, another().await);
    let (a, b) = (RaftTls::new(&ours).unwrap(), RaftTls::new(&ours).unwrap());
    let stranger = RaftTls::new(&theirs).unwrap();
    let listener = listener(&a);
    let member = HttpTransport::new(Some(&b)).unwrap();
    listener.asked_by(&member).await.unwrap();
    // Whatever it is called there: no certificate names an address.
    let by_name = format!("localhost:{}", listener.address.port());
    let asked = member.ask(&by_name, Rpc::Status, Vec::new(), WITHIN);
    assert_eq!(asked.await.unwrap(), "heard");
    assert_eq!(listener.heard.load(Relaxed), 2);
    // The other cluster's node refuses this listener before it says anything: it cannot have been heard.
    let stranger = HttpTransport::new(Some(&stranger)).unwrap();
    let asked = listener.asked_by(&stranger).await;
    assert!(matches!(asked, Err(TransportError::Unreachable)));
    let plain = HttpTransport::new(None).unwrap();
    assert!(listener.asked_by(&plain).await.is_err());
    assert_eq!(listener.heard.load(Relaxed), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn certificates_are_renewed_under_traffic_and_no_connection_ends() {
    // Good for long enough on a busy machine, and short enough to see two generations end.
    let life = Duration::from_secs(6);
    let key = golden().await;
    let node = |key| Arc::new(RaftTls::with_life(key, life).unwrap());
    let (a, b) = (node(&key), node(&key));
    for tls in [&a, &b] {
        let tls = Arc::clone(tls);
        tokio::spawn(async move { tls.keep_fresh().await });
    }
    let listener = listener(&a);
    let first = a.current.key();
    let kept = HttpTransport::new(Some(&b)).unwrap();
    let (began, mut asked) = (Instant::now(), 0);
    while began.elapsed() < life * 2 {
        listener.asked_by(&kept).await.unwrap();
        // One that has to shake hands anew each time.
        listener
            .asked_by(&HttpTransport::new(Some(&b)).unwrap())
            .await
            .unwrap();
        asked += 2;
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert_eq!(listener.heard.load(Relaxed), asked);
    assert_ne!(first.cert, a.current.key().cert);
    // The first one would no longer do.
    let provider = Arc::clone(&b.provider);
    let then = SystemTime::now() - Duration::from_secs(3);
    let expired = b.authority.issue(&provider, then - life, then).unwrap();
    b.current.0.store(Arc::new(Issued {
        at: SystemTime::now(),
        key: Arc::new(expired),
    }));
    let late = HttpTransport::new(Some(&b)).unwrap();
    assert!(listener.asked_by(&late).await.is_err());
    assert_eq!(listener.heard.load(Relaxed), asked);
    // A connection is checked when it is made, and lives on.
    listener.asked_by(&kept).await.unwrap();
}

#[tokio::test]
async fn a_certificate_is_renewed_at_half_its_life_and_when_the_clock_went_back() {
    let tls = RaftTls::new(&golden().await).unwrap();
    let at = tls.current.0.load().at;
    assert!(!tls.is_due(at) && !tls.is_due(at + LIFE / 2 - Duration::from_secs(1)));
    assert!(tls.is_due(at + LIFE / 2) && tls.is_due(at + LIFE * 9));
    assert!(tls.is_due(at - Duration::from_secs(1)));
}

#[tokio::test(flavor = "multi_thread")]
async fn who_waits_for_nothing_keeps_nobody_out() {
    let key = golden().await;
    let listener = listener(&RaftTls::new(&key).unwrap());
    let mut silent = Vec::new();
    for _ in 0..300 {
        silent.push(TcpStream::connect(listener.address).await.unwrap());
    }
    let node = RaftTls::new(&key).unwrap();
    let transport = HttpTransport::new(Some(&node)).unwrap();
    listener.asked_by(&transport).await.unwrap();
    // The first of them have made way, and the others end at their deadline.
    let mut nothing = [0];
    for mut stream in silent {
        // Some have said a little.
        let _ = stream.write_all(b"\x16\x03\x01").await;
        let read = tokio::time::timeout(WITHIN, stream.read(&mut nothing)).await;
        assert!(matches!(read, Ok(Ok(0) | Err(_))), "it is open still");
    }
}
