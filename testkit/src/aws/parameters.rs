//! Parameter Store's reading and deleting operations. `put_parameter` has the rules for writing.

use std::collections::{BTreeMap, HashSet, VecDeque};

use jiff::{SignedDuration, Timestamp};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use super::answer::{Answer, Refusal, input, invalid, refuse};
use super::held::Held;
use super::listing::{Cursor, check_length, page_size};
use super::scramble;
use crate::clock::Clock;

pub(super) const ARN_START: &str = "arn:aws:ssm:eu-central-1:123456789012:parameter";
/// The page limit and default of `GetParametersByPath`, and the largest number of names in one
/// request.
const PAGE: usize = 10;
/// The page limit and default of `DescribeParameters`.
const DESCRIBE: usize = 50;
/// How many versions AWS keeps of one parameter.
const KEPT_VERSIONS: usize = 100;
/// How many standard parameters an account may have in a Region.
const STANDARD_PARAMETERS: usize = 10_000;

/// One version of a parameter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Parameter {
    /// The full name, with its path.
    pub name: String,
    /// The value in clear.
    pub value: String,
    /// `String`, `StringList` or `SecureString`.
    pub kind: String,
    /// The version number. The first version is 1.
    pub version: u64,
    /// `Standard` or `Advanced`. With Intelligent-Tiering, the tier that it chose.
    pub tier: String,
    /// The key of a `SecureString`.
    pub key_id: Option<String>,
    /// The policies, as they were sent.
    pub policies: Option<String>,
    /// The tags from its creation.
    pub tags: BTreeMap<String, String>,
    /// The description. An overwrite without a description keeps the last one.
    pub description: Option<String>,
    /// When this version was written.
    pub modified: Timestamp,
}

impl Parameter {
    fn arn(&self) -> String {
        format!("{ARN_START}/{}", self.name.trim_start_matches('/'))
    }
}

pub(super) struct Parameters {
    /// The versions of each parameter, newest last; never empty.
    pub(super) versions: BTreeMap<String, VecDeque<Parameter>>,
    /// What readers see instead.
    pub(super) held: Held<VecDeque<Parameter>>,
    /// How many standard parameters may exist.
    pub(super) limit: usize,
    /// Names whose values KMS refuses to decrypt.
    pub(super) undecryptable: HashSet<String>,
    /// Names that must not be written.
    pub(super) put_denied: HashSet<String>,
    pub(super) empty_pages: bool,
    pub(super) update_window: SignedDuration,
    pub(super) clock: Clock,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
struct Get {
    name: String,
    #[serde(default)]
    with_decryption: bool,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
struct GetMany {
    names: Vec<String>,
    #[serde(default)]
    with_decryption: bool,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
struct GetByPath {
    path: String,
    #[serde(default)]
    recursive: bool,
    #[serde(default)]
    with_decryption: bool,
    max_results: Option<usize>,
    next_token: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
struct Describe {
    #[serde(default)]
    parameter_filters: Vec<Filter>,
    max_results: Option<usize>,
    next_token: Option<String>,
}

/// This stand-in knows only filters by name.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
struct Filter {
    key: String,
    option: Option<String>,
    values: Vec<String>,
}

impl Filter {
    fn check(&self) -> Result<(), Refusal> {
        match (self.key.as_str(), self.option.as_deref()) {
            ("Name", None | Some("Equals" | "BeginsWith" | "Contains")) => Ok(()),
            ("Name", Some(option)) => refuse("InvalidFilterOption", format!("no filter option {option:?} for names")),
            (key, _) => refuse("InvalidFilterKey", format!("no filter key {key:?} here")),
        }
    }

