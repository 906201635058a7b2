//! [`Grants`], [`GrantNames`], [`SecretWriter`] and [`SecretRemover`] over Secrets Manager. The
//! refresher only reads: `BatchGetSecretValue` by prefix and by name, and `ListSecrets`.

use std::time::Duration;

use aws_sdk_secretsmanager::Client;
use aws_sdk_secretsmanager::operation::batch_get_secret_value::BatchGetSecretValueOutput;
use aws_sdk_secretsmanager::types::{ApiErrorType, Filter, FilterNameStringType, SecretValueEntry};

use tokio::time::sleep;

use super::failed;
use crate::connection::{SecretVersion, StoredSecret};
use crate::failure::{Cause, StoreError};
use crate::flaw::Flaw;
use crate::name::{SecretName, VersionId};
use crate::ports::{GrantNames, Grants, RECOVERY_DAYS, SecretRemover, SecretReplacer, SecretWriter};
use crate::secret::SecretText;
use crate::settings::Settings;

/// The most secrets in one call.
const BATCH: usize = 20;
/// The most names in one answer.
const LIST: i32 = 100;
const ACTION: &str = "secretsmanager:BatchGetSecretValue";
const MOVE: &str = "secretsmanager:UpdateSecretVersionStage";
/// The label of the version that everybody reads.
const CURRENT: &str = "AWSCURRENT";
/// The label of the version that was current before.
const PREVIOUS: &str = "AWSPREVIOUS";
/// The label of a version that is not current yet. It is not AWSPENDING, which belongs to AWS's own
/// rotation.
const ASIDE: &str = "token-keeper-next";

/// Secrets Manager.
pub struct SecretsManager {
    client: Client,
    paths: [String; 2],
    settling: Duration,
    /// The key of new secrets; the account's `aws/secretsmanager` if unset.
    kms_key_id: Option<String>,
}

impl SecretsManager {
    pub(super) fn new(client: Client, settings: &Settings, kms_key_id: Option<String>) -> Self {
        let Settings { prefix, settling, .. } = settings;
        Self { client, paths: [prefix.grants(), prefix.clients()], settling: *settling, kms_key_id }
    }

    /// Makes `version` the current one in place of `read`.
    async fn make_current(&self, name: &SecretName, version: &VersionId, read: &VersionId) -> Result<(), StoreError> {
        let call = self.client.update_secret_version_stage().secret_id(name.as_str()).version_stage(CURRENT);
        let call = call.move_to_version_id(version.as_str()).remove_from_version_id(read.as_str());
        call.send().await.map(|_| ()).map_err(|error| failed(MOVE, &error))
    }
}

impl SecretsManager {
    /// The version with this label. `None` if there is no such version, or it is binary.
    async fn labelled(&self, name: &SecretName, label: &str) -> Result<Option<SecretVersion>, StoreError> {
        let read = self.client.get_secret_value().secret_id(name.as_str()).version_stage(label).send().await;
        match read.map_err(|error| failed("secretsmanager:GetSecretValue", &error)) {
            Ok(version) => {
                let id = VersionId::new(version.version_id.unwrap_or_default());
                Ok(version.secret_string.map(|text| SecretVersion { id, text: SecretText::new(text) }))
            }
            Err(error) if error.is_one_of(&["ResourceNotFoundException"]) => Ok(None),
            Err(error) => Err(error),
        }
    }
}

impl Grants for SecretsManager {
    async fn list(&self) -> Result<Vec<StoredSecret>, StoreError> {
        let names = Filter::builder().key(FilterNameStringType::Name).set_values(Some(self.paths.to_vec())).build();
        let mut secrets = Vec::new();
        let mut token = None;
        loop {
            let call = self.client.batch_get_secret_value().filters(names.clone()).set_next_token(token);
            let mut page = call.send().await.map_err(|error| failed(ACTION, &error))?;
            token = page.next_token.take();
            secrets.extend(stored(page));
            // A page may be empty and still not be the last.
            if token.is_none() {
                return Ok(secrets);
            }
        }
    }

