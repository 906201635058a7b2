//! [`Leases`] over Parameter Store: read by path or by name, put one document at a time.

use aws_config::SdkConfig;
use aws_sdk_ssm::Client;
use aws_sdk_ssm::config::interceptors::InterceptorContext;
use aws_sdk_ssm::config::retry::{ClassifyRetry, RetryAction};
use aws_sdk_ssm::operation::put_parameter::PutParameterError;
use aws_sdk_ssm::types::{Parameter, ParameterTier, ParameterType};
use jiff::{SignedDuration, Timestamp};
use serde_json::json;

use super::failed;
use super::http::for_sdk;
use crate::connection::{Broken, ConnectionName, Flaw, Prefix};
use crate::lease::{Lease, whole_second};
use crate::notice;
use crate::ports::{LeaseRemover, Leases, Published, StoreError};
use crate::secret::Text;

/// The most names in one call.
const BATCH: usize = 10;
/// How long after its last writing an Advanced parameter removes itself. Long, because the document is also the memory of a dead
/// grant; in a running installation each write moves the date on.
const EXPIRATION: SignedDuration = SignedDuration::from_hours(30 * 24);
/// AWS's words for a key that refuses, whether or not the call was allowed.
const KEY_REFUSALS: [&str; 3] = ["InvalidKeyId", "AccessDeniedException", "KMSAccessDeniedException"];

/// How leases are published.
#[derive(Clone, Debug)]
pub struct Publishing {
    /// Whether the bare access token is published beside the document.
    pub plain: bool,
    /// The most calls per second.
    pub rate: u32,
    /// The key for the values; the account's `aws/ssm` if unset.
    pub kms_key_id: Option<String>,
    /// The parameters' tier.
    pub tier: Tier,
}

/// A parameter's tier.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tier {
    /// 4 KB, 10,000 in an account and Region, free.
    Standard,
    /// 8 KB, 100,000, paid; with an Expiration policy.
    Advanced,
    /// Standard until it no longer fits.
    IntelligentTiering,
}

/// Parameter Store under one prefix.
pub struct ParameterStore<Now> {
    client: Client,
    prefix: Prefix,
    publishing: Publishing,
    now: Now,
}

impl<Now: Fn() -> Timestamp> ParameterStore<Now> {
    pub(super) fn new(
        shared: &SdkConfig,
        client: &reqwest::Client,
        prefix: Prefix,
        publishing: Publishing,
        now: Now,
    ) -> Self {
        let config = aws_sdk_ssm::config::Builder::from(shared)
            .http_client(for_sdk(client, Some(publishing.rate)))
            .retry_classifier(OverlappingUpdates)
            .build();
        Self { client: Client::from_conf(config), prefix, publishing, now }
    }

    /// The leases of a page that could not be decrypted as a whole: one call each, so that a key that refuses costs only the
    /// leases that it protects.
    async fn one_by_one(&self, names: impl IntoIterator<Item = String>) -> Result<Published, StoreError> {
        let mut leases = Published::new();
        for name in names {
            let call = self.client.get_parameter().name(&name).with_decryption(true);
            match call.send().await.map_err(|error| failed("ssm:GetParameter", &error)) {
                Ok(answer) => leases.extend(answer.parameter.map(|parameter| self.parse(parameter))),
                Err(error) if error.code == "ParameterNotFound" => {}
                Err(error) if KEY_REFUSALS.contains(&error.code.as_str()) => {
                    let broken = Broken::parameter(&name, Flaw::Key(error.code));
                    leases.insert(self.connection(&name), Err(broken));
                }
                Err(error) => return Err(error),
            }
        }
        Ok(leases)
    }

    fn parse(&self, parameter: Parameter) -> (String, Result<Lease, Broken>) {
        let name = parameter.name.unwrap_or_default();
        let text = Text::new(parameter.value.unwrap_or_default());
        (self.connection(&name), Lease::parse(&text).map_err(|flaw| Broken::parameter(&name, flaw)))
    }

    fn connection(&self, parameter: &str) -> String {
        parameter.strip_prefix(&self.prefix.lease("")).unwrap_or(parameter).to_owned()
    }

    async fn put(&self, name: String, value: &str, description: &str) -> Result<(), StoreError> {
        let (tier, policies) = match self.publishing.tier {
            Tier::Standard => (ParameterTier::Standard, None),
            Tier::IntelligentTiering => (ParameterTier::IntelligentTiering, None),
            Tier::Advanced => (ParameterTier::Advanced, Some(expiration((self.now)() + EXPIRATION))),
        };
        let call = self
            .client
            .put_parameter()
            .name(name)
            .value(value)
            .description(description)
            .r#type(ParameterType::SecureString)
            .overwrite(true)
            .tier(tier)
            .set_policies(policies)
            .set_key_id(self.publishing.kms_key_id.clone());
        call.send().await.map(|_| ()).map_err(|error| failed("ssm:PutParameter", &error))
    }
}

