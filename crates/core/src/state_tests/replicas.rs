//! Several states over one log: they lag, restart and send each other snapshots, and wherever two
//! stand at the same position they are the same.

use proptest::{collection::vec, prelude::*};

use super::{
    strategy::{Draw, Entry, Leader, apply, draw, draws},
    *,
};

const NODES: usize = 3;

#[derive(Clone, Debug)]
enum Step {
    /// The leader appends an entry.
    Append(Draw),
    /// A node applies some of what it has not yet.
    Catch { node: usize, entries: usize },
    /// A node writes a snapshot of what it has applied.
    Snapshot { node: usize },
    /// A node loses its memory and comes back from its snapshot.
    Restart { node: usize },
    /// A node loses its disk as well.
    Wipe { node: usize },
    /// A node takes over another's snapshot, if that is ahead of it.
    Transfer { from: usize, to: usize },
}

fn step() -> impl Strategy<Value = Step> {
    let node = || 0..NODES;
    prop_oneof![
        4 => draw().prop_map(Step::Append),
        6 => (node(), 1usize..6).prop_map(|(node, entries)| Step::Catch { node, entries }),
        2 => node().prop_map(|node| Step::Snapshot { node }),
        2 => node().prop_map(|node| Step::Restart { node }),
        1 => node().prop_map(|node| Step::Wipe { node }),
        3 => (node(), node()).prop_map(|(from, to)| Step::Transfer { from, to }),
    ]
}

/// A snapshot as it lies on a disk: a label and bytes.
#[derive(Clone, Default)]
struct Stored {
    label: Option<LogPosition>,
    records: Vec<Vec<u8>>,
}

impl Stored {
    fn of(state: &State) -> Self {
        Self {
            label: state.position(),
            records: encode_state(state).collect(),
        }
    }

    fn load(&self) -> State {
        if self.records.is_empty() {
            return State::default();
        }
        let mut decoder = StateDecoder::default();
        for record in &self.records {
            decoder.push(record).unwrap();
        }
        decoder.finish().unwrap()
    }
}

#[derive(Default)]
struct Node {
    state: State,
    stored: Stored,
}

/// The log, and what the state is at each of its positions.
#[derive(Default)]
struct Cluster {
    leader: Leader,
    log: Vec<Entry>,
    truth: Vec<State>,
    nodes: [Node; NODES],
}

/// How many entries `position` stands behind.
fn applied(position: Option<LogPosition>) -> usize {
    position.map_or(0, |at| at.index as usize + 1)
}

impl Cluster {
    fn append(&mut self, draw: &Draw) {
        let entry = self.leader.propose(draw, |_, _, _, _| ());
        self.log.push(entry);
        self.truth.push(self.leader.state.clone());
    }

    fn catch_up(&mut self, node: usize, entries: usize) {
        let state = &mut self.nodes[node].state;
        for entry in self
            .log
            .iter()
            .skip(applied(state.position()))
            .take(entries)
        {
            apply(state, entry);
        }
    }

    fn transfer(&mut self, from: usize, to: usize) {
        let sent = self.nodes[from].stored.clone();
        if applied(sent.label) > applied(self.nodes[to].state.position()) {
            self.nodes[to] = Node {
                state: sent.load(),
                stored: sent,
            };
        }
    }

    fn step(&mut self, step: &Step) {
        match *step {
            Step::Append(ref draw) => self.append(draw),
            Step::Catch { node, entries } => self.catch_up(node, entries),
            Step::Snapshot { node } => {
                let node = &mut self.nodes[node];
                node.stored = Stored::of(&node.state);
            }
            Step::Restart { node } => {
                let node = &mut self.nodes[node];
                node.state = node.stored.load();
            }
            Step::Wipe { node } => self.nodes[node] = Node::default(),
            Step::Transfer { from, to } => self.transfer(from, to),
        }
    }

    fn at(&self, position: Option<LogPosition>) -> State {
        applied(position)
            .checked_sub(1)
            .map_or_else(State::default, |index| self.truth[index].clone())
    }

    fn check(&self) {
        for node in &self.nodes {
            assert_eq!(node.state, self.at(node.state.position()));
            let stored = node.stored.load();
            assert_eq!(
                stored.position(),
                node.stored.label,
                "the label is what it holds"
            );
            assert_eq!(stored, self.at(node.stored.label));
        }
        for (a, b) in [(0, 1), (0, 2), (1, 2)] {
            let (a, b) = (&self.nodes[a].state, &self.nodes[b].state);
            assert!(a.position() != b.position() || a == b);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, ..ProptestConfig::default() })]

    #[test]
    fn equal_positions_are_equal_states(first in draws(8), steps in vec(step(), 1..80)) {
        let mut cluster = Cluster::default();
        for draw in &first {
            cluster.append(draw);
        }
        for step in &steps {
            cluster.step(step);
            cluster.check();
        }
        for node in 0..NODES {
            cluster.catch_up(node, usize::MAX);
            prop_assert_eq!(&cluster.nodes[node].state, &cluster.leader.state);
        }
    }
}

/// The ways of coming to a position meet: replay alone, snapshot and replay, a snapshot of a
/// snapshot.
#[test]
fn a_snapshot_at_every_position_leads_to_the_same_end() {
    let mut sut = Sut::new();
    let commands = [
        create("secret/a", automatic(10), Some(1)),
        put("secret/a", 2, None),
        Command::DestroyVersions {
            name: secret("secret/a"),
            versions: vec![1],
        },
        put("secret/a", 3, None),
        Command::Tick,
    ];
    let at = |index| LogPosition { term: 1, index };
    let run = |state: &mut State, from: usize| {
        for (n, command) in commands.iter().enumerate().skip(from) {
            let time = LogTime(START + n as u64 * 6_000);
            state.apply(at(10 + n as u64), time, command.clone());
        }
    };
    let formed = sut.state.clone();
    run(&mut sut.state, 0);
    for cut in 0..commands.len() {
        let mut state = formed.clone();
        for (n, command) in commands.iter().enumerate().take(cut) {
            let time = LogTime(START + n as u64 * 6_000);
            state.apply(at(10 + n as u64), time, command.clone());
        }
        let mut restored = rebuilt(&rebuilt(&state));
        run(&mut restored, cut);
        assert_eq!(restored, sut.state, "snapshot before command {cut}");
    }
}
