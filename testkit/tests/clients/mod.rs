//! The SDK's clients for the tests: they point at a URL, use invented credentials, and do not
//! retry.

use aws_config::BehaviorVersion;
use aws_config::retry::RetryConfig;
use aws_sdk_ssm::config::{Credentials, Region};
use aws_sdk_ssm::error::{ProvideErrorMetadata, SdkError};

pub(crate) async fn clients(url: &str) -> (aws_sdk_secretsmanager::Client, aws_sdk_ssm::Client, aws_sdk_sqs::Client) {
    let config = aws_config::defaults(BehaviorVersion::latest())
        .region(Region::from_static("eu-central-1"))
        .credentials_provider(Credentials::new("AKIDEXAMPLE", "not-a-secret", None, None, "made up"))
        .retry_config(RetryConfig::disabled())
        .endpoint_url(url)
        .load()
        .await;
    let (secrets, ssm) = (aws_sdk_secretsmanager::Client::new(&config), aws_sdk_ssm::Client::new(&config));
    (secrets, ssm, aws_sdk_sqs::Client::new(&config))
}

/// The outcome of a call in a word: `accepted`, or the error's code.
pub(crate) fn outcome_of<T, E: ProvideErrorMetadata, R>(outcome: Result<T, SdkError<E, R>>) -> String {
    match outcome {
        Ok(_) => "accepted".to_owned(),
        Err(error) => error.code().unwrap_or("an error without a code").to_owned(),
    }
}