    fn passes(&self, name: &str) -> bool {
        self.values.iter().any(|value| match self.option.as_deref() {
            Some("BeginsWith") => name.starts_with(value),
            Some("Contains") => name.contains(value),
            _ => name == value,
        })
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
struct Delete {
    name: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
struct DeleteMany {
    names: Vec<String>,
}

impl Parameters {
    pub(super) fn new(clock: Clock) -> Self {
        Self {
            versions: BTreeMap::new(),
            held: Held::new(),
            limit: STANDARD_PARAMETERS,
            undecryptable: HashSet::new(),
            put_denied: HashSet::new(),
            empty_pages: false,
            update_window: SignedDuration::ZERO,
            clock,
        }
    }

    pub(super) fn answer(&mut self, operation: &str, body: &[u8]) -> Answer {
        match operation {
            "PutParameter" => self.put(input(body)?),
            "GetParameter" => self.read(Self::get, body),
            "GetParameters" => self.read(Self::get_many, body),
            "GetParametersByPath" => self.read(Self::get_by_path, body),
            "DescribeParameters" => self.read(Self::describe, body),
            "DeleteParameter" => self.delete(&input(body)?),
            "DeleteParameters" => self.delete_many(&input(body)?),
            _ => Err(Refusal::unknown_operation(operation)),
        }
    }

    /// Answers with what readers see.
    fn read<R: DeserializeOwned>(&mut self, operation: fn(&Self, &R) -> Answer, body: &[u8]) -> Answer {
        let request = input(body)?;
        self.held.swap(&mut self.versions);
        let answer = operation(self, &request);
        self.held.swap(&mut self.versions);
        answer
    }

    /// Whether no further standard parameter may be created.
    pub(super) fn is_full(&self) -> bool {
        let standard =
            |versions: &&VecDeque<Parameter>| versions.back().is_some_and(|newest| newest.tier == "Standard");
        // In most cases the first comparison makes counting unnecessary.
        self.versions.len() >= self.limit && self.versions.values().filter(standard).count() >= self.limit
    }

    pub(super) fn newest(&self, name: &str) -> Option<&Parameter> {
        self.versions.get(name)?.back()
    }

    pub(super) fn kept(&self, name: &str) -> Vec<Parameter> {
        self.versions.get(name).into_iter().flatten().cloned().collect()
    }

    pub(super) fn names(&self) -> Vec<String> {
        self.versions.keys().cloned().collect()
    }

    pub(super) fn remove(&mut self, name: &str) -> bool {
        self.versions.remove(name).is_some()
    }

    /// Adds a version. If there are too many, the oldest goes.
    pub(super) fn store(&mut self, parameter: Parameter) {
        let versions = self.versions.entry(parameter.name.clone()).or_default();
        versions.push_back(parameter);
        if versions.len() > KEPT_VERSIONS {
            versions.pop_front();
        }
    }

    fn get(&self, request: &Get) -> Answer {
        let shown = self.shown(self.selected(&request.name)?, request.with_decryption)?;
        Ok(json!({"Parameter": with_selector(shown, &request.name)}))
    }

    fn get_many(&self, request: &GetMany) -> Answer {
        check_length("names", &request.names, PAGE)?;
        let (mut found, mut missing) = (Vec::new(), Vec::new());
        for name in &request.names {
            match self.selected(name) {
                Ok(parameter) => {
                    let shown = self.shown(parameter, request.with_decryption)?;
                    found.push(with_selector(shown, name));
                }
                Err(_) => missing.push(name),
            }
        }
        Ok(json!({"Parameters": found, "InvalidParameters": missing}))
    }

    fn get_by_path(&self, request: &GetByPath) -> Answer {
        if !request.path.starts_with('/') {
            return invalid("a path begins with a slash");
        }
        let size = page_size(request.max_results, PAGE)?;
        let cursor = cursor(request.next_token.as_deref())?;
        let within = format!("{}/", request.path.trim_end_matches('/'));
        let entries = cursor
            .entries(&self.versions, &within)
            .filter(|(name, _)| request.recursive || !name[within.len()..].contains('/'));
        let (page, next) = cursor.page(entries, size, self.empty_pages);
        let newest = page.into_iter().filter_map(|(_, versions)| versions.back());
        let shown = newest.map(|parameter| self.shown(parameter, request.with_decryption));
        Ok(json!({"Parameters": shown.collect::<Result<Vec<_>, _>>()?, "NextToken": next}))
    }

    fn describe(&self, request: &Describe) -> Answer {
        let size = page_size(request.max_results, DESCRIBE)?;
        let cursor = cursor(request.next_token.as_deref())?;
        let filters = &request.parameter_filters;
        filters.iter().try_for_each(Filter::check)?;
        let entries = cursor.entries(&self.versions, "");
        let matching = entries.filter(|(name, _)| filters.iter().all(|filter| filter.passes(name)));
        let (page, next) = cursor.page(matching, size, false);
        let described: Vec<_> = page.into_iter().filter_map(|(_, versions)| versions.back()).map(description).collect();
        Ok(json!({"Parameters": described, "NextToken": next}))
    }

    fn delete(&mut self, request: &Delete) -> Answer {
        if self.remove(&request.name) { Ok(json!({})) } else { missing(&request.name) }
    }

    fn delete_many(&mut self, request: &DeleteMany) -> Answer {
        check_length("names", &request.names, PAGE)?;
        let (deleted, missing): (Vec<_>, Vec<_>) = request.names.iter().partition(|name| self.remove(name));
        Ok(json!({"DeletedParameters": deleted, "InvalidParameters": missing}))
    }

    /// The version that `name` or `name:version` selects.
    fn selected(&self, name: &str) -> Result<&Parameter, Refusal> {
        let (name, version) = name.split_once(':').map_or((name, None), |(name, version)| (name, Some(version)));
        let Some(versions) = self.versions.get(name) else { return missing(name) };
        let selected = match version {
            None => versions.back(),
            Some(version) => versions.iter().find(|parameter| parameter.version.to_string() == version),
        };
        selected.map_or_else(|| refuse("ParameterVersionNotFound", format!("no such version of {name}")), Ok)
    }

    /// The parameter as reads show it. If KMS refuses it, the whole read fails.
    fn shown(&self, parameter: &Parameter, decrypt: bool) -> Answer {
        let Parameter { name, value, kind, version, modified, .. } = parameter;
        let encrypted = kind == "SecureString" && !decrypt;
        if kind == "SecureString" && decrypt && self.undecryptable.contains(name) {
            return refuse("AccessDeniedException", "the ciphertext refers to a key that you may not use");
        }
        let value = if encrypted { scramble::ciphertext(name, *version, value) } else { value.clone() };
        Ok(json!({
            "Name": name, "Type": kind, "Value": value, "Version": version, "ARN": parameter.arn(),
            "LastModifiedDate": modified.as_second(), "DataType": "text",
        }))
    }
}

/// Adds the version in the form in which the reader named it: `:7`.
fn with_selector(mut shown: Value, name: &str) -> Value {
    if let Some(colon) = name.find(':') {
        shown["Selector"] = json!(name[colon..]);
    }
    shown
}

fn description(parameter: &Parameter) -> Value {
    let policies: Vec<Value> = parameter
        .policies
        .as_deref()
        .and_then(|policies| serde_json::from_str::<Vec<Value>>(policies).ok())
        .unwrap_or_default()
        .into_iter()
        .map(
            |policy| json!({"PolicyText": policy.to_string(), "PolicyType": policy["Type"], "PolicyStatus": "Pending"}),
        )
        .collect();
    json!({
        "Name": parameter.name, "ARN": parameter.arn(), "Type": parameter.kind, "KeyId": parameter.key_id,
        "Version": parameter.version, "Tier": parameter.tier, "Policies": policies,
        "Description": parameter.description, "LastModifiedDate": parameter.modified.as_second(), "DataType": "text",
    })
}

fn missing<T>(name: &str) -> Result<T, Refusal> {
    refuse("ParameterNotFound", format!("no parameter {name}"))
}

fn cursor(token: Option<&str>) -> Result<Cursor, Refusal> {
    Cursor::parse(token).map_or_else(|| refuse("InvalidNextToken", "not a token of this listing"), Ok)
}
