//! The rules of `PutParameter`: names, types, tiers, sizes, policies, and updates that come too
//! soon.

use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp};
use serde::Deserialize;
use serde_json::json;

use super::answer::{Answer, Refusal, invalid, refuse};
use super::parameters::{ARN_START, Parameter, Parameters};
use super::secret::Tag;

const MAX_STANDARD_BYTES: usize = 4_096;
const MAX_ADVANCED_BYTES: usize = 8_192;
const MAX_LEVELS: usize = 15;
/// Includes the ARN in front of the name.
const MAX_NAME_LEN: usize = 1_011;
const MAX_POLICIES: usize = 10;
const MAX_DESCRIPTION_LEN: usize = 1_024;
const DEFAULT_KEY: &str = "alias/aws/ssm";

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub(super) struct PutParameter {
    name: String,
    value: String,
    r#type: Option<String>,
    description: Option<String>,
    key_id: Option<String>,
    #[serde(default)]
    overwrite: bool,
    #[serde(default)]
    tags: Vec<Tag>,
    tier: Option<String>,
    policies: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
struct Policy {
    r#type: String,
    version: String,
    attributes: BTreeMap<String, String>,
}

impl Parameters {
    pub(super) fn put(&mut self, request: PutParameter) -> Answer {
        check_name(&request.name)?;
        if self.put_denied.contains(&request.name) {
            return refuse("AccessDeniedException", format!("not authorized to write {}", request.name));
        }
        if request.overwrite && !request.tags.is_empty() {
            return invalid("tags and overwrite can't be used together");
        }
        if request.description.as_ref().is_some_and(|description| description.chars().count() > MAX_DESCRIPTION_LEN) {
            return invalid(format!("a description has at most {MAX_DESCRIPTION_LEN} characters"));
        }
        let now = self.clock.now();
        let previous = self.newest(&request.name);
        if let Some(previous) = previous {
            if !request.overwrite {
                return refuse("ParameterAlreadyExists", format!("{} already exists", request.name));
            }
            if now.duration_since(previous.modified) < self.update_window {
                return refuse("TooManyUpdates", format!("{} is being updated", request.name));
            }
        }
        let kind = kind(request.r#type, previous)?;
        // Without new policies the old ones stay. An empty list removes them.
        let policies = match request.policies {
            None => previous.and_then(|previous| previous.policies.clone()),
            Some(policies) => check_policies(&policies, now)?.then_some(policies),
        };
        let full = previous.is_none() && self.is_full();
        let tier = tier(request.tier.as_deref(), previous, policies.is_some(), full, request.value.len())?.to_owned();
        let key_id = request.key_id.or_else(|| previous.and_then(|previous| previous.key_id.clone()));
        let parameter = Parameter {
            version: previous.map_or(1, |previous| previous.version + 1),
            key_id: (kind == "SecureString").then(|| key_id.unwrap_or_else(|| DEFAULT_KEY.to_owned())),
            tags: match previous {
                Some(previous) => previous.tags.clone(),
                None => request.tags.into_iter().map(|tag| (tag.key, tag.value)).collect(),
            },
            description: request.description.or_else(|| previous.and_then(|previous| previous.description.clone())),
            name: request.name,
            value: request.value,
            kind,
            tier,
            policies,
            modified: now,
        };
        let answer = json!({"Version": parameter.version, "Tier": parameter.tier});
        self.store(parameter);
        Ok(answer)
    }

    /// Writes a standard `SecureString` without checking any rule.
    pub(super) fn arrange(&mut self, name: &str, value: &str) {
        self.store(Parameter {
            name: name.to_owned(),
            value: value.to_owned(),
            kind: "SecureString".to_owned(),
            version: self.newest(name).map_or(1, |previous| previous.version + 1),
            tier: "Standard".to_owned(),
            key_id: Some(DEFAULT_KEY.to_owned()),
            policies: None,
            tags: BTreeMap::new(),
            description: None,
            modified: self.clock.now(),
        });
    }
}

fn kind(requested: Option<String>, previous: Option<&Parameter>) -> Result<String, Refusal> {
    match (requested, previous) {
        (None, None) => invalid("a new parameter needs a type"),
        (None, Some(previous)) => Ok(previous.kind.clone()),
        (Some(kind), _) if !matches!(kind.as_str(), "String" | "StringList" | "SecureString") => {
            invalid(format!("no type {kind:?}"))
        }
        (Some(kind), Some(previous)) if kind != previous.kind => {
            refuse("HierarchyTypeMismatchException", format!("a {} cannot become a {kind}", previous.kind))
        }
        (Some(kind), _) => Ok(kind),
    }
}

/// The tier of the parameter from now on. An advanced parameter never goes back to standard, and no
/// new parameter goes into a `full` standard tier.
fn tier(
    requested: Option<&str>,
    previous: Option<&Parameter>,
    has_policies: bool,
    full: bool,
    bytes: usize,
) -> Result<&'static str, Refusal> {
    let was_advanced = previous.is_some_and(|previous| previous.tier == "Advanced");
    let tier = match requested {
        Some("Standard") if was_advanced => return invalid("an advanced parameter cannot go back to standard"),
        Some("Advanced") => "Advanced",
        Some("Intelligent-Tiering") if has_policies || full || bytes > MAX_STANDARD_BYTES => "Advanced",
        None | Some("Standard" | "Intelligent-Tiering") => {
            if was_advanced {
                "Advanced"
            } else {
                "Standard"
            }
        }
        Some(tier) => return invalid(format!("no tier {tier:?}")),
    };
    let limit = if tier == "Advanced" { MAX_ADVANCED_BYTES } else { MAX_STANDARD_BYTES };
    if !(1..=limit).contains(&bytes) {
        return invalid(format!("a value of {bytes} bytes; {tier} parameters have 1 to {limit}"));
    }
    if has_policies && tier == "Standard" {
        return invalid("only advanced parameters have policies");
    }
    if full && tier == "Standard" {
        return refuse("ParameterLimitExceeded", "this account has as many standard parameters as it may");
    }
    Ok(tier)
}

/// Whether the list has policies. The stand-in knows one of AWS's three kinds.
fn check_policies(policies: &str, now: Timestamp) -> Result<bool, Refusal> {
    if policies.is_empty() {
        return Ok(false);
    }
    let Ok(policies) = serde_json::from_str::<Vec<Policy>>(policies) else {
        return invalid(format!("Invalid policies input: {policies}"));
    };
    if policies.len() > MAX_POLICIES {
        return refuse("PoliciesLimitExceededException", format!("the limit is {MAX_POLICIES} policies"));
    }
    for policy in &policies {
        if policy.r#type != "Expiration" || policy.version != "1.0" {
            return refuse("InvalidPolicyTypeException", "only Expiration policies of version 1.0 are known here");
        }
        let timestamp = policy.attributes.get("Timestamp").and_then(|time| time.parse::<Timestamp>().ok());
        if timestamp.is_none_or(|time| time.duration_since(now) <= SignedDuration::ZERO) {
            return refuse("InvalidPolicyAttributeException", "an Expiration policy has a Timestamp in the future");
        }
    }
    Ok(!policies.is_empty())
}

fn check_name(name: &str) -> Result<(), Refusal> {
    let levels: Vec<_> = name.strip_prefix('/').unwrap_or(name).split('/').collect();
    let known = |c: char| c.is_ascii_alphanumeric() || "_.-".contains(c);
    if levels.iter().any(|level| level.is_empty() || !level.chars().all(known)) {
        return invalid(format!("{name:?}: sub-paths of letters, digits and .-_, divided by slashes"));
    }
    if levels.len() > 1 && !name.starts_with('/') {
        return invalid("Parameter name must be a fully qualified name");
    }
    let first = levels[0].to_ascii_lowercase();
    if first.starts_with("aws") && levels.len() > 1 {
        return refuse("AccessDeniedException", format!("No access to reserved parameter name: {name}"));
    }
    if first.starts_with("aws") || first.starts_with("ssm") {
        return invalid(format!("{name:?} begins with \"aws\" or \"ssm\""));
    }
    if levels.len() > MAX_LEVELS {
        return refuse("HierarchyLevelLimitExceededException", format!("a hierarchy has at most {MAX_LEVELS} levels"));
    }
    if ARN_START.len() + name.len() > MAX_NAME_LEN {
        return invalid(format!("a name of {} characters is too long", name.len()));
    }
    Ok(())
}
