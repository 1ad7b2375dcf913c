//! Where the API is reached, and by whom: its port, its socket, TLS, and the proxies before it.

use std::{
    net::SocketAddr,
    path::{Component, Path, PathBuf},
};

use strongroom_core::Allowlist;

use super::{
    Problem,
    rules::warning,
    shapes::{Choice, Shape},
    source::Source,
    table::Parsed,
};

/// Longest path of a socket, in bytes: the system takes 107.
const SOCKET_BYTES: usize = 107;

/// Whether clients have to show a certificate.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ClientAuth {
    /// One that is shown must be good.
    Optional,
    /// Nobody is heard without a good one.
    Required,
}

/// `VAULT_TLS_CLIENT_AUTH`.
pub(super) const CLIENT_AUTH: Choice<ClientAuth> = Choice(&[
    ("required", ClientAuth::Required),
    ("optional", ClientAuth::Optional),
]);

/// The files that TLS on the API is made of.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct TlsSettings {
    /// The certificate, and the chain to its authority.
    pub cert: PathBuf,
    /// The certificate's private key.
    pub key: PathBuf,
    /// The authorities of clients, and whether these have to show what they signed.
    pub client_ca: Option<(PathBuf, ClientAuth)>,
}

/// Where the API is reached. There is an address, or a socket, or both.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ApiSettings {
    /// The port.
    pub addr: Option<SocketAddr>,
    /// The Unix socket.
    pub socket: Option<PathBuf>,
    /// How TLS is spoken on the port; `None`: it is not.
    pub tls: Option<TlsSettings>,
    /// Who has to say in a PROXY header for whom it connects; `None`: nobody is asked.
    pub proxies: Option<Allowlist>,
}

/// An address and a port to listen on, or neither.
pub(super) struct Listen;

impl Shape for Listen {
    type Out = Option<SocketAddr>;
    fn describe(&self) -> String {
        "an address and a port, as in `0.0.0.0:8200` or `[::]:8200`; or `none`".into()
    }
    fn parse(&self, text: &str) -> Result<Option<SocketAddr>, Vec<String>> {
        match text {
            "none" => Ok(None),
            _ => text.parse().map(Some).or_else(|_| self.refuse()),
        }
    }
}

/// The absolute path of a socket.
pub(super) struct SocketPath;

impl Shape for SocketPath {
    type Out = PathBuf;
    fn describe(&self) -> String {
        format!("an absolute path of at most {SOCKET_BYTES} bytes, without `..`")
    }
    fn parse(&self, text: &str) -> Result<PathBuf, Vec<String>> {
        let path = Path::new(text);
        let plain = |part| matches!(part, Component::RootDir | Component::Normal(_));
        let fits = path.is_absolute() && path.components().all(plain) && !text.ends_with('/');
        match fits && text.len() <= SOCKET_BYTES && !text.contains('\0') {
            true => Ok(path.to_owned()),
            false => self.refuse(),
        }
    }
}

/// Puts them together. `None` only if the source holds a problem that says why.
pub(super) fn api(
    parsed: &Parsed,
    source: &mut Source,
    warnings: &mut Vec<Problem>,
) -> Option<ApiSettings> {
    let tls = tls(parsed, source);
    proxies(parsed, source, warnings);
    let addr = address(parsed, source)?;
    if addr.is_none() {
        for key in ["VAULT_TLS_CERT", "VAULT_PROXY_PROTOCOL"] {
            if source.is_given(key) {
                let message =
                    "has no effect with VAULT_API_ADDR=none: the socket speaks plain HTTP";
                warnings.push(warning(key, message));
            }
        }
    }
    Some(ApiSettings {
        addr,
        socket: parsed.api_socket.clone(),
        tls,
        proxies: parsed
            .trusted_proxies
            .clone()
            .filter(|_| parsed.proxy_protocol == Some(true)),
    })
}

