//! What one record holds, and the exact bytes it becomes.
//!
//! # Canonical form
//!
//! A line is one compact JSON object, its fields in this order and no others:
//!
//! ```text
//! {"seq":7,"time":"2026-01-31T12:00:00.000Z","request_id":"…","node":"…","actor":"…",
//!  "client_ip":"…","peer_ip":"…","action":"…","target":"…","outcome":"…","status":200,
//!  "prev":"<64 hex>","hash":"<64 hex>"}
//! ```
//!
//! (without the line breaks), followed by one `\n`. `client_ip`, `peer_ip` and `status` may be
//! `null`. `hash` is the lower-case hexadecimal SHA-256 of the same bytes without the hash field:
//! everything before `,"hash":"` and then `}`; the `\n` is not part of it. `prev` is the `hash` of
//! the record before, 64 zeros in the first record.

use std::{borrow::Cow, io::Write, net::IpAddr, sync::Arc};

use serde::Deserialize;
use sha2::{Digest, Sha256};
use time::OffsetDateTime;

use super::chain::{Hash, Link};

/// Longest request id, in bytes.
const REQUEST_ID_BYTES: usize = 128;
/// Longest actor, in bytes.
const ACTOR_BYTES: usize = 256;
/// Longest action and longest outcome, in bytes.
const WORD_BYTES: usize = 64;
/// Longest target, in bytes: the longest secret name fits.
const TARGET_BYTES: usize = 1_024;
/// Longest node name, in bytes.
const NODE_BYTES: usize = 128;
/// Longest line. The fields above, each byte escaped to six, and the rest of the line stay below.
pub(super) const LINE_BYTES: usize = 16 * 1024;
/// Stands at the end of a field that was cut.
const CUT: &str = "…[cut]";

/// One event, as a use case reports it. These fields and no others: no bodies, no headers, no
/// values. Overlong ones are cut with a marker.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Entry {
    /// The id that the response carries.
    pub request_id: Arc<str>,
    /// Who asks: a token's name, `reader`, or the worker's name.
    pub actor: String,
    /// The client's address, proxies considered.
    pub client_ip: Option<IpAddr>,
    /// The address of the connection.
    pub peer_ip: Option<IpAddr>,
    /// What is asked for, as in `secret.read`.
    pub action: Cow<'static, str>,
    /// On what: a name or a path.
    pub target: String,
    /// How it went, as in `allowed`.
    pub outcome: Cow<'static, str>,
    /// The HTTP status, if it is known yet.
    pub status: Option<u16>,
}

impl Entry {
    /// An entry of the node itself.
    #[must_use]
    pub fn of_node(action: &'static str, target: impl Into<String>) -> Self {
        Self {
            actor: super::NODE.into(),
            action: action.into(),
            target: target.into(),
            outcome: "done".into(),
            ..Self::default()
        }
    }
}

/// A record as it is read back. Unknown, missing and repeated fields are refused.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
#[allow(
    dead_code,
    reason = "the shape is checked; only the chain's fields are used"
)]
pub(super) struct Line<'a> {
    pub(super) seq: u64,
    #[serde(borrow)]
    time: Cow<'a, str>,
    #[serde(borrow)]
    request_id: Cow<'a, str>,
    #[serde(borrow)]
    node: Cow<'a, str>,
    #[serde(borrow)]
    actor: Cow<'a, str>,
    client_ip: Option<IpAddr>,
    peer_ip: Option<IpAddr>,
    #[serde(borrow)]
    action: Cow<'a, str>,
    #[serde(borrow)]
    target: Cow<'a, str>,
    #[serde(borrow)]
    outcome: Cow<'a, str>,
    status: Option<u16>,
    #[serde(borrow)]
    pub(super) prev: Cow<'a, str>,
    #[serde(borrow)]
    pub(super) hash: Cow<'a, str>,
}

/// What writes records: it keeps what is the same in many of them, as it is written.
pub(super) struct Pen {
    /// The node's name, cut and quoted.
    node: Vec<u8>,
    /// The second of the last record, and the beginning of its time up to the milliseconds.
    second: Option<(i64, String)>,
}

impl Pen {
    /// # Errors
    /// Never in practice: strings serialize into memory.
    pub(super) fn new(node: &str) -> serde_json::Result<Self> {
        let mut quoted = Vec::new();
        push_text(node, NODE_BYTES, &mut quoted)?;
        Ok(Self {
            node: quoted,
            second: None,
        })
    }

