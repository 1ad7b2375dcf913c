//! Writers that know what must hold afterwards: every answer is acknowledged, refused with nothing
//! done, or unknown, and what was acknowledged must be there at the end.

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use serde_json::{Value, json};
use tokio::task::JoinHandle;

use crate::api::{Answer, Api};

/// What a request came to.
#[derive(Debug)]
pub enum Fate {
    /// It happened, and this was answered.
    Done(Answer),
    /// It did not happen: the cluster said so, or no connection was made.
    Refused,
    /// It may have happened, or may still.
    Unknown,
}

/// Sends a request whose fate matters. An answer that is no 2xx, 409 or known 503 is a failed test.
pub async fn attempt(api: &Api, method: &str, path: &str, body: Option<Value>) -> Fate {
    let body = body.map(|body| body.to_string());
    match api.try_send(method, path, &[], body).await {
        Ok(answer) if answer.status < 300 || answer.status == 409 => Fate::Done(answer),
        Ok(answer) if answer.status == 503 => match answer.code() {
            "outcome_unknown" | "store_failed" => Fate::Unknown,
            "no_leader" | "starting" | "audit_unavailable" | "kms_unavailable" => Fate::Refused,
            _ => panic!("an unexpected answer: {}", answer.text),
        },
        Ok(answer) => panic!(
            "an unexpected answer to {method} {path}: {} {}",
            answer.status, answer.text
        ),
        Err(error) if error.is_connect() => Fate::Refused,
        Err(_) => Fate::Unknown,
    }
}

/// What may be found under a name at the end.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Expected {
    /// This value.
    Value(String),
    /// Nothing.
    Nothing,
    /// One of these values, or nothing: the last word was lost with a connection.
    Open(Vec<Option<String>>),
}

/// What one writer, or all of them, know.
#[derive(Default, Debug)]
pub struct Ledger {
    /// By name.
    pub expected: BTreeMap<String, Expected>,
    /// Requests acknowledged.
    pub acknowledged: u64,
    /// Requests refused with nothing done.
    pub refused: u64,
    /// Requests of unknown fate.
    pub unknown: u64,
    /// The longest a request took that was acknowledged.
    pub slowest: Duration,
}

impl Ledger {
    /// Takes over what another knows; their names differ.
    pub fn merge(&mut self, other: Self) {
        self.expected.extend(other.expected);
        self.acknowledged += other.acknowledged;
        self.refused += other.refused;
        self.unknown += other.unknown;
        self.slowest = self.slowest.max(other.slowest);
    }

    /// What contradicts the ledger in `found`, in words.
    pub fn contradictions(&self, found: &BTreeMap<String, Value>) -> Vec<String> {
        let mut wrong = Vec::new();
        for (name, expected) in &self.expected {
            let found = found.get(name).map(|value| match value {
                Value::String(text) => text.clone(),
                other => other.to_string(),
            });
            let fits = match expected {
                Expected::Value(value) => found.as_ref() == Some(value),
                Expected::Nothing => found.is_none(),
                Expected::Open(options) => options.contains(&found),
            };
            if !fits {
                wrong.push(format!("{name}: expected {expected:?}, found {found:?}"));
            }
        }
        for name in found
            .keys()
            .filter(|name| !self.expected.contains_key(*name))
        {
            wrong.push(format!("{name}: nobody wrote it"));
        }
        wrong
    }
}

/// Writers at work.
pub struct Load {
    stop: Arc<AtomicBool>,
    acknowledged: Arc<AtomicU64>,
    writers: Vec<JoinHandle<Ledger>>,
}

impl Load {
    /// Starts `writers` writers at each of these nodes. Names begin with `prefix`.
    pub fn start(apis: &[Api], writers: usize, prefix: &str) -> Self {
        let (stop, acknowledged) = (Arc::<AtomicBool>::default(), Arc::<AtomicU64>::default());
        let mut tasks = Vec::new();
        for (node, api) in apis.iter().enumerate() {
            for writer in 0..writers {
                let writer = Writer {
                    api: api.clone(),
                    prefix: format!("{prefix}/{node}-{writer}"),
                    ledger: Ledger::default(),
                    acknowledged: Arc::clone(&acknowledged),
                };
                tasks.push(tokio::spawn(writer.run(Arc::clone(&stop))));
            }
        }
        Self {
            stop,
            acknowledged,
            writers: tasks,
        }
    }

    /// Requests acknowledged by now.
    pub fn acknowledged(&self) -> u64 {
        self.acknowledged.load(Ordering::Relaxed)
    }

