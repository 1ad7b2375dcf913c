//! Real processes in network namespaces, faults drawn from a seed, and a history that is checked.
//!
//! A run is a row of cycles. In each, clients work on names of that cycle while one fault comes and
//! goes; then the clients stop, everything must work again at every node, and what the clients saw is
//! held against what the cluster has. What a run needs of the machine: [`net::missing`].

pub mod check;
#[cfg(test)]
mod check_tests;
pub mod clients;
pub mod fault;
pub mod history;
pub mod kms;
pub mod net;
pub mod report;
pub mod run;
pub mod world;
