//! A run: cycle after cycle until the time is over.

use std::{
    collections::BTreeMap,
    fs,
    sync::Arc,
    time::{Duration, Instant},
};

use serde_json::json;

use super::{
    check::{Chain, Kind as Wrong, Violation, check},
    clients::{Clients, Shared, names},
    fault::{Deck, Kind},
    history::{History, Op},
    report::Report,
    world::{NODES, World},
};
use crate::{
    api::Api,
    compare::{Held, with_kms},
    load::{Fate, attempt},
    node::Node,
};

/// How soon after a fault every node must take a write and answer a linearizable read.
const RECOVERS_WITHIN: Duration = Duration::from_secs(60);
/// What a node logs when it has taken over the leader's snapshot.
const BY_SNAPSHOT: &str = "installed a snapshot";
/// How long clients work before a fault, and after it.
const CALM: Duration = Duration::from_millis(600);

/// What to run.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Decides every draw.
    pub seed: u64,
    /// No cycle begins after so long, once each kind of fault has come as often as any.
    pub time: Duration,
    /// The kinds of faults.
    pub kinds: Vec<Kind>,
}

/// Runs it, up to the first cycle in which something is found that must not be.
pub async fn run(plan: &Plan) -> Report {
    println!("FAULTS_SEED={}", plan.seed);
    let world = World::start(plan.seed).await;
    let shared = Shared {
        apis: (0..NODES).map(|node| world.cluster.admin(node)).collect(),
        starts: Arc::clone(&world.starts),
        history: Arc::<History>::default(),
        unexpected: Arc::default(),
    };
    let mut run = Run {
        began: Instant::now(),
        first_term: world.term().await,
        world,
        shared,
        ends: BTreeMap::new(),
        report: Report {
            seed: plan.seed,
            ..Report::default()
        },
    };
    let mut deck = Deck::new(plan.seed, plan.kinds.clone());
    let mut cycle = 0;
    while run.report.is_clean()
        && (run.began.elapsed() < plan.time || cycle == 0 || !deck.is_through())
    {
        cycle += 1;
        run.cycle(cycle, &mut deck).await;
    }
    run.end().await
}

struct Run {
    began: Instant,
    world: World,
    shared: Shared,
    first_term: u64,
    /// The last version of each name, when it was checked.
    ends: BTreeMap<String, (u64, String)>,
    report: Report,
}

impl Run {
    async fn cycle(&mut self, cycle: u64, deck: &mut Deck) {
        let faults = deck.draw(NODES);
        let clients = Clients::start(&self.shared, cycle, self.report.seed);
        tokio::time::sleep(CALM).await;
        let how = self.world.strike(&faults).await;
        let healed = Instant::now();
        let recovery = self.recover(cycle).await;
        let recovered = healed.elapsed();
        tokio::time::sleep(CALM).await;
        clients.stop().await;
        for fault in &faults {
            *self.report.faults.entry(fault.kind).or_default() += 1;
        }
        self.report.slowest_recovery = self.report.slowest_recovery.max(recovered);
        let ops = self.shared.history.take();
        self.report.count(&ops);
        match recovery {
            Ok(()) => self.judge(cycle, ops).await,
            Err(what) => self.found(Wrong::NotRecovered, what),
        }
        let wrong = self.report.violations.len();
        println!("{cycle}: {how}; recovered in {recovered:.1?}; {wrong} violations");
    }

    /// Progress: every node is ready, takes a write, and shows in a linearizable read what was written
    /// last, wherever that was. The error says which node did not in time.
    async fn recover(&mut self, cycle: u64) -> Result<(), String> {
        let deadline = Instant::now() + RECOVERS_WITHIN;
        for place in 0..NODES {
            let ready = || self.world.cluster.nodes[place].api();
            while !matches!(ready().try_get("/readyz").await, Ok(answer) if answer.status == 200) {
                in_time(deadline, place, "is not ready").await?;
            }
        }
        for place in 0..NODES {
            let (name, mut tries) = (format!("progress/{cycle}-{place}"), 0);
            loop {
                tries += 1;
                let body = json!({"name": format!("{name}-{tries}"), "value": "v"});
                let api = &self.shared.apis[place];
                if let Fate::Done(answer) = attempt(api, "POST", "/v1/secrets", Some(body)).await {
                    answer.expect(201);
                    break;
                }
                in_time(deadline, place, "takes no write").await?;
            }
            for reader in 0..NODES {
                let path = format!("/v1/secrets/{name}-{tries}?consistency=linearizable");
                loop {
                    match self.shared.apis[reader].try_get(&path).await {
                        Ok(answer) if answer.status == 200 => break,
                        Ok(answer) if answer.status == 503 => {}
                        Ok(answer) => {
                            let what = format!("node {}, {path}: {}", reader + 1, answer.text);
                            self.found(Wrong::NotLinearizable, what);
                            break;
                        }
                        Err(_) => {}
                    }
                    in_time(deadline, reader, "answers no read").await?;
                }
            }
        }
        Ok(())
    }