    /// Appends the record that follows `after` to `out`, and returns its link.
    ///
    /// # Errors
    /// Never in practice: strings and numbers serialize into memory.
    pub(super) fn render(
        &mut self,
        after: Link,
        now: OffsetDateTime,
        entry: &Entry,
        out: &mut Vec<u8>,
    ) -> serde_json::Result<Link> {
        let seq = after.seq.saturating_add(1);
        let start = out.len();
        if let Err(error) = self.push_body(seq, after.hash, now, entry, out) {
            out.truncate(start);
            return Err(error);
        }
        let hash = Hash(Sha256::digest(out.get(start..).unwrap_or_default()).into());
        out.pop();
        out.extend_from_slice(b",\"hash\":\"");
        out.extend_from_slice(&hash.digits());
        out.extend_from_slice(b"\"}\n");
        Ok(Link { seq, hash })
    }

    /// The record without its hash: what is hashed. By hand, since each read writes one.
    fn push_body(
        &mut self,
        seq: u64,
        prev: Hash,
        now: OffsetDateTime,
        entry: &Entry,
        out: &mut Vec<u8>,
    ) -> serde_json::Result<()> {
        out.extend_from_slice(b"{\"seq\":");
        push_number(seq, out);
        out.extend_from_slice(b",\"time\":\"");
        self.push_time(now, out);
        out.extend_from_slice(b"\",\"request_id\":");
        push_text(&entry.request_id, REQUEST_ID_BYTES, out)?;
        out.extend_from_slice(b",\"node\":");
        out.extend_from_slice(&self.node);
        out.extend_from_slice(b",\"actor\":");
        push_text(&entry.actor, ACTOR_BYTES, out)?;
        out.extend_from_slice(b",\"client_ip\":");
        push_address(entry.client_ip, out)?;
        out.extend_from_slice(b",\"peer_ip\":");
        push_address(entry.peer_ip, out)?;
        out.extend_from_slice(b",\"action\":");
        push_text(&entry.action, WORD_BYTES, out)?;
        out.extend_from_slice(b",\"target\":");
        push_text(&entry.target, TARGET_BYTES, out)?;
        out.extend_from_slice(b",\"outcome\":");
        push_text(&entry.outcome, WORD_BYTES, out)?;
        out.extend_from_slice(b",\"status\":");
        match entry.status {
            Some(status) => push_number(status, out),
            None => out.extend_from_slice(b"null"),
        }
        out.extend_from_slice(b",\"prev\":\"");
        out.extend_from_slice(&prev.digits());
        out.extend_from_slice(b"\"}");
        Ok(())
    }

    /// UTC with milliseconds.
    fn push_time(&mut self, now: OffsetDateTime, out: &mut Vec<u8>) {
        let second = now.unix_timestamp();
        let known = self.second.take().filter(|(of, _)| *of == second);
        let (_, text) = self
            .second
            .insert(known.unwrap_or_else(|| (second, to_the_second(now))));
        out.extend_from_slice(text.as_bytes());
        let millis = now.millisecond();
        for unit in [100, 10, 1] {
            out.push(b'0' + u8::try_from(millis / unit % 10).unwrap_or_default());
        }
        out.push(b'Z');
    }
}

/// A number in decimal.
fn push_number(number: impl itoa::Integer, out: &mut Vec<u8>) {
    out.extend_from_slice(itoa::Buffer::new().format(number).as_bytes());
}

fn push_address(address: Option<IpAddr>, out: &mut Vec<u8>) -> serde_json::Result<()> {
    match address {
        None => out.extend_from_slice(b"null"),
        Some(IpAddr::V4(address)) => {
            let mut before = b'"';
            for octet in address.octets() {
                out.push(before);
                push_number(octet, out);
                before = b'.';
            }
            out.push(b'"');
        }
        Some(IpAddr::V6(address)) => {
            write!(out, "\"{address}\"").map_err(serde_json::Error::io)?;
        }
    }
    Ok(())
}

/// A text of at most so many bytes, quoted.
fn push_text(text: &str, limit: usize, out: &mut Vec<u8>) -> serde_json::Result<()> {
    let text = cut(text, limit);
    let is_plain = |byte: u8| byte >= b' ' && byte != b'"' && byte != b'\\';
    if !text.bytes().all(is_plain) {
        return serde_json::to_writer(out, text.as_ref());
    }
    out.push(b'"');
    out.extend_from_slice(text.as_bytes());
    out.push(b'"');
    Ok(())
}

/// UTC, up to the milliseconds.
fn to_the_second(at: OffsetDateTime) -> String {
    let at = at.to_offset(time::UtcOffset::UTC);
    format!(
        "{:04}-{:02}-{:02}T{:02}:{:02}:{:02}.",
        at.year(),
        u8::from(at.month()),
        at.day(),
        at.hour(),
        at.minute(),
        at.second()
    )
}

/// The text, or its first `limit` bytes and a marker.
fn cut(text: &str, limit: usize) -> Cow<'_, str> {
    if text.len() <= limit {
        return Cow::Borrowed(text);
    }
    let kept = text
        .get(..text.floor_char_boundary(limit))
        .unwrap_or_default();
    Cow::Owned(format!("{kept}{CUT}"))
}

#[cfg(test)]
mod tests;
