//! Certificates for tests, and clients that speak TLS to an API.

use std::{
    fs, io,
    net::SocketAddr,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, Instant, SystemTime},
};

use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, ExtendedKeyUsagePurpose, IsCa,
    KeyPair, KeyUsagePurpose,
};
use rustls::{
    ClientConfig, RootCertStore, SupportedProtocolVersion,
    crypto::aws_lc_rs::default_provider,
    pki_types::{CertificateDer, PrivateKeyDer, ServerName, pem::PemObject},
    version::{TLS12, TLS13},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::timeout,
};
use tokio_rustls::{TlsConnector, client::TlsStream};

use crate::{
    api::Answer,
    cluster::Cluster,
    node::{Node, PATIENCE},
    raw::{Raw, parse},
};

/// How long a handshake or an answer may take.
const WITHIN: Duration = Duration::from_secs(40);
const DAY: Duration = Duration::from_secs(86_400);

/// An authority.
pub struct Ca(CertifiedIssuer<'static, KeyPair>);

/// A certificate with its key, as PEM.
#[derive(Clone)]
pub struct Pair {
    /// The certificate.
    pub cert: String,
    /// Its key.
    pub key: String,
}

impl Ca {
    /// One that nobody knew before.
    pub fn new(name: &str) -> Self {
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
        let key = KeyPair::generate().expect("a key");
        Self(CertifiedIssuer::self_signed(params, key).expect("an authority"))
    }

    /// Its own certificate.
    pub fn pem(&self) -> String {
        self.0.pem()
    }

    /// A certificate for `localhost` and 127.0.0.1, good from and until so many days from now.
    pub fn issue(&self, from: i32, until: i32) -> Pair {
        let names = ["localhost".to_owned(), "127.0.0.1".to_owned()];
        let mut params = CertificateParams::new(names).expect("names");
        params.not_before = days_from_now(from).into();
        params.not_after = days_from_now(until).into();
        params.extended_key_usages = vec![
            ExtendedKeyUsagePurpose::ServerAuth,
            ExtendedKeyUsagePurpose::ClientAuth,
        ];
        let key = KeyPair::generate().expect("a key");
        let cert = params.signed_by(&key, &self.0).expect("a certificate");
        Pair {
            cert: cert.pem(),
            key: key.serialize_pem(),
        }
    }

    /// One that is good.
    pub fn good(&self) -> Pair {
        self.issue(-1, 90)
    }
}

fn days_from_now(days: i32) -> SystemTime {
    let now = SystemTime::now();
    match days < 0 {
        true => now - DAY * days.unsigned_abs(),
        false => now + DAY * days.unsigned_abs(),
    }
}

/// Where a node finds its TLS files.
pub struct Files {
    /// The certificate.
    pub cert: PathBuf,
    /// The key.
    pub key: PathBuf,
    /// The authority of clients.
    pub client_ca: PathBuf,
}

impl Files {
    /// In this directory.
    pub fn below(dir: &Path) -> Self {
        Self {
            cert: dir.join("server.pem"),
            key: dir.join("server-key.pem"),
            client_ca: dir.join("clients.pem"),
        }
    }

    /// Replaces both files, one right after the other.
    pub fn put(&self, pair: &Pair) {
        replace(&self.cert, &pair.cert);
        replace(&self.key, &pair.key);
    }

    /// Has a node use them.
    pub fn used_by(&self, node: &mut Node) {
        for (key, path) in [("VAULT_TLS_CERT", &self.cert), ("VAULT_TLS_KEY", &self.key)] {
            node.env.insert(key.into(), path.display().to_string());
        }
    }
}

/// Writes a file as a whole, with mode 0600.
pub fn replace(path: &Path, content: &str) {
    let new = path.with_extension("new");
    fs::write(&new, content).expect("a file");
    fs::set_permissions(&new, fs::Permissions::from_mode(0o600)).expect("a mode");
    fs::rename(&new, path).expect("a file");
}

/// One node that speaks TLS with a good certificate of this authority, ready.
pub async fn start(ca: &Ca, env: &[(&str, &str)]) -> (Cluster, Files) {
    let (mut cluster, files) = prepare(ca, env);
    cluster.nodes[0].start();
    Client::of(ca).wait_ready(&cluster.nodes[0]).await;
    (cluster, files)
}

/// The same, not started yet.
pub fn prepare(ca: &Ca, env: &[(&str, &str)]) -> (Cluster, Files) {
    let mut cluster = Cluster::prepare(1, env);
    let files = Files::below(cluster.dir.path());
    files.put(&ca.good());
    files.used_by(&mut cluster.nodes[0]);
    (cluster, files)
}

/// A client that speaks TLS.
#[derive(Clone)]
pub struct Client(Arc<ClientConfig>);

impl Client {
    /// Trusts an authority, and shows no certificate.
    pub fn of(ca: &Ca) -> Self {
        Self::new(ca, None, &[&TLS13])
    }

    /// The same with TLS 1.2.
    pub fn of_old(ca: &Ca) -> Self {
        Self::new(ca, None, &[&TLS12])
    }

    /// Shows a certificate.
    pub fn with(ca: &Ca, pair: &Pair, old: bool) -> Self {
        let versions = if old { &[&TLS12] } else { &[&TLS13] };
        Self::new(ca, Some(pair), versions)
    }

    fn new(ca: &Ca, pair: Option<&Pair>, versions: &[&'static SupportedProtocolVersion]) -> Self {
        let mut roots = RootCertStore::empty();
        roots.add(ca.0.der().clone()).expect("a root");
        let config = ClientConfig::builder_with_provider(Arc::new(default_provider()))
            .with_protocol_versions(versions)
            .expect("a version")
            .with_root_certificates(roots);
        let mut config = match pair {
            None => config.with_no_client_auth(),
            Some(pair) => {
                let chain = CertificateDer::pem_slice_iter(pair.cert.as_bytes())
                    .collect::<Result<_, _>>()
                    .expect("certificates");
                let key = PrivateKeyDer::from_pem_slice(pair.key.as_bytes()).expect("a key");
                config.with_client_auth_cert(chain, key).expect("a pair")
            }
        };
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        Self(Arc::new(config))
    }

    async fn shake(&self, stream: TcpStream) -> io::Result<TlsStream<TcpStream>> {
        let name = ServerName::try_from("localhost").expect("a name");
        let connector = TlsConnector::from(Arc::clone(&self.0));
        timeout(WITHIN, connector.connect(name, stream)).await?
    }

    /// A connection to a node.
    ///
    /// # Errors
    /// Where either side refuses the other.
    pub async fn connect(&self, node: &Node) -> io::Result<Talk> {
        self.connect_to(address(node)).await
    }

    /// A connection to an address.
    ///
    /// # Errors
    /// Where either side refuses the other.
    pub async fn connect_to(&self, to: SocketAddr) -> io::Result<Talk> {
        self.talk(TcpStream::connect(to).await?).await
    }

    /// Speaks TLS on a connection, and HTTP in it.
    ///
    /// # Errors
    /// Where either side refuses the other.
    pub async fn talk(&self, stream: TcpStream) -> io::Result<Talk> {
        let raw = Raw::to(stream.peer_addr()?);
        let stream = self.shake(stream).await?;
        Ok(Talk { stream, raw })
    }

    /// Asks on a connection of its own.
    ///
    /// # Errors
    /// Where no answer comes.
    pub async fn get(&self, node: &Node, path: &str) -> io::Result<Answer> {
        self.connect(node).await?.ask("GET", path, None, "").await
    }

    /// The certificate that a node shows.
    pub async fn shown(&self, node: &Node) -> Vec<u8> {
        let talk = self.connect(node).await.expect("a connection");
        let (_, session) = talk.stream.get_ref();
        session.peer_certificates().expect("certificates")[0].to_vec()
    }

    /// Waits until `/readyz` says 200.
    pub async fn wait_ready(&self, node: &Node) {
        let until = Instant::now() + PATIENCE;
        loop {
            let answer = self.get(node, "/readyz").await;
            if answer.as_ref().is_ok_and(|answer| answer.status == 200) {
                return;
            }
            let log = node.log_text();
            assert!(Instant::now() < until, "not ready: {answer:?}\n{log}");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }
}

/// Where a node's API is.
pub fn address(node: &Node) -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], node.api_port))
}

