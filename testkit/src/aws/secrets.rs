//! Secrets Manager: the secrets, and the operations that change them.

use std::collections::{BTreeMap, HashSet};

use jiff::{SignedDuration, Timestamp};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::json;

use super::answer::{Answer, Refusal, input, invalid, refuse};
use super::held::Held;
use super::scramble;
use super::secret::{CURRENT, Content, Secret, Tag, Version};
use crate::clock::Clock;

const ARN_START: &str = "arn:aws:secretsmanager:eu-central-1:123456789012:secret:";
/// A hyphen and six characters.
const ARN_SUFFIX_LEN: usize = 7;
const MAX_NAME_LEN: usize = 512;
const DEFAULT_RECOVERY_DAYS: i64 = 30;

pub(super) struct Secrets {
    pub(super) by_name: BTreeMap<String, Secret>,
    /// What readers see instead.
    pub(super) held: Held<Secret>,
    /// Names whose values must not be read.
    pub(super) denied: HashSet<String>,
    /// Names whose values KMS refuses to decrypt.
    pub(super) undecryptable: HashSet<String>,
    pub(super) empty_pages: bool,
    clock: Clock,
    /// How many identifiers exist so far.
    made: u64,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
struct Create {
    name: String,
    client_request_token: Option<String>,
    description: Option<String>,
    kms_key_id: Option<String>,
    secret_string: Option<String>,
    secret_binary: Option<String>,
    #[serde(default)]
    tags: Vec<Tag>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
struct PutValue {
    secret_id: String,
    client_request_token: Option<String>,
    secret_string: Option<String>,
    secret_binary: Option<String>,
    version_stages: Option<Vec<String>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
struct UpdateStage {
    secret_id: String,
    version_stage: String,
    move_to_version_id: Option<String>,
    remove_from_version_id: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
struct Delete {
    secret_id: String,
    recovery_window_in_days: Option<i64>,
    #[serde(default)]
    force_delete_without_recovery: bool,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
struct SecretId {
    secret_id: String,
}

impl Secrets {
    pub(super) fn new(clock: Clock) -> Self {
        Self {
            by_name: BTreeMap::new(),
            held: Held::new(),
            denied: HashSet::new(),
            undecryptable: HashSet::new(),
            empty_pages: false,
            clock,
            made: 0,
        }
    }

    pub(super) fn answer(&mut self, operation: &str, body: &[u8]) -> Answer {
        match operation {
            "BatchGetSecretValue" => self.read(Self::batch_get, body),
            "GetSecretValue" => self.read(Self::get_value, body),
            "CreateSecret" => self.create(input(body)?),
            "PutSecretValue" => self.put_value(input(body)?),
            "UpdateSecretVersionStage" => self.update_stage(&input(body)?),
            "DescribeSecret" => self.read(Self::describe, body),
            "ListSecrets" => self.read(Self::list, body),
            "DeleteSecret" => self.delete(&input(body)?),
            "RestoreSecret" => self.restore(&input(body)?),
            _ => Err(Refusal::unknown_operation(operation)),
        }
    }

    /// Answers with what readers see.
    fn read<R: DeserializeOwned>(&mut self, operation: fn(&Self, &R) -> Answer, body: &[u8]) -> Answer {
        let request = input(body)?;
        self.held.swap(&mut self.by_name);
        let answer = operation(self, &request);
        self.held.swap(&mut self.by_name);
        answer
    }

    /// Creates the secret or gives it a new current version, without checking any rule. Returns the
    /// version's id.
    pub(super) fn put(&mut self, name: &str, content: Content) -> String {
        let id = scramble::version_id(self.next());
        let version = Version { id: id.clone(), content, stages: vec![CURRENT.to_owned()], created: self.clock.now() };
        if !self.by_name.contains_key(name) {
            let secret = self.blank(name);
            self.by_name.insert(name.to_owned(), secret);
        }
        let secret = self.by_name.get_mut(name).expect("it was there or has been inserted");
        secret.deletion = None;
        secret.add(version).unwrap_or_else(|_| unreachable!("a new id is in no version"));
        id
    }

