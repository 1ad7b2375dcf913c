//! Where scheduled backups are kept: the port of [`strongroom_service::backup::store`] over a directory
//! or an S3 bucket.

use std::{fmt, path::PathBuf, sync::Arc, time::Duration};

use futures_util::{StreamExt, stream::BoxStream};
use object_store::{
    Error, ObjectStore, ObjectStoreExt, RetryConfig, aws::AmazonS3Builder, buffered::BufWriter,
    local::LocalFileSystem, path::Path,
};
use strongroom_service::backup::{
    Pieces,
    store::{BackupStore, StoreError, StoreFuture},
};
use tokio::io::AsyncWriteExt;

use crate::{run_error::RunError, settings::BackupPlace};

/// What is gathered before a request to S3: up to this it is one request, and each part is as large.
const PART_BYTES: usize = 8 * 1024 * 1024;
/// Parts on their way at a time.
const PARTS_AT_A_TIME: usize = 2;
/// The worker that takes backups tries again by itself.
const RETRIES: usize = 4;
const RETRY_WITHIN: Duration = Duration::from_secs(60);
/// Longest message about a failure, in characters.
const MESSAGE_CHARS: usize = 300;
/// The standard AWS settings that name an endpoint, the first one given wins.
const ENDPOINTS: [&str; 2] = ["AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL"];

/// The place that the settings name.
pub(crate) struct ConfiguredStore {
    place: Place,
    /// The place, for messages.
    shown: String,
}

enum Place {
    Directory(PathBuf),
    Bucket {
        store: Arc<dyn ObjectStore>,
        prefix: Path,
    },
}

impl ConfiguredStore {
    /// Connects to nothing: a store that is away must not keep a node from starting.
    pub(crate) fn new(place: &BackupPlace) -> Result<Self, RunError> {
        let shown = place.to_string();
        let place = match place {
            BackupPlace::Directory(directory) => Place::Directory(directory.clone()),
            BackupPlace::Bucket { bucket, prefix } => Place::Bucket {
                store: s3(bucket)?,
                prefix: Path::from(prefix.as_str()),
            },
        };
        Ok(Self { place, shown })
    }

    /// A directory is looked up at each call: it may be mounted later, and it is not made here, where
    /// nothing may be mounted yet.
    async fn open(&self) -> Result<(Arc<dyn ObjectStore>, Path), StoreError> {
        let directory = match &self.place {
            Place::Bucket { store, prefix } => return Ok((Arc::clone(store), prefix.clone())),
            Place::Directory(directory) => directory.clone(),
        };
        let opening = move || match directory.is_dir() {
            true => LocalFileSystem::new_with_prefix(directory).map_err(|error| error.to_string()),
            // Listing something else would find nothing, as if all backups were gone.
            false => Err("there is no such directory".to_owned()),
        };
        let opened = tokio::task::spawn_blocking(opening).await;
        let opened = opened.map_err(|error| self.failed(&error))?;
        let opened = opened.map_err(|error| self.failed(&error))?;
        Ok((Arc::new(opened.with_fsync(true)), Path::default()))
    }

    fn failed(&self, error: &dyn fmt::Display) -> StoreError {
        failed(&self.shown, error)
    }
}

fn failed(place: &str, error: &dyn fmt::Display) -> StoreError {
    StoreError(format!("{place}: {}", in_short(&error.to_string())))
}

/// Credentials and region come from the standard AWS environment.
fn s3(bucket: &str) -> Result<Arc<dyn ObjectStore>, RunError> {
    let endpoint = ENDPOINTS.iter().find_map(|key| std::env::var(key).ok());
    let plain = endpoint.is_some_and(|endpoint| endpoint.starts_with("http://"));
    let retry = RetryConfig {
        max_retries: RETRIES,
        retry_timeout: RETRY_WITHIN,
        ..RetryConfig::default()
    };
    let store = AmazonS3Builder::from_env()
        .with_bucket_name(bucket)
        .with_allow_http(plain)
        .with_retry(retry)
        .build();
    let store = store.map_err(|error| {
        let error = in_short(&error.to_string());
        RunError::Settings(format!("VAULT_BACKUP_URL: {error}"))
    })?;
    Ok(Arc::new(store))
}

