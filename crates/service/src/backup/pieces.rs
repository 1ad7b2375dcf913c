//! A state's backup as a stream, encoded on a thread where that may take its time.

use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use futures_util::{StreamExt, stream, stream::BoxStream};
use strongroom_core::{State, backup};
use tokio::sync::mpsc;

/// Pieces that wait for whoever takes them.
const AHEAD: usize = 4;
const PIECE_BYTES: usize = 64 * 1024;

/// A backup in pieces of some 64 KiB.
pub type Pieces = BoxStream<'static, Result<Bytes, BrokeOff>>;

/// Whoever encodes is gone before the end: what has come is no backup.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("the backup broke off")]
pub struct BrokeOff;

/// The state's backup. Nothing is encoded that nobody takes.
#[must_use]
pub fn pieces(state: Arc<State>) -> Pieces {
    let (pieces, coming) = mpsc::channel(AHEAD);
    tokio::task::spawn_blocking(move || send(&state, &pieces));
    stream::unfold(Some(coming), |coming| async {
        let mut coming = coming?;
        match coming.recv().await {
            Some(Some(piece)) => Some((Ok(piece), Some(coming))),
            Some(None) => None,
            None => Some((Err(BrokeOff), None)),
        }
    })
    .boxed()
}

/// Sends the pieces, and `None` after the last one; ends when nobody takes them any more.
fn send(state: &State, pieces: &mpsc::Sender<Option<Bytes>>) {
    let mut waiting = BytesMut::with_capacity(PIECE_BYTES);
    for record in backup::encode(state) {
        waiting.extend_from_slice(&record);
        if waiting.len() >= PIECE_BYTES
            && pieces
                .blocking_send(Some(waiting.split().freeze()))
                .is_err()
        {
            return;
        }
    }
    for last in [Some(waiting.freeze()), None] {
        if pieces.blocking_send(last).is_err() {
            return;
        }
    }
}