fn address(parsed: &Parsed, source: &mut Source) -> Option<Option<SocketAddr>> {
    let port = parsed.api_port.and_then(|port| u16::try_from(port).ok());
    let mut addr = parsed.api_addr?;
    match (&mut addr, port) {
        (Some(addr), Some(port)) => {
            addr.set_port(port);
            source.show("VAULT_API_ADDR", addr.to_string());
        }
        (None, Some(_)) => {
            let message = "cannot be set with VAULT_API_ADDR=none";
            source.problem("VAULT_API_PORT", message);
        }
        _ => {}
    }
    if addr.is_none() && parsed.api_socket.is_none() && !source.is_bad("VAULT_API_SOCKET") {
        let message = "can be none with VAULT_API_SOCKET alone: nobody could ask";
        source.problem("VAULT_API_ADDR", message);
    }
    let shown = addr.map(|addr| addr.port().to_string());
    source.show("VAULT_API_PORT", shown.unwrap_or_default());
    Some(addr)
}

fn tls(parsed: &Parsed, source: &mut Source) -> Option<TlsSettings> {
    let pair = ["VAULT_TLS_CERT", "VAULT_TLS_KEY"];
    let (cert, key) = (parsed.tls_cert.clone(), parsed.tls_key.clone());
    if !pair.iter().any(|key| source.is_bad(key)) {
        match (&cert, &key) {
            (Some(_), None) => source.problem("VAULT_TLS_KEY", "is needed with VAULT_TLS_CERT"),
            (None, Some(_)) => source.problem("VAULT_TLS_CERT", "is needed with VAULT_TLS_KEY"),
            (None, None) if parsed.tls_client_ca.is_some() => {
                // Whoever sets it believes that clients are checked.
                let message = "needs VAULT_TLS_CERT and VAULT_TLS_KEY";
                source.problem("VAULT_TLS_CLIENT_CA", message);
            }
            _ => {}
        }
    }
    let auth = parsed.tls_client_auth;
    let client_ca = match &parsed.tls_client_ca {
        Some(path) => {
            let auth = auth.unwrap_or(ClientAuth::Required);
            if !source.is_bad("VAULT_TLS_CLIENT_AUTH") && parsed.tls_client_auth.is_none() {
                source.show("VAULT_TLS_CLIENT_AUTH", "required");
            }
            Some((path.clone(), auth))
        }
        None => {
            if auth.is_some() && !source.is_bad("VAULT_TLS_CLIENT_CA") {
                source.problem("VAULT_TLS_CLIENT_AUTH", "needs VAULT_TLS_CLIENT_CA");
            }
            None
        }
    };
    Some(TlsSettings {
        cert: cert?,
        key: key?,
        client_ca,
    })
}

/// Who says whom a proxy asks for: one of two, so that neither can be used to get around the other.
fn proxies(parsed: &Parsed, source: &mut Source, warnings: &mut Vec<Problem>) {
    let none = parsed
        .trusted_proxies
        .as_ref()
        .is_none_or(Allowlist::is_empty);
    let (forwarded, header) = (parsed.trust_proxy, parsed.proxy_protocol);
    for (key, on) in [
        ("VAULT_TRUST_PROXY", forwarded),
        ("VAULT_PROXY_PROTOCOL", header),
    ] {
        if on == Some(true) && none && !source.is_bad("VAULT_TRUSTED_PROXIES") {
            let message = format!("is needed with {key}=true");
            source.problem("VAULT_TRUSTED_PROXIES", message);
        }
    }
    if forwarded == Some(true) && header == Some(true) {
        let message =
            "cannot be set with VAULT_TRUST_PROXY: one of them tells the client's address";
        source.problem("VAULT_PROXY_PROTOCOL", message);
    }
    if forwarded == Some(false) && header == Some(false) && !none {
        let message = "has no effect without VAULT_TRUST_PROXY=true or VAULT_PROXY_PROTOCOL=true: a \
                       proxy's own address counts as the client's";
        warnings.push(warning("VAULT_TRUSTED_PROXIES", message));
    }
}
