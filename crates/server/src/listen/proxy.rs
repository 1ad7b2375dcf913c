//! The PROXY protocol, version 2: for whom a proxy connects.
//!
//! A header is `SIGNATURE`, a byte of version and command, one of address family and transport, two of
//! length, and as many bytes as that says: addresses, ports, and fields that are passed over. No more
//! is read than it is long, and none is taken that is longer than any proxy's.

use std::{
    io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
};

use tokio::{
    io::{AsyncRead, AsyncReadExt},
    net::TcpStream,
};

const SIGNATURE: [u8; 12] = *b"\r\n\r\n\0\r\nQUIT\n";
/// What every header begins with.
const HEAD_BYTES: usize = 16;
/// Most bytes after it. Proxies send addresses of 36 bytes, and some fields.
const REST_BYTES: usize = 520;
/// What a header of version 1 begins with.
const VERSION_1: &[u8] = b"PROXY ";

/// Why a header, or a connection without one, is refused.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Refused(pub(super) &'static str);

/// A connection that ended before it began: a check whether the port is open, mostly.
pub(super) const HUNG_UP: Refused = Refused("it hung up");

/// What a header's first bytes say.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Head {
    /// `None`: the proxy speaks for itself.
    family: Option<Family>,
    rest: usize,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Family {
    V4,
    V6,
}

/// Reads the header that a proxy has to send: whom it connects for, or `None` for itself.
pub(super) async fn read<S: AsyncRead + Unpin>(stream: &mut S) -> Result<Option<IpAddr>, Refused> {
    let mut head = [0; HEAD_BYTES];
    let mut filled = 0;
    while filled < HEAD_BYTES {
        let free = head.get_mut(filled..).unwrap_or_default();
        let read = stream.read(free).await;
        let ended = if filled == 0 { HUNG_UP } else { cut_short() };
        filled += read.ok().filter(|read| *read > 0).ok_or(ended)?;
        // Whoever sends something else need not send all of it to be refused.
        begins_well(head.get(..filled).unwrap_or_default())?;
    }
    let head = parse_head(&head)?;
    let mut rest = [0; REST_BYTES];
    let rest = rest.get_mut(..head.rest).ok_or(too_long())?;
    stream.read_exact(rest).await.map_err(|_| cut_short())?;
    parse_client(head, rest)
}

/// Refuses a header of somebody who has no say. What such a connection begins with is not taken from it.
///
/// Who sends a header byte by byte gets past this, and nothing by it: it is read as TLS or HTTP then,
/// which it is not.
pub(super) async fn refuse(stream: &TcpStream) -> Result<Option<IpAddr>, Refused> {
    let mut begin = [0; SIGNATURE.len()];
    let peeked = match stream.peek(&mut begin).await {
        Ok(peeked) => begin.get(..peeked).unwrap_or_default(),
        Err(error) if error.kind() == io::ErrorKind::ConnectionReset => &[],
        Err(_) => return Err(cut_short()),
    };
    let is_header = begins_well(peeked).is_ok() && !peeked.is_empty();
    if is_header || peeked.starts_with(VERSION_1) {
        return Err(Refused("it is not of a trusted proxy"));
    }
    Ok(None)
}

fn cut_short() -> Refused {
    Refused("it is cut short, or missing")
}

fn too_long() -> Refused {
    Refused("it is too long")
}

/// Whether this can be the beginning of a header.
fn begins_well(begin: &[u8]) -> Result<(), Refused> {
    if begin.iter().zip(&SIGNATURE).all(|(is, must)| is == must) {
        return Ok(());
    }
    Err(match begin.starts_with(VERSION_1) {
        true => Refused("it is of version 1"),
        false => Refused("it is missing"),
    })
}

fn parse_head(head: &[u8; HEAD_BYTES]) -> Result<Head, Refused> {
    begins_well(head)?;
    let [.., command, family, high, low] = *head;
    let rest = usize::from(u16::from_be_bytes([high, low]));
    if rest > REST_BYTES {
        return Err(too_long());
    }
    let family = match (command, family) {
        (0x20, _) => None,
        (0x21, 0x11) => Some(Family::V4),
        (0x21, 0x21) => Some(Family::V6),
        (0x21, _) => return Err(Refused("it names no client on TCP")),
        _ => return Err(Refused("its version or command is unknown")),
    };
    Ok(Head { family, rest })
}

/// The client's address, which comes first.
fn parse_client(head: Head, rest: &[u8]) -> Result<Option<IpAddr>, Refused> {
    // Both addresses and both ports have to be there, whatever is made of them.
    let (client, long): (Option<IpAddr>, usize) = match head.family {
        None => return Ok(None),
        Some(Family::V4) => {
            let client = rest.first_chunk::<4>();
            (client.map(|octets| Ipv4Addr::from(*octets).into()), 12)
        }
        Some(Family::V6) => {
            let client = rest.first_chunk::<16>();
            (client.map(|octets| Ipv6Addr::from(*octets).into()), 36)
        }
    };
    match client.filter(|_| rest.len() >= long) {
        Some(client) => Ok(Some(client)),
        None => Err(Refused("its addresses are cut short")),
    }
}

#[cfg(test)]
mod tests;
