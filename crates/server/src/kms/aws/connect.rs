//! Finding region, credentials and endpoint in the AWS environment, with a deadline.

use std::{error::Error, fmt::Write, time::Duration};

use aws_config::{BehaviorVersion, SdkConfig, retry::RetryConfig, timeout::TimeoutConfig};
use aws_sdk_kms::{
    Client,
    config::{Credentials, ProvideCredentials},
};
use strongroom_seal::{ContextStyle, Detail};
use tokio::time::{Instant, timeout_at};

use super::AwsKms;

/// How long finding region and credentials may take. Together with a probe it stays under the ten
/// seconds that a start may take to say why it fails.
pub const CONNECT_DEADLINE: Duration = Duration::from_secs(6);

const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);
const ATTEMPT_TIMEOUT: Duration = Duration::from_secs(3);
const OPERATION_TIMEOUT: Duration = Duration::from_secs(8);

/// What the AWS environment does not say.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct AwsSettings {
    /// `VAULT_KMS_KEY_ID`: key id, ARN or alias.
    pub key_id: String,
    /// `VAULT_KMS_MAX_RETRIES`: tries after the first. 0: none.
    pub max_retries: u32,
    /// How the secret's name is spelled in the encryption context.
    pub context_style: ContextStyle,
}

/// Why there is no KMS client. One line, for the operator.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum ConnectError {
    /// No key configured.
    #[error("no KMS key: set VAULT_KMS_KEY_ID to a key id, ARN or alias")]
    NoKey,
    /// The AWS environment names no region.
    #[error("no AWS region found: set AWS_REGION, or region in the AWS profile")]
    NoRegion,
    /// The AWS environment gives no credentials.
    #[error(
        "no AWS credentials found ({0}): set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, \
         a profile, or a role of the instance, task or pod"
    )]
    NoCredentials(Detail),
}

impl AwsKms {
    /// Reads the standard AWS environment: region, credentials and, where given, the endpoint
    /// (`AWS_ENDPOINT_URL_KMS`). Calls nothing of KMS yet; see [`strongroom_seal::probe`].
    ///
    /// # Errors
    /// See [`ConnectError`], after [`CONNECT_DEADLINE`] at the latest.
    pub async fn connect(settings: AwsSettings) -> Result<Self, ConnectError> {
        if settings.key_id.trim().is_empty() {
            return Err(ConnectError::NoKey);
        }
        let deadline = Instant::now() + CONNECT_DEADLINE;
        let environment = timeout_at(deadline, load(settings.max_retries)).await;
        let environment = environment.map_err(|_| ConnectError::NoRegion)?;
        let region = environment
            .region()
            .ok_or(ConnectError::NoRegion)?
            .to_string();
        let credentials = timeout_at(deadline, credentials(&environment))
            .await
            .map_err(|_| {
                let secs = CONNECT_DEADLINE.as_secs();
                ConnectError::NoCredentials(Detail::new(&format!("no answer within {secs} s")))
            })??;
        Ok(Self {
            client: Client::new(&environment),
            key_id: settings.key_id,
            style: settings.context_style,
            region,
            credentials: tail(credentials.access_key_id()),
        })
    }
}

async fn load(max_retries: u32) -> SdkConfig {
    let retries = RetryConfig::standard().with_max_attempts(max_retries.saturating_add(1));
    let timeouts = TimeoutConfig::builder()
        .connect_timeout(CONNECT_TIMEOUT)
        .operation_attempt_timeout(ATTEMPT_TIMEOUT)
        .operation_timeout(OPERATION_TIMEOUT)
        .build();
    aws_config::defaults(BehaviorVersion::v2026_01_12())
        .retry_config(retries)
        .timeout_config(timeouts)
        .load()
        .await
}

async fn credentials(environment: &SdkConfig) -> Result<Credentials, ConnectError> {
    let provider = environment
        .credentials_provider()
        .ok_or_else(|| ConnectError::NoCredentials(Detail::new("no provider")))?;
    provider
        .provide_credentials()
        .await
        .map_err(|error| ConnectError::NoCredentials(Detail::new(&reason(&error))))
}

/// Why no provider gave credentials. The SDK spells "nobody has any" as a table of all providers,
/// which is no line to act on.
fn reason(error: &dyn Error) -> String {
    const NOBODY: &str = "the credential provider was not enabled";
    let text = chain(error);
    if text.starts_with(NOBODY) {
        return "none in environment, profile, web identity, container or instance".to_owned();
    }
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// An error and its causes in one line.
fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        // Writing to a String cannot fail.
        let _ = write!(text, ": {error}");
        cause = error.source();
    }
    text
}

/// The last four characters of an access key id, enough to tell which one it is.
fn tail(access_key_id: &str) -> String {
    let skip = access_key_id.chars().count().saturating_sub(4);
    format!(
        "access key …{}",
        access_key_id.chars().skip(skip).collect::<String>()
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_key_is_required() {
        let key_id = " ".to_owned();
        let settings = AwsSettings {
            key_id,
            max_retries: 0,
            context_style: ContextStyle::default(),
        };
        assert_eq!(
            AwsKms::connect(settings).await.err(),
            Some(ConnectError::NoKey)
        );
    }

    #[test]
    fn only_the_tail_of_an_access_key_id_is_told() {
        assert_eq!(tail("AKIAIOSFODNN7EXAMPLE"), "access key …MPLE");
        assert_eq!(tail("abc"), "access key …abc");
    }
}
