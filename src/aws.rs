//! Secrets Manager, Parameter Store and SQS behind the ports: the only place that names an AWS SDK
//! type.
//!
//! A process makes its clients once, and they share one HTTP client. An error carries AWS's
//! sentence only if the sentence is known to quote no values.

mod connector;
mod grants;
mod leases;
mod queue;

use std::iter::successors;
use std::time::Duration;

use aws_config::environment::EnvironmentVariableCredentialsProvider;
use aws_config::retry::RetryConfig;
use aws_config::timeout::TimeoutConfig;
use aws_config::{BehaviorVersion, ConfigLoader, Region, SdkConfig};
use aws_credential_types::provider::error::CredentialsError;
use aws_sdk_ssm::config::retry::{RetryPartition, TokenBucket};
use aws_sdk_ssm::error::{ProvideErrorMetadata, SdkError};

pub use grants::SecretsManager;
pub use leases::{ParameterStore, Publishing, Tier};
pub use queue::Sqs;

use crate::failure::{Cause, NoCredentials, StoreError};
use crate::settings::Settings;
use crate::source::Source;

/// How long one call may take, from first to last byte.
const CALL_TIMEOUT: Duration = Duration::from_secs(5);
/// Tries of one call, if its fault may be over in a second. The [pace](crate::pace) repeats what
/// Parameter Store refuses for too many calls.
const ATTEMPTS: u32 = 6;
/// The mean of the first wait between tries is half of this; it doubles from try to try.
const FIRST_BACKOFF: Duration = Duration::from_millis(200);

/// Finds Region and credentials as AWS's tools do. If the environment has keys, as in Lambda, it
/// takes them and does not set up the other places to look in: that saves a third of a cold start.
pub fn loader(keys_in_environment: bool) -> ConfigLoader {
    let loader = aws_config::defaults(BehaviorVersion::latest());
    if keys_in_environment {
        loader.credentials_provider(EnvironmentVariableCredentialsProvider::new())
    } else {
        loader
    }
}

/// The same in another Region.
pub fn in_region(loader: ConfigLoader, region: &str) -> ConfigLoader {
    loader.region(Region::new(region.to_owned()))
}

/// Connects both stores, over the process's HTTP client.
pub async fn connect(
    loader: ConfigLoader,
    client: &reqwest::Client,
    settings: &Settings,
    publishing: Publishing,
    source: &Source,
) -> (SecretsManager, ParameterStore) {
    stores(&shared(loader, client).await, settings, publishing, source)
}

/// What the clients of one process have in common.
pub async fn shared(loader: ConfigLoader, client: &reqwest::Client) -> SdkConfig {
    let timeouts = TimeoutConfig::builder().read_timeout(CALL_TIMEOUT).build();
    let retries = RetryConfig::standard().with_max_attempts(ATTEMPTS).with_initial_backoff(FIRST_BACKOFF);
    loader.http_client(connector::for_sdk(client)).timeout_config(timeouts).retry_config(retries).load().await
}

/// Both stores.
pub fn stores(
    shared: &SdkConfig,
    settings: &Settings,
    publishing: Publishing,
    source: &Source,
) -> (SecretsManager, ParameterStore) {
    let config = aws_sdk_secretsmanager::config::Builder::from(shared).retry_partition(unlimited_retries()).build();
    let client = aws_sdk_secretsmanager::Client::from_conf(config);
    let grants = SecretsManager::new(client, settings, publishing.kms_key_id.clone());
    let leases = ParameterStore::new(shared, settings.prefix.clone(), publishing, source.clone());
    (grants, leases)
}

/// Reads a parameter that is not encrypted. `None` if it does not exist.
///
/// # Errors
/// If AWS does not answer, or refuses the call.
pub async fn read_text(shared: &SdkConfig, name: &str) -> Result<Option<String>, StoreError> {
    match aws_sdk_ssm::Client::new(shared).get_parameter().name(name).send().await {
        Ok(answer) => Ok(answer.parameter.and_then(|parameter| parameter.value)),
        Err(error) => match failed("ssm:GetParameter", &error) {
            error if error.is_one_of(&["ParameterNotFound"]) => Ok(None),
            error => Err(error),
        },
    }
}

/// Replaces the SDK's quota of retries. All clients of a process share that quota, and time does
/// not refill it: after one outage a warm function would have no retries left. [`ATTEMPTS`] and the
/// time of the run are limits enough.
fn unlimited_retries() -> RetryPartition {
    RetryPartition::custom("token-keeper").token_bucket(TokenBucket::unlimited()).build()
}

/// Turns an SDK error into a [`StoreError`].
fn failed<E>(action: &'static str, error: &SdkError<E>) -> StoreError
where
    E: ProvideErrorMetadata + std::error::Error + 'static,
{
    StoreError { action, cause: cause(error) }
}

fn cause<E>(error: &SdkError<E>) -> Cause
where
    E: ProvideErrorMetadata + std::error::Error + 'static,
{
    let service = error.as_service_error();
    if let Some(code) = service.and_then(ProvideErrorMetadata::code) {
        if error.raw_response().is_some_and(|response| response.status().is_server_error()) {
            return Cause::OutOfOrder { code: code.to_owned() };
        }
        // Only this sentence is known to quote no values: it names caller, action and resource.
        let quotable = ["AccessDeniedException", "AccessDenied"].contains(&code);
        let message = service.and_then(ProvideErrorMetadata::message).filter(|_| quotable);
        return Cause::Refused { code: code.to_owned(), detail: message.unwrap_or_default().to_owned() };
    }
    if let Some(untrusted) = crate::http::untrusted(error) {
        return Cause::Untrusted(untrusted);
    }
    if let Some(missing) = no_credentials(error) {
        return Cause::NoCredentials(missing);
    }
    match error {
        SdkError::ResponseError(_) | SdkError::ServiceError(_) => Cause::NotAws,
        SdkError::ConstructionFailure(_) => Cause::NoRegion,
        _ => Cause::NoAnswer,
    }
}

/// Why there are no credentials, if that is the trouble. A provider of credentials may say it
/// itself, with a [`NoCredentials`] as the source of its error.
fn no_credentials(error: &(dyn std::error::Error + 'static)) -> Option<NoCredentials> {
    let mut sources = successors(Some(error), |&error| error.source());
    sources.find(|error| error.is::<CredentialsError>())?;
    Some(sources.find_map(|error| error.downcast_ref().cloned()).unwrap_or_default())
}
