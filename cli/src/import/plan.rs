//! What is to become of each row, decided before anything is written.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};
use token_keeper::flaw::{Broken, Flaw};
use token_keeper::connection::{Clients, Grant, GrantSecret, SecretVersion, StoredSecret, read_clients};
use token_keeper::run::Settings;
use token_keeper::secret::Text;

use super::input::Row;

/// A row that can be taken.
pub(super) struct Taken {
    pub(super) grant: Grant,
    pub(super) text: Text,
    /// Whether there is a secret of this name.
    pub(super) exists: bool,
    pub(super) plan: Plan,
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Plan {
    New,
    Replace,
    Same,
}

/// Why a row cannot be taken, and what to do about that.
pub(super) struct Refused {
    pub(super) why: String,
    pub(super) remedy: String,
}

impl Refused {
    pub(super) fn new(why: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self { why: why.into(), remedy: remedy.into() }
    }
}

impl From<Flaw> for Refused {
    fn from(flaw: Flaw) -> Self {
        let remedy = match &flaw {
            Flaw::Missing(field) if field == "connection" => "give the connection's name, there or with --connection",
            Flaw::Missing(field) if field == "data_center" => {
                "say where the account lives, there or with --data-center"
            }
            Flaw::Missing(field) if field == "client" => "give `client_id` and `client_secret`, or --client",
            flaw => return Self::new(flaw.to_string(), flaw.remedy()),
        };
        Self::new(flaw.to_string(), remedy)
    }
}

/// What the rows are judged by.
pub(super) struct Store<'s> {
    settings: &'s Settings,
    /// The secrets that are there already, by full name, each with why it cannot be read.
    secrets: BTreeMap<&'s str, Result<&'s SecretVersion, &'s Flaw>>,
    clients: Clients,
}

impl<'s> Store<'s> {
    pub(super) fn new(settings: &'s Settings, secrets: &'s [StoredSecret]) -> Self {
        let clients = read_clients(secrets, &settings.prefix);
        let secrets = secrets.iter().map(|secret| (secret.name.as_str(), secret.content.as_ref())).collect();
        Self { settings, secrets, clients }
    }

    /// Checks a row as it will be read once it is stored.
    pub(super) fn judge(&self, row: &Row, replace: bool) -> Result<Taken, Refused> {
        let prefix = &self.settings.prefix;
        let (connection, client) = (row.connection()?, row.client()?);
        let name = prefix.grant(connection.as_str());
        let before = self.fields(&name)?;
        let fields = merged(before.clone().unwrap_or_default(), &row.fields);
        let text = Text::new(json!(fields).to_string());
        let secret = GrantSecret::parse(connection, "", text.expose(), &self.settings.data_centers)?;
        let grant = secret.resolve(&self.clients, |client| prefix.client(client.as_str())).map_err(|broken| {
            let remedy = match (&broken.flaw, &client) {
                (Flaw::NotFound, Some(client)) => {
                    format!("store the client first: token-keeper client add {client} --client-id …")
                }
                (flaw, _) => flaw.remedy(),
            };
            Refused::new(broken.to_string(), remedy)
        })?;
        if row.registered.as_ref().is_some_and(|id| *id != grant.client.id.as_str()) {
            return Err(Refused::new(
                "its `client_id` is not the one of --client, and a refresh token works with its own client only",
                "name the client that it belongs to, or leave --client out",
            ));
        }
        let refresh_token = grant.refresh_token.as_ref().ok_or_else(|| Flaw::Missing("refresh_token".to_owned()))?;
        let plan = match before.as_ref().and_then(|fields| fields.get("refresh_token")).unwrap_or(&Value::Null) {
            Value::Null => Plan::New,
            before if before == refresh_token.expose() => Plan::Same,
            _ if replace => Plan::Replace,
            _ => {
                return Err(Refused::new(
                    "it exists already, with another refresh token",
                    "use another name, or --replace to put this one in its place",
                ));
            }
        };
        Ok(Taken { grant, text, exists: before.is_some(), plan })
    }

    /// The fields of a secret that is there already.
    fn fields(&self, name: &str) -> Result<Option<Map<String, Value>>, Refused> {
        let broken = |flaw: Flaw| Refused::new(Broken::secret(name, flaw.clone()).to_string(), flaw.remedy());
        match self.secrets.get(name) {
            None | Some(Err(Flaw::NotFound)) => Ok(None),
            Some(Err(flaw)) => Err(broken((*flaw).clone())),
            Some(Ok(version)) => {
                serde_json::from_str(version.text.expose()).map(Some).map_err(|_| broken(Flaw::NotAnObject))
            }
        }
    }
}

/// A name or a refresh token that was there before in the same input belongs to nobody.
pub(super) fn refuse_duplicates(judged: &mut [Result<Taken, Refused>]) {
    let (mut names, mut tokens) = (BTreeMap::new(), BTreeMap::new());
    for (at, row) in judged.iter_mut().enumerate() {
        let Ok(Taken { grant, .. }) = row else { continue };
        let token = grant.refresh_token.as_ref().map(|token| token.expose().to_owned());
        let first = *names.entry(grant.connection.clone()).or_insert(at);
        let holder = *tokens.entry(token).or_insert(at);
        if first != at {
            *row = Err(Refused::new(format!("row {} has the same name", first + 1), "give each connection one row"));
        } else if holder != at {
            let why = format!("row {} has the same refresh token", holder + 1);
            *row = Err(Refused::new(why, "take each refresh token over once"));
        }
    }
}

/// The fields to store. What belongs to the old refresh token goes with it; scopes and fields of the operator's own stay unless
/// the row has them too.
fn merged(before: Map<String, Value>, row: &Map<String, Value>) -> Map<String, Value> {
    let moved = before.get("data_center") != row.get("data_center");
    let mut fields = before;
    for field in ["client", "client_id", "client_secret", "data_center", "refresh_token", "granted_at"] {
        fields.remove(field);
    }
    if moved {
        fields.remove("api_domain");
    }
    fields.extend(row.clone());
    fields
}
