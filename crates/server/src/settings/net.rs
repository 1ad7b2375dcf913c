//! Addresses between nodes: who the peers are, and where this node may listen for them.

use std::{
    collections::BTreeSet,
    fmt,
    net::{IpAddr, Ipv6Addr, SocketAddr},
};

use strongroom_core::{NodeName, limits};

use super::shapes::Shape;

/// A host and a port; the host is a name, an IPv4 address or an IPv6 address.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct HostPort {
    host: Host,
    port: u16,
}

#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
enum Host {
    Address(IpAddr),
    Name(String),
}

impl HostPort {
    /// Parses `name:port`, `1.2.3.4:port` or `[v6]:port`. Port 0 is nobody's and refused.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let (host, port) = text.rsplit_once(':')?;
        if port.is_empty() || !port.bytes().all(|c| c.is_ascii_digit()) {
            return None;
        }
        let port: u16 = port.parse().ok().filter(|port| *port != 0)?;
        let host = match host.strip_prefix('[') {
            Some(rest) => Host::Address(rest.strip_suffix(']')?.parse::<Ipv6Addr>().ok()?.into()),
            None => parse_host(host)?,
        };
        Some(Self { host, port })
    }

    /// The address, when the host is one and not a name.
    #[must_use]
    pub fn ip(&self) -> Option<IpAddr> {
        match &self.host {
            Host::Address(ip) => Some(*ip),
            Host::Name(_) => None,
        }
    }

    /// The host, as it is connected to and as its certificate names it.
    #[must_use]
    pub fn host(&self) -> String {
        match &self.host {
            Host::Address(ip) => ip.to_string(),
            Host::Name(name) => name.clone(),
        }
    }

    /// Whether it is this machine, by its address or by the name `localhost`.
    #[must_use]
    pub fn is_loopback(&self) -> bool {
        match &self.host {
            Host::Address(ip) => ip.is_loopback(),
            Host::Name(name) => name == "localhost",
        }
    }

    /// The port.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }
}

/// An IPv4 address or a host name. What ends in a number is an address or a mistake, never a name.
fn parse_host(text: &str) -> Option<Host> {
    if let Ok(ip) = text.parse::<std::net::Ipv4Addr>() {
        return Some(Host::Address(ip.into()));
    }
    let label = |label: &str| {
        let inner = |c: u8| c.is_ascii_alphanumeric() || c == b'-' || c == b'_';
        (1..=63).contains(&label.len()) && label.bytes().all(inner) && !label.starts_with('-')
    };
    let numeric = text
        .rsplit('.')
        .next()
        .is_some_and(|l| l.bytes().all(|c| c.is_ascii_digit()));
    let fits = text.len() <= 253 && text.split('.').all(label) && !numeric;
    fits.then(|| Host::Name(text.to_ascii_lowercase()))
}

impl fmt::Display for HostPort {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.host {
            Host::Address(ip) => write!(f, "{}", SocketAddr::new(*ip, self.port)),
            Host::Name(name) => write!(f, "{name}:{}", self.port),
        }
    }
}

impl fmt::Debug for HostPort {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// One entry of `VAULT_PEERS`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Peer {
    /// The peer's `NODE_ID`.
    pub name: NodeName,
    /// Its Raft address.
    pub address: HostPort,
}

/// The list of all nodes.
pub(super) struct Peers;

impl Shape for Peers {
    type Out = Vec<Peer>;
    fn describe(&self) -> String {
        format!("`id=host:port,…` with at most {} nodes", limits::PEERS)
    }
    fn parse(&self, text: &str) -> Result<Vec<Peer>, Vec<String>> {
        let (mut peers, mut problems) = (Vec::new(), Vec::new());
        let (mut names, mut addresses) = (BTreeSet::new(), BTreeSet::new());
        for (entry, position) in text.split(',').zip(1_usize..).take(limits::PEERS + 1) {
            let Some(peer) = parse_peer(entry.trim()) else {
                problems.push(format!(
                    "entry {position} is not of the form `id=host:port`"
                ));
                continue;
            };
            if peer.address.ip().is_some_and(|ip| ip.is_unspecified()) {
                problems.push(format!(
                    "entry {position} is a wildcard: no peer can be reached there"
                ));
            }
            if !names.insert(peer.name.clone()) {
                problems.push(format!("entry {position} repeats an id"));
            }
            if !addresses.insert(peer.address.clone()) {
                problems.push(format!("entry {position} repeats an address"));
            }
            peers.push(peer);
        }
        if text.split(',').count() > limits::PEERS {
            problems.push(format!("lists more than {} nodes", limits::PEERS));
        }
        if problems.is_empty() {
            Ok(peers)
        } else {
            Err(problems)
        }
    }
}