/// One line. Of an answer of S3 the code alone: the rest may repeat what was sent, and that may hold a
/// session token.
fn in_short(message: &str) -> String {
    let (said, answer) = message.split_once('<').unwrap_or((message, ""));
    let code = answer
        .split_once("<Code>")
        .and_then(|(_, rest)| rest.split_once('<'))
        .map_or("", |(code, _)| code);
    let short: String = said
        .chars()
        .chain(code.chars())
        .take(MESSAGE_CHARS)
        .collect();
    short.escape_debug().to_string()
}

impl BackupStore for ConfiguredStore {
    fn list(&self) -> StoreFuture<'_, Vec<String>> {
        Box::pin(async {
            let (store, prefix) = self.open().await?;
            let listed = store.list_with_delimiter(Some(&prefix)).await;
            let listed = listed.map_err(|error| self.failed(&error))?;
            let names = listed.objects.iter().filter_map(|object| {
                let name = object.location.filename();
                name.map(str::to_owned)
            });
            Ok(names.collect())
        })
    }

    fn write<'a>(&'a self, name: &'a str, mut pieces: Pieces) -> StoreFuture<'a, ()> {
        Box::pin(async move {
            let (store, prefix) = self.open().await?;
            let writer = BufWriter::with_capacity(store, prefix.join(name), PART_BYTES);
            let mut writer = writer.with_max_concurrency(PARTS_AT_A_TIME);
            let written = async {
                while let Some(piece) = pieces.next().await {
                    let piece = piece.map_err(|error| self.failed(&error))?;
                    let put = writer.put(piece).await;
                    put.map_err(|error| self.failed(&error))?;
                }
                Ok(())
            };
            if let Err(error) = written.await {
                // What has come of it is listed nowhere; the error that matters is known already.
                let _ = writer.abort().await;
                return Err(error);
            }
            let whole = writer.shutdown().await;
            whole.map_err(|error| self.failed(&error))
        })
    }

    fn read<'a>(
        &'a self,
        name: &'a str,
    ) -> StoreFuture<'a, BoxStream<'static, Result<bytes::Bytes, StoreError>>> {
        Box::pin(async move {
            let (store, prefix) = self.open().await?;
            let found = store.get(&prefix.join(name)).await;
            let found = found.map_err(|error| self.failed(&error))?;
            let place = self.shown.clone();
            let failed = move |error: Error| failed(&place, &error);
            Ok(found
                .into_stream()
                .map(move |piece| piece.map_err(&failed))
                .boxed())
        })
    }

    fn rename<'a>(&'a self, from: &'a str, to: &'a str) -> StoreFuture<'a, ()> {
        Box::pin(async move {
            let (store, prefix) = self.open().await?;
            let (from, to) = (prefix.clone().join(from), prefix.join(to));
            let renamed = store.rename(&from, &to).await;
            renamed.map_err(|error| self.failed(&error))
        })
    }

    fn delete<'a>(&'a self, name: &'a str) -> StoreFuture<'a, ()> {
        Box::pin(async move {
            let (store, prefix) = self.open().await?;
            match store.delete(&prefix.join(name)).await {
                Ok(()) | Err(Error::NotFound { .. }) => Ok(()),
                Err(error) => Err(self.failed(&error)),
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_an_answer_of_s3_the_code_alone_is_told() {
        let refused = "Generic S3 error: PUT http://h/b: 403 Forbidden: <?xml version=\"1.0\"?>\n\
                       <Error><Code>SignatureDoesNotMatch</Code><StringToSign>x-amz-security-token:\
                       secret</StringToSign></Error>";
        assert_eq!(
            in_short(refused),
            "Generic S3 error: PUT http://h/b: 403 Forbidden: SignatureDoesNotMatch"
        );
        assert_eq!(in_short("a\nb"), "a\\nb");
        assert_eq!(in_short(&"x".repeat(1_000)).len(), MESSAGE_CHARS);
    }
}
