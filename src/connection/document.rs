//! The JSON object in a secret: reads it and edits it.
//!
//! Flaws name fields, never their values.

use std::fmt;

use jiff::Timestamp;
use serde::de::{Deserialize, Deserializer, Error as _, MapAccess, Visitor};
use serde_json::{Map, Value, json};

use super::{Account, Grant, PROFILE_SCOPE, tells_account};
use crate::flaw::Flaw;
use crate::name::VersionId;
use crate::provider::server::FIELDS;
use crate::secret::{RefreshToken, SecretText};

/// The field with the version that links are for, if refreshes have made newer ones.
const LINK_VERSION: &str = "link_version";

/// The fields that mean something in a secret, or in an input of `import`.
pub const KNOWN: [&str; 21] = [
    "connection",
    "client",
    "client_id",
    "client_secret",
    "client_secrets",
    "data_center",
    "scopes",
    "refresh_token",
    "api_domain",
    "granted_at",
    "account",
    "grant_type",
    "soid",
    "provider",
    "authorization_endpoint",
    "token_endpoint",
    "revocation_endpoint",
    "issuer",
    "kept",
    "refresh_token_expires_at",
    LINK_VERSION,
];

/// The fields of a JSON object. A field that means something here and occurs twice is an error;
/// `serde_json` alone would keep the second one, as it does with the operator's own fields.
#[derive(Clone, Default)]
pub struct UniqueFields(pub Map<String, Value>);

impl<'de> Deserialize<'de> for UniqueFields {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Fields;
        impl<'de> Visitor<'de> for Fields {
            type Value = UniqueFields;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<UniqueFields, A::Error> {
                let mut fields = Map::new();
                while let Some((field, value)) = map.next_entry::<String, Value>()? {
                    let known = KNOWN.contains(&field.as_str());
                    if fields.insert(field, value).is_some() && known {
                        return Err(A::Error::custom("a field occurs twice"));
                    }
                }
                Ok(UniqueFields(fields))
            }
        }
        deserializer.deserialize_map(Fields)
    }
}

/// The JSON object in a secret. Unknown fields belong to the operator: they are kept.
#[derive(Clone, Default)]
pub struct SecretDocument(UniqueFields);

impl SecretDocument {
    /// Reads a secret's text.
    ///
    /// # Errors
    /// If it is not a JSON object, or has a field twice.
    pub fn parse(text: &SecretText) -> Result<Self, Flaw> {
        let text = text.expose();
        serde_json::from_str(text).map(Self).map_err(|_| match serde_json::from_str(text) {
            Ok(Value::Object(_)) => Flaw::Duplicate,
            Ok(_) => Flaw::NotAnObject,
            Err(error) => Flaw::NotJson { line: error.line(), column: error.column() },
        })
    }

    /// The text to store.
    pub fn text(&self) -> SecretText {
        SecretText::new(json!(self.0.0).to_string())
    }

    /// Whether both have the same fields and values.
    pub fn same_as(&self, other: &Self) -> bool {
        self.0.0 == other.0.0
    }

    /// The value of a field; `None` if it is absent or `null`.
    pub fn field(&self, field: &str) -> Option<&Value> {
        self.0.0.get(field).filter(|value| !value.is_null())
    }

    /// The text of a field; `None` if it is not text.
    pub fn string(&self, field: &str) -> Option<&str> {
        self.field(field)?.as_str()
    }

    /// Sets a field.
    pub fn set(&mut self, field: &str, value: Value) {
        self.0.0.insert(field.to_owned(), value);
    }

    /// Removes a field.
    pub fn remove(&mut self, field: &str) {
        self.0.0.remove(field);
    }

    /// Sets `key` in the object that `field` holds. Any other value of `field` stays as it is:
    /// reading the secret reports it.
    pub fn set_within(&mut self, field: &str, key: &str, value: Value) {
        let within = self.0.0.entry(field).or_insert_with(|| json!({}));
        if within.is_null() {
            *within = json!({});
        }
        if let Some(within) = within.as_object_mut() {
            within.insert(key.to_owned(), value);
        }
    }

