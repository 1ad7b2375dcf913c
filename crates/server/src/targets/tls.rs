//! Trust in a target's certificate.

use std::{path::Path, sync::Arc};

use rustls::{
    ClientConfig, RootCertStore,
    pki_types::{CertificateDer, pem::PemObject},
};
use tokio_postgres_rustls::MakeRustlsConnect;

/// A connector that checks certificates against the system's roots, or against those in a file of PEM
/// certificates. The text of an error reads on from the target's name.
pub(super) fn connector(roots: Option<&Path>) -> Result<MakeRustlsConnect, String> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let store = match roots {
        Some(path) => of_file(path)?,
        None => of_system()?,
    };
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| format!("cannot use TLS: {error}"))?
        .with_root_certificates(store)
        .with_no_client_auth();
    Ok(MakeRustlsConnect::new(config))
}

fn of_file(path: &Path) -> Result<RootCertStore, String> {
    let shown = path.display();
    let unreadable = |error| format!("cannot read its sslrootcert {shown}: {error}");
    let mut store = RootCertStore::empty();
    for certificate in CertificateDer::pem_file_iter(path).map_err(unreadable)? {
        store
            .add(certificate.map_err(unreadable)?)
            .map_err(|error| format!("has an unusable certificate in {shown}: {error}"))?;
    }
    if store.is_empty() {
        return Err(format!("has no certificate in {shown}"));
    }
    Ok(store)
}

fn of_system() -> Result<RootCertStore, String> {
    let found = rustls_native_certs::load_native_certs();
    let mut store = RootCertStore::empty();
    // Some systems carry certificates that no library takes; the others count.
    store.add_parsable_certificates(found.certs);
    if store.is_empty() {
        return Err("finds no system roots of trust: give it an sslrootcert".to_owned());
    }
    Ok(store)
}
