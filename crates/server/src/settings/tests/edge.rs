//! Where the API is reached, and by whom.

use super::{super::*, fine, problems, shown};

const CERT: (&str, &str) = ("VAULT_TLS_CERT", "tls/server.pem");
const KEY: (&str, &str) = ("VAULT_TLS_KEY", "tls/server-key.pem");
const CA: (&str, &str) = ("VAULT_TLS_CLIENT_CA", "tls/clients.pem");
const SOCKET: (&str, &str) = ("VAULT_API_SOCKET", "/run/strongroom/api.sock");
const NO_PORT: (&str, &str) = ("VAULT_API_ADDR", "none");
const PROXIES: (&str, &str) = ("VAULT_TRUSTED_PROXIES", "10.0.0.1");
const HEADER: (&str, &str) = ("VAULT_PROXY_PROTOCOL", "true");

fn keys(changes: &[(&str, &str)]) -> Vec<String> {
    let problems = problems(changes).into_iter();
    problems.map(|problem| problem.key).collect()
}

fn warned(changes: &[(&str, &str)]) -> Vec<String> {
    let warnings = fine(changes).warnings.into_iter();
    warnings.map(|warning| warning.key).collect()
}

#[test]
fn a_certificate_and_its_key_come_together() {
    assert_eq!(keys(&[CERT]), ["VAULT_TLS_KEY"]);
    assert_eq!(keys(&[KEY]), ["VAULT_TLS_CERT"]);
    let tls = fine(&[CERT, KEY]).settings.api.tls.unwrap();
    assert_eq!(
        (tls.cert.to_str(), tls.key.to_str()),
        (Some(CERT.1), Some(KEY.1))
    );
    assert!(tls.client_ca.is_none());
    // Whoever says that clients are checked must not find that they are not.
    assert_eq!(keys(&[CA]), ["VAULT_TLS_CLIENT_CA"]);
    let optional = ("VAULT_TLS_CLIENT_AUTH", "optional");
    assert_eq!(keys(&[CERT, KEY, optional]), ["VAULT_TLS_CLIENT_AUTH"]);
    for (more, auth, text) in [
        (("NODE_ID", "1"), ClientAuth::Required, "required"),
        (optional, ClientAuth::Optional, "optional"),
    ] {
        let loaded = fine(&[CERT, KEY, CA, more]);
        assert_eq!(shown(&loaded, "VAULT_TLS_CLIENT_AUTH"), text);
        let tls = loaded.settings.api.tls.unwrap();
        assert_eq!(tls.client_ca.unwrap().1, auth);
    }
    assert_eq!(shown(&fine(&[CERT, KEY]), "VAULT_TLS_CLIENT_AUTH"), "");
}

#[test]
fn there_is_a_port_or_a_socket_or_both() {
    let both = fine(&[SOCKET]).settings.api;
    assert!(both.addr.is_some() && both.socket.is_some());
    let loaded = fine(&[SOCKET, NO_PORT]);
    assert_eq!(shown(&loaded, "VAULT_API_PORT"), "");
    assert!(loaded.settings.api.addr.is_none() && loaded.warnings.is_empty());
    assert_eq!(keys(&[NO_PORT]), ["VAULT_API_ADDR"]);
    let port = ("VAULT_API_PORT", "8200");
    assert_eq!(keys(&[SOCKET, NO_PORT, port]), ["VAULT_API_PORT"]);
    // What is for the port alone.
    assert_eq!(warned(&[SOCKET, NO_PORT, CERT, KEY]), ["VAULT_TLS_CERT"]);
    let header = [SOCKET, NO_PORT, HEADER, PROXIES];
    assert_eq!(warned(&header), ["VAULT_PROXY_PROTOCOL"]);
}

#[test]
fn one_of_two_tells_the_client() {
    let forwarded = ("VAULT_TRUST_PROXY", "true");
    let settings = fine(&[HEADER, PROXIES]).settings;
    assert!(settings.api.proxies.is_some() && settings.trusted_proxies.is_none());
    let settings = fine(&[forwarded, PROXIES]).settings;
    assert!(settings.api.proxies.is_none() && settings.trusted_proxies.is_some());
    let both = [HEADER, forwarded, PROXIES];
    assert_eq!(keys(&both), ["VAULT_PROXY_PROTOCOL"]);
    assert_eq!(keys(&[HEADER]), ["VAULT_TRUSTED_PROXIES"]);
    assert_eq!(warned(&[PROXIES]), ["VAULT_TRUSTED_PROXIES"]);
}