    async fn read(&self, names: &[SecretName]) -> Result<Vec<StoredSecret>, StoreError> {
        let mut secrets = Vec::new();
        for names in names.chunks(BATCH) {
            let call = self
                .client
                .batch_get_secret_value()
                .set_secret_id_list(Some(names.iter().map(SecretName::to_string).collect()));
            secrets.extend(stored(call.send().await.map_err(|error| failed(ACTION, &error))?));
        }
        Ok(secrets)
    }
}

impl GrantNames for SecretsManager {
    async fn names(&self) -> Result<Vec<SecretName>, StoreError> {
        let below = Filter::builder().key(FilterNameStringType::Name).values(&self.paths[0]).build();
        let mut names = Vec::new();
        let mut token = None;
        loop {
            let call = self.client.list_secrets().filters(below.clone()).max_results(LIST).set_next_token(token);
            let page = call.send().await.map_err(|error| failed("secretsmanager:ListSecrets", &error))?;
            names.extend(
                page.secret_list
                    .unwrap_or_default()
                    .into_iter()
                    .filter_map(|secret| secret.name)
                    .map(SecretName::found),
            );
            token = page.next_token;
            if token.is_none() {
                return Ok(names);
            }
        }
    }
}

impl SecretWriter for SecretsManager {
    async fn create(&self, name: &SecretName, text: &SecretText) -> Result<VersionId, StoreError> {
        // The SDK chooses the version. If it came from the text, links of a secret that was removed
        // would work again for a new one.
        let call = self.client.create_secret().name(name.as_str()).secret_string(text.expose());
        let call = call.set_kms_key_id(self.kms_key_id.clone());
        match call.send().await.map_err(|error| failed("secretsmanager:CreateSecret", &error)) {
            Ok(created) => Ok(VersionId::new(created.version_id.unwrap_or_default())),
            Err(error) if error.is_one_of(&["ResourceExistsException"]) => {
                Err(StoreError { cause: Cause::Overtaken, ..error })
            }
            Err(error) => Err(error),
        }
    }
}

impl SecretReplacer for SecretsManager {
    async fn put_aside(&self, name: &SecretName) -> Result<Option<SecretVersion>, StoreError> {
        self.labelled(name, ASIDE).await
    }

    /// Stores the new version under a label that nobody reads, then moves `AWSCURRENT` to it. AWS
    /// refuses the move if `AWSCURRENT` is not at `read`. A writer that is cut off between the two
    /// has changed nothing.
    async fn replace(&self, name: &SecretName, text: &SecretText, read: &VersionId) -> Result<VersionId, StoreError> {
        let version = VersionId::after(read, text);
        let call = self.client.put_secret_value().secret_id(name.as_str()).secret_string(text.expose());
        let call = call.client_request_token(version.as_str()).version_stages(ASIDE);
        call.send().await.map_err(|error| failed("secretsmanager:PutSecretValue", &error))?;
        let Err(mut why) = self.make_current(name, &version, read).await else { return Ok(version) };
        if !why.is_one_of(&["InvalidParameterException"]) {
            return Err(why);
        }
        // Another version is current. It may be ours, if the answer to a first try was lost. What
        // is read may be old, so only two looks that agree count, with time between them.
        let mut before = None;
        for wait in [Duration::ZERO, self.settling] {
            sleep(wait).await;
            let seen = match self.read_one(name).await.map(|secret| secret.content) {
                Ok(Ok(current)) if current.id == version => return Ok(version),
                Ok(Ok(current)) => Some(current.id).filter(|id| id != read),
                Ok(Err(Flaw::NotFound | Flaw::Deleted)) => Some(VersionId::default()),
                Ok(Err(_)) | Err(_) => None,
            };
            why.cause = if seen.is_some() && seen == before { Cause::Overtaken } else { Cause::NoAnswer };
            before = seen;
        }
        Err(why)
    }
}

impl SecretRemover for SecretsManager {
    async fn remove(&self, name: &SecretName) -> Result<(), StoreError> {
        let call = self.client.delete_secret().secret_id(name.as_str()).recovery_window_in_days(RECOVERY_DAYS);
        call.send().await.map(|_| ()).map_err(|error| failed("secretsmanager:DeleteSecret", &error))
    }

