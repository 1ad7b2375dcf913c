//! Whether an address is in a list of 10,000 CIDRs of which no two can be merged.

use std::{
    hint::black_box,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
};

use criterion::Criterion;
use strongroom_core::Allowlist;

use crate::world;

const NETS: u32 = 10_000;

/// The network of this number begins here. Every other /24 is left out.
fn v4(number: u32) -> u32 {
    u32::from(Ipv4Addr::new(10, 0, 0, 0)) + number * 512
}

/// Every other /64 is left out.
fn v6(number: u32) -> u128 {
    u128::from(Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 0)) + (u128::from(number) << 65)
}

fn list(net: impl Fn(u32) -> String) -> Allowlist {
    let nets: Vec<String> = (0..NETS).map(net).collect();
    Allowlist::parse_entries(nets.iter().map(String::as_str)).unwrap()
}

fn addresses(address: impl Fn(u32) -> IpAddr) -> Vec<IpAddr> {
    let addresses: Vec<IpAddr> = (0..NETS).map(address).collect();
    let shuffled = world::shuffled(addresses.len()).take(addresses.len());
    shuffled.map(|at| addresses[at]).collect()
}

pub(crate) fn benches(criterion: &mut Criterion) {
    let four = list(|number| format!("{}/24", Ipv4Addr::from(v4(number))));
    let six = list(|number| format!("{}/64", Ipv6Addr::from(v6(number))));
    let in_four = |offset: u32| addresses(move |n| Ipv4Addr::from(v4(n) + offset).into());
    let in_six = |offset: u128| addresses(move |n| Ipv6Addr::from(v6(n) + offset).into());
    for (what, list, addresses, expected) in [
        ("ipv4/hit", &four, in_four(77), true),
        ("ipv4/miss", &four, in_four(256 + 77), false),
        ("ipv6/hit", &six, in_six(77), true),
        ("ipv6/miss", &six, in_six((1 << 64) + 77), false),
    ] {
        assert!(addresses.iter().all(|at| list.contains(*at) == expected));
        let mut next = addresses.iter().cycle();
        criterion.bench_function(&format!("allowlist/10000/{what}"), |bencher| {
            bencher.iter(|| list.contains(black_box(*next.next().unwrap())));
        });
    }
}
