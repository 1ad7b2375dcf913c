//! Databases that values may be applied to: `VAULT_TARGETS`.

use std::{collections::BTreeMap, fmt, path::PathBuf};

use strongroom_core::{PathPattern, TargetName};

use super::{net::HostPort, shapes::Shape};

const SCHEME: &str = "postgresql://";
const PORT: &str = ":5432";
const DATABASE: &str = "postgres";
/// Targets, and hosts of one, at most.
const MOST: usize = 64;

/// How a target's connections are protected.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Tls {
    /// The certificate must be valid and name the host; the roots are the system's, or a file's.
    VerifyFull(Option<PathBuf>),
    /// Not at all.
    Off,
}

/// A PostgreSQL cluster.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct PostgresTarget {
    /// Tried in this order until one takes writes.
    pub hosts: Vec<HostPort>,
    /// The database to connect to.
    pub database: String,
    /// How connections are protected.
    pub tls: Tls,
    /// The secrets that may have it: exact names, or prefixes ending in `*`.
    pub secrets: Vec<PathPattern>,
}

/// The list of targets.
pub(super) struct Targets;

impl Shape for Targets {
    type Out = BTreeMap<TargetName, PostgresTarget>;
    fn describe(&self) -> String {
        "`name=postgresql://host:port,…/database?secrets=…&sslmode=…&sslrootcert=…`, several separated by `;`"
            .into()
    }
    fn parse(&self, text: &str) -> Result<Self::Out, Vec<String>> {
        let (mut targets, mut problems) = (BTreeMap::new(), Vec::new());
        let entries = text.split(';').map(str::trim).filter(|e| !e.is_empty());
        for (entry, position) in entries.zip(1_usize..).take(MOST + 1) {
            match parse_entry(entry) {
                _ if position > MOST => problems.push(format!("lists more than {MOST} targets")),
                Ok((name, target)) => {
                    if targets.insert(name, target).is_some() {
                        problems.push(format!("entry {position} repeats a name"));
                    }
                }
                Err(what) => problems.push(format!("entry {position} {what}")),
            }
        }
        if problems.is_empty() {
            Ok(targets)
        } else {
            Err(problems)
        }
    }
}

/// What is wrong is said without the entry: somebody may have put a password into it.
fn parse_entry(entry: &str) -> Result<(TargetName, PostgresTarget), &'static str> {
    let (name, url) = entry
        .split_once('=')
        .ok_or("is not of the form `name=postgresql://…`")?;
    let name = TargetName::parse(name.trim()).map_err(|_| "has a name that is none")?;
    let rest = url
        .trim()
        .strip_prefix(SCHEME)
        .ok_or("must begin with `postgresql://` after its name")?;
    let (address, parameters) = rest.split_once('?').unwrap_or((rest, ""));
    if address.contains('@') {
        return Err("must not hold a user: a rotation signs in with the secret's own");
    }
    let (hosts, database) = address.split_once('/').unwrap_or((address, ""));
    let hosts: Option<Vec<HostPort>> = hosts.split(',').map(parse_host).collect();
    let hosts = hosts
        .filter(|hosts| hosts.len() <= MOST)
        .ok_or("has a host that is none")?;
    let (tls, secrets) = parse_parameters(parameters)?;
    let target = PostgresTarget {
        hosts,
        database: parse_database(database)?,
        tls,
        secrets,
    };
    Ok((name, target))
}

/// A host with its port, or with PostgreSQL's.
fn parse_host(text: &str) -> Option<HostPort> {
    let lacks_port = match text.strip_prefix('[') {
        Some(_) => text.ends_with(']'),
        None => !text.contains(':'),
    };
    match lacks_port {
        true => HostPort::parse(&format!("{text}{PORT}")),
        false => HostPort::parse(text),
    }
}

fn parse_database(text: &str) -> Result<String, &'static str> {
    let plain = |c: u8| c.is_ascii_alphanumeric() || b"_-.".contains(&c);
    match text {
        "" => Ok(DATABASE.to_owned()),
        _ if text.len() < 64 && text.bytes().all(plain) => Ok(text.to_owned()),
        _ => Err("has a database whose name has other characters than letters, digits and `_ - .`"),
    }
}

