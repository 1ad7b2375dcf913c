//! Who the client is: the connection's address, or what trusted proxies say.

use std::net::{IpAddr, SocketAddr};

use http::HeaderMap;
use strongroom_core::{Allowlist, allowlist::canonical};

use super::names::FORWARDED_FOR;

/// Most `X-Forwarded-For` entries looked at, from the right. A longer chain of trusted proxies is no
/// chain anybody has.
const ENTRIES: usize = 64;

/// An `X-Forwarded-For` entry that is no address, where an address had to be; or none that is the
/// client's.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct NoAddress;

/// The client's address: the peer's, unless it is a trusted proxy; then the rightmost entry of
/// `X-Forwarded-For` that is no trusted proxy. Entries further left are the client's own claims.
///
/// Where all entries are within the trusted ranges there is no telling a proxy from a client that
/// claims to have come through one: then nobody is believed.
pub(crate) fn client_address(
    peer: IpAddr,
    headers: &HeaderMap,
    trusted: Option<&Allowlist>,
) -> Result<IpAddr, NoAddress> {
    let peer = canonical(peer);
    let Some(trusted) = trusted.filter(|trusted| trusted.contains(peer)) else {
        return Ok(peer);
    };
    // Several headers are one list, the later ones further right.
    let values: Vec<_> = headers.get_all(FORWARDED_FOR).iter().collect();
    if values.is_empty() {
        return Ok(peer);
    }
    let mut entries = 0;
    for value in values.iter().rev() {
        let text = value.to_str().map_err(|_| NoAddress)?;
        for entry in text.rsplit(',') {
            entries += 1;
            if entries > ENTRIES {
                return Err(NoAddress);
            }
            let client = canonical(parse_entry(entry.trim()).ok_or(NoAddress)?);
            if !trusted.contains(client) {
                return Ok(client);
            }
        }
    }
    Err(NoAddress)
}

/// An address, bare or with a port: `192.0.2.1`, `192.0.2.1:80`, `2001:db8::1`, `[2001:db8::1]`,
/// `[2001:db8::1]:80`.
fn parse_entry(entry: &str) -> Option<IpAddr> {
    let bracketed = || {
        entry
            .strip_prefix('[')?
            .strip_suffix(']')?
            .parse::<IpAddr>()
            .ok()
    };
    entry
        .parse::<IpAddr>()
        .ok()
        .or_else(|| entry.parse::<SocketAddr>().ok().map(|address| address.ip()))
        .or_else(bracketed)
        .filter(|address| !entry.starts_with('[') || address.is_ipv6())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn client(peer: &str, headers: &[&str]) -> Result<String, NoAddress> {
        let trusted = Allowlist::parse("10.0.0.0/8,fd00::/8").unwrap();
        let mut map = HeaderMap::new();
        for header in headers {
            map.append("x-forwarded-for", header.parse().unwrap());
        }
        let address = client_address(peer.parse().unwrap(), &map, Some(&trusted))?;
        Ok(address.to_string())
    }

    #[test]
    fn only_trusted_peers_are_believed() {
        assert_eq!(client("192.0.2.9", &["127.0.0.1"]).unwrap(), "192.0.2.9");
        assert_eq!(client("10.0.0.1", &["192.0.2.1"]).unwrap(), "192.0.2.1");
        assert_eq!(
            client("::ffff:10.0.0.1", &["192.0.2.1"]).unwrap(),
            "192.0.2.1"
        );
        assert_eq!(client("10.0.0.1", &[]).unwrap(), "10.0.0.1");
        let ignored = client_address(
            "10.0.0.1".parse().unwrap(),
            &HeaderMap::from_iter([(
                "x-forwarded-for".parse().unwrap(),
                "192.0.2.1".parse().unwrap(),
            )]),
            None,
        );
        assert_eq!(ignored, Ok("10.0.0.1".parse().unwrap()));
    }

    #[test]
    fn the_rightmost_untrusted_entry_is_the_client() {
        assert_eq!(
            client("10.0.0.1", &["127.0.0.1, 192.0.2.1, 10.0.0.7"]).unwrap(),
            "192.0.2.1"
        );
        assert_eq!(
            client("10.0.0.1", &["127.0.0.1", "192.0.2.1, fd00::1"]).unwrap(),
            "192.0.2.1"
        );
    }

    #[test]
    fn nobody_is_believed_where_all_entries_may_be_proxies() {
        for headers in [
            &["10.0.0.3, 10.0.0.2"][..],
            &["10.0.0.3"],
            &["fd00::1", "10.0.0.2"],
        ] {
            assert_eq!(client("10.0.0.1", headers), Err(NoAddress), "{headers:?}");
        }
    }

    #[test]
    fn entries_may_carry_ports_and_must_be_addresses() {
        for (entry, address) in [
            ("192.0.2.1:4711", "192.0.2.1"),
            ("[2001:db8::1]:4711", "2001:db8::1"),
            ("[2001:db8::1]", "2001:db8::1"),
            ("2001:db8::1", "2001:db8::1"),
            ("::ffff:192.0.2.1", "192.0.2.1"),
        ] {
            assert_eq!(client("10.0.0.1", &[entry]).unwrap(), address);
        }
        for entry in [
            "",
            "unknown",
            "192.0.2.1, ",
            "192.0.2.256",
            "[192.0.2.1]",
            "_hidden",
        ] {
            assert_eq!(client("10.0.0.1", &[entry]), Err(NoAddress), "{entry:?}");
        }
        // Left of the client anything may stand: it is not looked at.
        assert_eq!(
            client("10.0.0.1", &["garbage, 192.0.2.1"]).unwrap(),
            "192.0.2.1"
        );
        let long = vec!["10.0.0.2"; ENTRIES + 1].join(",");
        assert_eq!(client("10.0.0.1", &[&long]), Err(NoAddress));
    }
}
