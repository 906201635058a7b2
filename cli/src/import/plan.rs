//! Decides for each row whether it is new, changes a stored one, changes nothing, or is refused.
//! Writes nothing.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;
use token_keeper::address::origin;
use token_keeper::connection::{
    Clients, Grant, GrantSecret, KNOWN, SecretDocument, SecretVersion, StoredSecret, read_clients,
};
use token_keeper::flaw::{Broken, Flaw};
use token_keeper::name::{SecretName, VersionId};
use token_keeper::settings::Settings;

use super::row::Row;
use crate::console::Failure;
use crate::scopes;

/// A row that can be imported.
pub(super) struct Taken {
    pub(super) grant: Grant,
    pub(super) document: SecretDocument,
    /// The version of the secret, if it exists already.
    pub(super) read: Option<VersionId>,
    pub(super) plan: Plan,
    /// The fields of the stored secret that change or are added; `other` stands for those that mean
    /// nothing to Token Keeper.
    pub(super) changes: BTreeSet<&'static str>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Plan {
    /// There is no such connection yet.
    New,
    /// The connection gets another refresh token.
    Replace,
    /// The connection gets its first refresh token, or keeps it and other fields change.
    Update,
    /// Nothing changes.
    Same,
}

impl Plan {
    pub(super) fn word(self) -> &'static str {
        match self {
            Self::New => "new",
            Self::Replace => "replace",
            Self::Update => "update",
            Self::Same => "unchanged",
        }
    }
}

/// The stored secrets and settings with which each row is compared.
pub(super) struct Store<'s> {
    settings: &'s Settings,
    /// The secrets that exist already, by full name: the value, or why it cannot be read.
    secrets: BTreeMap<&'s SecretName, Result<&'s SecretVersion, &'s Flaw>>,
    clients: Clients,
}

impl<'s> Store<'s> {
    pub(super) fn new(settings: &'s Settings, secrets: &'s [StoredSecret]) -> Self {
        let clients = read_clients(secrets, &settings.prefix);
        let secrets = secrets.iter().map(|secret| (&secret.name, secret.content.as_ref())).collect();
        Self { settings, secrets, clients }
    }

    /// Checks a row as the refresher will read it.
    pub(super) fn judge(&self, row: &Row, replace: bool) -> Result<Taken, Failure> {
        if let Some((what, remedy)) = row.unfit {
            return Err(Failure::new(what, remedy));
        }
        let prefix = &self.settings.prefix;
        let (connection, client) = (row.connection()?, row.client()?);
        let name = prefix.grant(connection.as_str());
        let (before, read) = self.stored(&name)?.unzip();
        let mut document = before.clone().unwrap_or_default();
        document.replace_grant(&row.fields);
        let secret = GrantSecret::of(connection, VersionId::default(), &document, &self.settings.data_centers)?;
        let grant = secret.resolve(&self.clients, prefix).map_err(|broken| {
            let remedy = match (&broken.flaw, &client) {
                // It is missing in the row, not in a secret.
                (Flaw::Missing(field), _) if field == "data_center" => return Failure::from(broken.flaw),
                (Flaw::NotFound, Some(client)) => {
                    format!("store the client first: token-keeper client add {client} --client-id …")
                }
                (flaw, _) => flaw.remedy(),
            };
            Failure::new(broken, remedy)
        })?;
        if row.registered.as_ref().is_some_and(|id| *id != grant.client.id.as_str()) {
            return Err(Failure::new(
                "its `client_id` is not that of --client; a refresh token works only with its own client",
                "give --client the client that the refresh token belongs to, or leave --client out",
            ));
        }
        if grant.refresh_token().is_none() {
            return Err(Flaw::Missing("refresh_token".to_owned()).into());
        }
        check(row, &grant)?;
        let Some(before) = before else {
            return Ok(Taken { grant, document, read, plan: Plan::New, changes: BTreeSet::new() });
        };
        let (added, changed) = differences(&before, &document);
        let plan = if changed.contains("refresh_token") {
            Plan::Replace
        } else if added.is_empty() && changed.is_empty() {
            Plan::Same
        } else {
            Plan::Update
        };
        if !changed.is_empty() && !replace {
            return Err(stays(plan, &changed));
        }
        Ok(Taken { grant, document, read, plan, changes: &added | &changed })
    }

