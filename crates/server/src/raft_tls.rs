//! Trust between nodes: mutual TLS under an authority that is derived from the cluster key.
//!
//! A node issues itself a certificate with a short life and renews it; there is nothing to hand out and
//! nothing to revoke. Checking chains is rustls's own work: the root is the authority's, the name is the
//! same for every node, since nodes are told by what they can sign with and not by where they are. Nothing
//! is heard from, or said to, whoever has shown no certificate of this authority (invariant 25).

mod authority;

use std::{
    fmt,
    sync::Arc,
    time::{Duration, SystemTime},
};

use arc_swap::ArcSwap;
use rustls::{
    ClientConfig, RootCertStore, ServerConfig, SignatureScheme,
    client::{ResolvesClientCert, Resumption},
    crypto::CryptoProvider,
    pki_types::{InvalidDnsNameError, ServerName},
    server::{
        ClientHello, NoServerSessionStorage, ResolvesServerCert, VerifierBuilderError,
        WebPkiClientVerifier,
    },
    sign::CertifiedKey,
    version::TLS13,
};
use strongroom_seal::ClusterKey;

pub use authority::Authority;

/// The name in every node's certificate.
pub const NODE_NAME: &str = "raft.strongroom.internal";
/// How long a certificate is good for. It is renewed at half of it.
pub const LIFE: Duration = Duration::from_secs(24 * 3_600);
/// How far back it begins. With what is left of its life at renewal, two nodes' clocks may differ by
/// twelve hours either way.
const BACKDATED: Duration = Duration::from_secs(12 * 3_600);
/// Longest pause between two looks at the clock, which may have jumped.
const LOOK_EVERY: Duration = Duration::from_secs(60);

/// Why there is no trust between nodes. No part of it is secret.
#[derive(Debug, thiserror::Error)]
#[error("cannot set up TLS between nodes: {0}")]
pub struct TlsError(String);

impl TlsError {
    fn new(error: &dyn fmt::Display) -> Self {
        Self(error.to_string())
    }
}

macro_rules! from_errors {
    ($($error:ty),+) => {
        $(impl From<$error> for TlsError {
            fn from(error: $error) -> Self {
                Self::new(&error)
            }
        })+
    };
}
from_errors!(
    rcgen::Error,
    rustls::Error,
    VerifierBuilderError,
    InvalidDnsNameError
);

/// This node's part in the trust between nodes.
pub struct RaftTls {
    authority: Authority,
    provider: Arc<CryptoProvider>,
    roots: Arc<RootCertStore>,
    current: Arc<Current>,
    life: Duration,
}

/// The certificate that new connections get. Those that are open keep theirs.
struct Current(ArcSwap<Issued>);

struct Issued {
    at: SystemTime,
    key: Arc<CertifiedKey>,
}

impl RaftTls {
    /// Derives the authority and issues the first certificate.
    ///
    /// # Errors
    /// [`TlsError`].
    pub fn new(key: &ClusterKey) -> Result<Self, TlsError> {
        Self::with_life(key, LIFE)
    }

    /// The same with certificates of another life, to see renewals.
    ///
    /// # Errors
    /// [`TlsError`].
    pub fn with_life(key: &ClusterKey, life: Duration) -> Result<Self, TlsError> {
        let seed = key
            .authority_seed()
            .map_err(|error| TlsError::new(&error))?;
        let authority = Authority::derive(&seed)?;
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let first = issue(&authority, &provider, life)?;
        Ok(Self {
            roots: authority.roots()?,
            authority,
            provider,
            current: Arc::new(Current(ArcSwap::from_pointee(first))),
            life,
        })
    }

    /// See [`Authority::fingerprint`].
    #[must_use]
    pub fn fingerprint(&self) -> &str {
        self.authority.fingerprint()
    }

    /// How a listener for nodes speaks: TLS 1.3, and to holders of a certificate alone. Every connection
    /// is checked in full: none resumes another, and none brings data before it is checked.
    ///
    /// # Errors
    /// [`TlsError`].
    pub fn server_config(&self) -> Result<ServerConfig, TlsError> {
        let (roots, provider) = (Arc::clone(&self.roots), Arc::clone(&self.provider));
        let nodes = WebPkiClientVerifier::builder_with_provider(roots, Arc::clone(&provider));
        let mut config = ServerConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&TLS13])?
            .with_client_cert_verifier(nodes.build()?)
            .with_cert_resolver(Arc::<Current>::clone(&self.current));
        config.session_storage = Arc::new(NoServerSessionStorage {});
        config.send_tls13_tickets = 0;
        Ok(config)
    }

    /// How other nodes are asked: TLS 1.3, with this node's certificate.
    ///
    /// # Errors
    /// [`TlsError`].
    pub fn client_config(&self) -> Result<ClientConfig, TlsError> {
        let mut config = ClientConfig::builder_with_provider(Arc::clone(&self.provider))
            .with_protocol_versions(&[&TLS13])?
            .with_root_certificates(Arc::clone(&self.roots))
            .with_client_cert_resolver(Arc::<Current>::clone(&self.current));
        config.resumption = Resumption::disabled();
        Ok(config)
    }

    /// The name to ask for, wherever a node is.
    ///
    /// # Errors
    /// Never, unless [`NODE_NAME`] stops being a name.
    pub fn server_name() -> Result<ServerName<'static>, TlsError> {
        Ok(ServerName::try_from(NODE_NAME)?)
    }

    /// Renews the certificate at half its life, for as long as it is polled.
    pub async fn keep_fresh(&self) {
        let pause = LOOK_EVERY.min(self.life / 40);
        loop {
            tokio::time::sleep(pause).await;
            if !self.is_due(SystemTime::now()) {
                continue;
            }
            match issue(&self.authority, &self.provider, self.life) {
                Ok(issued) => {
                    self.current.0.store(Arc::new(issued));
                    tracing::debug!("this node's certificate was renewed");
                }
                Err(error) => tracing::error!(%error, "this node's certificate was not renewed"),
            }
        }
    }

    /// At half its life, or when the clock stands before its making.
    fn is_due(&self, now: SystemTime) -> bool {
        let age = now.duration_since(self.current.0.load().at);
        age.map_or(true, |age| age >= self.life / 2)
    }
}

fn issue(
    authority: &Authority,
    provider: &CryptoProvider,
    life: Duration,
) -> Result<Issued, TlsError> {
    let at = SystemTime::now();
    let key = Arc::new(authority.issue(provider, at - BACKDATED, at + life)?);
    Ok(Issued { at, key })
}

impl Current {
    fn key(&self) -> Arc<CertifiedKey> {
        Arc::clone(&self.0.load().key)
    }
}

impl fmt::Debug for Current {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Current")
    }
}

impl ResolvesServerCert for Current {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(self.key())
    }
}

impl ResolvesClientCert for Current {
    fn resolve(&self, _: &[&[u8]], _: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        Some(self.key())
    }

    fn has_certs(&self) -> bool {
        true
    }
}

#[cfg(test)]
mod tests;
