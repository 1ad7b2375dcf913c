//! A typed client of Strongroom's native API.
//!
//! ```no_run
//! # async fn example() -> Result<(), strongroom_client::ClientError> {
//! use strongroom_client::{Client, Read};
//!
//! let client = Client::new("https://strongroom.internal:8200")?;
//! let secret = client.read("db/password", &Read::default()).await?;
//! if let Some(value) = secret.payload.value() {
//!     connect_with(value);
//! }
//! # Ok(()) }
//! # fn connect_with(_: &str) {}
//! ```
//!
//! Writing needs a token; a value is put into a [`Payload`], which is zeroized when it is dropped:
//!
//! ```no_run
//! # async fn example(token: strongroom_client::Token) -> Result<(), strongroom_client::ClientError> {
//! use strongroom_client::{Change, Client, Payload};
//!
//! let client = Client::new("https://strongroom.internal:8200")?.with_token(token);
//! let change = Change {
//!     payload: Some(Payload::from_value("n3w".to_owned())),
//!     cas: Some(1),
//!     ..Change::default()
//! };
//! client.put("db/password", &change).await?;
//! # Ok(()) }
//! ```
//!
//! What it does by itself:
//!
//! - **Reading your own writes**: the client and its clones remember the highest `X-Strongroom-Index`
//!   that they have seen, and send it with reads by address, whichever node is asked.
//! - **Trying again**: a change goes out with an `Idempotency-Key` where the API takes one, and is sent
//!   again with the same key when the connection broke or its outcome is unknown. What makes up a value
//!   or a token (`rotate`, [`Client::create_token`], an automatic secret without a payload) is never sent
//!   twice.
//! - **Errors by who must act**: see [`ClientError`].
//!
//! What it does not do yet: it keeps no copy of a secret, so that each read is a request; it has no
//! circuit breaker, knows one address, and does not renew tokens. Redirects are not followed, and proxies
//! from the environment not used: a secret goes where it was sent.
#![deny(missing_docs)]

mod audit;
mod backup;
mod call;
mod cluster;
mod connect;
mod error;
mod health;
mod kms;
mod names;
mod page;
mod roles;
mod secrets;
mod tokens;
mod value;
mod versions;

pub use audit::{AuditPage, AuditRecord};
pub use backup::Restored;
pub use cluster::{ClusterView, LetIn, NodeView};
pub use connect::{Builder, Client};
pub use error::ClientError;
pub use health::Readiness;
pub use kms::{KmsCache, KmsStatus, RewrapBegun, RewrapStatus, Watermark};
pub use page::{Listing, Page};
pub use roles::{NewRole, Permission, Role};
pub use secrets::{
    Change, Consistency, Created, Generator, NewSecret, Read, ReadSecret, SecretRow, Verified, Wait,
};
pub use tokens::{IssuedToken, NewToken, TokenRow};
pub use value::{Payload, PayloadError, Token};
pub use versions::RolledBack;