fn parse_peer(entry: &str) -> Option<Peer> {
    let (name, address) = entry.split_once('=')?;
    Some(Peer {
        name: NodeName::parse(name).ok()?,
        address: HostPort::parse(address)?,
    })
}

/// Where to listen for other nodes.
pub(super) struct RaftListen;

impl Shape for RaftListen {
    type Out = HostPort;
    fn describe(&self) -> String {
        "`host:port` (a name, an IPv4 address, or an IPv6 address in brackets)".into()
    }
    fn parse(&self, text: &str) -> Result<HostPort, Vec<String>> {
        HostPort::parse(text).map_or_else(|| self.refuse(), Ok)
    }
}

/// What protects the Raft port.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum RaftPlaintext {
    /// Nothing, and it is plain: it must not leave the machine.
    LoopbackOnly,
    /// It is plain, inside a WireGuard overlay, to whose address it must be bound.
    Wireguard,
    /// It is not plain: mutual TLS under the cluster key, at any address.
    Never,
}

/// The place to listen for other nodes. The address comes out through [`RaftListener::check`] or
/// [`RaftListener::resolve`] only, so that a name cannot lead a plain port to a public address.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct RaftListener {
    listen: HostPort,
    plaintext: RaftPlaintext,
}

impl RaftListener {
    pub(super) fn new(listen: HostPort, plaintext: RaftPlaintext) -> Result<Self, &'static str> {
        let listener = Self { listen, plaintext };
        match listener.listen.ip() {
            Some(ip) => listener.check(ip).map(|()| listener),
            None => Ok(listener),
        }
    }

    /// Whether the rule for Raft ports lets this node listen on `ip`.
    pub fn check(&self, ip: IpAddr) -> Result<(), &'static str> {
        // An IPv4 address in IPv6 clothing is judged as what it is.
        let ip = ip.to_canonical();
        match self.plaintext {
            _ if ip.is_loopback() => Ok(()),
            RaftPlaintext::Never => Ok(()),
            RaftPlaintext::LoopbackOnly => Err(
                "a plain Raft port must listen on a loopback address: set VAULT_CLUSTER_KEY for TLS \
                 between nodes, or VAULT_RAFT_PLAINTEXT=wireguard inside WireGuard",
            ),
            RaftPlaintext::Wireguard if ip.is_unspecified() || ip.is_multicast() => Err(
                "with VAULT_RAFT_PLAINTEXT=wireguard the Raft port must listen on this node's \
                 overlay address, not on a wildcard",
            ),
            RaftPlaintext::Wireguard => Ok(()),
        }
    }

    /// The address to bind. A name is looked up, and every address behind it must pass the rule.
    pub async fn resolve(&self) -> Result<SocketAddr, String> {
        if let Some(ip) = self.listen.ip() {
            return self
                .check(ip)
                .map(|()| SocketAddr::new(ip, self.listen.port))
                .map_err(Into::into);
        }
        let found = tokio::net::lookup_host(self.listen.to_string())
            .await
            .map_err(|error| {
                format!("the Raft listener's host name cannot be looked up: {error}")
            })?;
        let addresses: Vec<SocketAddr> = found.collect();
        for address in &addresses {
            self.check(address.ip())?;
        }
        addresses
            .first()
            .copied()
            .ok_or_else(|| "the Raft listener's name has no address".into())
    }
}

impl fmt::Display for RaftListener {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.listen, f)
    }
}
