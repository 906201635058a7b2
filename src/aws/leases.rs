//! [`Leases`] and [`LeaseRemover`] over Parameter Store: reads by path or by name, writes one
//! parameter at a time.

use aws_config::SdkConfig;
use aws_sdk_ssm::Client;
use aws_sdk_ssm::config::interceptors::InterceptorContext;
use aws_sdk_ssm::config::retry::{ClassifyRetry, RetryAction};
use aws_sdk_ssm::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_ssm::types::{Parameter, ParameterTier, ParameterType};
use aws_smithy_runtime_api::client::retries::ErrorKind;
use aws_smithy_runtime_api::client::retries::classifiers::{RetryClassifierPriority, RetryReason};
use jiff::{SignedDuration, Timestamp};
use serde_json::json;

use super::{failed, unlimited_retries};
use crate::claim::Claim;
use crate::failure::{Cause, StoreError};
use crate::flaw::{Broken, Flaw};
use crate::lease::{Lease, whole_second};
use crate::name::{ConnectionName, Prefix};
use crate::notice;
use crate::pace::{Pace, Turn};
use crate::ports::{Claims, LeaseRemover, Leases, Published};
use crate::secret::SecretText;
use crate::source::Source;

/// The most names in one call.
const BATCH: usize = 10;
/// The description of a claim.
const CLAIM: &str = "Keeps two runs of Token Keeper from using a refresh token twice";
/// AWS removes an Advanced parameter this long after its last write. The time is long because the
/// document also remembers a dead grant. In a running installation each write moves the date.
const EXPIRATION: SignedDuration = SignedDuration::from_hours(30 * 24);
/// AWS's error codes if a key refuses. A call that is not allowed has one of them too.
const KEY_REFUSALS: [&str; 3] = ["InvalidKeyId", "AccessDeniedException", "KMSAccessDeniedException"];

/// How leases are published.
#[derive(Clone, Debug)]
pub struct Publishing {
    /// Whether the bare access token is published beside the document.
    pub plain: bool,
    /// The most calls per second. Below this the pace finds what the account allows.
    pub rate: u32,
    /// The key for the values and for new secrets; the account's `aws/ssm` and
    /// `aws/secretsmanager` if unset.
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
pub struct ParameterStore {
    client: Client,
    prefix: Prefix,
    publishing: Publishing,
    puts: Pace,
    reads: Pace,
    source: Source,
}

impl ParameterStore {
    pub(super) fn new(shared: &SdkConfig, prefix: Prefix, publishing: Publishing, source: Source) -> Self {
        let config = aws_sdk_ssm::config::Builder::from(shared)
            .retry_partition(unlimited_retries())
            .retry_classifier(LeftToThePace)
            .build();
        let (puts, reads) = Pace::below(publishing.rate);
        Self { client: Client::from_conf(config), prefix, publishing, puts, reads, source }
    }

    /// The same store without a pace, if it has no quotas.
    #[must_use]
    pub fn unpaced(self) -> Self {
        Self { puts: Pace::lifted(), reads: Pace::lifted(), ..self }
    }

    /// One reading call, at its pace.
    async fn read_paced<T, E>(
        &self,
        action: &'static str,
        call: impl AsyncFn() -> Result<T, SdkError<E>>,
    ) -> Result<T, StoreError>
    where
        E: ProvideErrorMetadata + std::error::Error + 'static,
    {
        self.reads.call(async || call().await.map_err(|error| failed(action, &error))).await
    }

    /// The leases of a page that could not be decrypted as a whole. One call for each, so that a
    /// key that refuses costs only the leases that it protects.
    async fn one_by_one(&self, names: impl IntoIterator<Item = String>) -> Result<Published, StoreError> {
        let mut leases = Published::new();
        for name in names {
            let call = async || self.client.get_parameter().name(&name).with_decryption(true).send().await;
            match self.read_paced("ssm:GetParameter", call).await {
                Ok(answer) => leases.extend(answer.parameter.map(|parameter| self.parse(parameter))),
                Err(error) if error.is_one_of(&["ParameterNotFound"]) => {}
                Err(error) if error.is_one_of(&KEY_REFUSALS) => {
                    let broken = Broken::parameter(&name, Flaw::Key(error.code().unwrap_or_default().to_owned()));
                    leases.insert(self.connection(&name), Err(broken));
                }
                Err(error) => return Err(error),
            }
        }
        Ok(leases)
    }

