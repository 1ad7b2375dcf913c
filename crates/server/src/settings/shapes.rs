//! The shapes a value can have: each knows how to parse its text and how to describe itself in one
//! phrase, so that the reference page and the error message come from the same place.
//!
//! No message repeats the text it refuses: the wrong variable is where pasted secrets end up. The
//! lists of addresses are the exception, because there the text is what the operator looks for.

use std::{collections::BTreeSet, path::PathBuf, time::Duration};

use strongroom_core::{Allowlist, NodeName, ReadGate};
use strongroom_service::audit::SyncPolicy;

/// How the text of one setting becomes a value.
pub(super) trait Shape {
    /// The typed value.
    type Out;
    /// What is accepted, as a phrase that fits after "must be".
    fn describe(&self) -> String;
    /// The value, or every reason why there is none. `text` is never empty.
    fn parse(&self, text: &str) -> Result<Self::Out, Vec<String>>;

    /// The usual message: what would have been accepted.
    fn refuse<T>(&self) -> Result<T, Vec<String>> {
        Err(vec![format!("must be {}", self.describe())])
    }
}

/// `true`, `false`, `1` or `0`.
pub(super) struct Flag;

impl Shape for Flag {
    type Out = bool;
    fn describe(&self) -> String {
        "`true` or `false` (also `1`, `0`)".into()
    }
    fn parse(&self, text: &str) -> Result<bool, Vec<String>> {
        match text {
            "true" | "1" => Ok(true),
            "false" | "0" => Ok(false),
            _ => self.refuse(),
        }
    }
}

/// A whole number between two bounds, both included.
pub(super) struct Count(pub(super) u64, pub(super) u64);

impl Shape for Count {
    type Out = u64;
    fn describe(&self) -> String {
        format!("a whole number from {} to {}", self.0, self.1)
    }
    fn parse(&self, text: &str) -> Result<u64, Vec<String>> {
        // `u64::from_str` takes a leading plus; a setting does not need two spellings.
        if !text.bytes().all(|c| c.is_ascii_digit()) {
            return self.refuse();
        }
        match text.parse() {
            Ok(number) if (self.0..=self.1).contains(&number) => Ok(number),
            _ => self.refuse(),
        }
    }
}

/// A number of seconds between two bounds, both included.
pub(super) struct Seconds(pub(super) u64, pub(super) u64);

impl Shape for Seconds {
    type Out = Duration;
    fn describe(&self) -> String {
        format!("a whole number of seconds from {} to {}", self.0, self.1)
    }
    fn parse(&self, text: &str) -> Result<Duration, Vec<String>> {
        Count(self.0, self.1)
            .parse(text)
            .map(Duration::from_secs)
            .or_else(|_| self.refuse())
    }
}

/// A size in bytes, or with one of the suffixes `KiB`, `MiB`, `GiB`.
pub(super) struct Size(pub(super) u64, pub(super) u64);

impl Shape for Size {
    type Out = u64;
    fn describe(&self) -> String {
        format!(
            "a number of bytes from {} to {} (`KiB`, `MiB` or `GiB` may follow)",
            self.0, self.1
        )
    }
    fn parse(&self, text: &str) -> Result<u64, Vec<String>> {
        let units = [("KiB", 10), ("MiB", 20), ("GiB", 30)];
        let (digits, shift) = units
            .iter()
            .find_map(|(suffix, shift)| Some((text.strip_suffix(suffix)?, *shift)))
            .unwrap_or((text, 0));
        let number = Count(0, u64::MAX >> shift)
            .parse(digits)
            .map(|number| number << shift);
        match number {
            Ok(bytes) if (self.0..=self.1).contains(&bytes) => Ok(bytes),
            _ => self.refuse(),
        }
    }
}

