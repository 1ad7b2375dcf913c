//! Who may read, by address. Fail-closed: an empty list admits nobody (invariant 15).

use std::{
    fmt,
    net::{IpAddr, Ipv6Addr},
};

use ipnet::{IpNet, Ipv4Net};
use serde::{Deserialize, Serialize};

/// An entry that is neither an address nor a CIDR.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("entry {position} is neither an address nor a CIDR: {text:?}")]
pub struct BadEntry {
    /// Its place in the list, counted from 1.
    pub position: usize,
    /// The entry as written, cut to 64 characters.
    pub text: String,
}

/// A set of addresses, kept as the CIDRs that were written (in canonical form: host bits cleared,
/// IPv4-mapped IPv6 turned into IPv4) and as sorted ranges, so that a lookup is a binary search.
#[derive(Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(from = "Vec<IpNet>", into = "Vec<IpNet>")]
pub struct Allowlist {
    nets: Vec<IpNet>,
    /// Disjoint, sorted, inclusive.
    v4: Vec<(u32, u32)>,
    /// Disjoint, sorted, inclusive.
    v6: Vec<(u128, u128)>,
}

/// IPv4-mapped IPv6 becomes IPv4; everything else stays.
#[must_use]
pub fn canonical(address: IpAddr) -> IpAddr {
    address.to_canonical()
}

fn canonical_net(net: IpNet) -> IpNet {
    const MAPPED_BITS: u8 = 96;
    if let IpNet::V6(v6) = net
        && v6.prefix_len() >= MAPPED_BITS
        && let Some(v4) = v6.network().to_ipv4_mapped()
        && let Ok(net) = Ipv4Net::new(v4, v6.prefix_len() - MAPPED_BITS)
    {
        return IpNet::V4(net.trunc());
    }
    net.trunc()
}

fn merge<T: Copy + Ord>(mut ranges: Vec<(T, T)>, next: fn(T) -> Option<T>) -> Vec<(T, T)> {
    ranges.sort_unstable();
    let mut merged: Vec<(T, T)> = Vec::with_capacity(ranges.len());
    for (start, end) in ranges {
        match merged.last_mut() {
            Some(last) if next(last.1).is_none_or(|after| start <= after) => {
                last.1 = last.1.max(end);
            }
            _ => merged.push((start, end)),
        }
    }
    merged
}

fn holds<T: Copy + Ord>(ranges: &[(T, T)], wanted: T) -> bool {
    let after = ranges.partition_point(|(start, _)| *start <= wanted);
    after
        .checked_sub(1)
        .and_then(|at| ranges.get(at))
        .is_some_and(|(_, end)| wanted <= *end)
}

impl Allowlist {
    /// Parses a comma-separated list of addresses and CIDRs; white space around entries is ignored.
    /// An empty text is an empty list, which admits nobody.
    ///
    /// # Errors
    /// Every entry that does not parse, at once.
    pub fn parse(text: &str) -> Result<Self, Vec<BadEntry>> {
        if text.trim().is_empty() {
            return Ok(Self::default());
        }
        Self::parse_entries(text.split(','))
    }

    /// Parses entries that already stand apart.
    ///
    /// # Errors
    /// Every entry that does not parse, at once.
    pub fn parse_entries<'a>(
        entries: impl Iterator<Item = &'a str>,
    ) -> Result<Self, Vec<BadEntry>> {
        let (mut nets, mut bad) = (Vec::new(), Vec::new());
        for (index, entry) in entries.enumerate() {
            let entry = entry.trim();
            let parsed = entry
                .parse::<IpNet>()
                .or_else(|_| entry.parse::<IpAddr>().map(IpNet::from));
            match parsed {
                Ok(net) => nets.push(net),
                Err(_) => bad.push(BadEntry {
                    position: index + 1,
                    text: entry.chars().take(64).collect(),
                }),
            }
        }
        if bad.is_empty() {
            Ok(Self::from(nets))
        } else {
            Err(bad)
        }
    }

    /// Whether `address` is in the list. An IPv4-mapped IPv6 address counts as its IPv4 address.
    #[must_use]
    pub fn contains(&self, address: IpAddr) -> bool {
        match canonical(address) {
            IpAddr::V4(v4) => holds(&self.v4, v4.to_bits()),
            IpAddr::V6(v6) => holds(&self.v6, Ipv6Addr::to_bits(v6)),
        }
    }

    /// Whether nobody is in the list.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.nets.is_empty()
    }

    /// The entries in canonical form, in the order they were written.
    #[must_use]
    pub fn nets(&self) -> &[IpNet] {
        &self.nets
    }
}

