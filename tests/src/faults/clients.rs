//! Clients that write, check and set, and read, at any node, and take down what they see.

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU32, Ordering},
    },
    time::Duration,
};

use serde_json::json;
use tokio::task::JoinHandle;

use super::history::{Call, History, Op, Outcome, Seen};
use crate::api::{Answer, Api};

/// Clients at work at once.
pub const CLIENTS: usize = 10;
/// Names that they work on in a cycle.
pub const NAMES: usize = 3;
/// What carries a log index, both ways.
const INDEX: &str = "x-strongroom-index";
/// How long a client waits: longer than a server's deadline.
const GIVES_UP_AFTER: Duration = Duration::from_secs(8);
/// The longest pause between two calls of a client, in milliseconds: histories stay checkable, and
/// several clients are under way at once all the same.
const PAUSE_MS: u64 = 30;

/// What clients share.
#[derive(Clone)]
pub struct Shared {
    /// An admin's clients of the nodes, by place.
    pub apis: Vec<Api>,
    /// How often each node was started.
    pub starts: Arc<Vec<AtomicU32>>,
    /// What was seen.
    pub history: Arc<History>,
    /// Answers that no client may get, in words.
    pub unexpected: Arc<Mutex<Vec<String>>>,
}

/// The names of a cycle.
pub fn names(cycle: u64) -> Vec<String> {
    (0..NAMES).map(|n| format!("faults/{cycle}/{n}")).collect()
}

/// Clients at work.
pub struct Clients {
    stop: Arc<AtomicBool>,
    tasks: Vec<JoinHandle<()>>,
}

impl Clients {
    /// Starts them on the names of a cycle.
    pub fn start(shared: &Shared, cycle: u64, seed: u64) -> Self {
        let stop = Arc::<AtomicBool>::default();
        let client = |number: usize| Client {
            shared: shared.clone(),
            number,
            names: names(cycle),
            random: fastrand::Rng::with_seed(seed ^ (cycle << 8) ^ number as u64),
            node: number % shared.apis.len(),
            known: BTreeMap::new(),
            index: 0,
            calls: 0,
            cycle,
        };
        let tasks = (0..CLIENTS)
            .map(|number| tokio::spawn(client(number).run(Arc::clone(&stop))))
            .collect();
        Self { stop, tasks }
    }

    /// Stops them, each after its call.
    pub async fn stop(self) {
        self.stop.store(true, Ordering::Relaxed);
        for task in self.tasks {
            task.await.expect("a client");
        }
    }
}

struct Client {
    shared: Shared,
    number: usize,
    names: Vec<String>,
    random: fastrand::Rng,
    node: usize,
    /// The latest versions that it knows of.
    known: BTreeMap<String, u64>,
    /// The highest log index that it was told.
    index: u64,
    calls: u64,
    cycle: u64,
}

impl Client {
    async fn run(mut self, stop: Arc<AtomicBool>) {
        while !stop.load(Ordering::Relaxed) {
            self.step().await;
            let pause = Duration::from_millis(self.random.u64(0..PAUSE_MS));
            tokio::time::sleep(pause).await;
        }
    }

    async fn step(&mut self) {
        // Mostly where it was: sessions, and still every node.
        if self.random.u8(0..10) < 3 {
            self.node = self.random.usize(0..self.shared.apis.len());
        }
        let name = self.names[self.random.usize(0..self.names.len())].clone();
        let call = self.choose(&name);
        let start = self.shared.starts[self.node].load(Ordering::SeqCst);
        let began = self.shared.history.now();
        let outcome = self.send(&name, &call).await;
        let ended = self.shared.history.now();
        match &outcome {
            Outcome::Written(version) | Outcome::Found(Seen { version, .. }) => {
                let known = self.known.entry(name.clone()).or_default();
                *known = (*version).max(*known);
            }
            Outcome::Exists => *self.known.entry(name.clone()).or_default() |= 1,
            _ => {}
        }
        self.shared.history.add(Op {
            client: self.number,
            node: self.node,
            start,
            name,
            call,
            outcome,
            began,
            ended,
        });
    }

    fn choose(&mut self, name: &str) -> Call {
        self.calls += 1;
        let value = format!("{}-{}-{}", self.cycle, self.number, self.calls);
        match (self.known.get(name), self.random.u8(0..12)) {
            (_, 0..=2) => Call::Read,
            (_, 3..=4) => Call::ReadLocal,
            (_, 5..=6) => Call::ReadByIndex(self.index),
            (None, _) => Call::Create(value),
            (Some(version), 7..=8) => Call::PutIf(value, *version),
            _ => Call::Put(value),
        }
    }

    async fn send(&mut self, name: &str, call: &Call) -> Outcome {
        let path = format!("/v1/secrets/{name}");
        let (method, path, body) = match call {
            Call::Create(value) => {
                let body = json!({"name": name, "value": value, "max_versions": 1000});
                ("POST", "/v1/secrets".to_owned(), Some(body))
            }
            Call::Put(value) => ("PUT", path, Some(json!({"value": value}))),
            Call::PutIf(value, cas) => ("PUT", path, Some(json!({"value": value, "cas": cas}))),
            Call::Read => ("GET", format!("{path}?consistency=linearizable"), None),
            Call::ReadLocal => ("GET", format!("{path}?consistency=local"), None),
            Call::ReadByIndex(_) => ("GET", path, None),
        };
        let index = self.index.to_string();
        let headers: &[(&str, &str)] = match call {
            Call::ReadByIndex(_) => &[(INDEX, &index)],
            _ => &[],
        };
        let api = &self.shared.apis[self.node];
        let body = body.map(|body| body.to_string());
        let sent = api.try_send(method, &path, headers, body);
        let answered = tokio::time::timeout(GIVES_UP_AFTER, sent).await;
        if let Ok(Ok(answer)) = &answered {
            self.index = self.index.max(index_in(answer));
        }
        match answered {
            Err(_) => Outcome::Unknown,
            Ok(Err(error)) if error.is_connect() => Outcome::Refused,
            Ok(Err(_)) => Outcome::Unknown,
            Ok(Ok(answer)) => outcome(&answer).unwrap_or_else(|| {
                let what = format!("{} {} to {method} {path}", answer.status, answer.text);
                let mut unexpected = self.shared.unexpected.lock().expect("no panic in here");
                unexpected.push(what);
                Outcome::Unknown
            }),
        }
    }
}

/// The log index in an answer, if it has one.
fn index_in(answer: &Answer) -> u64 {
    let header = answer.headers.get(INDEX);
    let index = header.and_then(|value| value.to_str().ok()?.parse().ok());
    index.unwrap_or_default()
}

/// What an answer says; `None` if it is none that a client may get.
fn outcome(answer: &Answer) -> Option<Outcome> {
    let version = || answer.json["version"].as_u64();
    Some(match (answer.status, answer.code()) {
        (200 | 201, _) => match answer.json["value"].as_str() {
            Some(value) => Outcome::Found(Seen {
                version: version()?,
                value: value.to_owned(),
            }),
            None => Outcome::Written(version()?),
        },
        (404, "not_found") => Outcome::Missing,
        (409, "version_mismatch") => Outcome::Mismatch,
        (409, "already_exists") => Outcome::Exists,
        (503, "outcome_unknown" | "store_failed") => Outcome::Unknown,
        (
            503,
            "no_leader" | "starting" | "audit_unavailable" | "upgrade_pending" | "kms_unavailable",
        ) => Outcome::Refused,
        _ => return None,
    })
}
