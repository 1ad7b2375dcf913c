//! `/v1/backup` and `/v1/restore`: streams, since both may be larger than any other body.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use axum::{body::Body, response::Response};
use futures_util::StreamExt;
use http::{HeaderValue, StatusCode, header};
use http_body_util::BodyExt;
use serde_json::json;
use strongroom_core::{
    State,
    backup::{BackupError, Reader},
    limits,
};
use strongroom_service::{
    VaultError, backup,
    operation::{Restore, TakeBackup},
};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::{
    App,
    answer::{self, Answer},
    call::Call,
    carried::{Pool, to_its_end},
};

/// Backups and restores under way at a time, at one node.
const AT_A_TIME: usize = 2;
/// How long a restore may take, its arrival included.
const RESTORE_WITHIN: Duration = Duration::from_secs(900);
/// How long its client may send nothing.
const SILENCE: Duration = Duration::from_secs(30);

/// Places for backups and restores.
pub struct Streams(Arc<Semaphore>);

impl Default for Streams {
    fn default() -> Self {
        Self(Arc::new(Semaphore::new(AT_A_TIME)))
    }
}

impl Streams {
    fn take(&self) -> Result<OwnedSemaphorePermit, VaultError> {
        let place = Arc::clone(&self.0).try_acquire_owned();
        place.map_err(|_| VaultError::RateLimited)
    }
}

pub(super) async fn take(app: Arc<App>, call: Box<Call>) -> Answer {
    let permit = app
        .vault
        .authorize::<TakeBackup>(call.context, &call.token, ())
        .await?;
    let place = app.streams.take()?;
    let state = app.vault.take_backup(permit).await?;
    let pieces = backup::pieces(state).map(move |piece| {
        // It is taken until the last piece has gone, or the client has.
        let _taken = &place;
        piece
    });
    let mut response = Response::new(Body::from_stream(pieces));
    let headers = response.headers_mut();
    let kind = HeaderValue::from_static("application/octet-stream");
    headers.insert(header::CONTENT_TYPE, kind);
    let name = HeaderValue::from_static("attachment; filename=\"strongroom.backup\"");
    headers.insert(header::CONTENT_DISPOSITION, name);
    Ok(response)
}

pub(super) async fn restore(app: Arc<App>, mut call: Box<Call>, body: Body) -> Answer {
    let force = match call.query("force")?.as_deref() {
        None | Some("false") => false,
        Some("true") => true,
        Some(_) => return Err(VaultError::invalid("force must be true or false")),
    };
    call.context.deadline = Instant::now() + RESTORE_WITHIN;
    let left = call.context.left();
    let permit = app
        .vault
        .authorize::<Restore>(call.context, &call.token, ())
        .await?;
    let place = app.streams.take()?;
    let received = tokio::time::timeout(left, receive(body)).await;
    let late = |_| VaultError::invalid("the backup did not arrive in time");
    let state = received.map_err(late)??;
    let own = Arc::clone(&app);
    let restored = async move {
        let restored = own.vault.restore(permit, state, force).await;
        drop(place);
        restored
    };
    let restored = to_its_end(&app, Pool::Others, Box::pin(restored)).await?;
    let body = json!({
        "cluster_id": restored.cluster_id.map(|id| id.to_string()),
        "index": restored.position.map(|position| position.index),
        "taken_at": restored.time.rfc3339(),
        "secrets": restored.secrets,
    });
    Ok(answer::json(StatusCode::OK, &body))
}

/// The whole backup, checked: before that nothing is done.
async fn receive(mut body: Body) -> Result<State, VaultError> {
    let mut reader = Reader::default();
    loop {
        let frame = tokio::time::timeout(SILENCE, body.frame()).await;
        let frame = frame.map_err(|_| VaultError::invalid("the backup does not go on"))?;
        let Some(frame) = frame else { break };
        let frame = frame.map_err(|_| VaultError::invalid("the backup broke off"))?;
        let Ok(data) = frame.into_data() else {
            continue;
        };
        reader.push(&data).map_err(refused)?;
        if reader.bytes() > limits::RESTORE_BYTES {
            return Err(VaultError::TooLarge("the backup is over 1 GiB"));
        }
    }
    let whole = tokio::task::spawn_blocking(move || reader.finish()).await;
    whole.map_err(|_| VaultError::Internal)?.map_err(refused)
}

fn refused(error: BackupError) -> VaultError {
    VaultError::Invalid(error.to_string())
}
