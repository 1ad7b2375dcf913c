//! openraft's own storage suite, on our store.
#![allow(clippy::unwrap_used)]

use openraft::testing::{StoreBuilder, Suite};
use strongroom_raft::{
    log_store::LogStore,
    machine::Machine,
    types::{StorageError, TypeConfig},
};
use tempfile::TempDir;

struct OnDisk;

impl StoreBuilder<TypeConfig, LogStore, Machine, TempDir> for OnDisk {
    async fn build(&self) -> Result<(TempDir, LogStore, Machine), StorageError> {
        let dir = tempfile::tempdir().unwrap();
        let log = LogStore::open(dir.path()).unwrap();
        let machine = Machine::open(dir.path()).unwrap();
        Ok((dir, log, machine))
    }
}

#[test]
fn openraft_storage_suite() {
    Suite::test_all(OnDisk).unwrap();
}
