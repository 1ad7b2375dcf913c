//! Cluster keys for tests, and strangers who would speak to a Raft port.

use std::{
    net::SocketAddr,
    process::Command,
    sync::Arc,
    time::{Duration, SystemTime},
};

use rustls::{
    ClientConfig, SupportedProtocolVersion,
    crypto::{CryptoProvider, aws_lc_rs::default_provider},
    pki_types::PrivatePkcs8KeyDer,
    sign::{CertifiedKey, SingleCertAndKey},
    version::{TLS12, TLS13},
};
use strongroom_seal::{
    BreakerConfig, ClusterKey, Keyring, KeyringConfig, LocalKms, WrappedClusterKey,
};
use strongroom_server::raft_tls::{Authority, NODE_NAME, RaftTls};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::timeout,
};
use tokio_rustls::TlsConnector;

use crate::{
    cluster::MASTER_KEY,
    node::{Node, binary},
};

/// How long a listener may take with a stranger: longer than any deadline of its own.
const WITHIN: Duration = Duration::from_secs(30);
const HOUR: Duration = Duration::from_secs(3_600);

/// Runs `strongroom cluster-key` with this environment; what it prints, or its exit code and complaint.
///
/// # Errors
/// Exit code and standard error.
pub fn cluster_key(command: &str, env: &[(&str, &str)]) -> Result<String, (i32, String)> {
    let output = Command::new(binary())
        .args(["cluster-key", command])
        .env_clear()
        .envs(env.iter().copied())
        .output()
        .expect("the binary starts");
    let text = |bytes| {
        String::from_utf8(bytes)
            .expect("text")
            .trim_end()
            .to_owned()
    };
    match output.status.code() {
        Some(0) => Ok(text(output.stdout)),
        code => Err((code.unwrap_or(-1), text(output.stderr))),
    }
}

/// A new cluster key under the master key of every test cluster.
pub fn new_key() -> String {
    let local = [
        ("VAULT_KMS_MODE", "local"),
        ("VAULT_LOCAL_MASTER_KEY", MASTER_KEY),
    ];
    cluster_key("new", &local).expect("a cluster key")
}

/// The key itself.
pub async fn unwrap(text: &str) -> ClusterKey {
    let config = KeyringConfig {
        ttl: WITHIN,
        stale: Duration::ZERO,
        max_entries: 1,
        deadline: WITHIN,
        breaker: BreakerConfig::default(),
    };
    let keyring = Keyring::new(
        Arc::new(LocalKms::parse(MASTER_KEY).expect("a key")),
        config,
    );
    let wrapped = WrappedClusterKey::parse(text).expect("a wrapped key");
    keyring
        .cluster_key(&wrapped, WITHIN)
        .await
        .expect("the key")
}

/// Where a node listens for others.
pub fn raft_address(node: &Node) -> SocketAddr {
    let entry = format!("{}=", node.id);
    let mut peers = node.env["VAULT_PEERS"].split(',');
    let own = peers.find_map(|peer| peer.strip_prefix(&entry));
    own.and_then(|address| address.parse().ok())
        .expect("an address")
}

/// Who would speak TLS to a Raft port.
pub struct Caller {
    /// What there is to know of them.
    pub who: &'static str,
    /// What they speak with.
    pub config: Arc<ClientConfig>,
}

/// A node, as a control.
pub async fn member(key: &str) -> Caller {
    let tls = RaftTls::new(&unwrap(key).await).expect("TLS");
    let config = Arc::new(tls.client_config().expect("TLS"));
    Caller {
        who: "a node",
        config,
    }
}

/// Strangers to the cluster with this key. All of them trust it, and would say what they want to.
pub async fn strangers(key: &str) -> Vec<Caller> {
    let provider = Arc::new(default_provider());
    let (ours, theirs) = (authority(key).await, authority(&new_key()).await);
    let now = SystemTime::now();
    let issue = |by: &Authority, from, until| {
        let issued = by.issue(&provider, from, until);
        Some(issued.expect("a certificate"))
    };
    let good = issue(&ours, now - HOUR, now + HOUR);
    let foreign = issue(&theirs, now - HOUR, now + HOUR);
    let expired = issue(&ours, now - HOUR * 48, now - HOUR);
    let early = issue(&ours, now + HOUR, now + HOUR * 2);
    let own = Some(self_signed(&provider));
    [
        ("without a certificate", &TLS13, None),
        ("of another cluster", &TLS13, foreign),
        ("expired", &TLS13, expired),
        ("not valid yet", &TLS13, early),
        ("self-signed", &TLS13, own),
        ("a node that speaks TLS 1.2", &TLS12, good),
    ]
    .map(|(who, version, certificate)| Caller {
        who,
        config: Arc::new(config(&ours, version, certificate)),
    })
    .into()
}

fn config(
    trusted: &Authority,
    version: &'static SupportedProtocolVersion,
    certificate: Option<CertifiedKey>,
) -> ClientConfig {
    let config = ClientConfig::builder_with_provider(Arc::new(default_provider()))
        .with_protocol_versions(&[version])
        .expect("a version")
        .with_root_certificates(trusted.roots().expect("roots"));
    match certificate {
        Some(key) => config.with_client_cert_resolver(Arc::new(SingleCertAndKey::from(key))),
        None => config.with_no_client_auth(),
    }
}

async fn authority(key: &str) -> Authority {
    let seed = unwrap(key).await.authority_seed().expect("a seed");
    Authority::derive(&seed).expect("an authority")
}

fn self_signed(provider: &CryptoProvider) -> CertifiedKey {
    let key = rcgen::KeyPair::generate().expect("a key");
    let params = rcgen::CertificateParams::new(vec![NODE_NAME.to_owned()]).expect("a name");
    let certificate = params.self_signed(&key).expect("a certificate");
    let key = PrivatePkcs8KeyDer::from(key.serialize_der());
    let key = provider
        .key_provider
        .load_private_key(key.into())
        .expect("a key");
    CertifiedKey::new(vec![certificate.der().clone()], key)
}

/// What a Raft port answers to bytes in the clear; ends with the connection.
pub async fn answer_in_clear(to: SocketAddr, request: &[u8]) -> Vec<u8> {
    let Ok(mut stream) = TcpStream::connect(to).await else {
        return Vec::new();
    };
    answer_on(&mut stream, request).await
}

impl Caller {
    /// What a Raft port answers to them inside TLS.
    pub async fn answer(&self, to: SocketAddr, request: &[u8]) -> Vec<u8> {
        let stream = TcpStream::connect(to).await.expect("a connection");
        let connector = TlsConnector::from(Arc::clone(&self.config));
        let name = RaftTls::server_name().expect("a name");
        match timeout(WITHIN, connector.connect(name, stream)).await {
            Ok(Ok(mut stream)) => answer_on(&mut stream, request).await,
            Ok(Err(_)) => Vec::new(),
            Err(_) => panic!("{}: no end of the handshake", self.who),
        }
    }
}

async fn answer_on<S: AsyncReadExt + AsyncWriteExt + Unpin>(
    stream: &mut S,
    request: &[u8],
) -> Vec<u8> {
    let mut answer = Vec::new();
    // Either may fail, where the other side hangs up.
    let _ = stream.write_all(request).await;
    let read = timeout(WITHIN, stream.read_to_end(&mut answer)).await;
    assert!(read.is_ok(), "the connection is open still");
    answer
}
