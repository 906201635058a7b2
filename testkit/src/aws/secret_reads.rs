//! Secrets Manager's reading operations: one value, many values, and the list.

use serde::Deserialize;
use serde_json::json;

use super::answer::{Answer, Refusal, refuse};
use super::listing::{Cursor, check_length, page_size};
use super::secret::{CURRENT, Secret};
use super::secret_filters::{self, Filter};
use super::secrets::{Secrets, name_in};

/// The page limit and default of `BatchGetSecretValue`, and the largest number of ids in one
/// request.
const BATCH: usize = 20;
/// The page limit and default of `ListSecrets`.
const LIST: usize = 100;

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub(super) struct BatchGet {
    #[serde(default)]
    secret_id_list: Vec<String>,
    #[serde(default)]
    filters: Vec<Filter>,
    max_results: Option<usize>,
    next_token: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub(super) struct List {
    #[serde(default)]
    filters: Vec<Filter>,
    max_results: Option<usize>,
    next_token: Option<String>,
    #[serde(default)]
    include_planned_deletion: bool,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub(super) struct GetValue {
    secret_id: String,
    version_id: Option<String>,
    version_stage: Option<String>,
}

impl Secrets {
    pub(super) fn batch_get(&self, request: &BatchGet) -> Answer {
        let by_id = !request.secret_id_list.is_empty();
        if by_id != request.filters.is_empty() {
            return refuse("InvalidParameterException", "either SecretIdList or Filters, and not both");
        }
        if by_id && request.max_results.is_some() {
            return refuse("InvalidParameterException", "MaxResults needs Filters");
        }
        let (ids, next): (Vec<&str>, _) = if by_id {
            check_length("secretIdList", &request.secret_id_list, BATCH)?;
            (request.secret_id_list.iter().map(String::as_str).collect(), None)
        } else {
            let size = page_size(request.max_results, BATCH)?;
            let cursor = cursor(request.next_token.as_deref())?;
            let (page, next) = cursor.page(self.matching(&cursor, &request.filters, false)?, size, self.empty_pages);
            (page.into_iter().map(|(name, _)| name).collect(), next)
        };
        let (mut values, mut errors) = (Vec::new(), Vec::new());
        for id in ids {
            match self.value(id, None, None) {
                Ok(value) => values.push(value),
                Err(refusal) => {
                    errors.push(json!({"SecretId": id, "ErrorCode": refusal.code, "Message": refusal.message}));
                }
            }
        }
        Ok(json!({"SecretValues": values, "Errors": errors, "NextToken": next}))
    }

    pub(super) fn get_value(&self, request: &GetValue) -> Answer {
        self.value(&request.secret_id, request.version_id.as_deref(), request.version_stage.as_deref())
    }

    /// One value, by id or ARN. Without a version or stage, the current one.
    fn value(&self, id: &str, version: Option<&str>, stage: Option<&str>) -> Answer {
        let name = name_in(id);
        if self.denied.contains(name) {
            return refuse(
                "AccessDeniedException",
                format!(
                    "User: arn:aws:sts::123456789012:assumed-role/somebody is not authorized to perform: \
                     secretsmanager:GetSecretValue on resource: {id}"
                ),
            );
        }
        let secret = self.undeleted(id)?;
        let version = match version {
            Some(version) => secret.version(version),
            None => secret.staged(stage.unwrap_or(CURRENT)),
        };
        let Some(version) = version else {
            return refuse("ResourceNotFoundException", format!("no such version or stage of {id}"));
        };
        if stage.is_some_and(|stage| !version.stages.iter().any(|label| label == stage)) {
            return refuse("InvalidRequestException", format!("that version of {id} is not at that stage"));
        }
        if self.undecryptable.contains(name) {
            return refuse("DecryptionFailure", format!("KMS does not decrypt {id}"));
        }
        Ok(secret.value(name, version))
    }

    pub(super) fn list(&self, request: &List) -> Answer {
        let size = page_size(request.max_results, LIST)?;
        let cursor = cursor(request.next_token.as_deref())?;
        let entries = self.matching(&cursor, &request.filters, request.include_planned_deletion)?;
        let (page, next) = cursor.page(entries, size, self.empty_pages);
        let list: Vec<_> =
            page.into_iter().map(|(name, secret)| secret.description(name, "SecretVersionsToStages")).collect();
        Ok(json!({"SecretList": list, "NextToken": next}))
    }

    /// The secrets that pass all filters, after the cursor.
    fn matching<'a, 'b>(
        &'a self,
        cursor: &'b Cursor,
        filters: &'b [Filter],
        with_deleted: bool,
    ) -> Result<impl Iterator<Item = (&'a str, &'a Secret)>, Refusal> {
        secret_filters::check(filters)?;
        let entries = secret_filters::name_prefixes(filters).into_iter();
        Ok(entries.flat_map(|prefix| cursor.entries(&self.by_name, prefix)).filter(move |(name, secret)| {
            (with_deleted || secret.deletion.is_none()) && filters.iter().all(|filter| filter.passes(name, secret))
        }))
    }
}

fn cursor(token: Option<&str>) -> Result<Cursor, Refusal> {
    Cursor::parse(token).map_or_else(|| refuse("InvalidNextTokenException", "not a token of this listing"), Ok)
}