    /// The document of a secret and its version, if it exists already.
    fn stored(&self, name: &SecretName) -> Result<Option<(SecretDocument, VersionId)>, Failure> {
        let broken = |flaw: Flaw| Failure::from(Broken::secret(name, flaw));
        match self.secrets.get(name) {
            None | Some(Err(Flaw::NotFound)) => Ok(None),
            Some(Err(flaw)) => Err(broken((*flaw).clone())),
            Some(Ok(SecretVersion { id, text })) => {
                Ok(Some((SecretDocument::parse(text).map_err(broken)?, id.clone())))
            }
        }
    }
}

/// Refuses a row whose values do not fit its provider. In a wrong column, a secret would be shown,
/// stored and published as a scope.
fn check(row: &Row, grant: &Grant) -> Result<(), Failure> {
    let given = row.fields.contains_key("scopes");
    let Some(profile) = grant.provider.profile() else {
        if given && !grant.scopes.iter().all(|scope| scopes::has_form(scope)) {
            return Err(Failure::new(
                "something in the field `scopes` is not of the form Service.module.OPERATION",
                "check whether you mixed up two fields; token-keeper scopes lists Zoho's scopes",
            ));
        }
        return Ok(());
    };
    if given && !grant.scopes.iter().all(|scope| scopes::is_token(scope)) {
        return Err(Failure::new(
            "something in the field `scopes` contains a character that no scope has",
            "give `scopes` as an array, one scope each; check whether you mixed up two fields",
        ));
    }
    let title = profile.title;
    if row.fields.contains_key("data_center") {
        return Err(Failure::new(
            format!("it has a data centre, and only Zoho has some; its client is one of {title}"),
            "leave `data_center` and --data-center out, or give the client of Zoho's that the refresh token belongs to",
        ));
    }
    for value in profile.kept {
        let (name, found) = (value.name, grant.kept.get(value.name));
        if found.is_none_or(|found| !value.pattern.matches(found)) && (value.needed || found.is_some()) {
            return Err(Failure::new(
                format!("it has no usable `kept.{name}`, and callers of {title}'s API need it"),
                format!("give `kept` as an object in JSON, with `{name}`: {}", value.pattern),
            ));
        }
    }
    Ok(())
}

/// The fields of `after` that are not in `before`, and those of `before` that `after` does not have
/// or has otherwise.
fn differences(before: &SecretDocument, after: &SecretDocument) -> (BTreeSet<&'static str>, BTreeSet<&'static str>) {
    let (mut added, mut changed) = (BTreeSet::new(), BTreeSet::new());
    for name in before.names().chain(after.names()) {
        let shown = KNOWN.iter().find(|known| **known == name).unwrap_or(&"other");
        match (before.field(name), after.field(name)) {
            (None, Some(_)) => added.insert(*shown),
            (Some(before), after) if !after.is_some_and(|after| alike(name, before, after)) => changed.insert(*shown),
            _ => false,
        };
    }
    (added, changed)
}

/// Whether two values of a field mean the same. Scopes have no order, and the path of `api_domain`
/// has no meaning.
fn alike(field: &str, before: &Value, after: &Value) -> bool {
    before == after
        || match (field, before, after) {
            ("scopes", Value::Array(before), Value::Array(after)) => {
                let set = |scopes: &[Value]| scopes.iter().map(Value::to_string).collect::<BTreeSet<_>>();
                set(before) == set(after)
            }
            ("api_domain", Value::String(before), Value::String(after)) => origin(before) == origin(after),
            _ => false,
        }
}

/// Without --replace, what is stored stays.
fn stays(plan: Plan, changed: &BTreeSet<&str>) -> Failure {
    if plan == Plan::Replace {
        return Failure::new(
            "it exists already, with another refresh token",
            "use another name, or replace the stored one with --replace",
        );
    }
    let fields = changed.iter().copied().collect::<Vec<_>>().join(", ");
    Failure::new(
        format!("it exists already, with other values in these fields: {fields}"),
        "leave them out, or change the stored ones with --replace",
    )
}

/// Refuses a row whose name or refresh token an earlier row already has.
pub(super) fn refuse_duplicates(judged: &mut [Result<Taken, Failure>]) {
    let (mut names, mut tokens) = (BTreeMap::new(), BTreeMap::new());
    for (at, row) in judged.iter_mut().enumerate() {
        let Ok(Taken { grant, .. }) = row else { continue };
        let token = grant.refresh_token().map(|token| token.expose().to_owned());
        let first = *names.entry(grant.connection.clone()).or_insert(at);
        let holder = *tokens.entry(token).or_insert(at);
        if first != at {
            *row = Err(Failure::new(format!("row {} has the same name", first + 1), "give each connection one row"));
        } else if holder != at {
            let why = format!("row {} has the same refresh token", holder + 1);
            *row = Err(Failure::new(why, "import each refresh token once"));
        }
    }
}