    /// The current version of a secret that is not scheduled for deletion.
    pub(super) fn current(&self, name: &str) -> Option<&Version> {
        self.by_name.get(name).filter(|secret| secret.deletion.is_none())?.staged(CURRENT)
    }

    pub(super) fn names(&self) -> Vec<String> {
        let live = self.by_name.iter().filter(|(_, secret)| secret.deletion.is_none());
        live.map(|(name, _)| name.clone()).collect()
    }

    pub(super) fn make_current(&mut self, name: &str, version: &str) {
        let secret = self.by_name.get_mut(name).expect("a secret");
        let from = secret.staged(CURRENT).map(|current| current.id.clone());
        secret.move_stage(CURRENT, Some(version), from.as_deref()).unwrap_or_else(|_| unreachable!("it is there"));
    }

    pub(super) fn schedule_deletion(&mut self, name: &str) {
        let day = self.days_from_now(DEFAULT_RECOVERY_DAYS);
        self.by_name.get_mut(name).expect("a secret to delete").deletion = Some(day);
    }

    fn create(&mut self, request: Create) -> Answer {
        check_name(&request.name)?;
        let content = Content::parse(request.secret_string, request.secret_binary)?;
        let id = self.version_id(request.client_request_token)?;
        if let Some(existing) = self.by_name.get(&request.name) {
            if existing.deletion.is_some() {
                return refuse("InvalidRequestException", format!("{} is scheduled for deletion", request.name));
            }
            // A repeated request gets the first answer again.
            if !existing.version(&id).is_some_and(|version| Some(&version.content) == content.as_ref()) {
                return refuse("ResourceExistsException", format!("{} already exists", request.name));
            }
            return Ok(json!({"ARN": existing.arn, "Name": request.name, "VersionId": id}));
        }
        let mut secret = self.blank(&request.name);
        (secret.description, secret.kms_key_id, secret.tags) = (request.description, request.kms_key_id, request.tags);
        let mut answer = json!({"ARN": secret.arn, "Name": request.name});
        if let Some(content) = content {
            answer["VersionId"] = json!(id);
            secret.add(Version { id, content, stages: vec![CURRENT.to_owned()], created: self.clock.now() })?;
        }
        self.by_name.insert(request.name, secret);
        Ok(answer)
    }

    fn put_value(&mut self, request: PutValue) -> Answer {
        let Some(content) = Content::parse(request.secret_string, request.secret_binary)? else {
            return refuse("InvalidRequestException", "neither SecretString nor SecretBinary");
        };
        let id = self.version_id(request.client_request_token)?;
        let created = self.clock.now();
        self.undeleted(&request.secret_id)?;
        let secret = self.found_mut(&request.secret_id)?;
        secret.check_room(&id, created)?;
        let stages = request.version_stages.unwrap_or_else(|| vec![CURRENT.to_owned()]);
        secret.add(Version { id: id.clone(), content, stages, created })?;
        let stages = secret.version(&id).map(|version| &version.stages);
        Ok(json!({
            "ARN": secret.arn, "Name": name_in(&request.secret_id), "VersionId": id, "VersionStages": stages,
        }))
    }

    fn update_stage(&mut self, request: &UpdateStage) -> Answer {
        self.undeleted(&request.secret_id)?;
        let secret = self.found_mut(&request.secret_id)?;
        let (to, from) = (request.move_to_version_id.as_deref(), request.remove_from_version_id.as_deref());
        secret.move_stage(&request.version_stage, to, from)?;
        Ok(json!({"ARN": secret.arn, "Name": name_in(&request.secret_id)}))
    }

    fn describe(&self, request: &SecretId) -> Answer {
        Ok(self.found(&request.secret_id)?.description(name_in(&request.secret_id), "VersionIdsToStages"))
    }

