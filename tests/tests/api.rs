//! Every call of API.md, on the leader and on a follower: statuses, fields and types.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::print_stdout
)]

#[path = "api/access.rs"]
mod access;
#[path = "api/automatic.rs"]
mod automatic;
#[path = "api/operating.rs"]
mod operating;
#[path = "api/secrets.rs"]
mod secrets;

use std::{collections::BTreeSet, time::Duration};

use serde_json::{Value, json};
use strongroom_tests::{
    api::Answer,
    cluster::{Cluster, TOKEN},
    raw::{Raw, audited, request_id},
};

/// A running cluster, its leader and a follower.
struct Pair {
    cluster: Cluster,
    places: [usize; 2],
}

impl Pair {
    async fn start() -> Self {
        // What is tried here with dead tokens must not lock the test out.
        let cluster = Cluster::start_with(3, &[("VAULT_AUTH_MAX_FAILURES", "0")]).await;
        let leader = cluster.leader().await;
        Self {
            cluster,
            places: [leader, (leader + 1) % 3],
        }
    }

    /// An admin's client of both, with a word for names.
    fn admins(&self) -> [(&'static str, Raw); 2] {
        let raw = |place: usize| Raw::node(&self.cluster.nodes[place]).token(TOKEN);
        [
            ("leader", raw(self.places[0])),
            ("follower", raw(self.places[1])),
        ]
    }
}

/// The fields of an object.
fn fields(value: &Value) -> BTreeSet<String> {
    let object = value
        .as_object()
        .unwrap_or_else(|| panic!("no object: {value}"));
    object.keys().cloned().collect()
}

#[track_caller]
fn assert_fields(value: &Value, expected: &[&str]) {
    let expected = expected.iter().map(|f| (*f).to_owned()).collect();
    assert_eq!(fields(value), expected, "{value}");
}

#[track_caller]
fn assert_time(value: &Value) {
    let text = value.as_str().unwrap_or_else(|| panic!("no time: {value}"));
    let parts = text.split_once('T').filter(|(date, time)| {
        let digits = |text: &str, at: &[usize]| {
            text.char_indices()
                .all(|(i, c)| at.contains(&i) || c.is_ascii_digit())
        };
        date.len() == 10
            && digits(date, &[4, 7])
            && time.ends_with('Z')
            && digits(&time[..8], &[2, 5])
    });
    assert!(parts.is_some(), "no RFC 3339 in UTC: {text}");
}

/// An error is two fields, and says it in JSON.
#[track_caller]
fn assert_error(answer: &Answer, status: u16, code: &str) {
    assert_eq!(
        (answer.status, answer.code()),
        (status, code),
        "{}",
        answer.text
    );
    assert_fields(&answer.json, &["code", "error"]);
    assert!(!answer.json["error"].as_str().unwrap().is_empty());
    assert_eq!(answer.headers["content-type"], "application/json");
    assert_eq!(request_id(answer).len(), 32);
}

fn names(answer: &Answer, field: &str) -> Vec<String> {
    let rows = answer.json[field].as_array().expect("rows");
    rows.iter()
        .map(|row| row["name"].as_str().unwrap().to_owned())
        .collect()
}

const ROW: [&str; 9] = [
    "name",
    "kind",
    "version",
    "description",
    "created_at",
    "updated_at",
    "rotation_interval_secs",
    "grace_period_secs",
    "next_rotation_at",
];