impl<Now: Fn() -> Timestamp> Leases for ParameterStore<Now> {
    async fn list(&self) -> Result<Published, StoreError> {
        let path = self.prefix.lease("");
        let path = path.trim_end_matches('/');
        let mut leases = Published::new();
        let mut token: Option<String> = None;
        loop {
            let page = |decrypted| {
                self.client
                    .get_parameters_by_path()
                    .path(path)
                    .with_decryption(decrypted)
                    .set_next_token(token.clone())
                    .send()
            };
            let action = "ssm:GetParametersByPath";
            let next = match page(true).await.map_err(|error| failed(action, &error)) {
                Ok(answer) => {
                    leases.extend(
                        answer.parameters.unwrap_or_default().into_iter().map(|parameter| self.parse(parameter)),
                    );
                    answer.next_token
                }
                Err(error) if KEY_REFUSALS.contains(&error.code.as_str()) => {
                    // If it is the path that is refused and not a key, this is refused as well and is the error.
                    let answer = page(false).await.map_err(|_| error)?;
                    let names =
                        answer.parameters.unwrap_or_default().into_iter().filter_map(|parameter| parameter.name);
                    leases.extend(self.one_by_one(names).await?);
                    answer.next_token
                }
                Err(error) => return Err(error),
            };
            // A page may be empty and still not be the last.
            let Some(next) = next else { return Ok(leases) };
            token = Some(next);
        }
    }

    async fn read(&self, connections: &[ConnectionName]) -> Result<Published, StoreError> {
        let mut leases = Published::new();
        for connections in connections.chunks(BATCH) {
            let names: Vec<_> = connections.iter().map(|name| self.prefix.lease(name.as_str())).collect();
            let call = self.client.get_parameters().set_names(Some(names.clone())).with_decryption(true);
            match call.send().await.map_err(|error| failed("ssm:GetParameters", &error)) {
                Ok(answer) => {
                    leases.extend(
                        answer.parameters.unwrap_or_default().into_iter().map(|parameter| self.parse(parameter)),
                    );
                }
                Err(error) if KEY_REFUSALS.contains(&error.code.as_str()) => {
                    leases.extend(self.one_by_one(names).await?);
                }
                Err(error) => return Err(error),
            }
        }
        Ok(leases)
    }

    async fn publish(
        &self,
        connection: &ConnectionName,
        lease: &Lease,
        last: Option<&Lease>,
    ) -> Result<(), StoreError> {
        if let Some(token) = lease.token.as_ref().filter(|_| self.publishing.plain) {
            let name = self.prefix.plain_token(connection.as_str());
            self.put(name, token.access_token.expose(), notice::QUIET).await?;
        }
        self.mark(connection, lease, last).await
    }

    async fn mark(&self, connection: &ConnectionName, lease: &Lease, last: Option<&Lease>) -> Result<(), StoreError> {
        let description = notice::description(connection, lease, last);
        self.put(self.prefix.lease(connection.as_str()), lease.document().expose(), &description).await
    }
}

impl<Now: Fn() -> Timestamp> LeaseRemover for ParameterStore<Now> {
    async fn remove(&self, connection: &ConnectionName) -> Result<(), StoreError> {
        let connection = connection.as_str();
        let names = vec![self.prefix.lease(connection), self.prefix.plain_token(connection)];
        let call = self.client.delete_parameters().set_names(Some(names));
        call.send().await.map(|_| ()).map_err(|error| failed("ssm:DeleteParameters", &error))
    }
}

/// The Expiration policy of an Advanced parameter ("Assigning parameter policies" in the Systems Manager guide).
fn expiration(at: Timestamp) -> String {
    let at = whole_second(at).to_string();
    json!([{"Type": "Expiration", "Version": "1.0", "Attributes": {"Timestamp": at}}]).to_string()
}

/// `TooManyUpdates` says that two updates of a parameter overlapped. The SDK does not count it among what a retry mends.
#[derive(Debug)]
struct OverlappingUpdates;

impl ClassifyRetry for OverlappingUpdates {
    fn classify_retry(&self, context: &InterceptorContext) -> RetryAction {
        let error = context.output_or_error().and_then(Result::err).and_then(|error| error.as_operation_error());
        match error.and_then(|error| error.downcast_ref::<PutParameterError>()) {
            Some(PutParameterError::TooManyUpdates(_)) => RetryAction::throttling_error(),
            _ => RetryAction::NoActionIndicated,
        }
    }

    fn name(&self) -> &'static str {
        "overlapping updates"
    }
}
