//! What was decided about nodes by command. Who is a member stands in Raft's own entries; this says
//! who may become one, and who must not be one any more.

use super::State;
use crate::{Admission, Effect, NodeName, Rejection, codec::Record, limits};

impl State {
    pub(super) fn admit_node(
        &mut self,
        name: NodeName,
        admission: Admission,
    ) -> Result<Effect, Rejection> {
        let is_new = !self.nodes.contains_key(&name);
        if is_new && self.nodes.len() >= limits::DECIDED_NODES {
            return Err(Rejection::Invalid);
        }
        self.nodes.insert(name, admission);
        Ok(Effect::Done)
    }

    /// What was decided about nodes of this name. `None`: nothing, so `VAULT_PEERS` counts.
    #[must_use]
    pub fn admission(&self, name: &NodeName) -> Option<Admission> {
        self.nodes.get(name).copied()
    }

    /// Whether nodes of this name were removed, and have not been let in since.
    #[must_use]
    pub fn keeps_out(&self, name: &str) -> bool {
        let decided = |name| self.admission(&name);
        NodeName::parse(name).ok().and_then(decided) == Some(Admission::Removed)
    }

    /// Whether nodes of this name were let in by command.
    #[must_use]
    pub fn lets_in(&self, name: &str) -> bool {
        let decided = |name| self.admission(&name);
        NodeName::parse(name).ok().and_then(decided) == Some(Admission::Allowed)
    }

    pub(crate) fn node_records(&self) -> impl Iterator<Item = Record> + '_ {
        let nodes = self.nodes.iter();
        nodes.map(|(name, admission)| Record::Node(name.clone(), *admission))
    }
}