    fn delete(&mut self, request: &Delete) -> Answer {
        let (name, days) = (name_in(&request.secret_id), request.recovery_window_in_days);
        if days.is_some_and(|days| !(7..=30).contains(&days)) {
            return refuse("InvalidParameterException", "a recovery window is 7 to 30 days");
        }
        if request.force_delete_without_recovery {
            if days.is_some() {
                return refuse("InvalidParameterException", "either a recovery window or none");
            }
            // Without recovery, AWS accepts a secret that does not exist.
            let arn = self.by_name.remove(name).map(|secret| secret.arn);
            return Ok(json!({"ARN": arn, "Name": name, "DeletionDate": self.clock.now().as_second()}));
        }
        self.undeleted(&request.secret_id)?;
        let deletion = self.days_from_now(days.unwrap_or(DEFAULT_RECOVERY_DAYS));
        let secret = self.found_mut(&request.secret_id)?;
        secret.deletion = Some(deletion);
        Ok(json!({"ARN": secret.arn, "Name": name, "DeletionDate": deletion.as_second()}))
    }

    fn restore(&mut self, request: &SecretId) -> Answer {
        let secret = self.found_mut(&request.secret_id)?;
        secret.deletion = None;
        Ok(json!({"ARN": secret.arn, "Name": name_in(&request.secret_id)}))
    }

    pub(super) fn found(&self, id: &str) -> Result<&Secret, Refusal> {
        let secret = self.by_name.get(name_in(id)).filter(|secret| id == name_in(id) || id == secret.arn);
        secret.map_or_else(|| refuse("ResourceNotFoundException", format!("Secrets Manager can't find {id}")), Ok)
    }

    fn found_mut(&mut self, id: &str) -> Result<&mut Secret, Refusal> {
        self.found(id)?;
        Ok(self.by_name.get_mut(name_in(id)).expect("it has been found"))
    }

    pub(super) fn undeleted(&self, id: &str) -> Result<&Secret, Refusal> {
        let secret = self.found(id)?;
        if secret.deletion.is_some() {
            return refuse("InvalidRequestException", format!("{id} is marked for deletion"));
        }
        Ok(secret)
    }

    fn blank(&mut self, name: &str) -> Secret {
        let (now, suffix) = (self.clock.now(), scramble::arn_suffix(self.next()));
        Secret {
            arn: format!("{ARN_START}{name}-{suffix}"),
            created: now,
            changed: now,
            deletion: None,
            description: None,
            kms_key_id: None,
            tags: Vec::new(),
            versions: Vec::new(),
        }
    }

    /// A version's id: the request's token, or a new one.
    fn version_id(&mut self, token: Option<String>) -> Result<String, Refusal> {
        match token {
            Some(token) if !(32..=64).contains(&token.len()) => {
                refuse("InvalidParameterException", "a ClientRequestToken has 32 to 64 characters")
            }
            Some(token) => Ok(token),
            None => Ok(scramble::version_id(self.next())),
        }
    }

    fn next(&mut self) -> u64 {
        self.made += 1;
        self.made
    }

    fn days_from_now(&self, days: i64) -> Timestamp {
        self.clock.now() + SignedDuration::from_hours(days * 24)
    }
}

/// The name of a secret, from its name or its ARN.
pub(super) fn name_in(id: &str) -> &str {
    match id.strip_prefix(ARN_START) {
        Some(rest) => rest.get(..rest.len().saturating_sub(ARN_SUFFIX_LEN)).unwrap_or_default(),
        None => id,
    }
}

fn check_name(name: &str) -> Result<(), Refusal> {
    let known = |c: char| c.is_ascii_alphanumeric() || "/_+=.@-".contains(c);
    if (1..=MAX_NAME_LEN).contains(&name.len()) && name.chars().all(known) {
        return Ok(());
    }
    invalid(format!("{name:?} is no name for a secret"))
}