/// One of a few words, each with its value.
pub(super) struct Choice<T: 'static>(pub(super) &'static [(&'static str, T)]);

impl<T: Copy> Shape for Choice<T> {
    type Out = T;
    fn describe(&self) -> String {
        let words: Vec<_> = self.0.iter().map(|(word, _)| format!("`{word}`")).collect();
        words.join(" or ")
    }
    fn parse(&self, text: &str) -> Result<T, Vec<String>> {
        match self.0.iter().find(|(word, _)| *word == text) {
            Some((_, value)) => Ok(*value),
            None => self.refuse(),
        }
    }
}

/// Where reads are answered from when a request does not say.
pub(super) const CONSISTENCY: Choice<ReadGate> = Choice(&[
    ("local", ReadGate::Local),
    ("linearizable", ReadGate::Linearizable),
]);

/// A node's name.
pub(super) struct NodeId;

impl Shape for NodeId {
    type Out = NodeName;
    fn describe(&self) -> String {
        "a name of letters, digits and `_ - . ~ @ + :`".into()
    }
    fn parse(&self, text: &str) -> Result<NodeName, Vec<String>> {
        // `=` and `,` are names elsewhere, but here they would make VAULT_PEERS ambiguous.
        match NodeName::parse(text) {
            Ok(name) if !text.contains(['=', ',']) => Ok(name),
            _ => self.refuse(),
        }
    }
}

/// A path of the file system.
pub(super) struct Folder;

impl Shape for Folder {
    type Out = PathBuf;
    fn describe(&self) -> String {
        "a path".into()
    }
    fn parse(&self, text: &str) -> Result<PathBuf, Vec<String>> {
        if text.contains('\0') {
            self.refuse()
        } else {
            Ok(PathBuf::from(text))
        }
    }
}

/// A list of addresses and CIDRs.
pub(super) struct Addresses;

impl Shape for Addresses {
    type Out = Allowlist;
    fn describe(&self) -> String {
        "addresses and CIDRs (IPv4 or IPv6), separated by commas".into()
    }
    fn parse(&self, text: &str) -> Result<Allowlist, Vec<String>> {
        Allowlist::parse(text).map_err(|bad| bad.iter().map(ToString::to_string).collect())
    }
}

/// A list of host names.
pub(super) struct HostNames;

impl Shape for HostNames {
    type Out = BTreeSet<String>;
    fn describe(&self) -> String {
        "host names without ports, separated by commas".into()
    }
    fn parse(&self, text: &str) -> Result<BTreeSet<String>, Vec<String>> {
        let name = |name: &str| {
            let plain = |c: u8| c.is_ascii_alphanumeric() || b"-._".contains(&c);
            (!name.is_empty() && name.len() <= 253 && name.bytes().all(plain))
                .then(|| name.to_ascii_lowercase())
        };
        let names = text.split(',').map(str::trim).map(name);
        names
            .collect::<Option<_>>()
            .map_or_else(|| self.refuse(), Ok)
    }
}

/// How long a written audit record may wait for its sync.
pub(super) struct AuditSync;

/// Longer waits would turn "synced soon" into "perhaps never".
const LONGEST_AUDIT_SYNC: Duration = Duration::from_secs(60);

impl Shape for AuditSync {
    type Out = SyncPolicy;
    fn describe(&self) -> String {
        "`always`, or a time from `1ms` to `60s`".into()
    }
    fn parse(&self, text: &str) -> Result<SyncPolicy, Vec<String>> {
        if text == "always" {
            return Ok(SyncPolicy::Always);
        }
        let digits = Count(1, 1_000_000);
        let within = if let Some(millis) = text.strip_suffix("ms") {
            digits.parse(millis).map(Duration::from_millis)
        } else if let Some(seconds) = text.strip_suffix('s') {
            digits.parse(seconds).map(Duration::from_secs)
        } else {
            return self.refuse();
        };
        match within {
            Ok(within) if within <= LONGEST_AUDIT_SYNC => Ok(SyncPolicy::Within(within)),
            _ => self.refuse(),
        }
    }
}

/// The identifier of an AWS KMS key.
pub(super) struct KmsKey;

impl Shape for KmsKey {
    type Out = String;
    fn describe(&self) -> String {
        "a KMS key id, ARN or alias, without spaces".into()
    }
    fn parse(&self, text: &str) -> Result<String, Vec<String>> {
        let fits = text.len() <= strongroom_core::limits::KMS_KEY_ID_BYTES;
        if fits && text.bytes().all(|c| c.is_ascii_graphic()) {
            Ok(text.to_owned())
        } else {
            self.refuse()
        }
    }
}

/// A filter for log lines.
pub(super) struct LogFilter;

impl Shape for LogFilter {
    type Out = String;
    fn describe(&self) -> String {
        "a log filter, as in `info` or `warn,strongroom_raft=debug`".into()
    }
    fn parse(&self, text: &str) -> Result<String, Vec<String>> {
        match tracing_subscriber::EnvFilter::try_new(text) {
            Ok(_) => Ok(text.to_owned()),
            Err(_) => self.refuse(),
        }
    }
}