    /// Waits until this many more requests have been acknowledged.
    pub async fn wait_for_more(&self, more: u64) {
        let until = self.acknowledged() + more;
        let waited = tokio::time::timeout(crate::node::PATIENCE, async {
            while self.acknowledged() < until {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        });
        assert!(waited.await.is_ok(), "the load came to a halt");
    }

    /// Stops the writers, each after its request, and adds up what they know.
    pub async fn stop(self) -> Ledger {
        self.stop.store(true, Ordering::Relaxed);
        let mut all = Ledger::default();
        for writer in self.writers {
            all.merge(writer.await.expect("a writer"));
        }
        all
    }
}

struct Writer {
    api: Api,
    prefix: String,
    ledger: Ledger,
    acknowledged: Arc<AtomicU64>,
}

impl Writer {
    /// Makes secrets, each once; deletes some of them; and in between moves a register on by
    /// check-and-set, which makes the outcome of every update known in the end.
    async fn run(mut self, stop: Arc<AtomicBool>) -> Ledger {
        let mut register = Register::new(format!("{}/register", self.prefix));
        let mut n = 0_u64;
        while !stop.load(Ordering::Relaxed) {
            n += 1;
            match n % 4 {
                0 => self.step_register(&mut register, n).await,
                3 => self.delete(n - 1).await,
                _ => self.create(n).await,
            }
        }
        if let Some(expected) = register.expected() {
            self.ledger.expected.insert(register.name, expected);
        }
        self.ledger
    }

    async fn attempt(&mut self, method: &str, path: &str, body: Option<Value>) -> Fate {
        let began = std::time::Instant::now();
        let fate = attempt(&self.api, method, path, body).await;
        match &fate {
            Fate::Done(_) => {
                self.ledger.acknowledged += 1;
                self.ledger.slowest = self.ledger.slowest.max(began.elapsed());
                self.acknowledged.fetch_add(1, Ordering::Relaxed);
            }
            Fate::Refused => {
                self.ledger.refused += 1;
                // Its node is gone, or the cluster has no leader: no use in hurrying.
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
            Fate::Unknown => self.ledger.unknown += 1,
        }
        fate
    }

    async fn create(&mut self, n: u64) {
        let (name, value) = (format!("{}/{n}", self.prefix), format!("value-{n}"));
        let body = json!({"name": name, "value": value});
        let expected = match self.attempt("POST", "/v1/secrets", Some(body)).await {
            Fate::Done(answer) => {
                // Nobody else makes it, and it was asked for once.
                answer.expect(201);
                Expected::Value(value)
            }
            Fate::Refused => Expected::Nothing,
            Fate::Unknown => Expected::Open(vec![None, Some(value)]),
        };
        self.ledger.expected.insert(name, expected);
    }

    async fn delete(&mut self, n: u64) {
        let name = format!("{}/{n}", self.prefix);
        let Some(Expected::Value(value)) = self.ledger.expected.get(&name).cloned() else {
            return;
        };
        let path = format!("/v1/secrets/{name}");
        let expected = match self.attempt("DELETE", &path, None).await {
            Fate::Done(answer) => {
                answer.expect(204);
                Expected::Nothing
            }
            Fate::Refused => return,
            Fate::Unknown => Expected::Open(vec![None, Some(value)]),
        };
        self.ledger.expected.insert(name, expected);
    }

    async fn step_register(&mut self, register: &mut Register, n: u64) {
        let value = format!("step-{n}");
        let path = format!("/v1/secrets/{}", register.name);
        let (method, sent_to, body) = match register.version {
            0 => (
                "POST",
                "/v1/secrets",
                json!({"name": register.name, "value": value}),
            ),
            version => (
                "PUT",
                path.as_str(),
                json!({"value": value, "cas": version}),
            ),
        };
        match self.attempt(method, sent_to, Some(body)).await {
            Fate::Done(answer) if answer.status == 409 => {
                // One of those of unknown fate took its place; which one, only a read can tell.
                assert!(!register.open.is_empty(), "{}: {}", path, answer.text);
                let path = format!("{path}?consistency=linearizable");
                let Ok(read) = self.api.try_get(&path).await else {
                    return;
                };
                if read.status != 200 {
                    return;
                }
                let found = read.json["value"].as_str().unwrap_or_default().to_owned();
                assert!(register.open.contains(&found), "{path}: {found}");
                register.settle(found);
            }
            Fate::Done(_) => register.settle(value),
            Fate::Refused => {}
            Fate::Unknown => register.open.push(value),
        }
    }
}

struct Register {
    name: String,
    version: u64,
    value: Option<String>,
    /// Values of updates of unknown fate, all meant for the next version: at most one has happened.
    open: Vec<String>,
}

impl Register {
    fn new(name: String) -> Self {
        Self {
            name,
            version: 0,
            value: None,
            open: Vec::new(),
        }
    }

    fn settle(&mut self, value: String) {
        self.version += 1;
        self.value = Some(value);
        self.open.clear();
    }

    fn expected(&self) -> Option<Expected> {
        if self.open.is_empty() {
            return self.value.clone().map(Expected::Value);
        }
        let options = self.open.iter().cloned().map(Some);
        Some(Expected::Open(
            options.chain([self.value.clone()]).collect(),
        ))
    }
}
