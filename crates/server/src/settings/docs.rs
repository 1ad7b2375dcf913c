//! The table as a page: `docs/CONFIG.md`.

use std::fmt::Write;

use super::table::{Fallback, Row, TABLE};

const HEAD: &str = "\
# Configuration

<!-- Generated from crates/server/src/settings/table.rs; UPDATE_DOCS=1 cargo test -p strongroom-server settings rewrites it. -->

Strongroom is configured by environment variables, the same on every node but for `NODE_ID`.

- An empty value is the same as none.
- Every problem is reported at once, and the process stops with exit code 2.
- A variable marked *secret* may instead come from a file: `KEY_FILE` names it, its last line end is
  dropped, and setting both is an error. Secrets are never shown.
- A `VAULT_…` variable that is not in this table is a warning at start with the nearest known name,
  and an error under `strongroom server --check-config`, which prints the effective settings.
  `VAULT_ADDR`, `VAULT_TOKEN`, `VAULT_CACERT` and `VAULT_NAMESPACE` belong to clients and are ignored.

| variable | default | accepts | meaning |
|---|---|---|---|
";

/// The reference page.
#[must_use]
pub fn reference() -> String {
    let mut page = HEAD.to_owned();
    for row in TABLE {
        let accepts = (row.accepts)();
        // Writing to a `String` cannot fail.
        let _ = writeln!(
            page,
            "| `{}`{} | {} | {} | {} |",
            row.key,
            if row.sensitive { " *secret*" } else { "" },
            fallback(row),
            escape(&accepts),
            escape(row.doc),
        );
    }
    page
}

fn fallback(row: &Row) -> String {
    match row.fallback {
        Fallback::Value("") => "—".into(),
        Fallback::Value(value) => format!("`{}`", escape(value)),
        Fallback::Derived(words) => escape(words),
    }
}

fn escape(text: &str) -> String {
    text.replace('|', "\\|")
}
