//! The files: read, and checked to fit together before any of them is used.

use std::{
    fs,
    io::{self, Read},
    os::unix::fs::PermissionsExt,
    path::Path,
    sync::Arc,
    time::SystemTime,
};

use rustls::{
    RootCertStore, ServerConfig,
    crypto::CryptoProvider,
    pki_types::{CertificateDer, PrivateKeyDer, pem, pem::PemObject},
    server::{NoServerSessionStorage, WebPkiClientVerifier, danger::ClientCertVerifier},
    sign::{CertifiedKey, SingleCertAndKey},
    version::{TLS12, TLS13},
};
use sha2::{Digest as _, Sha256};
use x509_cert::der::Decode;
use zeroize::Zeroizing;

use super::{Ready, Unusable, date};
use crate::settings::{ClientAuth, TlsSettings};

/// Largest file, in bytes.
const MOST_BYTES: u64 = 1 << 20;

/// What tells contents apart.
pub(super) type Digest = [u8; 32];

const CERT: &str = "VAULT_TLS_CERT";
const KEY: &str = "VAULT_TLS_KEY";
const CLIENT_CA: &str = "VAULT_TLS_CLIENT_CA";

/// The files' contents, read one right after the other.
pub(super) struct Files {
    cert: Zeroizing<Vec<u8>>,
    key: Zeroizing<Vec<u8>>,
    client_ca: Option<Zeroizing<Vec<u8>>>,
    key_mode: u32,
}

/// A digest of some contents, each told from the next by its length.
pub(super) fn digest<'a>(contents: impl IntoIterator<Item = &'a [u8]>) -> Digest {
    let mut hash = Sha256::new();
    for content in contents {
        hash.update((content.len() as u64).to_be_bytes());
        hash.update(content);
    }
    hash.finalize().into()
}

fn unusable(setting: &str, path: &Path, why: impl std::fmt::Display) -> Unusable {
    Unusable(format!("{setting} ({}): {why}", path.display()))
}

fn read(setting: &str, path: &Path) -> Result<(Zeroizing<Vec<u8>>, u32), Unusable> {
    let contents = || -> io::Result<_> {
        // Asked first: opening a pipe would wait for somebody to write.
        let found = fs::metadata(path)?;
        if !found.is_file() {
            return Err(io::Error::other("it is no file"));
        }
        let mut contents = Zeroizing::new(Vec::new());
        let file = fs::File::open(path)?;
        file.take(MOST_BYTES + 1).read_to_end(&mut contents)?;
        if contents.len() as u64 > MOST_BYTES {
            return Err(io::Error::other("it is larger than any of its kind"));
        }
        Ok((contents, found.permissions().mode()))
    };
    contents().map_err(|error| unusable(setting, path, error))
}

/// Everything of one kind in a file, which must hold something of it and be whole.
fn parse<T: PemObject>(setting: &str, path: &Path, content: &[u8]) -> Result<Vec<T>, Unusable> {
    let parsed: Result<Vec<T>, pem::Error> = T::pem_slice_iter(content).collect();
    match parsed {
        Ok(parsed) if parsed.is_empty() => Err(unusable(setting, path, "it holds nothing usable")),
        Ok(parsed) => Ok(parsed),
        // What the error quotes might be of a key.
        Err(_) => Err(unusable(setting, path, "it is no whole PEM file")),
    }
}

impl Files {
    pub(super) fn read(settings: &TlsSettings) -> Result<Self, Unusable> {
        let (cert, _) = read(CERT, &settings.cert)?;
        let (key, key_mode) = read(KEY, &settings.key)?;
        let client_ca = match &settings.client_ca {
            Some((path, _)) => Some(read(CLIENT_CA, path)?.0),
            None => None,
        };
        Ok(Self {
            cert,
            key,
            client_ca,
            key_mode,
        })
    }

    pub(super) fn digest(&self) -> Digest {
        let client_ca = self.client_ca.iter().map(|content| content.as_slice());
        digest(
            [self.cert.as_slice(), self.key.as_slice()]
                .into_iter()
                .chain(client_ca),
        )
    }

