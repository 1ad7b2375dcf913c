//! Documents that say what is there: invariants, links, paths and tests, routes and codes.

use std::collections::{BTreeMap, BTreeSet};

use strongroom_server::http::{Who, route_list};

use super::{ARCHITECTURE, files, is_word, none, read, root, sources};

/// All of our documents.
fn documents() -> BTreeMap<String, String> {
    let mut documents = files("docs", "md");
    documents.extend(files("deploy", "md"));
    for path in ["README.md", "SECURITY.md", "WIREGUARD.md"] {
        documents.insert(path.to_owned(), read(path));
    }
    documents
}

/// What stands between backticks in `text`.
fn quoted(text: &str) -> Vec<&str> {
    text.split('`').skip(1).step_by(2).collect()
}

/// A row of a table, without its first and last border.
fn cells(line: &str) -> Vec<&str> {
    let line = line.trim();
    let inner = line
        .strip_prefix('|')
        .and_then(|line| line.strip_suffix('|'));
    inner.map_or(Vec::new(), |inner| {
        inner.split('|').map(str::trim).collect()
    })
}

/// The numbers of the invariants that `text` names.
fn invariants_named(text: &str) -> BTreeSet<u32> {
    let word = "invariant ";
    let number = |(at, _): (usize, &str)| {
        let rest = text.get(at + word.len()..)?;
        let digits: String = rest.chars().take_while(char::is_ascii_digit).collect();
        digits.parse().ok()
    };
    text.match_indices(word).filter_map(number).collect()
}

#[test]
fn invariants_are_named_where_they_hold() {
    let sources = sources();
    let architecture = read(ARCHITECTURE);
    let mut wrong = Vec::new();
    let mut listed = BTreeSet::new();
    for row in architecture.lines().map(cells) {
        let [number, _, place, _] = row[..] else {
            continue;
        };
        let Ok(number) = number.parse::<u32>() else {
            continue;
        };
        if !listed.insert(number) {
            wrong.push(format!("invariant {number} is listed twice"));
        }
        let places = quoted(place);
        let named = |path: &&str| {
            let text = sources.get(*path).map(String::as_str).unwrap_or_default();
            invariants_named(text).contains(&number)
        };
        if places.is_empty() || !places.iter().all(named) {
            wrong.push(format!("invariant {number} is not named in {place}"));
        }
    }
    assert!(!listed.is_empty(), "{ARCHITECTURE} lists no invariant");
    for (path, text) in &sources {
        for number in invariants_named(text).difference(&listed) {
            wrong.push(format!(
                "{path} names invariant {number}, which is not listed"
            ));
        }
    }
    none("invariants", &wrong);
}

/// Whether something between backticks is a path of this repository.
fn is_path(text: &str) -> bool {
    let ours = ["crates/", "tests/", "docs/", "scripts/", "deploy/", ".ci/"];
    let plain = |c: char| is_word(c) || "./-".contains(c);
    ours.iter().any(|folder| text.starts_with(folder)) && text.chars().all(plain)
}

#[test]
fn documents_point_at_what_is_there() {
    let sources = sources();
    let mut wrong = Vec::new();
    for (document, text) in documents() {
        let folder = root().join(&document).parent().unwrap().to_owned();
        for link in text
            .split("](")
            .skip(1)
            .filter_map(|rest| rest.split(')').next())
        {
            let path = link.split('#').next().unwrap_or_default();
            let outside = path.contains("://") || path.is_empty();
            if !outside && !folder.join(path).exists() {
                wrong.push(format!("{document} links to {link}"));
            }
        }
        for line in text.lines() {
            let mut file = None;
            for name in quoted(line) {
                if is_path(name) {
                    if !root().join(name).exists() {
                        wrong.push(format!("{document} names {name}"));
                    }
                    file = sources.get_key_value(name);
                } else if let Some((path, text)) = file
                    && name.contains('_')
                    && name.chars().all(|c| c.is_ascii_lowercase() || c == '_')
                {
                    // A test, named after the file that holds it.
                    if !text.contains(&format!("fn {name}(")) {
                        wrong.push(format!("{document} names {name}, which is not in {path}"));
                    }
                }
            }
        }
    }
    none("documents", &wrong);
}