/// A connection that lives on between requests.
pub struct Talk {
    /// The stream.
    pub stream: TlsStream<TcpStream>,
    raw: Raw,
}

impl Talk {
    /// Asks, and takes in the answer.
    ///
    /// # Errors
    /// Where no whole answer comes.
    pub async fn ask(
        &mut self,
        method: &str,
        path: &str,
        token: Option<&str>,
        body: &str,
    ) -> io::Result<Answer> {
        let token = token.map_or(self.raw.clone(), |token| self.raw.token(token));
        let length = body.len().to_string();
        let head = token.head(method, path, &[("Content-Length", &length)]);
        let head = String::from_utf8(head).expect("text");
        // `Raw` ends each connection with its answer.
        let head = head.replace("Connection: close\r\n", "");
        let asked = format!("{head}{body}");
        self.stream.write_all(asked.as_bytes()).await?;
        timeout(WITHIN, self.answer()).await?
    }

    async fn answer(&mut self) -> io::Result<Answer> {
        let (mut bytes, mut part) = (Vec::new(), [0; 16 * 1024]);
        loop {
            if let Some(answer) = whole(&bytes) {
                return Ok(answer);
            }
            match self.stream.read(&mut part).await? {
                0 => return Err(io::ErrorKind::UnexpectedEof.into()),
                read => bytes.extend_from_slice(&part[..read]),
            }
        }
    }
}

/// An answer, once all of it is there.
fn whole(bytes: &[u8]) -> Option<Answer> {
    let answer = parse(bytes)?;
    let length = answer.headers.get("content-length")?;
    let length: usize = length.to_str().ok()?.parse().ok()?;
    (answer.text.len() >= length).then_some(answer)
}

/// The value of a metric without labels.
pub fn metric(page: &str, name: &str) -> Option<i64> {
    let line = page.lines().find_map(|line| line.strip_prefix(name));
    line.and_then(|rest| rest.trim().parse().ok())
}

/// Waits until a node's log says so.
pub async fn says(node: &Node, words: &str) {
    let until = Instant::now() + PATIENCE;
    while !node.log_text().contains(words) {
        assert!(Instant::now() < until, "no {words}: {}", node.log_text());
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}