impl From<Vec<IpNet>> for Allowlist {
    fn from(nets: Vec<IpNet>) -> Self {
        let nets: Vec<IpNet> = nets.into_iter().map(canonical_net).collect();
        let (mut v4, mut v6) = (Vec::new(), Vec::new());
        for net in &nets {
            match net {
                IpNet::V4(net) => v4.push((net.network().to_bits(), net.broadcast().to_bits())),
                IpNet::V6(net) => v6.push((net.network().to_bits(), net.broadcast().to_bits())),
            }
        }
        Self {
            nets,
            v4: merge(v4, |end| end.checked_add(1)),
            v6: merge(v6, |end| end.checked_add(1)),
        }
    }
}

impl From<Allowlist> for Vec<IpNet> {
    fn from(list: Allowlist) -> Self {
        list.nets
    }
}

impl fmt::Display for Allowlist {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, net) in self.nets.iter().enumerate() {
            write!(f, "{}{net}", if index == 0 { "" } else { "," })?;
        }
        Ok(())
    }
}

impl fmt::Debug for Allowlist {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Allowlist({self})")
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn list(text: &str) -> Allowlist {
        Allowlist::parse(text).unwrap()
    }

    #[test]
    fn empty_admits_nobody() {
        for text in ["", "  "] {
            assert!(list(text).is_empty());
            assert!(!list(text).contains("127.0.0.1".parse().unwrap()));
            assert!(!list(text).contains("::1".parse().unwrap()));
        }
    }

    #[test]
    fn host_bits_and_mapped_forms_become_canonical() {
        assert_eq!(
            list("10.1.2.3/8, ::ffff:192.0.2.7").to_string(),
            "10.0.0.0/8,192.0.2.7/32"
        );
        assert!(list("192.0.2.0/24").contains("::ffff:192.0.2.9".parse().unwrap()));
        assert!(list("::ffff:192.0.2.0/120").contains("192.0.2.9".parse().unwrap()));
        assert!(!list("::/0").contains("192.0.2.9".parse().unwrap()));
        assert!(!list("0.0.0.0/0").contains("2001:db8::1".parse().unwrap()));
    }

    #[test]
    fn every_bad_entry_is_named() {
        let bad = Allowlist::parse("10.0.0.0/8,10.0.0.0/33,nonsense,,::1").unwrap_err();
        assert_eq!(
            bad.iter().map(|b| b.position).collect::<Vec<_>>(),
            [2, 3, 4]
        );
    }

    fn any_net() -> impl Strategy<Value = IpNet> {
        prop_oneof![
            (any::<u8>(), 0u8..=32)
                .prop_map(|(a, bits)| IpNet::V4(Ipv4Net::new([a, a, a, a].into(), bits).unwrap())),
            (any::<u16>(), 0u8..=128).prop_map(|(a, bits)| IpNet::V6(
                ipnet::Ipv6Net::new([a, 0, 0, 0, 0, 0, 0, a].into(), bits).unwrap()
            )),
        ]
    }

    proptest! {
        /// The ranges say what a walk over the CIDRs says.
        #[test]
        fn ranges_agree_with_the_nets(
            nets in proptest::collection::vec(any_net(), 0..20),
            probes in proptest::collection::vec(any::<IpAddr>(), 0..20),
        ) {
            let list = Allowlist::from(nets.clone());
            let edges = nets.iter().flat_map(|n| [n.network(), n.broadcast()]);
            for probe in probes.into_iter().chain(edges) {
                let probe = canonical(probe);
                let walk = list.nets().iter().any(|net| net.contains(&probe));
                prop_assert_eq!(list.contains(probe), walk);
            }
        }
    }
}