    /// AWS deletes whatever is current. So this looks afterwards, when every write is seen, and
    /// restores a newer version.
    async fn remove_unchanged(&self, name: &SecretName, read: &VersionId) -> Result<(), StoreError> {
        const DESCRIBE: &str = "secretsmanager:DescribeSecret";
        match self.remove(name).await {
            // The answer to a first try was lost.
            Err(error) if error.is_one_of(&["InvalidRequestException"]) => {}
            removed => removed?,
        }
        sleep(self.settling).await;
        let described = self.client.describe_secret().secret_id(name.as_str()).send().await;
        let described = described.map_err(|error| failed(DESCRIBE, &error))?;
        let labels = described.version_ids_to_stages.unwrap_or_default();
        let current = labels.iter().find(|(_, labels)| labels.iter().any(|label| label == CURRENT));
        if current.is_none_or(|(id, _)| id == read.as_str()) {
            return Ok(());
        }
        self.restore(name).await?;
        Err(StoreError { action: DESCRIBE, cause: Cause::Overtaken })
    }

    async fn restore(&self, name: &SecretName) -> Result<(), StoreError> {
        let restored = self.client.restore_secret().secret_id(name.as_str()).send().await;
        restored.map(|_| ()).map_err(|error| failed("secretsmanager:RestoreSecret", &error))
    }

    async fn leftovers(&self, name: &SecretName) -> Result<Vec<SecretText>, StoreError> {
        let mut texts = Vec::new();
        for label in [PREVIOUS, ASIDE] {
            texts.extend(self.labelled(name, label).await?.map(|version| version.text));
        }
        Ok(texts)
    }
}

fn stored(page: BatchGetSecretValueOutput) -> impl Iterator<Item = StoredSecret> {
    let values = page.secret_values.unwrap_or_default().into_iter().map(value);
    values.chain(page.errors.unwrap_or_default().into_iter().map(error))
}

fn value(entry: SecretValueEntry) -> StoredSecret {
    let content = match entry.secret_string {
        Some(text) => {
            Ok(SecretVersion { id: VersionId::new(entry.version_id.unwrap_or_default()), text: SecretText::new(text) })
        }
        None => Err(Flaw::Binary),
    };
    StoredSecret { name: SecretName::found(entry.name.unwrap_or_default()), content }
}

fn error(error: ApiErrorType) -> StoredSecret {
    let message = || error.message.as_ref().map(|message| format!(" ({message})")).unwrap_or_default();
    let flaw = match error.error_code.as_deref().unwrap_or("an error without a code") {
        "ResourceNotFoundException" => Flaw::NotFound,
        "AccessDeniedException" => Flaw::Denied(message()),
        code @ ("DecryptionFailure" | "KMSAccessDeniedException") => Flaw::Key(code.to_owned()),
        "InvalidRequestException" => Flaw::Deleted,
        code => Flaw::Aws(code.to_owned()),
    };
    StoredSecret { name: SecretName::found(name_of(&error.secret_id.unwrap_or_default())), content: Err(flaw) }
}

/// The name in an ARN, without the dash and six characters that AWS adds. A text that is not an ARN
/// is a name already.
fn name_of(id: &str) -> String {
    let Some(("arn", arn)) = id.split_once(':') else { return id.to_owned() };
    let name = arn.rsplit(':').next().unwrap_or_default();
    name.rsplit_once('-').filter(|(_, tail)| tail.len() == 6).map_or(name, |(name, _)| name).to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_names_the_secret_whether_aws_gives_its_name_or_its_arn() {
        let arn = "arn:aws:secretsmanager:eu-central-1:123456789012:secret:token-keeper/connections/crm-prod-AbCd12";
        assert_eq!(name_of(arn), "token-keeper/connections/crm-prod");
        assert_eq!(name_of("token-keeper/connections/crm-prod"), "token-keeper/connections/crm-prod");
    }
}
