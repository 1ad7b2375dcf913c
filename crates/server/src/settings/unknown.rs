//! Keys nobody knows: almost always a misspelling, and then the setting silently does nothing.

use super::{
    Problem,
    table::{Row, TABLE},
};

/// Variables of Vault's own clients, which may well be set in the same shell.
const CLIENT_KEYS: [&str; 4] = [
    "VAULT_ADDR",
    "VAULT_TOKEN",
    "VAULT_CACERT",
    "VAULT_NAMESPACE",
];

/// Longest piece of an unknown key that is repeated in a message.
const SHOWN_CHARS: usize = 64;

/// One problem for each `VAULT_…` name that is not a setting.
pub(super) fn unknown_keys<'a>(names: impl Iterator<Item = &'a str>) -> Vec<Problem> {
    let known = |name: &str| {
        TABLE
            .iter()
            .any(|row| row.key == name || (row.sensitive && row.file_key() == name))
    };
    names
        .filter(|name| name.starts_with("VAULT_"))
        .filter(|name| !CLIENT_KEYS.contains(name) && !known(name))
        .map(|name| Problem {
            key: shown(name),
            message: advice(name),
        })
        .collect()
}

fn shown(name: &str) -> String {
    name.chars()
        .take(SHOWN_CHARS)
        .flat_map(char::escape_debug)
        .collect()
}

fn advice(name: &str) -> String {
    match nearest(name) {
        Some(known) => format!("is not a setting; did you mean {known}?"),
        None => "is not a setting".into(),
    }
}

/// The most similar known name, if it is similar at all.
fn nearest(name: &str) -> Option<String> {
    let names = TABLE.iter().flat_map(|row: &Row| {
        [
            Some(row.key.to_owned()),
            row.sensitive.then(|| row.file_key()),
        ]
        .into_iter()
        .flatten()
    });
    let shared_prefix = "VAULT_".len();
    let budget = (name.len().saturating_sub(shared_prefix) / 3).max(2);
    names
        .map(|known| (distance(name, &known), known))
        .filter(|(distance, _)| *distance <= budget)
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, known)| known)
}

/// Edit distance: insertions, deletions and replacements that turn one text into the other.
fn distance(left: &str, right: &str) -> usize {
    let left: Vec<char> = left.chars().take(SHOWN_CHARS).collect();
    let mut row: Vec<usize> = (0..=left.len()).collect();
    for (above, wanted) in right.chars().zip(1_usize..) {
        let mut diagonal = std::mem::replace(row.first_mut().unwrap_or(&mut 0), wanted);
        let mut before = wanted;
        for (cell, have) in row.iter_mut().skip(1).zip(&left) {
            let replaced = diagonal + usize::from(*have != above);
            diagonal = *cell;
            *cell = replaced.min(diagonal + 1).min(before + 1);
            before = *cell;
        }
    }
    row.last().copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn distance_is_the_number_of_edits() {
        for (left, right, edits) in [
            ("", "", 0),
            ("", "abc", 3),
            ("abc", "", 3),
            ("kitten", "sitting", 3),
            ("ab", "ba", 2),
        ] {
            assert_eq!(distance(left, right), edits, "{left} {right}");
        }
    }

    #[test]
    fn the_nearest_name_is_offered_only_when_it_is_near() {
        assert_eq!(
            nearest("VAULT_ALOWED_IPS").as_deref(),
            Some("VAULT_ALLOWED_IPS")
        );
        assert_eq!(
            nearest("VAULT_BOOTSTRAP_TOKENFILE").as_deref(),
            Some("VAULT_BOOTSTRAP_TOKEN_FILE")
        );
        assert_eq!(nearest("VAULT_SOMETHING_ELSE_ENTIRELY"), None);
    }
}
