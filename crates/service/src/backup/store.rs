//! The port to where scheduled backups are kept.

use std::pin::Pin;

use bytes::Bytes;
use futures_util::stream::BoxStream;

use super::pieces::Pieces;

/// A future that the port returns.
pub type StoreFuture<'a, T> = Pin<Box<dyn Future<Output = Result<T, StoreError>> + Send + 'a>>;

/// Why a store did not do what it was asked, in words for whoever runs it.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("{0}")]
pub struct StoreError(pub String);

/// A place for files of some size, each under a name without `/`.
pub trait BackupStore: Send + Sync + 'static {
    /// The names of all files there, those of others too.
    fn list(&self) -> StoreFuture<'_, Vec<String>>;

    /// Writes a file, which has its name once it is whole and will last. Of one that breaks off nothing
    /// is listed.
    fn write<'a>(&'a self, name: &'a str, pieces: Pieces) -> StoreFuture<'a, ()>;

    /// Reads a file, from where it is kept.
    fn read<'a>(
        &'a self,
        name: &'a str,
    ) -> StoreFuture<'a, BoxStream<'static, Result<Bytes, StoreError>>>;

    /// Gives a file another name, for good. A file that has it is replaced.
    fn rename<'a>(&'a self, from: &'a str, to: &'a str) -> StoreFuture<'a, ()>;

    /// Deletes a file. It is no error if there is none.
    fn delete<'a>(&'a self, name: &'a str) -> StoreFuture<'a, ()>;
}
