//! One page of a list.

/// Rows, and where the next page starts.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Page<T> {
    /// In order of name.
    pub rows: Vec<T>,
    /// What to pass as `after` for the next page; `None` on the last.
    pub next_after: Option<String>,
}

impl<T> Page<T> {
    pub(crate) fn take(
        rows: impl Iterator<Item = T>,
        limit: usize,
        name: impl Fn(&T) -> String,
    ) -> Self {
        let mut rows = rows.fuse();
        let taken: Vec<T> = rows.by_ref().take(limit).collect();
        let more = rows.next().is_some();
        let next_after = taken.last().filter(|_| more).map(name);
        Self {
            rows: taken,
            next_after,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_names_its_successor_only_if_there_is_one() {
        let page = |n, limit| Page::take(0..n, limit, ToString::to_string).next_after;
        assert_eq!(page(3, 2), Some("1".to_owned()));
        assert_eq!(page(2, 2), None);
        assert_eq!(page(0, 2), None);
    }
}