/// Who may use a target is said with it, and not left open: a role that may make any secret at all could
/// otherwise change passwords there.
fn parse_parameters(parameters: &str) -> Result<(Tls, Vec<PathPattern>), &'static str> {
    let (mut mode, mut roots, mut secrets) = (None, None, Vec::new());
    for parameter in parameters.split('&').filter(|p| !p.is_empty()) {
        match parameter.split_once('=') {
            Some(("sslmode", value)) if mode.is_none() => mode = Some(value),
            Some(("sslrootcert", path)) if roots.is_none() && !path.is_empty() => {
                roots = Some(PathBuf::from(path));
            }
            Some(("secrets", pattern)) => {
                let bad = "has a `secrets` that is neither a name nor a prefix ending in `*`";
                secrets.push(PathPattern::parse(pattern).map_err(|_| bad)?);
            }
            _ => {
                return Err(
                    "has a parameter other than `secrets`, one `sslmode` and one `sslrootcert`",
                );
            }
        }
    }
    if secrets.is_empty() {
        return Err("needs `secrets=`: the names that may have it, or prefixes ending in `*`");
    }
    let tls = match (mode.unwrap_or("verify-full"), roots) {
        ("verify-full", roots) => Ok(Tls::VerifyFull(roots)),
        ("disable", None) => Ok(Tls::Off),
        ("disable", Some(_)) => Err("has an `sslrootcert` that `sslmode=disable` does not use"),
        _ => Err("has an `sslmode` other than `verify-full` and `disable`"),
    };
    Ok((tls?, secrets))
}

impl fmt::Display for PostgresTarget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let hosts: Vec<String> = self.hosts.iter().map(ToString::to_string).collect();
        write!(f, "{SCHEME}{}/{}", hosts.join(","), self.database)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn one(text: &str) -> PostgresTarget {
        let mut targets = Targets.parse(text).unwrap();
        assert_eq!(targets.len(), 1);
        targets.pop_first().unwrap().1
    }

    #[test]
    fn what_is_left_out_has_a_default() {
        let target = one("orders=postgresql://db1?secrets=*");
        assert_eq!(target.to_string(), "postgresql://db1:5432/postgres");
        assert_eq!(target.tls, Tls::VerifyFull(None));
        let target = one(
            "o=postgresql://db1:5433,[::1],[::1]:1,10.0.0.1/app?sslmode=disable&secrets=a/*&secrets=b;",
        );
        assert!(target.secrets[0].matches("a/x") && target.secrets[1].matches("b"));
        assert_eq!(
            target.to_string(),
            "postgresql://db1:5433,[::1]:5432,[::1]:1,10.0.0.1:5432/app"
        );
        assert_eq!(target.tls, Tls::Off);
        let target = one("o=postgresql://h/?secrets=a&sslrootcert=/etc/ca.pem&sslmode=verify-full");
        assert_eq!(target.tls, Tls::VerifyFull(Some("/etc/ca.pem".into())));
        let two = Targets
            .parse("a=postgresql://h/a?secrets=* ;\n b=postgresql://h/b?secrets=*")
            .unwrap();
        assert_eq!(two.len(), 2);
    }

    #[test]
    fn what_is_wrong_is_told_by_place_and_without_the_text() {
        for (bad, word) in [
            ("orders", "form"),
            ("=postgresql://h", "name"),
            ("a/b=postgresql://h", "name"),
            ("o=mysql://h", "begin"),
            ("o=postgresql://app:hunter2@h", "user"),
            ("o=postgresql://", "host"),
            ("o=postgresql://h:0", "host"),
            ("o=postgresql://h,,i", "host"),
            ("o=postgresql://h/a b?secrets=*", "database"),
            ("o=postgresql://h", "secrets"),
            ("o=postgresql://h?secrets=", "secrets"),
            ("o=postgresql://h?secrets=a//b", "secrets"),
            ("o=postgresql://h?secrets=*&sslmode=require", "sslmode"),
            (
                "o=postgresql://h?sslmode=disable&sslmode=disable",
                "parameter",
            ),
            ("o=postgresql://h?password=hunter2", "parameter"),
            (
                "o=postgresql://h?secrets=*&sslmode=disable&sslrootcert=/x",
                "sslrootcert",
            ),
            (
                "o=postgresql://h?secrets=*;o=postgresql://h?secrets=*",
                "repeats",
            ),
        ] {
            let problems = Targets.parse(bad).unwrap_err().join(" ");
            assert!(problems.contains(word), "{bad}: {problems}");
            assert!(!problems.contains("hunter2"));
        }
    }
}