/// What a heading can be linked by: lower case, hyphens for spaces, other signs left out.
fn anchor(heading: &str) -> String {
    let kept = heading
        .chars()
        .filter(|c| c.is_alphanumeric() || " -_".contains(*c));
    kept.collect::<String>().to_lowercase().replace(' ', "-")
}

/// Where a link in `document` leads, from the root.
fn beside(document: &str, path: &str) -> String {
    let mut parts: Vec<&str> = document.split('/').collect();
    parts.pop();
    for part in path.split('/') {
        match part {
            ".." => drop(parts.pop()),
            _ => parts.push(part),
        }
    }
    parts.join("/")
}

#[test]
fn links_to_sections_lead_to_one() {
    let documents = documents();
    let mut wrong = Vec::new();
    for (document, text) in &documents {
        let links = text.split("](").skip(1);
        for link in links.filter_map(|rest| rest.split(')').next()) {
            let Some((path, section)) = link.split_once('#') else {
                continue;
            };
            let target = match path {
                "" => document.clone(),
                _ => beside(document, path),
            };
            let found = documents.get(&target).is_some_and(|text| {
                let headings = text.lines().filter(|line| line.starts_with('#'));
                let mut titles = headings.map(|line| line.trim_start_matches('#').trim());
                titles.any(|title| anchor(title) == section)
            });
            if !found {
                wrong.push(format!("{document} links to {link}"));
            }
        }
    }
    none("documents", &wrong);
}

/// A route as docs/API.md writes it.
fn documented(method: &str, path: &str) -> String {
    format!("{method} {}", path.replace("{*name}", "{name}"))
}

#[test]
fn the_api_reference_has_every_route_and_no_other() {
    let text = read("docs/API.md");
    let rows: BTreeMap<&str, Vec<&str>> = text
        .lines()
        .map(cells)
        .filter_map(|row| {
            let route = quoted(row.first()?).first().copied()?;
            let method = route.split(' ').next()?;
            let is_route = ["GET", "POST", "PUT", "DELETE"].contains(&method);
            is_route.then_some((route, row))
        })
        .collect();
    let mut wrong = Vec::new();
    let mut known = BTreeSet::new();
    for (method, path, who) in route_list() {
        let route = documented(method, path);
        let word = match who {
            Who::Anybody => "anybody",
            Who::Reader => "reader",
            Who::Role => "role",
            Who::Admin => "admin",
        };
        match rows.get(route.as_str()).and_then(|row| row.get(1)) {
            Some(said) if said.starts_with(word) => {}
            Some(said) => wrong.push(format!("{route} is for {word}, not {said}")),
            None => wrong.push(format!("{route} is missing")),
        }
        if !text.contains(&format!("### {route}")) {
            wrong.push(format!("{route} has no section"));
        }
        known.insert(route);
    }
    for route in rows.keys().filter(|route| !known.contains(**route)) {
        wrong.push(format!("{route} does not exist"));
    }
    none("docs/API.md", &wrong);
}

#[test]
fn the_api_reference_has_every_code() {
    let text = read("docs/API.md");
    let table = read("crates/service/src/status.rs");
    let codes = table.lines().filter_map(|line| {
        let (_, entry) = line.split_once("=> (")?;
        let (status, code) = entry.split_once(", \"")?;
        Some((status, code.split('"').next()?))
    });
    let mut wrong = Vec::new();
    let mut count = 0;
    for (status, code) in codes {
        count += 1;
        let row = format!("| {status} | `{code}` |");
        if !text.contains(&row) {
            wrong.push(format!("no row {row}"));
        }
    }
    assert!(count > 10, "the table of codes is not where it was");
    let words = read("crates/service/src/operate.rs");
    let reasons = words
        .lines()
        .filter(|line| line.trim().starts_with("Self::"));
    for reason in reasons.filter_map(|line| line.split('"').nth(1)) {
        if !text.contains(&format!("| `{reason}` |")) {
            wrong.push(format!("no row for the reason {reason} of readyz"));
        }
    }
    none("docs/API.md", &wrong);
}
