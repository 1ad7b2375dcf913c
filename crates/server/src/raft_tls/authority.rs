//! The cluster's certificate authority: derived from the cluster key, the same at every node, and in no
//! file.

use std::{fmt, sync::Arc, time::SystemTime};

use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair as _};
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa,
    Issuer, KeyPair, KeyUsagePurpose, PKCS_ED25519, PublicKeyData, SignatureAlgorithm, SigningKey,
};
use rustls::{
    RootCertStore,
    crypto::CryptoProvider,
    pki_types::{CertificateDer, PrivatePkcs8KeyDer},
    sign::CertifiedKey,
};
use sha2::{Digest, Sha256};
use strongroom_seal::AuthoritySeed;

use super::{NODE_NAME, TlsError};

/// Signs certificates of this cluster's nodes. Whoever has it is a node.
pub struct Authority {
    issuer: Issuer<'static, Signer>,
    pub(super) root: CertificateDer<'static>,
    fingerprint: String,
}

/// The key pair, in the shape that signs certificates. Its memory is cleared by its library.
struct Signer(Ed25519KeyPair);

impl PublicKeyData for Signer {
    fn der_bytes(&self) -> &[u8] {
        self.0.public_key().as_ref()
    }

    fn algorithm(&self) -> &'static SignatureAlgorithm {
        &PKCS_ED25519
    }
}

impl SigningKey for Signer {
    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, rcgen::Error> {
        let signature = self.0.try_sign(message);
        let signature = signature.map_err(|_| rcgen::Error::RemoteKeyError)?;
        Ok(signature.as_ref().to_vec())
    }
}

impl Authority {
    /// The authority of this seed.
    ///
    /// # Errors
    /// [`TlsError`], and only if a library refuses what it is made for.
    pub fn derive(seed: &AuthoritySeed) -> Result<Self, TlsError> {
        let key = Ed25519KeyPair::from_seed_unchecked(seed.expose())
            .map_err(|error| TlsError::new(&error))?;
        let signer = Signer(key);
        let digest = Sha256::digest(signer.der_bytes());
        let fingerprint = digest.iter().take(8).map(|byte| format!("{byte:02x}"));
        let fingerprint = fingerprint.collect();
        let params = root_params();
        let root = params.self_signed(&signer)?.der().clone();
        Ok(Self {
            issuer: Issuer::new(params, signer),
            root,
            fingerprint,
        })
    }

    /// What may be shown of it, to compare nodes: the beginning of its public key's SHA-256.
    #[must_use]
    pub fn fingerprint(&self) -> &str {
        &self.fingerprint
    }

    /// Trust in this authority and in nobody else.
    ///
    /// # Errors
    /// [`TlsError`], if the root made here is not one.
    pub fn roots(&self) -> Result<Arc<RootCertStore>, TlsError> {
        let mut roots = RootCertStore::empty();
        roots.add(self.root.clone())?;
        Ok(Arc::new(roots))
    }

    /// A certificate of a node, with a key pair that nobody had before, good between two times.
    ///
    /// # Errors
    /// [`TlsError`], without randomness or with times that a certificate cannot hold.
    pub fn issue(
        &self,
        provider: &CryptoProvider,
        from: SystemTime,
        until: SystemTime,
    ) -> Result<CertifiedKey, TlsError> {
        let key = KeyPair::generate_for(&PKCS_ED25519)?;
        let mut params = CertificateParams::new(vec![NODE_NAME.to_owned()])?;
        params.distinguished_name = name("Strongroom node");
        params.not_before = from.into();
        params.not_after = until.into();
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![
            ExtendedKeyUsagePurpose::ServerAuth,
            ExtendedKeyUsagePurpose::ClientAuth,
        ];
        let certificate = params.signed_by(&key, &self.issuer)?;
        let key = PrivatePkcs8KeyDer::from(key.serialize_der());
        let key = provider.key_provider.load_private_key(key.into())?;
        Ok(CertifiedKey::new(vec![certificate.der().clone()], key))
    }
}

impl fmt::Debug for Authority {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Authority({})", self.fingerprint)
    }
}

/// The root certificate: an anchor, the same at every node. Its times bound nothing; the key does.
fn root_params() -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name = name("Strongroom cluster");
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
    params
}

fn name(common: &str) -> DistinguishedName {
    let mut name = DistinguishedName::new();
    name.push(DnType::CommonName, common);
    name
}
