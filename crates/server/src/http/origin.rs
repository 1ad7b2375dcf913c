//! Requests that a browser was talked into.
//!
//! Reads need nothing but an address that may read, and a browser on such a machine has one. A page of
//! somebody else's must not be able to use it: neither across sites, nor by a name of its own that it
//! lets point here (DNS rebinding).

use std::{collections::BTreeSet, net::IpAddr};

use http::{HeaderMap, header};

use super::names::FETCH_SITE;

/// Which names this server goes by, and who may refer to it.
#[derive(Clone, Debug, Default)]
pub struct Origins {
    /// Names, in lower case; empty: any. An address is nobody else's, and always passes.
    pub hosts: BTreeSet<String>,
}

impl Origins {
    /// Why a request is refused, in a word for the audit trail.
    pub(super) fn admit(&self, headers: &HeaderMap) -> Result<(), &'static str> {
        let text = |name| headers.get(name).and_then(|value| value.to_str().ok());
        let host = text(header::HOST).unwrap_or_default();
        if !self.hosts.is_empty() && !self.is_ours(host) {
            return Err("host");
        }
        // What a browser says of where a request came from; older ones send the origin alone.
        let own = match (headers.get(FETCH_SITE), headers.get(header::ORIGIN)) {
            (Some(site), _) => matches!(site.as_bytes(), b"same-origin" | b"none"),
            (None, Some(origin)) => {
                let origin = origin.to_str().unwrap_or_default();
                origin.split_once("://").is_some_and(|(_, at)| at == host)
            }
            (None, None) => true,
        };
        if own { Ok(()) } else { Err("origin") }
    }

    fn is_ours(&self, host: &str) -> bool {
        let name = name_of(host).to_ascii_lowercase();
        let bare = name.trim_start_matches('[').trim_end_matches(']');
        bare.parse::<IpAddr>().is_ok() || self.hosts.contains(&name)
    }
}

/// A host without its port.
fn name_of(host: &str) -> &str {
    match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|c| c.is_ascii_digit()) => name,
        _ => host,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn admits(hosts: &[&str], headers: &[(&'static str, &str)]) -> Result<(), &'static str> {
        let hosts = hosts.iter().map(ToString::to_string).collect();
        let headers = headers
            .iter()
            .map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap()));
        Origins { hosts }.admit(&headers.collect())
    }

    #[test]
    fn names_that_are_not_ours_are_refused_where_ours_are_known() {
        let ours = ["localhost", "vault.example"];
        for host in [
            "localhost",
            "LOCALHOST:8200",
            "vault.example:1",
            "127.0.0.1:8200",
            "10.0.0.7",
            "[::1]:8200",
        ] {
            assert_eq!(admits(&ours, &[("host", host)]), Ok(()), "{host}");
        }
        for host in [
            "evil.example:8200",
            "localhost.evil.example",
            "",
            "127.0.0.1.evil",
        ] {
            assert_eq!(admits(&ours, &[("host", host)]), Err("host"), "{host}");
            assert_eq!(admits(&[], &[("host", host)]), Ok(()), "{host}");
        }
    }

    #[test]
    fn other_sites_are_refused() {
        let from = |site: &str| admits(&[], &[("host", "a:1"), ("sec-fetch-site", site)]);
        assert_eq!(from("cross-site"), Err("origin"));
        assert_eq!(from("same-site"), Err("origin"));
        assert_eq!(from("same-origin"), Ok(()));
        assert_eq!(from("none"), Ok(()));
        let origin = |origin: &str| admits(&[], &[("host", "a:1"), ("origin", origin)]);
        assert_eq!(origin("http://a:1"), Ok(()));
        for other in ["http://b:1", "http://a", "null", "http://a:1.evil"] {
            assert_eq!(origin(other), Err("origin"), "{other}");
        }
    }
}
