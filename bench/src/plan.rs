//! What a run measures with.

/// How thoroughly.
pub(crate) struct Plan {
    /// How often each figure is taken, the subjects in turn, so that a noisy machine hurts all alike.
    pub(crate) rounds: usize,
    /// Seconds that one takes.
    pub(crate) seconds: u64,
    /// Up to how many secrets the growth case goes.
    pub(crate) most_secrets: u64,
    /// A Vault-compatible server by URL.
    pub(crate) vault: Option<String>,
}
