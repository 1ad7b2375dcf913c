//! A page of metrics, taken apart.

use std::collections::{BTreeMap, BTreeSet};

use crate::node::Node;

/// One metric with everything that the page says of it.
#[derive(Clone, Default, Debug)]
pub struct Family {
    /// `counter`, `gauge` or `histogram`.
    pub kind: String,
    /// What it says of itself.
    pub help: String,
    /// Its samples: name, labels, value.
    pub samples: Vec<(String, BTreeMap<String, String>, f64)>,
}

impl Family {
    /// The names of its labels, a histogram's own aside.
    pub fn labels(&self) -> BTreeSet<String> {
        let labels = self.samples.iter().flat_map(|(_, labels, _)| labels.keys());
        labels.filter(|label| *label != "le").cloned().collect()
    }
}

/// A page as it was scraped.
#[derive(Clone, Debug)]
pub struct Page {
    /// By name, without `_total`.
    pub families: BTreeMap<String, Family>,
}

impl Page {
    /// Takes a page apart, which must be OpenMetrics.
    pub fn parse(text: &str) -> Self {
        let mut families: BTreeMap<String, Family> = BTreeMap::new();
        let mut current = String::new();
        assert!(text.ends_with("# EOF\n"), "the page is cut short: {text}");
        for line in text.lines() {
            if let Some(rest) = line.strip_prefix("# ") {
                let mut words = rest.splitn(3, ' ');
                let (word, name, rest) = (words.next(), words.next(), words.next());
                let family = families.entry(name.unwrap_or_default().to_owned());
                match word {
                    Some("HELP") => family.or_default().help = rest.expect("a text").to_owned(),
                    Some("TYPE") => family.or_default().kind = rest.expect("a type").to_owned(),
                    Some("EOF") => break,
                    other => panic!("{other:?}: {line}"),
                }
                current = name.expect("a name").to_owned();
                continue;
            }
            let (sample, value) = line.rsplit_once(' ').expect("a value");
            let (name, labels) = sample.split_once('{').unwrap_or((sample, "}"));
            assert!(name.starts_with(&current), "{line} is not of {current}");
            let labels = labels.trim_end_matches('}').split("\",");
            let labels = labels.filter_map(|label| label.split_once("=\""));
            let labels = labels
                .map(|(name, value)| (name.to_owned(), value.trim_end_matches('"').to_owned()))
                .collect();
            let value = value.parse().expect("a number");
            let family = families.get_mut(&current).expect("a family");
            family.samples.push((name.to_owned(), labels, value));
        }
        families.remove("");
        Self { families }
    }

    /// Scrapes a node.
    pub async fn of(node: &Node) -> Self {
        let page = node.api().get("/metrics").await.expect(200);
        Self::parse(&page.text)
    }

    /// All names that a query may use.
    pub fn names(&self) -> BTreeSet<String> {
        let mut names = BTreeSet::new();
        for (name, family) in &self.families {
            match family.kind.as_str() {
                "counter" => drop(names.insert(format!("{name}_total"))),
                "histogram" => {
                    names.extend(["bucket", "sum", "count"].map(|end| format!("{name}_{end}")))
                }
                _ => drop(names.insert(name.clone())),
            }
        }
        names
    }

    /// The sum of the samples of this name that have all these labels; `None` if there is none.
    pub fn sum(&self, name: &str, labels: &[(&str, &str)]) -> Option<f64> {
        let samples = self.families.values().flat_map(|family| &family.samples);
        let has = |of: &BTreeMap<String, String>| {
            let mut wanted = labels.iter();
            wanted.all(|(key, value)| of.get(*key).map(String::as_str) == Some(*value))
        };
        let values = samples.filter(|(of, own, _)| of == name && has(own));
        values
            .map(|(_, _, value)| *value)
            .reduce(|sum, value| sum + value)
    }

    /// The value of a metric without labels.
    #[track_caller]
    pub fn value(&self, name: &str) -> f64 {
        self.sum(name, &[])
            .unwrap_or_else(|| panic!("there is no {name}"))
    }
}