    /// The names of its fields.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.0.0.keys().map(String::as_str)
    }

    /// Replaces the grant by `fields`, and removes the other fields that belong to the old refresh
    /// token. Scopes and unknown fields are kept.
    pub fn replace_grant(&mut self, fields: &Map<String, Value>) {
        if self.0.0.get("refresh_token") != fields.get("refresh_token") {
            for field in ["granted_at", "account", "kept", "refresh_token_expires_at"] {
                self.0.0.remove(field);
            }
        }
        if self.0.0.get("data_center") != fields.get("data_center") {
            self.0.0.remove("api_domain");
        }
        for field in ["client", "client_id", "client_secret", "data_center", "refresh_token", "grant_type", "soid"] {
            self.0.0.remove(field);
        }
        // Without a provider, these are the operator's own.
        if self.0.0.remove("provider").is_some() {
            for field in FIELDS {
                self.0.0.remove(field);
            }
        }
        self.0.0.extend(fields.clone());
    }

    /// Writes the grant of a new consent into the document.
    pub fn grant(&mut self, grant: &Grant) {
        self.end_links();
        if let Some(data_center) = grant.provider.data_center() {
            if self.string("data_center") != Some(&data_center.name) {
                self.0.0.remove("api_domain");
            }
            self.set("data_center", json!(data_center.name));
        }
        self.set("scopes", json!(grant.scopes));
        self.set("refresh_token", json!(grant.refresh_token().map(RefreshToken::expose)));
        self.set("granted_at", json!(grant.granted_at));
        match &grant.account {
            Some(account) => self.set("account", account.as_json()),
            None => drop(self.0.0.remove("account")),
        }
        self.0.0.remove("kept");
        if !grant.kept.is_empty() {
            self.set("kept", json!(grant.kept));
        }
        self.set_expiry(grant.refresh_token_expires_at);
        if let Some(api_domain) = &grant.api_domain {
            self.set("api_domain", json!(api_domain));
        }
    }

    /// The version that links have to be for. A refresh makes a new version of the secret, and the
    /// links of the version before stay valid.
    pub fn link_version(&self, version: &VersionId) -> VersionId {
        self.string(LINK_VERSION).map_or_else(|| version.clone(), VersionId::new)
    }

    /// Ends the validity of every link: from now on links are for the next version.
    pub fn end_links(&mut self) {
        self.0.0.remove(LINK_VERSION);
    }

    /// Replaces the refresh token of the version `read` by its successor.
    pub fn rotate(&mut self, successor: &RefreshToken, expires_at: Option<Timestamp>, read: &VersionId) {
        self.set(LINK_VERSION, json!(self.link_version(read).as_str()));
        self.set("refresh_token", json!(successor.expose()));
        self.set_expiry(expires_at);
    }

    fn set_expiry(&mut self, expires_at: Option<Timestamp>) {
        match expires_at {
            Some(expires_at) => self.set("refresh_token_expires_at", json!(expires_at)),
            None => drop(self.0.0.remove("refresh_token_expires_at")),
        }
    }

    /// Removes what tokens are asked for with, so that the connection awaits a consent.
    pub fn end_grant(&mut self) {
        for field in
            ["refresh_token", "granted_at", "account", "grant_type", "soid", "kept", "refresh_token_expires_at"]
        {
            self.0.0.remove(field);
        }
    }

    /// Adds the scope that tells whose account it is, unless it is there.
    pub fn ask_for_account(&mut self) {
        if let Some(Value::Array(scopes)) = self.0.0.get_mut("scopes") {
            let texts: Vec<_> = scopes.iter().filter_map(Value::as_str).collect();
            if !tells_account(&texts) {
                scopes.push(json!(PROFILE_SCOPE));
            }
        }
    }

    /// The refresh token in place of `before`'s, if that is all in which both differ.
    pub fn successor_of(&self, before: &Self) -> Option<RefreshToken> {
        let rest = |document: &Self| {
            let mut rest = document.0.0.clone();
            let [token, _, _] =
                ["refresh_token", "refresh_token_expires_at", LINK_VERSION].map(|field| rest.remove(field));
            (token, rest)
        };
        let ((ours, rest_of_ours), (theirs, rest_of_theirs)) = (rest(self), rest(before));
        let other = ours != theirs && rest_of_ours == rest_of_theirs;
        self.refresh_token().filter(|_| other)
    }

    /// The refresh token, if there is one.
    pub fn refresh_token(&self) -> Option<RefreshToken> {
        self.string("refresh_token").map(RefreshToken::new)
    }

    /// Whose account it is, as far as the document says.
    pub fn account(&self) -> Option<Account> {
        Account::of(self.field("account")?)
    }

    /// When somebody consented, if the document says so.
    pub fn granted_at(&self) -> Option<Timestamp> {
        self.string("granted_at")?.parse().ok()
    }

    pub(super) fn optional(&self, field: &str) -> Result<Option<String>, Flaw> {
        self.field(field).map(|value| text(field, value)).transpose()
    }

    pub(super) fn needed(&self, field: &str) -> Result<String, Flaw> {
        self.optional(field)?.ok_or_else(|| Flaw::Missing(field.to_owned()))
    }
}

/// Reads a text without white space. Not by serde, whose messages quote the value that they refuse.
pub(super) fn text(field: &str, value: &Value) -> Result<String, Flaw> {
    let field = field.to_owned();
    match value {
        Value::Null => Err(Flaw::Missing(field)),
        Value::String(text) if text.is_empty() => Err(Flaw::Empty(field)),
        Value::String(text) if !text.chars().all(|c| c.is_ascii_graphic()) => Err(Flaw::WhiteSpace(field)),
        Value::String(text) => Ok(text.clone()),
        _ => Err(Flaw::WrongType { field, wanted: "a string" }),
    }
}
