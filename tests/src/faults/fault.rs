//! Which faults there are, and how they are drawn.

use std::time::Duration;

/// A kind of fault.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Kind {
    /// One node and the others do not hear each other.
    CutOff,
    /// One node does not hear the others, who hear it.
    Deaf,
    /// The others do not hear one node, which hears them.
    Mute,
    /// Two nodes do not hear each other; both hear the third, which hears both.
    Split,
    /// One node is cut off and back again, several times a second to every other second.
    Flapping,
    /// Packets between all nodes are lost.
    Loss,
    /// What one node sends is late.
    SlowLink,
    /// `kill -9` of one node, and a start.
    Kill,
    /// The same of all nodes at once.
    KillAll,
    /// All nodes at once lose power: what their stores had not synced is gone.
    PowerCut,
    /// One node is stopped, and goes on later.
    Pause,
    /// One node's syncs take longer.
    SlowDisk,
    /// One node's writes and syncs fail; it is killed, and started with a disk that works.
    DiskFails,
    /// One node's disk has no space left; it is killed, and started with a disk that has.
    FullDisk,
    /// One node dies, and comes back with an empty disk.
    LostDisk,
    /// One node's clock is an hour off, and then right again.
    Clock,
    /// KMS refuses, hangs or throttles, for one node or for all.
    KmsAway,
}

impl Kind {
    /// All of them.
    pub const ALL: [Self; 17] = [
        Self::CutOff,
        Self::Deaf,
        Self::Mute,
        Self::Split,
        Self::Flapping,
        Self::Loss,
        Self::SlowLink,
        Self::Kill,
        Self::KillAll,
        Self::PowerCut,
        Self::Pause,
        Self::SlowDisk,
        Self::DiskFails,
        Self::FullDisk,
        Self::LostDisk,
        Self::Clock,
        Self::KmsAway,
    ];

    /// What it is done to. Two faults at once are never done to the same.
    fn subject(self) -> Subject {
        match self {
            Self::CutOff
            | Self::Deaf
            | Self::Mute
            | Self::Split
            | Self::Flapping
            | Self::Loss
            | Self::SlowLink => Subject::Network,
            Self::Kill | Self::Pause | Self::LostDisk => Subject::Process,
            Self::SlowDisk | Self::DiskFails | Self::FullDisk => Subject::Disk,
            Self::Clock => Subject::Clock,
            Self::KmsAway => Subject::Kms,
            Self::KillAll | Self::PowerCut => Subject::Everything,
        }
    }
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Subject {
    Network,
    Process,
    Disk,
    Clock,
    Kms,
    Everything,
}

/// One fault.
#[derive(Clone, Debug)]
pub struct Fault {
    /// Of which kind.
    pub kind: Kind,
    /// Whether it is the leader's, whoever that is then; else it is `node`'s.
    pub leader: bool,
    /// By place.
    pub node: usize,
    /// How long it lasts.
    pub lasts: Duration,
    /// For what else there is to draw, when it strikes.
    pub seed: u64,
}

/// Draws faults: each kind once before any comes again, in an order of the seed's.
#[derive(Debug)]
pub struct Deck {
    random: fastrand::Rng,
    only: Vec<Kind>,
    left: Vec<Kind>,
}

impl Deck {
    /// Of these kinds.
    pub fn new(seed: u64, only: Vec<Kind>) -> Self {
        Self {
            random: fastrand::Rng::with_seed(seed),
            only,
            left: Vec::new(),
        }
    }

    /// What comes next to a cluster of `nodes`: one fault or, a third of the time, two at once.
    pub fn draw(&mut self, nodes: usize) -> Vec<Fault> {
        let first = self.kind();
        let mut kinds = vec![first];
        if self.random.u8(0..3) == 0
            && let Some(second) = self.left.iter().rposition(|second| {
                let subjects = [first.subject(), second.subject()];
                subjects[0] != subjects[1] && !subjects.contains(&Subject::Everything)
            })
        {
            kinds.push(self.left.remove(second));
        }
        let random = &mut self.random;
        let fault = |kind| Fault {
            kind,
            leader: random.u8(0..3) > 0,
            node: random.usize(0..nodes),
            lasts: Duration::from_millis(random.u64(700..4_500)),
            seed: random.u64(..),
        };
        kinds.into_iter().map(fault).collect()
    }

    fn kind(&mut self) -> Kind {
        if self.left.is_empty() {
            self.left.clone_from(&self.only);
            self.random.shuffle(&mut self.left);
        }
        self.left.pop().expect("kinds to draw")
    }

    /// Whether each kind has come as often as any.
    pub fn is_through(&self) -> bool {
        self.left.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_says_what_comes_and_nothing_comes_twice_before_all_have_come() {
        let (mut one, mut same) = (
            Deck::new(7, Kind::ALL.to_vec()),
            Deck::new(7, Kind::ALL.to_vec()),
        );
        let mut drawn = Vec::new();
        while drawn.is_empty() || !one.is_through() {
            let faults = one.draw(3);
            assert_eq!(format!("{faults:?}"), format!("{:?}", same.draw(3)));
            drawn.extend(faults);
        }
        let mut kinds: Vec<Kind> = drawn.iter().map(|fault| fault.kind).collect();
        kinds.sort_unstable();
        assert_eq!(kinds, Kind::ALL);
    }
}
