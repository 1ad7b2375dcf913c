//! Adapters of the [`Kms`](strongroom_seal::Kms) port that need the network.

pub mod aws;
