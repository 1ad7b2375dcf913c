//! `strongroom tls dev-ca`: an authority and a certificate of it, to try TLS out.

use std::{
    fs::{DirBuilder, OpenOptions},
    io::{self, Write},
    net::IpAddr,
    os::unix::fs::{DirBuilderExt, OpenOptionsExt},
    path::{Path, PathBuf},
    time::{Duration, SystemTime},
};

use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, ExtendedKeyUsagePurpose, IsCa,
    KeyPair, KeyUsagePurpose, SanType,
};
use zeroize::Zeroizing;

/// How long the certificates are good, in days.
pub const DAYS: u64 = 90;
/// What this machine goes by.
const OWN_NAMES: [&str; 3] = ["localhost", "127.0.0.1", "::1"];
/// How far back they begin: clocks differ.
const BACKDATED: Duration = Duration::from_secs(3_600);

/// Why nothing was made.
#[derive(Debug, thiserror::Error)]
pub enum DevCaError {
    /// The files cannot be written, or are there already.
    #[error("cannot write {0}: {1}")]
    Write(String, io::Error),
    /// A name that is none.
    #[error("{0:?} is neither a host name nor an address")]
    Name(String),
    /// The library refuses what it is made for.
    #[error("cannot make certificates: {0}")]
    Certificate(#[from] rcgen::Error),
}

/// What was made.
pub struct DevCa {
    /// The authority's certificate, for clients.
    pub ca: PathBuf,
    /// The server's certificate.
    pub cert: PathBuf,
    /// Its key.
    pub key: PathBuf,
    /// What the certificate is good for.
    pub names: Vec<String>,
}

/// Makes an authority, and a certificate of it for these names and this machine's own. The authority's key
/// is forgotten: whoever finds the files can sign nothing that its clients would believe.
///
/// # Errors
/// [`DevCaError`]. Nothing that is there already is overwritten.
pub fn make(dir: &Path, names: &[String]) -> Result<DevCa, DevCaError> {
    let own = OWN_NAMES.map(str::to_owned);
    let mut all: Vec<String> = Vec::new();
    for name in own.iter().chain(names) {
        if !all.contains(name) {
            all.push(name.clone());
        }
    }
    let (ca, cert, key) = certificates(&all)?;
    let refuse = |path: &Path, error| DevCaError::Write(path.display().to_string(), error);
    let mut made = DirBuilder::new();
    let made = made.recursive(true).mode(0o700).create(dir);
    made.map_err(|error| refuse(dir, error))?;
    // Absolute, so that the settings hold wherever the server is started.
    let dir = dir.canonicalize().map_err(|error| refuse(dir, error))?;
    let made = DevCa {
        ca: dir.join("ca.pem"),
        cert: dir.join("server.pem"),
        key: dir.join("server-key.pem"),
        names: all,
    };
    let files = [&made.ca, &made.cert, &made.key];
    if let Some(there) = files
        .into_iter()
        .find(|path| path.symlink_metadata().is_ok())
    {
        return Err(refuse(there, io::ErrorKind::AlreadyExists.into()));
    }
    for (path, content) in files.into_iter().zip([&ca, &cert, &key]) {
        write(path, content).map_err(|error| refuse(path, error))?;
    }
    Ok(made)
}

fn write(path: &Path, content: &str) -> io::Result<()> {
    let mut new = OpenOptions::new();
    let mut file = new.write(true).create_new(true).mode(0o600).open(path)?;
    file.write_all(content.as_bytes())?;
    file.sync_all()
}

type Pem = Zeroizing<String>;

/// The authority's certificate, the server's, and the server's key.
fn certificates(names: &[String]) -> Result<(Pem, Pem, Pem), DevCaError> {
    let now = SystemTime::now();
    let good = |params: &mut CertificateParams, name: &str| {
        params.distinguished_name.push(DnType::CommonName, name);
        params.not_before = (now - BACKDATED).into();
        params.not_after = (now + Duration::from_secs(DAYS * 86_400)).into();
    };
    let mut params = CertificateParams::default();
    good(&mut params, "Strongroom development authority");
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
    let authority = CertifiedIssuer::self_signed(params, KeyPair::generate()?)?;

    let mut params = CertificateParams::default();
    good(&mut params, "Strongroom for development");
    params.subject_alt_names = names
        .iter()
        .map(|name| san(name).ok_or_else(|| DevCaError::Name(name.clone())))
        .collect::<Result<_, _>>()?;
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    params.use_authority_key_identifier_extension = true;
    let key = KeyPair::generate()?;
    let cert = params.signed_by(&key, &authority)?;
    let (ca, cert, key) = (authority.pem(), cert.pem(), key.serialize_pem());
    Ok((Pem::new(ca), Pem::new(cert), Pem::new(key)))
}

/// An address or a host name. What ends in a number is an address or a mistake, never a name.
fn san(name: &str) -> Option<SanType> {
    if let Ok(address) = name.parse::<IpAddr>() {
        return Some(SanType::IpAddress(address));
    }
    let label = |label: &str| {
        let plain = |c: u8| c.is_ascii_alphanumeric() || c == b'-';
        (1..=63).contains(&label.len()) && label.bytes().all(plain) && !label.starts_with('-')
    };
    let last = name.rsplit('.').next().unwrap_or_default();
    let fits = name.len() <= 253 && name.split('.').all(label);
    let fits = fits && !last.bytes().all(|c| c.is_ascii_digit());
    let name = name.try_into().ok().filter(|_| fits);
    name.map(SanType::DnsName)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_hosts_or_addresses() {
        for good in ["localhost", "vault.example", "10.0.0.1", "fd00::1", "a-1.b"] {
            assert!(san(good).is_some(), "{good}");
        }
        for bad in [
            "",
            "a b",
            "10.0.0.256",
            "a..b",
            "-a",
            "http://a",
            "a:80",
            "[::1]",
            "ä",
            "*",
        ] {
            assert!(san(bad).is_none(), "{bad}");
        }
    }
}