    fn found(&mut self, kind: Wrong, what: String) {
        let after = self.began.elapsed();
        self.report
            .violations
            .push((Violation { kind, what }, after));
    }

    /// What the first node holds below a prefix once all are level; the others must hold the same.
    async fn held(&mut self, prefix: &str) -> BTreeMap<String, Held> {
        let index = self.world.cluster.wait_level().await;
        let first = self.world.cluster.held_by(0, prefix).await;
        for place in 1..NODES {
            let other = self.world.cluster.held_by(place, prefix).await;
            for name in first.keys().chain(other.keys()) {
                let held = [first.get(name), other.get(name)];
                if held[0] != held[1] {
                    let what = format!(
                        "{name} at index {index}, nodes 1 and {}: {held:?}",
                        place + 1
                    );
                    self.found(Wrong::Diverged, what);
                }
            }
        }
        first
    }

    /// Checks the cycle's names, and that all nodes hold the same of them.
    async fn judge(&mut self, cycle: u64, ops: Vec<Op>) {
        let prefix = format!("faults/{cycle}/");
        let held = self.held(&prefix).await;
        for name in names(cycle) {
            let chain = chain(&self.shared.apis[0], &name, held.get(&name)).await;
            let of_name: Vec<Op> = ops.iter().filter(|op| op.name == name).cloned().collect();
            let began = Instant::now();
            let judged = tokio::task::spawn_blocking({
                let chain = chain.clone();
                move || check(&of_name, &chain)
            });
            for violation in judged.await.expect("the checker") {
                self.found(violation.kind, violation.what);
            }
            self.report.checking += began.elapsed();
            self.report.names += 1;
            self.report.versions += chain.len() as u64;
            if let Some(last) = chain.last() {
                self.ends.insert(name, (chain.len() as u64, last.clone()));
            }
        }
        let unexpected = &mut *self.shared.unexpected.lock().expect("no panic in there");
        self.report.unexpected.append(unexpected);
    }

    /// All that was ever checked is as it was, at every node. A run that found something ends where it
    /// is, and leaves the nodes' logs.
    async fn end(mut self) -> Report {
        if self.report.is_clean() {
            let held = self.held("faults/").await;
            for (name, (version, value)) in std::mem::take(&mut self.ends) {
                let there = held.get(&name);
                let there = there.map(|held| (held.version, held.value.as_str()));
                if there != Some((version, Some(value.as_str()))) {
                    let what = format!("{name} was version {version}, {value}, and is {there:?}");
                    self.found(Wrong::ChangedVersion, what);
                }
            }
        }
        if !self.report.is_clean() {
            self.keep_logs();
        }
        self.report.terms = self.world.term().await.saturating_sub(self.first_term);
        let logs = self.world.cluster.nodes.iter().map(Node::log_text);
        self.report.snapshots = logs.map(|log| log.matches(BY_SNAPSHOT).count()).sum();
        self.report.took = self.began.elapsed();
        self.report
    }

    fn keep_logs(&self) {
        let dir = std::env::temp_dir().join(format!("strongroom-faults-{}", self.report.seed));
        fs::create_dir_all(&dir).expect("a directory");
        for node in &self.world.cluster.nodes {
            let path = dir.join(format!("node-{}.log", node.id));
            fs::write(path, node.log_text()).expect("a log");
        }
        println!("the nodes' logs are in {}", dir.display());
    }
}

/// A pause before the next try, if there may be one.
async fn in_time(deadline: Instant, node: usize, what: &str) -> Result<(), String> {
    tokio::time::sleep(Duration::from_millis(20)).await;
    if Instant::now() > deadline {
        return Err(format!(
            "node {} {what} after {RECOVERS_WITHIN:?}",
            node + 1
        ));
    }
    Ok(())
}

/// Every version of a name, at one node.
async fn chain(api: &Api, name: &str, held: Option<&Held>) -> Chain {
    let mut chain = Chain::new();
    for version in 1..=held.map_or(0, |held| held.version) {
        let path = format!("/v1/secrets/{name}?version={version}");
        let read = with_kms(async || api.get(&path).await).await;
        chain.push(read.json["value"].as_str().expect("a value").to_owned());
    }
    chain
}
