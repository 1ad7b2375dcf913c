//! Backups, as streams.

use std::time::Duration;

use bytes::Bytes;
use futures_util::stream;
use reqwest::{Body, Method};
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

use crate::{Client, ClientError};

/// How long a stream may stand still.
const STILL_AT_MOST: Duration = Duration::from_secs(60);
/// How long a backup or a restore may take as a whole.
const WITHIN: Duration = Duration::from_secs(3 * 60 * 60);
const PIECE_BYTES: usize = 64 * 1024;

/// What was restored.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Restored {
    /// The cluster that the backup is of.
    pub cluster_id: Option<String>,
    /// The place in its log.
    pub index: u64,
    /// When it was taken.
    pub taken_at: String,
    /// How many secrets it holds.
    pub secrets: u64,
}

impl Client {
    /// Takes a backup, into `to`. Returns how many bytes it has. Whether it is whole says the checksum at
    /// its end, which `strongroom backup verify` and every restore look at.
    ///
    /// # Errors
    /// See [`ClientError`]; [`ClientError::Local`] if `to` does not take it.
    pub async fn backup<W: AsyncWrite + Unpin>(&self, to: &mut W) -> Result<u64, ClientError> {
        let request = self.request(Method::GET, "/v1/backup")?.timeout(WITHIN);
        let unreachable = |error: reqwest::Error| ClientError::unreachable(&error);
        let mut response = request.send().await.map_err(unreachable)?;
        if !response.status().is_success() {
            self.take(response).await?;
            return Err(ClientError::Malformed);
        }
        self.note(&response);
        let local = |error: std::io::Error| ClientError::Local(error.to_string());
        let mut taken = 0;
        loop {
            let still = || ClientError::Unreachable("the backup stands still".to_owned());
            let chunk = tokio::time::timeout(STILL_AT_MOST, response.chunk()).await;
            let chunk = chunk.map_err(|_| still())?.map_err(unreachable)?;
            let Some(chunk) = chunk else { break };
            to.write_all(&chunk).await.map_err(local)?;
            taken += chunk.len() as u64;
        }
        to.flush().await.map_err(local)?;
        Ok(taken)
    }

    /// Restores a backup: it replaces mounts, roles, tokens and secrets on all nodes at once, or nothing.
    /// `force` lets the backup of another cluster replace the secrets that are there.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn restore<R: AsyncRead + Send + Unpin + 'static>(
        &self,
        from: R,
        force: bool,
    ) -> Result<Restored, ClientError> {
        let path = match force {
            true => "/v1/restore?force=true",
            false => "/v1/restore",
        };
        let pieces = stream::unfold(Some(from), |from| async {
            let mut from = from?;
            let mut piece = vec![0; PIECE_BYTES];
            match from.read(&mut piece).await {
                Ok(0) => None,
                Ok(read) => {
                    piece.truncate(read);
                    Some((Ok(Bytes::from(piece)), Some(from)))
                }
                // The stream breaks off, and so does the request.
                Err(error) => Some((Err(error), None)),
            }
        });
        let request = self.request(Method::POST, path)?.timeout(WITHIN);
        let response = request.body(Body::wrap_stream(pieces)).send().await;
        let response = response.map_err(|error| ClientError::unreachable(&error))?;
        let came = self.take(response).await?;
        serde_json::from_slice(&came.body).map_err(|_| ClientError::Malformed)
    }
}
