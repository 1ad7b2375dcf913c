//! Lists, page by page.

use crate::names;

/// Which page of a list.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Page {
    /// Only names that begin with this.
    pub prefix: Option<String>,
    /// What [`Listing::next_after`] of the page before said.
    pub after: Option<String>,
    /// Rows of a page; 1,000 at most, and if it is left out.
    pub limit: Option<u32>,
}

impl Page {
    pub(crate) fn query(&self, path: &str) -> String {
        let mut parts = Vec::new();
        if let Some(prefix) = &self.prefix {
            parts.push(format!("prefix={}", names::query(prefix)));
        }
        if let Some(after) = &self.after {
            parts.push(format!("after={}", names::query(after)));
        }
        if let Some(limit) = self.limit {
            parts.push(format!("limit={limit}"));
        }
        match parts.is_empty() {
            true => path.to_owned(),
            false => format!("{path}?{}", parts.join("&")),
        }
    }
}

/// A page of a list, sorted by name.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Listing<T> {
    /// The rows.
    pub rows: Vec<T>,
    /// What to pass as [`Page::after`] for the next page; `None` on the last.
    pub next_after: Option<String>,
}
