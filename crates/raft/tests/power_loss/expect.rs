//! What the workload was told is durable, as it noted it down in the traced file `marks`.

use std::{collections::BTreeMap, fmt::Write};

/// What must be found after a power cut.
#[derive(Default, Clone)]
pub struct Expect {
    /// The term of each entry that was acknowledged and neither truncated nor purged since.
    pub entries: BTreeMap<u64, u64>,
    /// The vote that was acknowledged last, as term and node.
    pub vote: (u64, u64),
    /// The vote that may have been saved after it.
    pub later_vote: (u64, u64),
    /// The purge point that was followed by a barrier, and the last that was asked for.
    pub purged: u64,
    pub later_purged: u64,
    /// The last entry in the newest snapshot that was acknowledged.
    pub snapshot: u64,
    /// The Raft id under which anything of this was stored; 0: nothing was.
    pub identity: u64,
}

impl Expect {
    /// Takes one line: a letter and one or two numbers.
    pub fn mark(&mut self, line: &str) {
        let mut words = line.split(' ');
        let what = words.next().unwrap();
        let numbers: Vec<u64> = words.map(|word| word.parse().unwrap()).collect();
        match (what, numbers.as_slice()) {
            ("acked", [index, term]) => {
                self.entries.insert(*index, *term);
            }
            ("truncating", [since]) => {
                self.entries.split_off(since);
            }
            ("voting", [term, node]) => self.later_vote = (*term, *node),
            ("voted", [term, node]) => self.vote = (*term, *node),
            ("snapshot", [index]) => self.snapshot = *index,
            ("identity", [id]) => self.identity = *id,
            ("purging", [index]) => {
                self.later_purged = *index;
                self.entries = self.entries.split_off(&(index + 1));
            }
            ("purged", [index]) => self.purged = *index,
            _ => panic!("unknown mark {line}"),
        }
    }

    pub fn to_text(&self) -> String {
        let mut text = format!(
            "{} {} {} {} {} {} {} {}\n",
            self.vote.0,
            self.vote.1,
            self.later_vote.0,
            self.later_vote.1,
            self.purged,
            self.later_purged,
            self.snapshot,
            self.identity
        );
        for (index, term) in &self.entries {
            writeln!(text, "{index} {term}").unwrap();
        }
        text
    }

    pub fn from_text(text: &str) -> Self {
        let mut lines = text.lines().map(|line| {
            line.split(' ')
                .map(|word| word.parse::<u64>().unwrap())
                .collect::<Vec<_>>()
        });
        let head = lines.next().unwrap();
        Self {
            vote: (head[0], head[1]),
            later_vote: (head[2], head[3]),
            purged: head[4],
            later_purged: head[5],
            snapshot: head[6],
            identity: head[7],
            entries: lines.map(|line| (line[0], line[1])).collect(),
        }
    }
}
