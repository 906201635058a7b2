//! The filters of `BatchGetSecretValue` and `ListSecrets`. A secret must pass every filter, and one
//! value of each filter must match.

use serde::Deserialize;

use super::answer::{Refusal, invalid};
use super::listing::check_length;
use super::secret::Secret;

/// The largest number of filters in a request, and of values in a filter.
const MAX: usize = 10;

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub(super) struct Filter {
    key: String,
    values: Vec<String>,
}

impl Filter {
    /// Whether the secret passes. A value matches names that begin with it; with `!` in front,
    /// names that do not.
    pub(super) fn passes(&self, name: &str, secret: &Secret) -> bool {
        let tags = &secret.tags;
        self.values.iter().any(|value| {
            let (negated, value) = value.strip_prefix('!').map_or((false, value.as_str()), |value| (true, value));
            let found = match self.key.as_str() {
                "name" => name.starts_with(value),
                "tag-key" => tags.iter().any(|tag| tag.key.starts_with(value)),
                "tag-value" => tags.iter().any(|tag| tag.value.starts_with(value)),
                _ => secret.description.as_ref().is_some_and(|description| {
                    description.to_lowercase().starts_with(&value.to_lowercase()) // the one that ignores case
                }),
            };
            found != negated
        })
    }
}

/// Refuses filters that AWS refuses, and filters that the stand-in does not know.
pub(super) fn check(filters: &[Filter]) -> Result<(), Refusal> {
    if filters.len() > MAX {
        return invalid(format!("{} filters; the limit is {MAX}", filters.len()));
    }
    for filter in filters {
        check_length("values", &filter.values, MAX)?;
        if !matches!(filter.key.as_str(), "name" | "tag-key" | "tag-value" | "description") {
            return invalid(format!("no filter key {:?} here", filter.key));
        }
    }
    Ok(())
}

/// The prefixes of the names of all matching secrets, in order. No prefix is inside another.
pub(super) fn name_prefixes(filters: &[Filter]) -> Vec<&str> {
    let by_name = |filter: &&Filter| filter.key == "name" && !filter.values.iter().any(|value| value.starts_with('!'));
    let Some(filter) = filters.iter().find(by_name) else { return vec![""] };
    let mut prefixes: Vec<_> = filter.values.iter().map(String::as_str).collect();
    prefixes.sort_unstable();
    // After sorting, a longer prefix follows the one it contains, and `dedup_by` compares with the
    // last one kept.
    prefixes.dedup_by(|prefix, kept| prefix.starts_with(*kept));
    prefixes
}
