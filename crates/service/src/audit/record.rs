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

use std::{borrow::Cow, net::IpAddr};

use serde::{Deserialize, Serialize};
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
    pub request_id: String,
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

/// A record without its hash: what is hashed.
#[derive(Serialize)]
struct Body<'a> {
    seq: u64,
    time: &'a str,
    request_id: Cow<'a, str>,
    node: Cow<'a, str>,
    actor: Cow<'a, str>,
    client_ip: Option<IpAddr>,
    peer_ip: Option<IpAddr>,
    action: Cow<'a, str>,
    target: Cow<'a, str>,
    outcome: Cow<'a, str>,
    status: Option<u16>,
    prev: &'a str,
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

/// Appends the record that follows `after` to `out`, and returns its link.
///
/// # Errors
/// Never in practice: strings and numbers serialize into memory.
pub(super) fn render(
    after: Link,
    node: &str,
    now: OffsetDateTime,
    entry: &Entry,
    out: &mut Vec<u8>,
) -> serde_json::Result<Link> {
    let seq = after.seq.saturating_add(1);
    let start = out.len();
    let body = Body {
        seq,
        time: &rfc3339(now),
        request_id: cut(&entry.request_id, REQUEST_ID_BYTES),
        node: cut(node, NODE_BYTES),
        actor: cut(&entry.actor, ACTOR_BYTES),
        client_ip: entry.client_ip,
        peer_ip: entry.peer_ip,
        action: cut(&entry.action, WORD_BYTES),
        target: cut(&entry.target, TARGET_BYTES),
        outcome: cut(&entry.outcome, WORD_BYTES),
        status: entry.status,
        prev: &after.hash.to_string(),
    };
    if let Err(error) = serde_json::to_writer(&mut *out, &body) {
        out.truncate(start);
        return Err(error);
    }
    let hash = Hash(Sha256::digest(out.get(start..).unwrap_or_default()).into());
    out.pop();
    out.extend_from_slice(format!(",\"hash\":\"{hash}\"}}\n").as_bytes());
    Ok(Link { seq, hash })
}

/// UTC with milliseconds.
fn rfc3339(at: OffsetDateTime) -> String {
    let at = at.to_offset(time::UtcOffset::UTC);
    format!(
        "{:04}-{:02}-{:02}T{:02}:{:02}:{:02}.{:03}Z",
        at.year(),
        u8::from(at.month()),
        at.day(),
        at.hour(),
        at.minute(),
        at.second(),
        at.millisecond()
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
mod tests {
    use super::*;

    #[test]
    fn a_line_is_the_canonical_form() {
        let entry = Entry {
            request_id: "r-1".into(),
            actor: "deploy".into(),
            client_ip: Some("10.0.0.1".parse().unwrap()),
            peer_ip: Some("::1".parse().unwrap()),
            action: "secret.read".into(),
            target: "secret/db\n\"".into(),
            outcome: "allowed".into(),
            status: Some(200),
        };
        let mut line = Vec::new();
        let now = OffsetDateTime::from_unix_timestamp(1_700_000_000).unwrap();
        let link = render(Link::GENESIS, "n1", now, &entry, &mut line).unwrap();
        let text = String::from_utf8(line).unwrap();
        let zeros = "0".repeat(64);
        let body = format!(
            "{{\"seq\":1,\"time\":\"2023-11-14T22:13:20.000Z\",\"request_id\":\"r-1\",\
             \"node\":\"n1\",\"actor\":\"deploy\",\"client_ip\":\"10.0.0.1\",\"peer_ip\":\"::1\",\
             \"action\":\"secret.read\",\"target\":\"secret/db\\n\\\"\",\"outcome\":\"allowed\",\
             \"status\":200,\"prev\":\"{zeros}\""
        );
        let hash = Hash(Sha256::digest(format!("{body}}}").as_bytes()).into());
        assert_eq!(text, format!("{body},\"hash\":\"{hash}\"}}\n"));
        assert_eq!(link, Link { seq: 1, hash });
    }

    #[test]
    fn every_line_is_bounded() {
        let longest = "\u{1}".repeat(1_000_000);
        let entry = Entry {
            request_id: longest.clone(),
            actor: longest.clone(),
            client_ip: Some(
                "ffff:ffff:ffff:ffff:ffff:ffff:255.255.255.255"
                    .parse()
                    .unwrap(),
            ),
            peer_ip: Some(
                "ffff:ffff:ffff:ffff:ffff:ffff:255.255.255.255"
                    .parse()
                    .unwrap(),
            ),
            action: longest.clone().into(),
            target: longest.clone(),
            outcome: longest.clone().into(),
            status: Some(u16::MAX),
        };
        let mut line = Vec::new();
        let after = Link {
            seq: u64::MAX - 1,
            ..Link::GENESIS
        };
        render(
            after,
            &longest,
            OffsetDateTime::now_utc(),
            &entry,
            &mut line,
        )
        .unwrap();
        assert!(line.len() < LINE_BYTES, "{}", line.len());
        assert!(String::from_utf8(line).unwrap().contains("[cut]"));
        assert_eq!(cut("aé", 2), "a…[cut]");
    }
}