    fn parse(&self, parameter: Parameter) -> (String, Result<Lease, Broken>) {
        let name = parameter.name.unwrap_or_default();
        let text = SecretText::new(parameter.value.unwrap_or_default());
        let lease = Lease::parse(&text).map(|lease| Lease { version: parameter.version, ..lease });
        (self.connection(&name), lease.map_err(|flaw| Broken::parameter(&name, flaw)))
    }

    fn connection(&self, parameter: &str) -> String {
        parameter.strip_prefix(&self.prefix.leases()).unwrap_or(parameter).to_owned()
    }

    /// Writes a document or a bare token, and returns the parameter's version.
    async fn put(&self, turn: Turn<'_>, name: String, value: &str, description: &str) -> Result<i64, StoreError> {
        let (tier, policies) = match self.publishing.tier {
            Tier::Standard => (ParameterTier::Standard, None),
            Tier::IntelligentTiering => (ParameterTier::IntelligentTiering, None),
            Tier::Advanced => (ParameterTier::Advanced, Some(expiration(self.source.now() + EXPIRATION))),
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
        let put = async || {
            let answer = call.clone().send().await.map_err(|error| failed("ssm:PutParameter", &error))?;
            Ok(answer.version)
        };
        turn.call(put).await
    }
}

impl Leases for ParameterStore {
    async fn list(&self) -> Result<Published, StoreError> {
        let path = self.prefix.leases();
        let path = path.trim_end_matches('/');
        let mut leases = Published::new();
        let mut token: Option<String> = None;
        loop {
            let page = async |decrypted| {
                let call = self.client.get_parameters_by_path().path(path).with_decryption(decrypted);
                let call = call.set_next_token(token.clone());
                self.read_paced("ssm:GetParametersByPath", async || call.clone().send().await).await
            };
            let next = match page(true).await {
                Ok(answer) => {
                    leases.extend(
                        answer.parameters.unwrap_or_default().into_iter().map(|parameter| self.parse(parameter)),
                    );
                    answer.next_token
                }
                Err(error) if error.is_one_of(&KEY_REFUSALS) => {
                    // If AWS refuses the path and not a key, it refuses this call too. The first
                    // error is returned.
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
            match self.read_paced("ssm:GetParameters", async || call.clone().send().await).await {
                Ok(answer) => {
                    leases.extend(
                        answer.parameters.unwrap_or_default().into_iter().map(|parameter| self.parse(parameter)),
                    );
                }
                Err(error) if error.is_one_of(&KEY_REFUSALS) => {
                    leases.extend(self.one_by_one(names).await?);
                }
                Err(error) => return Err(error),
            }
        }
        Ok(leases)
    }

    async fn read_version(&self, connection: &ConnectionName, version: i64) -> Result<Option<Lease>, StoreError> {
        let name = format!("{}:{version}", self.prefix.lease(connection.as_str()));
        let call = async || self.client.get_parameter().name(&name).with_decryption(true).send().await;
        match self.read_paced("ssm:GetParameter", call).await {
            Ok(answer) => Ok(answer.parameter.and_then(|parameter| self.parse(parameter).1.ok())),
            Err(error) if error.is_one_of(&["ParameterVersionNotFound", "ParameterNotFound"]) => Ok(None),
            Err(error) => Err(error),
        }
    }

    fn pace(&self) -> &Pace {
        &self.puts
    }

    async fn publish(
        &self,
        turn: Turn<'_>,
        connection: &ConnectionName,
        lease: &Lease,
        description: &str,
    ) -> Result<i64, StoreError> {
        let Some(token) = lease.token.as_ref().filter(|_| self.publishing.plain) else {
            return self.mark(turn, connection, lease, description).await;
        };
        let name = self.prefix.plain_token(connection.as_str());
        self.put(turn, name, token.access_token.expose(), notice::QUIET).await?;
        self.mark(self.puts.another().await, connection, lease, description).await
    }

    async fn mark(
        &self,
        turn: Turn<'_>,
        connection: &ConnectionName,
        lease: &Lease,
        description: &str,
    ) -> Result<i64, StoreError> {
        self.put(turn, self.prefix.lease(connection.as_str()), lease.document().expose(), description).await
    }
}

impl ParameterStore {
    /// Writes a claim.
    async fn put_claim(&self, connection: &ConnectionName, claim: &Claim, overwrite: bool) -> Result<(), StoreError> {
        let tier = match self.publishing.tier {
            Tier::IntelligentTiering => ParameterTier::IntelligentTiering,
            // A claim is small, and is removed soon.
            Tier::Standard | Tier::Advanced => ParameterTier::Standard,
        };
        let call = self
            .client
            .put_parameter()
            .name(self.prefix.claims(connection.as_str()) + &claim.name())
            .value(claim.document().expose())
            .description(CLAIM)
            .r#type(ParameterType::SecureString)
            .overwrite(overwrite)
            .tier(tier)
            .set_key_id(self.publishing.kms_key_id.clone());
        let put = async || call.clone().send().await.map(|_| ()).map_err(|error| failed("ssm:PutParameter", &error));
        // Its connection has begun, and perhaps a new refresh token waits.
        self.puts.another().await.call(put).await
    }
}

impl Claims for ParameterStore {
    async fn claim(&self, connection: &ConnectionName, claim: &Claim) -> Result<(), StoreError> {
        match self.put_claim(connection, claim, false).await {
            Err(error) if error.is_one_of(&["ParameterAlreadyExists"]) => {
                Err(StoreError { cause: Cause::Overtaken, ..error })
            }
            put => put,
        }
    }

    async fn rewrite(&self, connection: &ConnectionName, claim: &Claim) -> Result<(), StoreError> {
        self.put_claim(connection, claim, true).await
    }

    async fn claims(&self, connection: &ConnectionName) -> Result<Vec<Claim>, StoreError> {
        let path = self.prefix.claims(connection.as_str());
        let path = path.trim_end_matches('/');
        let (mut claims, mut token) = (Vec::new(), None);
        loop {
            let call = self.client.get_parameters_by_path().path(path).with_decryption(true).set_next_token(token);
            let page = self.read_paced("ssm:GetParametersByPath", async || call.clone().send().await).await?;
            claims.extend(page.parameters.unwrap_or_default().into_iter().map(claim));
            token = page.next_token;
            if token.is_none() {
                return Ok(claims);
            }
        }
    }

    async fn unclaim(&self, connection: &ConnectionName, claims: &[Claim]) -> Result<(), StoreError> {
        for claims in claims.chunks(BATCH) {
            let path = self.prefix.claims(connection.as_str());
            let names = claims.iter().map(|claim| path.clone() + &claim.name()).collect();
            let call = self.client.delete_parameters().set_names(Some(names));
            let remove =
                async || call.clone().send().await.map(|_| ()).map_err(|error| failed("ssm:DeleteParameters", &error));
            self.puts.another().await.call(remove).await?;
        }
        Ok(())
    }
}

impl LeaseRemover for ParameterStore {
    async fn remove(&self, connection: &ConnectionName) -> Result<(), StoreError> {
        let connection = connection.as_str();
        let names = vec![self.prefix.lease(connection), self.prefix.plain_token(connection)];
        let call = self.client.delete_parameters().set_names(Some(names));
        let remove =
            async || call.clone().send().await.map(|_| ()).map_err(|error| failed("ssm:DeleteParameters", &error));
        self.puts.call(remove).await
    }
}

/// The claim in a parameter.
fn claim(parameter: Parameter) -> Claim {
    let read = Claim::parse(&SecretText::new(parameter.value.unwrap_or_default()));
    read.unwrap_or_else(|| {
        let name = parameter.name.unwrap_or_default();
        let written_at = parameter.last_modified_date.and_then(|time| Timestamp::from_second(time.secs()).ok());
        Claim::unreadable(name.rsplit('/').next().unwrap_or_default(), written_at.unwrap_or(Timestamp::UNIX_EPOCH))
    })
}

/// The Expiration policy of an Advanced parameter ("Assigning parameter policies" in the Systems
/// Manager guide).
fn expiration(at: Timestamp) -> String {
    let at = whole_second(at).to_string();
    json!([{"Type": "Expiration", "Version": "1.0", "Attributes": {"Timestamp": at}}]).to_string()
}

/// Keeps the SDK from repeating what the pace repeats.
#[derive(Debug)]
struct LeftToThePace;

impl ClassifyRetry for LeftToThePace {
    fn classify_retry(&self, _: &InterceptorContext) -> RetryAction {
        RetryAction::NoActionIndicated
    }

    fn classify_retry_v2(&self, _: &InterceptorContext, so_far: &RetryAction) -> RetryAction {
        match so_far {
            RetryAction::RetryIndicated(RetryReason::RetryableError { kind: ErrorKind::ThrottlingError, .. }) => {
                RetryAction::RetryForbidden
            }
            _ => RetryAction::NoActionIndicated,
        }
    }

    fn name(&self) -> &'static str {
        "left to the pace"
    }

    /// It runs after all others, because it overrules them.
    fn priority(&self) -> RetryClassifierPriority {
        RetryClassifierPriority::run_after(RetryClassifierPriority::transient_error_classifier())
    }
}