    /// Makes of them what connections are met with, if they fit together now.
    pub(super) fn check(&self, settings: &TlsSettings, now: SystemTime) -> Result<Ready, Unusable> {
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let (certified, not_after) = self.certified(settings, &provider, now)?;
        let clients = self.clients(settings, &provider)?;
        let other = |error: rustls::Error| unusable(CERT, &settings.cert, error);
        let builder = ServerConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&TLS13, &TLS12])
            .map_err(other)?;
        let builder = match clients {
            Some(clients) => builder.with_client_cert_verifier(clients),
            None => builder.with_no_client_auth(),
        };
        let mut config = builder.with_cert_resolver(Arc::new(SingleCertAndKey::from(certified)));
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        // Every connection is checked in full: a client whose authority is gone resumes nothing.
        config.session_storage = Arc::new(NoServerSessionStorage {});
        config.send_tls13_tickets = 0;
        let complaint = (self.key_mode & 0o007 != 0).then(|| {
            let (path, mode) = (settings.key.display(), self.key_mode & 0o777);
            format!(
                "{KEY} ({path}) can be read by every user of this machine: its mode is {mode:04o}"
            )
        });
        Ok(Ready {
            config,
            not_after,
            digest: self.digest(),
            complaint,
        })
    }

    /// The chain with its key, and when it expires.
    fn certified(
        &self,
        settings: &TlsSettings,
        provider: &CryptoProvider,
        now: SystemTime,
    ) -> Result<(CertifiedKey, SystemTime), Unusable> {
        let chain: Vec<CertificateDer<'static>> = parse(CERT, &settings.cert, &self.cert)?;
        let mut keys: Vec<PrivateKeyDer<'static>> = parse(KEY, &settings.key, &self.key)?;
        let (Some(key), true) = (keys.pop(), keys.is_empty()) else {
            return Err(unusable(KEY, &settings.key, "it holds more than one key"));
        };
        let bad = |why: &str| unusable(CERT, &settings.cert, why);
        let leaf = chain
            .first()
            .ok_or_else(|| bad("it holds no certificate"))?;
        let leaf = x509_cert::Certificate::from_der(leaf)
            .map_err(|_| bad("its first certificate cannot be read"))?;
        let validity = leaf.tbs_certificate.validity;
        let (from, until) = (
            SystemTime::UNIX_EPOCH + validity.not_before.to_unix_duration(),
            SystemTime::UNIX_EPOCH + validity.not_after.to_unix_duration(),
        );
        // Which of them is wrong nobody can tell.
        let no_pair = "the key does not fit the certificate";
        let certified =
            CertifiedKey::from_der(chain, key, provider).map_err(|error| match error {
                rustls::Error::InconsistentKeys(_) => {
                    let key = settings.key.display();
                    bad(&format!("{no_pair}, see {KEY} ({key})"))
                }
                _ => unusable(KEY, &settings.key, "it is no key that TLS can use"),
            })?;
        if until <= now {
            return Err(bad(&format!("it expired at {}", date(until))));
        }
        if from > now {
            return Err(bad(&format!("it is not valid before {}", date(from))));
        }
        Ok((certified, until))
    }

    /// Who may be a client.
    fn clients(
        &self,
        settings: &TlsSettings,
        provider: &Arc<CryptoProvider>,
    ) -> Result<Option<Arc<dyn ClientCertVerifier>>, Unusable> {
        let (Some((path, auth)), Some(content)) = (&settings.client_ca, &self.client_ca) else {
            return Ok(None);
        };
        let bad = |why: &dyn std::fmt::Display| unusable(CLIENT_CA, path, why);
        let mut roots = RootCertStore::empty();
        for root in parse::<CertificateDer<'static>>(CLIENT_CA, path, content)? {
            roots.add(root).map_err(|error| bad(&error))?;
        }
        let provider = Arc::clone(provider);
        let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider);
        let verifier = match auth {
            ClientAuth::Required => verifier,
            ClientAuth::Optional => verifier.allow_unauthenticated(),
        };
        Ok(Some(verifier.build().map_err(|error| bad(&error))?))
    }
}
