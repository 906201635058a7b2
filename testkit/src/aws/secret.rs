//! One secret: its versions and the staging labels on them.

use jiff::{SignedDuration, Timestamp};
use serde::Deserialize;
use serde_json::{Value, json};

use super::answer::{Refusal, invalid, refuse};

/// Secrets Manager's limit for one value, in bytes.
const MAX_BYTES: usize = 65_536;

/// How many versions a secret may have. For a new one, Secrets Manager drops the oldest without a
/// label.
const KEPT_VERSIONS: usize = 100;
/// A version that is younger than this is never dropped.
const KEPT_FOR: SignedDuration = SignedDuration::from_hours(24);

pub(super) const CURRENT: &str = "AWSCURRENT";
const PREVIOUS: &str = "AWSPREVIOUS";

/// A secret's value.
#[derive(Clone, PartialEq)]
pub(super) enum Content {
    Text(String),
    /// Base64, as on the wire.
    Binary(String),
}

impl Content {
    /// Reads the two fields that can carry a value.
    pub(super) fn parse(text: Option<String>, binary: Option<String>) -> Result<Option<Self>, Refusal> {
        let (bytes, content) = match (text, binary) {
            (None, None) => return Ok(None),
            (Some(_), Some(_)) => return refuse("InvalidParameterException", "either a string or a binary, not both"),
            (Some(text), None) => (text.len(), Self::Text(text)),
            (None, Some(binary)) => (binary.trim_end_matches('=').len() * 3 / 4, Self::Binary(binary)),
        };
        if bytes > MAX_BYTES {
            return invalid(format!("a secret value of {bytes} bytes; the limit is {MAX_BYTES}"));
        }
        Ok(Some(content))
    }
}

#[derive(Clone)]
pub(super) struct Version {
    pub(super) id: String,
    pub(super) content: Content,
    pub(super) stages: Vec<String>,
    pub(super) created: Timestamp,
}

impl Version {
    fn drop_stage(&mut self, stage: &str) {
        self.stages.retain(|label| label != stage);
    }
}

#[derive(Clone, Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub(super) struct Tag {
    pub(super) key: String,
    pub(super) value: String,
}

#[derive(Clone)]
pub(super) struct Secret {
    pub(super) arn: String,
    pub(super) created: Timestamp,
    pub(super) changed: Timestamp,
    /// When the secret may be deleted for good. Set while it is scheduled for deletion.
    pub(super) deletion: Option<Timestamp>,
    pub(super) description: Option<String>,
    pub(super) kms_key_id: Option<String>,
    pub(super) tags: Vec<Tag>,
    pub(super) versions: Vec<Version>,
}

impl Secret {
    pub(super) fn staged(&self, stage: &str) -> Option<&Version> {
        self.versions.iter().find(|version| version.stages.iter().any(|label| label == stage))
    }

    pub(super) fn version(&self, id: &str) -> Option<&Version> {
        self.versions.iter().find(|version| version.id == id)
    }

    /// Adds a version and moves its labels to it. Repeating the same id with the same value changes
    /// nothing.
    pub(super) fn add(&mut self, mut version: Version) -> Result<(), Refusal> {
        if let Some(same) = self.version(&version.id) {
            return if same.content == version.content {
                Ok(())
            } else {
                refuse("ResourceExistsException", format!("the token {} belongs to another value", version.id))
            };
        }
        if self.versions.is_empty() && !version.stages.iter().any(|label| label == CURRENT) {
            version.stages.push(CURRENT.to_owned());
        }
        self.changed = version.created;
        let (id, stages) = (version.id.clone(), std::mem::take(&mut version.stages));
        self.versions.push(version);
        for stage in &stages {
            self.place(stage, &id);
        }
        if self.versions.len() > KEPT_VERSIONS
            && let Some(outdated) = self.outdated(self.changed)
        {
            self.versions.remove(outdated);
        }
        Ok(())
    }

    /// Refuses a version if there is no place for it, unless it is there already.
    pub(super) fn check_room(&self, id: &str, now: Timestamp) -> Result<(), Refusal> {
        if self.versions.len() < KEPT_VERSIONS || self.version(id).is_some() || self.outdated(now).is_some() {
            return Ok(());
        }
        refuse("LimitExceededException", format!("{KEPT_VERSIONS} versions, and none of them is outdated"))
    }

    /// The place of the oldest version that may be dropped.
    fn outdated(&self, now: Timestamp) -> Option<usize> {
        let outdated = |version: &Version| version.stages.is_empty() && now.duration_since(version.created) >= KEPT_FOR;
        self.versions.iter().position(outdated)
    }

    /// Moves a label to the version `to`, or takes it off. A label that another version has moves
    /// only if the caller knows which one (`from`).
    pub(super) fn move_stage(&mut self, stage: &str, to: Option<&str>, from: Option<&str>) -> Result<(), Refusal> {
        if let Some(unknown) = [to, from].into_iter().flatten().find(|id| self.version(id).is_none()) {
            return refuse("ResourceNotFoundException", format!("Secrets Manager can't find the version {unknown}"));
        }
        let holder = self.staged(stage).map(|version| version.id.clone());
        if holder.as_deref() != from && (holder.is_some() || from.is_some()) {
            let holder = holder.as_deref().unwrap_or("no version");
            return refuse(
                "InvalidParameterException",
                format!("{stage} is at {holder}, which RemoveFromVersionId must name"),
            );
        }
        match to {
            Some(to) => self.place(stage, to),
            None if stage == CURRENT => return refuse("InvalidParameterException", format!("{CURRENT} can only move")),
            None => self.versions.iter_mut().for_each(|version| version.drop_stage(stage)),
        }
        Ok(())
    }

    /// Puts a label on a version and takes it off the others. `AWSPREVIOUS` follows `AWSCURRENT`.
    fn place(&mut self, stage: &str, id: &str) {
        let left = self.staged(stage).map(|version| version.id.clone()).filter(|left| left != id);
        for version in &mut self.versions {
            version.drop_stage(stage);
            if version.id == id {
                version.stages.push(stage.to_owned());
            }
        }
        if let Some(left) = left.filter(|_| stage == CURRENT) {
            self.place(PREVIOUS, &left);
        }
    }

    /// A version as the reading operations show it.
    pub(super) fn value(&self, name: &str, version: &Version) -> Value {
        let mut value = json!({
            "ARN": self.arn, "Name": name, "VersionId": version.id, "VersionStages": version.stages,
            "CreatedDate": version.created.as_second(),
        });
        match &version.content {
            Content::Text(text) => value["SecretString"] = json!(text),
            Content::Binary(binary) => value["SecretBinary"] = json!(binary),
        }
        value
    }

    /// The secret without its value. `stages_field` is the operation's name for the versions and
    /// their labels.
    pub(super) fn description(&self, name: &str, stages_field: &str) -> Value {
        let labelled = self.versions.iter().filter(|version| !version.stages.is_empty());
        let stages: serde_json::Map<_, _> =
            labelled.map(|version| (version.id.clone(), json!(version.stages))).collect();
        let tags: Vec<_> = self.tags.iter().map(|tag| json!({"Key": tag.key, "Value": tag.value})).collect();
        json!({
            "ARN": self.arn, "Name": name, "Description": self.description, "KmsKeyId": self.kms_key_id,
            "CreatedDate": self.created.as_second(), "LastChangedDate": self.changed.as_second(),
            "DeletedDate": self.deletion.map(Timestamp::as_second), "Tags": tags, stages_field: stages,
        })
    }
}
